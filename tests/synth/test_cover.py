"""Coverage with few samples equals coverage with all of them."""

from __future__ import annotations

import numpy as np
import pytest

import synth.cover
from synth.assets import draw_garment
from synth.cover import Sheet, cover, outline, takes_two_passes, window_of
from synth.geometry import build_face
from synth.placement import fit_head_frame
from synth.scene import Effects, set_scene


@pytest.fixture(scope="module", params=[("surgical", 0.0), ("cloth", 35.0)])
def scene(request, astronaut):
    design, turn = request.param
    portrait = astronaut.turned(turn)
    face = build_face(portrait.points * 2, fit_head_frame(portrait.points * 2))
    garment = draw_garment(design, "correct", np.random.default_rng(3))
    photo = np.repeat(np.repeat(portrait.rgb, 2, axis=0), 2, axis=1)
    return set_scene(photo, face, garment, Effects(camera=False))


def covered(scene, samples: int):
    return cover([scene.cloth, scene.ribbon], scene.face, scene.skin, scene.box, samples)


@pytest.mark.parametrize("samples", [2, 4])
def test_sampling_outlines_only_finds_the_same_coverage(scene, samples, monkeypatch):
    assert takes_two_passes(scene.cloth, samples)
    few = covered(scene, samples)
    monkeypatch.setattr(synth.cover, "_FEW_SAMPLES", np.inf)
    assert not takes_two_passes(scene.cloth, samples)
    for found, expected in zip(few, covered(scene, samples), strict=True):
        assert np.array_equal(found.amodal, expected.amodal)
        assert np.abs(found.alpha - expected.alpha).mean() < 1e-3 * expected.alpha.mean()
        hard = [one.alpha >= 0.5 for one in (found, expected)]
        assert (hard[0] & hard[1]).sum() / (hard[0] | hard[1]).sum() >= 0.999
        seen = (found.alpha > 0) & (expected.alpha > 0)
        assert np.quantile(np.abs(found.values - expected.values)[seen], 0.999) < 2e-3


def test_a_square_covers_its_share_of_every_pixel():
    corners = np.array([[2.25, 3.0, 0], [9.5, 3.0, 0], [9.5, 8.75, 0], [2.25, 8.75, 0]])
    sheet = Sheet(corners, np.array([[0, 1, 2], [0, 2, 3]]), corners[:, :1])
    far = build_far_face()
    (found,) = cover([sheet], far, np.zeros((0, 3), dtype=np.int64), (0, 0, 12, 12), 4)
    across = np.clip(np.minimum(np.arange(12) + 1, 9.5) - np.maximum(np.arange(12), 2.25), 0, 1)
    down = np.clip(np.minimum(np.arange(12) + 1, 8.75) - np.maximum(np.arange(12), 3.0), 0, 1)
    assert np.abs(found.alpha - down[:, None] * across).max() < 1e-6
    inner = found.alpha == 1
    assert np.abs(found.values[..., 0] - (np.arange(12) + 0.5))[inner].max() < 1e-5


def test_bands_of_rows_join_without_a_seam(scene, monkeypatch):
    whole = covered(scene, 2)[0]
    monkeypatch.setattr(synth.cover, "_BAND_SAMPLES", 9_000)
    in_bands = covered(scene, 2)[0]
    assert np.array_equal(whole.alpha, in_bands.alpha)
    assert np.array_equal(whole.values, in_bands.values)


def test_outlines_follow_the_border_and_nothing_else_of_a_flat_sheet():
    y, x = np.mgrid[0:5, 0:5] * 10.0
    points = np.stack([x.ravel() + 5, y.ravel() + 5, np.zeros(25)], axis=1)
    index = np.arange(25).reshape(5, 5)
    a, b, c, d = (part.ravel() for part in (index[:-1, :-1], index[:-1, 1:], index[1:, :-1], index[1:, 1:]))
    triangles = np.concatenate([np.stack([a, b, d], 1), np.stack([a, d, c], 1)])
    lines = outline(Sheet(points, triangles, points[:, :1]), (0, 0, 50, 50))
    assert lines[5, 5:45].all() and lines[5:45, 44].all()
    assert not lines[8:42, 8:42].any()


def test_windows_hold_the_points_and_stay_in_the_picture():
    points = np.array([[10.2, 5.5, 0.0], [20.7, 30.1, 0.0]])
    assert window_of(points, 1.0, (100, 100)) == (9, 4, 13, 28)
    assert window_of(points, 1.0, (20, 15)) == (9, 4, 6, 16)
    assert window_of(points - 200, 1.0, (20, 15))[2:] == (0, 0)


def build_far_face():
    from synth.topology import canonical_face

    points = np.concatenate([canonical_face().vertices_mm, np.zeros((10, 3))]) + np.array([0.0, 0.0, 5000.0])
    return build_face(points, fit_head_frame(points))
