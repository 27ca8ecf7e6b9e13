from __future__ import annotations

import numpy as np
import pytest

from synth.assets import draw_garment
from synth.geometry import build_face
from synth.placement import fit_head_frame
from synth.render import Effects, composite, dress_face, face_coverage


@pytest.fixture(scope="module", params=["surgical", "cloth"])
def dressed(request, astronaut):
    face = build_face(astronaut.points, fit_head_frame(astronaut.points))
    garment = draw_garment(request.param, "correct", np.random.default_rng(4))
    nobody = np.zeros(astronaut.rgb.shape[:2], bool)
    dressing = dress_face(astronaut.rgb, face, garment, nobody, Effects())
    return astronaut.rgb, dressing, composite(astronaut.rgb, dressing)


def to_linear(srgb: np.ndarray) -> np.ndarray:
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def to_srgb(linear: np.ndarray) -> np.ndarray:
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def test_composite_is_within_one_grey_level_of_the_float_formula(dressed):
    photo, dressing, out = dressed
    x, y, width, height = dressing.box
    base = to_linear(photo[y : y + height, x : x + width] / 255.0)
    base = base * (1 - dressing.shadow.astype(float))[..., None]
    for layer in (dressing.loops, dressing.mask):
        alpha = layer.alpha.astype(float)[..., None]
        base = alpha * layer.colour.astype(float) + (1 - alpha) * base
    expected = to_srgb(np.clip(base, 0, 1)) * 255
    assert np.abs(out[y : y + height, x : x + width] - expected).max() <= 1.0


def test_pixels_that_nothing_touches_are_bit_identical(dressed):
    photo, dressing, out = dressed
    x, y, width, height = dressing.box
    touched = np.zeros(photo.shape[:2], bool)
    layers = (dressing.mask.alpha, dressing.loops.alpha, dressing.shadow)
    touched[y : y + height, x : x + width] = np.any([layer > 0 for layer in layers], axis=0)
    assert np.array_equal(out[~touched], photo[~touched])
    assert 0.015 < touched.mean() < 0.4
    assert (out[touched] != photo[touched]).any()


def test_alpha_is_a_16_bit_value_with_soft_edges_and_a_solid_middle(dressed):
    _, dressing, _ = dressed
    alpha = dressing.mask.alpha.astype(np.float64)
    assert np.abs(alpha * 65535 - np.rint(alpha * 65535)).max() < 0.01
    assert (alpha == 1).sum() > 0.7 * (alpha > 0).sum()
    assert ((alpha > 0) & (alpha < 1)).any()


def test_no_halo_rim_pixels_lie_between_their_two_sides(dressed):
    photo, dressing, out = dressed
    x, y, width, height = dressing.box
    window = photo[y : y + height, x : x + width].astype(int)
    made = out[y : y + height, x : x + width].astype(int)
    alpha = dressing.mask.alpha
    rim = (alpha > 0.02) & (alpha < 0.98) & (dressing.shadow < 0.9) & (dressing.loops.alpha == 0)
    sheet = np.rint(to_srgb(np.clip(dressing.mask.colour, 0, 1)) * 255)
    under = to_srgb(to_linear(window / 255) * (1 - dressing.shadow[..., None])) * 255
    low, high = np.minimum(sheet, under) - 2, np.maximum(sheet, under) + 2
    inside = ((made >= low) & (made <= high)).all(axis=-1)
    assert inside[rim].mean() >= 0.995


def test_the_mask_covers_nose_tip_mouth_and_chin_and_leaves_the_eyes(dressed, astronaut):
    _, dressing, _ = dressed
    x, y, _, _ = dressing.box
    alpha = {
        i: dressing.mask.alpha[int(astronaut.points[i, 1]) - y, int(astronaut.points[i, 0]) - x]
        for i in (1, 4, 13, 17, 152, 205, 425)
    }
    assert min(alpha.values()) > 0.999
    assert all(
        astronaut.points[i, 1] < y + np.flatnonzero((dressing.mask.alpha > 0).any(1))[0] for i in (159, 386)
    )


def test_a_face_in_front_hides_the_mask(astronaut):
    face = build_face(astronaut.points, fit_head_frame(astronaut.points))
    garment = draw_garment("surgical", "correct", np.random.default_rng(4))
    in_front = np.zeros(astronaut.rgb.shape[:2], bool)
    in_front[:, : int(astronaut.points[4, 0])] = True
    dressing = dress_face(astronaut.rgb, face, garment, in_front.astype(np.float32), Effects())
    out = composite(astronaut.rgb, dressing)
    assert np.array_equal(out[in_front], astronaut.rgb[in_front])
    assert dressing.amodal.sum() > 1.5 * dressing.mask.alpha.sum()


def test_face_coverage_matches_the_polygon_of_the_face_oval(mean_points):
    from skimage.draw import polygon2mask

    oval = [10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152]
    oval += [148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109]
    face = build_face(mean_points, fit_head_frame(mean_points))
    covered = face_coverage(face, (420, 400))
    expected = polygon2mask((420, 400), mean_points[oval][:, [1, 0]] - 0.5)
    assert (covered & expected).sum() / (covered | expected).sum() > 0.99
