from __future__ import annotations

import numpy as np
import pytest

from synth.fabric import srgb_to_linear
from synth.geometry import build_face
from synth.placement import fit_head_frame
from synth.raster import rasterise
from synth.shading import (
    Light,
    estimate_light,
    linear_of_byte,
    linear_to_srgb,
    read_skin,
    vertex_normals,
)
from synth.shadow import cast_shadow
from synth.topology import canonical_face


def test_bytes_survive_linear_light():
    assert np.array_equal(linear_to_srgb(linear_of_byte()), np.arange(256))
    assert srgb_to_linear(0.5) == pytest.approx(0.21404, abs=1e-4)  # IEC 61966-2-1


@pytest.mark.parametrize("towards", [(0.6, -0.3, -0.5), (-0.5, 0.0, -0.6), (0.0, -0.7, -0.4)])
def test_light_on_a_lambert_face_is_recovered(mean_points, towards):
    face = build_face(mean_points, fit_head_frame(mean_points))
    normals = vertex_normals(face.skin_px[:468], canonical_face().triangles)
    brightness = 0.25 * (1 + normals @ np.array(towards))
    hits = rasterise(
        face.skin_px[:468], canonical_face().triangles, (0, 0, 400, 420), values=brightness[:, None]
    )
    linear = np.zeros(400 * 420, np.float32)
    linear[hits.sample] = hits.values[:, 0]
    photo = linear_to_srgb(linear.reshape(420, 400, 1) * np.array([1.0, 0.8, 0.6], np.float32))
    light = estimate_light(photo, read_skin(photo, face.skin_px, 2.0))
    seen = normals[:, 2] < -0.2
    shade = light.shade(normals[seen].astype(np.float32))
    assert np.corrcoef(shade, brightness[seen])[0, 1] > 0.95
    assert np.sign(light.direction[0]) == np.sign(towards[0]) or abs(light.direction[0]) < 0.05


def test_a_grey_photo_has_no_saturation_and_a_grey_light(mean_points):
    photo = np.full((420, 400, 3), 120, np.uint8)
    light = estimate_light(photo, read_skin(photo, mean_points, 2.0))
    assert light.saturation == 0
    assert light.tint == pytest.approx((1, 1, 1), abs=1e-6)
    assert np.ptp(light.colour(np.array([0.1, 0.3, 0.8], np.float32))) < 1e-6


def test_shadow_falls_on_skin_only_and_away_from_the_light():
    alpha = np.zeros((80, 80), np.float32)
    alpha[30:50, 30:50] = 1
    skin = np.zeros_like(alpha)
    skin[:, 10:70] = 1
    shadow = cast_shadow(alpha, skin, Light((0.5, 0.0, -0.5), 1.0, 1.0, (1.0, 1.0, 1.0)), 1.0)
    assert shadow[:, :10].max() == 0
    assert shadow[:, 70:].max() == 0
    assert shadow[40, 25] > shadow[40, 54]  # light from the right
    assert np.array_equal(np.rint(shadow * 255) / np.float32(255), shadow)
    assert 0 <= shadow.min() <= shadow.max() < 0.7
