from __future__ import annotations

import numpy as np
import pytest

from synth.assets import DESIGNS, allowed_states, draw_garment
from synth.geometry import build_face, build_mask
from synth.placement import fit_head_frame
from synth.straps import build_loops, loop_curves
from synth.topology import on_surface


@pytest.fixture
def mean_face(mean_points):
    return build_face(mean_points, fit_head_frame(mean_points))


def curves_of(design, face, state="correct", seed=1):
    garment = draw_garment(design, state, np.random.default_rng(seed))
    mesh = build_mask(garment.shape, face)
    return garment, mesh, loop_curves(mesh, face, garment.shape, garment.strap)


@pytest.mark.parametrize(("design", "state"), [(d, s) for d in DESIGNS for s in allowed_states(d)])
def test_straps_start_on_the_mask_and_are_continuous(mean_face, design, state):
    garment, mesh, curves = curves_of(design, mean_face, state)
    expected = {"none": 0, "head": 4, "ear_loops": 4}[garment.strap.kind]
    assert len(curves.points_px) == (3 if state == "hanging" else expected)
    scale = mean_face.frame.px_per_mm
    grid = mesh.grid_px.reshape(-1, 3)
    for points in curves.points_px:
        assert np.linalg.norm(grid - points[0], axis=1).min() < 8 * scale
        assert np.linalg.norm(np.diff(points, axis=0), axis=1).max() < 30 * scale


def test_ear_loops_end_above_and_below_each_ear(mean_face):
    _, _, curves = curves_of("surgical", mean_face)
    ends = mean_face.frame.to_head(curves.points_px[:, -1])
    upper_left, lower_left, upper_right, lower_right = ends
    assert upper_left[0] < -70 and upper_right[0] > 70
    assert upper_left[1] < 10 < lower_left[1] < 60
    assert np.allclose(upper_left * (-1, 1, 1), upper_right, atol=1.0)
    assert np.allclose(lower_left * (-1, 1, 1), lower_right, atol=1.0)
    assert (ends[:, 2] > 60).all()  # at the ear, not on the cheek


def test_head_bands_go_around_the_head_and_end_where_it_turns_away(mean_points):
    for yaw, least in ((0.0, 8), (50.0, 8)):
        angle = np.radians(yaw)
        turn = np.array([[np.cos(angle), 0, -np.sin(angle)], [0, 1, 0], [np.sin(angle), 0, np.cos(angle)]])
        points = (mean_points - mean_points.mean(axis=0)) @ turn.T + (300, 300, 0)
        face = build_face(points, fit_head_frame(points))
        _, _, curves = curves_of("n95", face)
        head = face.frame.to_head(curves.points_px)
        assert (np.abs(head[:, -1, 2]) > 110).all()  # behind the ears
        assert (curves.facing >= least).all()
        if yaw == 0.0:
            assert (curves.facing < curves.points_px.shape[1]).all()  # nobody sees the back of the head


def test_no_strap_lies_under_the_cheek(mean_face):
    inside = mean_face.skin_mm[[58, 288]].mean(axis=0)
    for design in ("surgical", "kn95", "n95", "duckbill"):
        _, _, curves = curves_of(design, mean_face)
        points = mean_face.frame.to_head(curves.points_px)[:, 2:].reshape(-1, 3)
        s = 75 * np.arctan2(points[:, 0], 60 - points[:, 2])
        on_face = np.abs(s) < 105
        skin = on_surface(np.stack([s, points[:, 1]], axis=1), mean_face.skin_mm)
        above = np.linalg.norm(points - inside, axis=1) - np.linalg.norm(skin - inside, axis=1)
        assert above[on_face].min() > 0.5  # mm


def test_ribbons_are_as_wide_as_asked_and_as_long_as_shown(mean_face):
    _, _, curves = curves_of("surgical", mean_face)
    shown = np.array([curves.points_px.shape[1], 0, 5, 2])
    ribbons = build_loops(curves.points_px, shown, 6.0)
    sides = ribbons.vertices_px.reshape(4, -1, 2, 3)
    widths = np.linalg.norm(sides[:, :, 0, :2] - sides[:, :, 1, :2], axis=-1)
    assert np.allclose(widths, 6.0)
    assert len(ribbons.triangles) == 2 * ((shown[0] - 1) + 0 + 4 + 1)
    none = build_loops(np.zeros((0, 28, 3)), np.zeros(0, dtype=np.int64), 0.0)
    assert none.triangles.shape == (0, 3)
