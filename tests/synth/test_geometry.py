from __future__ import annotations

import numpy as np
import pytest

from synth.assets import draw_garment
from synth.geometry import bare_triangles, build_face, build_mask, outline_grid
from synth.placement import fit_head_frame
from synth.straps import loop_curves
from synth.topology import canonical_face, on_surface


def shape_of(design: str, seed: int, state: str = "correct"):
    return draw_garment(design, state, np.random.default_rng(seed)).shape


@pytest.mark.parametrize("design", ["surgical", "cloth"])
@pytest.mark.parametrize("name", ["astronaut", "grace_hopper"])
def test_cloth_keeps_off_the_skin_and_near_it(landmark_sets, name, design):
    points = landmark_sets[name]
    face = build_face(points, fit_head_frame(points))
    for seed in range(5):
        shape = shape_of(design, seed)
        skin = on_surface(outline_grid(shape), face.skin_mm)
        inside = face.skin_mm[[58, 288]].mean(axis=0)
        gap = np.linalg.norm(build_mask(shape, face).grid_mm - inside, axis=-1) - np.linalg.norm(
            skin - inside, axis=-1
        )
        rim = np.concatenate([gap[0], gap[-1], gap[:, 0], gap[:, -1]])
        assert gap.min() > -2.5  # only where rays were evened out, under cloth that hides it
        assert rim.min() > 0
        assert np.median(rim) < 8
        assert gap.max() < 40


def test_a_mask_on_the_canonical_face_is_mirror_symmetric(mean_points):
    face = build_face(mean_points, fit_head_frame(mean_points))
    grid = build_mask(shape_of("surgical", 3), face).grid_mm
    assert np.abs(grid[:, ::-1] * (-1, 1, 1) - grid).max() < 0.3  # mm
    curves = loop_curves(build_mask(shape_of("surgical", 3), face), face)
    assert curves.shape[0] == 4


def test_worn_correctly_it_reaches_from_the_nose_bridge_to_below_the_chin(mean_points):
    for seed in range(10):
        grid = outline_grid(shape_of("surgical", seed))
        middle = grid[:, grid.shape[1] // 2, 1]
        layout = canonical_face().layout_mm
        assert layout[168, 1] < middle[0] < layout[5, 1]  # between the eyes .. above the tip
        assert middle[-1] > layout[152, 1] + 5
        slipped = outline_grid(shape_of("surgical", seed, "nose_out"))
        assert layout[1, 1] < slipped[0, slipped.shape[1] // 2, 1] < layout[0, 1]  # tip .. upper lip


def test_skin_under_the_cloth_cannot_show_through():
    bare = set(map(tuple, bare_triangles(shape_of("surgical", 0)).tolist()))
    everything = set(map(tuple, canonical_face().skin_triangles.tolist()))
    covered = {index for row in everything - bare for index in row}
    assert {4, 1, 13, 17} <= covered  # nose tip, lips
    assert not {10, 33, 263, 234} & covered  # forehead, eyes, ear
