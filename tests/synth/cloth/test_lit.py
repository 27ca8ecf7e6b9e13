from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from synth.assets import DESIGNS, allowed_states, draw_garment
from synth.cloth.lit import shaded_cloth, texel_count
from synth.cloth.relief import relief_mm
from synth.geometry import build_face, build_mask
from synth.placement import fit_head_frame
from synth.shading import EVEN_LIGHT, Light

SIDE_LIGHT = Light((0.6, 0.0, -0.3), 1.0, 0.8, (1.0, 1.0, 1.0))


@pytest.fixture
def mean_face(mean_points):
    return build_face(mean_points, fit_head_frame(mean_points))


def lit(garment, face, light):
    mesh = build_mask(garment.shape, face)
    return mesh, shaded_cloth(mesh, garment, light, face.frame.px_per_mm)


@pytest.mark.parametrize(("design", "state"), [(d, s) for d in DESIGNS for s in allowed_states(d)])
def test_every_design_in_every_state_gives_finite_colours(mean_face, design, state):
    garment = draw_garment(design, state, np.random.default_rng(2))
    mesh, found = lit(garment, mean_face, SIDE_LIGHT)
    assert found.colour.shape == (*texel_count(mesh, mean_face.frame.px_per_mm), 3)
    assert found.colour.dtype == np.float32
    assert np.isfinite(found.colour).all() and found.colour.min() >= 0
    again = lit(garment, mean_face, SIDE_LIGHT)[1]
    assert np.array_equal(found.colour, again.colour)


def test_the_side_towards_the_light_is_brighter(mean_face):
    # Light.direction points towards the light: +x is the viewer's right.
    colour = lit(draw_garment("cloth", "correct", np.random.default_rng(3)), mean_face, SIDE_LIGHT)[1].colour
    width = colour.shape[1]
    left, right = (
        colour[:, width // 8 : 3 * width // 8].mean(),
        colour[:, 5 * width // 8 : 7 * width // 8].mean(),
    )
    assert right > 1.2 * left


def test_relief_shades_as_its_own_normals_say(mean_face):
    # Reference: full normals of the bumped surface at every texel, one light, plain white cloth.
    garment = draw_garment("surgical", "correct", np.random.default_rng(5))
    plain = replace(garment.fabric, ground=(200, 200, 200), ink=(200, 200, 200), trim=(200, 200, 200))
    garment = replace(garment, fabric=replace(plain, weave=0.0, sheen=0.0, stitched=False))
    light = Light((0.2, -0.5, -0.4), 1.0, 1.0, (1.0, 1.0, 1.0))
    mesh, found = lit(garment, mean_face, light)
    height, width = found.colour.shape[:2]
    relief = relief_mm(garment.fabric, garment.shape, mesh.size_mm, (height, width))
    at = np.linspace(0, 1, height)[:, None], np.linspace(0, 1, width)[None, :]
    from scipy.interpolate import RectBivariateSpline

    rows, columns = (np.linspace(0, 1, n) for n in mesh.grid_mm.shape[:2])
    smooth = np.stack(
        [RectBivariateSpline(rows, columns, mesh.grid_mm[..., k])(at[0][:, 0], at[1][0]) for k in range(3)],
        -1,
    )

    def unit_normals(points):
        normal = np.cross(np.gradient(points, axis=0), np.gradient(points, axis=1))
        return normal / np.linalg.norm(normal, axis=-1, keepdims=True)

    bumped = unit_normals(smooth + relief[..., None] * unit_normals(smooth))
    expected = 1.0 + bumped @ np.array(light.direction)
    inner = np.s_[height // 6 : -height // 6, width // 6 : -width // 6]
    shade = found.colour[..., 1] / found.colour[..., 1][inner].mean() * expected[inner].mean()
    assert np.corrcoef(shade[inner].ravel(), expected[inner].ravel())[0, 1] > 0.93


def test_pleats_step_and_a_wire_and_a_valve_stand_out():
    size, texels = (176.0, 140.0), (420, 528)
    garment = draw_garment("surgical", "correct", np.random.default_rng(1))
    fabric = replace(garment.fabric, wrinkle_mm=0.0, stitched=False)
    with_pleats = relief_mm(fabric, garment.shape, size, texels)
    column = with_pleats[60:-60, 264]
    falls = np.flatnonzero(np.diff(column) < -0.2)
    assert len(np.split(falls, np.flatnonzero(np.diff(falls) > 3) + 1)) == 3
    no_wire = relief_mm(fabric, replace(garment.shape, wire_mm=0.0), size, texels)
    wire = with_pleats - no_wire
    assert 0.5 < wire.max() < 1.0
    assert np.flatnonzero(wire.max(axis=1) > 0.1).max() * size[1] / texels[0] < 14
    cup = draw_garment("n95_valve", "correct", np.random.default_rng(1))
    valve = relief_mm(cup.fabric, cup.shape, size, texels)
    without = relief_mm(cup.fabric, replace(cup.shape, valve_mm=0.0), size, texels)
    changed = np.abs(valve - without) > 0.3
    assert np.ptp(np.flatnonzero(changed.any(axis=0))) / 3 == pytest.approx(cup.shape.valve_mm, abs=9)


def test_only_the_window_can_be_seen_through(mean_face):
    garment = draw_garment("transparent", "correct", np.random.default_rng(1))
    found = lit(garment, mean_face, EVEN_LIGHT)[1]
    pane = garment.fabric.window
    assert found.opacity is not None
    height, width = found.opacity.shape
    middle = found.opacity[round(pane.middle_v * height), width // 2]
    assert 0.02 < middle < 0.6
    assert found.opacity[0].min() == found.opacity[:, 0].min() == 1.0
    assert found.opacity.max() <= 1.0 and found.opacity.min() >= 0.0
    share = (found.opacity < 0.95).mean()
    mesh = build_mask(garment.shape, mean_face)
    expected = 0.93 * 4 * pane.half_width_mm * pane.half_height_mm / np.prod(mesh.size_mm)
    assert share == pytest.approx(expected, rel=0.15)
    for design in set(DESIGNS) - {"transparent"}:
        other = draw_garment(design, "correct", np.random.default_rng(1))
        assert lit(other, mean_face, EVEN_LIGHT)[1].opacity is None


def test_a_black_mask_shows_its_form(mean_face):
    garment = draw_garment("kn95", "correct", np.random.default_rng(1))
    black = replace(garment, fabric=replace(garment.fabric, ground=(8, 8, 8), trim=(8, 8, 8), sheen=0.06))
    colour = lit(black, mean_face, SIDE_LIGHT)[1].colour[..., 1]
    assert np.quantile(colour, 0.95) > 1.6 * np.quantile(colour, 0.05) > 0
