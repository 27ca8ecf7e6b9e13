from __future__ import annotations

import cv2
import numpy as np
import pytest

from synth.assets import draw_garment
from synth.colour import linear_of_byte, linear_to_srgb
from synth.cover import cover
from synth.geometry import build_face
from synth.heads.draw import draw_head
from synth.heads.head import random_head
from synth.placement import fit_head_frame
from synth.raster import rasterise
from synth.scene import Effects, set_scene
from synth.shading import Light, estimate_light, read_skin, vertex_normals
from synth.shadow import cast_shadow, soften
from synth.topology import canonical_face


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


@pytest.fixture(scope="module")
def lit_heads():
    # Known light on people of all skin tones, poses and identities: (head, picture, estimated light).
    rng = np.random.default_rng(7)
    found = []
    for _ in range(24):
        head = random_head(rng, size_px=256)
        picture = draw_head(head, 1)
        face = build_face(picture.landmarks, fit_head_frame(picture.landmarks))
        skin = read_skin(picture.image, face.skin_px, face.frame.px_per_mm)
        found.append((head, picture, estimate_light(picture.image, skin)))
    return found


def test_shading_on_heads_of_known_light_correlates_with_the_truth(lit_heads):
    correlations = []
    for head, picture, light in lit_heads:
        seen = picture.skin & (np.abs(picture.normals).sum(axis=-1) > 0) & (picture.occluder < 0.01)
        normals = picture.normals[seen]
        correlations.append(np.corrcoef(light.shade(normals), head.light.shade(normals))[0, 1])
    assert np.median(correlations) >= 0.95
    assert np.mean(np.array(correlations) >= 0.8) >= 0.9


def test_the_brighter_side_of_a_head_is_the_right_one(lit_heads):
    sides = [
        (head.light.direction[0], light.direction[0])
        for head, _, light in lit_heads
        if abs(head.light.direction[0]) > 0.1
    ]
    assert len(sides) >= 12
    assert np.mean([np.sign(true) == np.sign(found) for true, found in sides]) >= 0.95


def test_exposure_hardly_follows_skin_tone(lit_heads):
    off = [np.log(light.exposure / head.light.exposure) for head, _, light in lit_heads]
    per_degree = np.polyfit([head.ita_deg for head, _, _ in lit_heads], off, 1)[0]
    assert abs(per_degree) * 90 < 0.5  # from ITA 50 to -40; by the skin's brightness alone it is 1.1


@pytest.mark.parametrize("dimming", [0.5, 0.2])
def test_a_dark_photo_makes_a_dark_mask(astronaut, dimming):
    face = build_face(astronaut.points, fit_head_frame(astronaut.points))
    bright = estimate_light(astronaut.rgb, read_skin(astronaut.rgb, face.skin_px, face.frame.px_per_mm))
    dim = linear_to_srgb(linear_of_byte()[astronaut.rgb] * np.float32(dimming))
    dark = estimate_light(dim, read_skin(dim, face.skin_px, face.frame.px_per_mm))
    white = np.ones(3, np.float32)
    # Between what the photo lost and nothing: a photo this dark may also have been taken in the dark.
    assert dimming * 0.9 < dark.colour(white).mean() / bright.colour(white).mean() < dimming**0.2 * 1.05
    brightest = np.quantile(linear_of_byte()[dim].mean(axis=-1), 0.98)
    assert dark.colour(white).mean() < 1.7 * brightest


def test_a_warm_photo_makes_a_warm_mask(astronaut):
    face = build_face(astronaut.points, fit_head_frame(astronaut.points))
    warm = linear_to_srgb(linear_of_byte()[astronaut.rgb] * np.array([1.0, 0.8, 0.5], np.float32))
    lights = [
        estimate_light(rgb, read_skin(rgb, face.skin_px, face.frame.px_per_mm))
        for rgb in (astronaut.rgb, warm)
    ]
    ratios = [light.tint[0] / light.tint[2] for light in lights]
    assert 1.2 < ratios[1] / ratios[0] < 2.1


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


@pytest.mark.parametrize("towards", [(0.7, 0.2), (-0.7, 0.2), (0.0, -0.7), (0.0, 0.7)])
def test_the_window_of_a_mask_has_room_for_its_whole_shadow(astronaut, towards):
    face = build_face(astronaut.points, fit_head_frame(astronaut.points))
    garment = draw_garment("surgical", "correct", np.random.default_rng(1))
    scene = set_scene(astronaut.rgb, face, garment, Effects())
    light = Light((*towards, -0.2), 1.0, 1.0, (1.0, 1.0, 1.0))
    _, _, width, height = scene.box
    covered = cover([scene.cloth], face, scene.skin, scene.box, 2)[0].alpha
    everywhere = np.ones((height, width), np.float32)
    shadow = cast_shadow(covered, everywhere, light, face.frame.px_per_mm)
    assert shadow.max() > 0.3
    assert max(shadow[0].max(), shadow[-1].max(), shadow[:, 0].max(), shadow[:, -1].max()) == 0


def test_softening_at_a_smaller_size_is_a_gaussian_blur():
    covered = np.zeros((121, 143), np.float32)
    cv2.circle(covered, (70, 60), 40, 1.0, -1)
    for sigma in (0.9, 2.5, 4.2, 9.0):
        exact = cv2.GaussianBlur(covered, (0, 0), sigma)
        assert np.abs(soften(covered, sigma) - exact).max() < 0.04
