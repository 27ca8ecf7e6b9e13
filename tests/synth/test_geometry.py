from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from synth.assets import DESIGNS, allowed_states, draw_garment
from synth.geometry import bare_triangles, build_face, build_mask, outline_grid
from synth.placement import fit_head_frame
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


@pytest.fixture
def mean_face(mean_points):
    return build_face(mean_points, fit_head_frame(mean_points))


# Layout heights on the canonical face: where the middle of the top edge may lie in each state.
NOSE_TIP, NOSE_BASE, LIP_TOP, LIP_BOTTOM, CHIN = 4, 2, 0, 17, 152
TOP_EDGE = {
    "correct": (168, NOSE_TIP),
    "nose_out": (NOSE_TIP, LIP_TOP),
    "mouth_out": (LIP_BOTTOM, CHIN),
}


@pytest.mark.parametrize("design", sorted(DESIGNS))
@pytest.mark.parametrize("state", sorted(TOP_EDGE))
def test_the_top_edge_lies_where_the_state_says(design, state):
    if state not in allowed_states(design):
        pytest.skip("not worn like that")
    low, high = (canonical_face().layout_mm[index, 1] for index in TOP_EDGE[state])
    for seed in range(12):
        grid = outline_grid(shape_of(design, seed, state))
        middle = grid[:, grid.shape[1] // 2, 1]
        assert low < middle[0] < high
        assert middle[-1] > canonical_face().layout_mm[CHIN, 1]


@pytest.mark.parametrize("design", sorted(DESIGNS))
def test_under_the_chin_it_leaves_nose_and_mouth_free(design, mean_face):
    for seed in range(6):
        mesh = build_mask(shape_of(design, seed, "under_chin"), mean_face)
        top = mesh.grid_mm[0, :, 1]
        assert top[len(top) // 2] > mean_face.skin_mm[LIP_BOTTOM, 1] + 20
        assert mesh.grid_mm[-1, len(top) // 2, 1] > mean_face.skin_mm[CHIN, 1] + 15


@pytest.mark.parametrize("design", [name for name in sorted(DESIGNS) if "hanging" in allowed_states(name)])
def test_hanging_it_is_beside_the_face_below_one_ear(design, mean_face):
    sides = set()
    for seed in range(10):
        shape = shape_of(design, seed, "hanging")
        grid = build_mask(shape, mean_face).grid_mm
        assert (np.sign(grid[..., 0]) == shape.hangs).all()
        assert np.abs(grid[..., 0]).min() > 45
        assert grid[..., 1].min() > mean_face.skin_mm[93, 1]  # below the ear
        assert grid[..., 1].max() > mean_face.skin_mm[CHIN, 1]
        sides.add(shape.hangs)
    assert sides == {-1, 1}


def foremost(design, face, seeds=8):
    """How far the mask stands in front of the nose tip, millimetres, median over seeds."""
    tip = face.skin_mm[NOSE_TIP, 2]
    return float(
        np.median([tip - build_mask(shape_of(design, s), face).grid_mm[..., 2].min() for s in range(seeds)])
    )


def test_stiff_masks_stand_out_in_profile_as_they_are_built(mean_face):
    surgical = foremost("surgical", mean_face)
    assert 0 < surgical < 12
    for design, least in (("kn95", 8), ("kf94", 5), ("n95", 12), ("duckbill", 10)):
        assert foremost(design, mean_face) > surgical + least, design


def test_a_kn95_has_a_ridge_and_a_duckbill_a_level_front_edge(mean_face):
    def profile(design, row):
        grid = build_mask(shape_of(design, 1), mean_face).grid_mm
        return grid[round(row * (len(grid) - 1))]

    ridge = profile("kn95", 0.5)
    middle = len(ridge) // 2
    slope = np.diff(ridge[middle : middle + 6, 2]).mean() / np.diff(ridge[middle : middle + 6, 0]).mean()
    assert slope > 0.4  # falls back at once beside the midline; on a round mask it starts level
    bill = profile("duckbill", 0.5)
    front = bill[np.abs(bill[:, 0]) < 22, 2]
    assert np.ptp(front) < 9
    assert profile("duckbill", 0.5)[middle, 2] < profile("duckbill", 0.12)[middle, 2] - 10


def test_a_valve_stands_out_of_the_cup(mean_face):
    with_valve = shape_of("n95_valve", 2)
    plain = replace(with_valve, valve_mm=0.0)
    raised = np.linalg.norm(
        build_mask(with_valve, mean_face).grid_mm - build_mask(plain, mean_face).grid_mm, axis=-1
    )
    assert 4 < raised.max() < 6
    assert 0.01 < (raised > 2).mean() < 0.12


def test_a_gaiter_goes_around_the_neck_and_a_bandana_comes_to_a_point(mean_face):
    gaiter = build_mask(shape_of("gaiter", 1), mean_face).grid_mm
    assert gaiter[..., 2].max() > 100  # behind the ears
    assert gaiter[-1, :, 1].max() > mean_face.skin_mm[CHIN, 1] + 45
    bandana = build_mask(shape_of("bandana", 1), mean_face).grid_mm
    bottom = bandana[-1]
    assert bottom[:, 1].argmax() == len(bottom) // 2
    near = np.abs(bottom[:, 0]) > 40
    assert bottom[near, 1].max() < bottom[:, 1].max() - 25


@pytest.mark.parametrize(
    "design", [name for name in sorted(DESIGNS) if name not in ("gaiter", "bandana", "scarf")]
)
def test_a_mask_without_folds_is_mirror_symmetric(design, mean_face):
    for state in allowed_states(design)[:2]:
        grid = build_mask(shape_of(design, 3, state), mean_face).grid_mm
        assert np.abs(grid[:, ::-1] * (-1, 1, 1) - grid).max() < 0.5  # mm


def test_a_childs_mask_is_smaller():
    for child, adult in (("child_surgical", "surgical"), ("child_cloth", "cloth")):
        small, large = (shape_of(name, 4) for name in (child, adult))
        assert small.corner_s < 0.9 * large.corner_s
        assert small.chin_wrap < large.chin_wrap
