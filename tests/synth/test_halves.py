from __future__ import annotations

import math
from dataclasses import replace

import cv2
import numpy as np
import pytest

from dataset_tools.core.errors import ItemFault, UnknownName
from synth.assets import DESIGNS, allowed_states, draw_garment
from synth.geometry import build_face
from synth.halves import JAW_LEFT, JAW_RIGHT, STATES, WIDTH_RATIO, dress_halves, measure_halves, place_halves
from synth.placement import fit_head_frame
from synth.render import Effects, composite, inside_share
from synth.wearers import mesh_of

ROLLS = (-170, -135, -90, -60, -45, -30, -10, 0, 5, 15, 40, 60, 90, 120, 180)


def face_of(points):
    return build_face(points, fit_head_frame(points))


def posed(points, yaw_deg=0.0, pitch_deg=0.0, roll_deg=0.0):
    # Nod, turn, tilt the mean face about its middle; signs as in core.record.Face.
    yaw, pitch, roll = (math.radians(a) for a in (yaw_deg, pitch_deg, roll_deg))
    nod = np.array([[1, 0, 0], [0, math.cos(pitch), -math.sin(pitch)], [0, math.sin(pitch), math.cos(pitch)]])
    turn = np.array([[math.cos(yaw), 0, -math.sin(yaw)], [0, 1, 0], [math.sin(yaw), 0, math.cos(yaw)]])
    tilt = np.array([[math.cos(roll), -math.sin(roll), 0], [math.sin(roll), math.cos(roll), 0], [0, 0, 1]])
    middle = points[[33, 263]].mean(axis=0)
    return (points - middle) @ (tilt @ turn @ nod).T + middle


def paste(portrait, garment, in_front=None):
    nobody = np.zeros(portrait.rgb.shape[:2], np.float32)
    face = face_of(portrait.points)
    return dress_halves(portrait.rgb, face, garment, nobody if in_front is None else in_front, Effects())


def whole(dressing, layer, size_hw):
    x, y, width, height = dressing.box
    out = np.zeros(size_hw, np.float32)
    out[y : y + height, x : x + width] = layer
    return out


@pytest.fixture(scope="module")
def garment():
    return draw_garment("surgical", "correct", np.random.default_rng(4))


def wrapped(angle_deg):
    return (angle_deg + 180) % 360 - 180


@pytest.mark.parametrize("yaw", [-60, -30, 0, 30, 60])
@pytest.mark.parametrize("pitch", [-40, 0, 40])
def test_the_eye_angle_of_posed_heads_is_right_to_one_degree_at_every_roll(mean_points, yaw, pitch):
    for roll in ROLLS:
        halves = measure_halves(face_of(posed(mean_points, yaw, pitch, roll)))
        assert abs(wrapped(halves.eye_roll_deg - roll)) <= 1.0


def test_a_head_that_is_only_tilted_has_no_lean_and_equal_halves(mean_points):
    halves = measure_halves(face_of(posed(mean_points, roll_deg=37)))
    assert abs(halves.lean_deg) < 0.1
    assert halves.left_px == pytest.approx(halves.right_px, rel=1e-3)


@pytest.mark.parametrize("yaw", [-30, 0, 20])
def test_half_widths_are_the_jaw_points_distances_from_the_line_nose_to_chin(mean_points, yaw):
    points = posed(mean_points, yaw, 10, 25)
    halves = measure_halves(face_of(points))
    nose, chin, left, right = (complex(*points[i, :2]) for i in (197, 152, JAW_LEFT, JAW_RIGHT))

    def distance(point):  # twice the triangle over its base
        return abs(((chin - nose).conjugate() * (point - nose)).imag) / abs(chin - nose)

    assert halves.height_px == pytest.approx(abs(chin - nose))
    assert halves.left_px == pytest.approx(WIDTH_RATIO * distance(left))
    assert halves.right_px == pytest.approx(WIDTH_RATIO * distance(right))
    assert yaw == 0 or abs(halves.left_px / halves.right_px - 1) > 0.3  # turned indeed


def test_the_drawn_halves_have_the_measured_widths_and_the_seam_lies_on_nose_and_chin(astronaut, garment):
    face = face_of(astronaut.points)
    halves, grid = measure_halves(face), place_halves(face, garment).grid_px[..., :2]
    nose, chin = astronaut.points[197, :2], astronaut.points[152, :2]
    down = (chin - nose) / np.linalg.norm(chin - nose)
    across = np.array([down[1], -down[0]])
    seam = (grid[:, grid.shape[1] // 2] - nose) @ across
    assert np.abs(seam).max() < 1e-3
    along = (grid.reshape(-1, 2) - nose) @ down
    assert along.min() == pytest.approx(0, abs=1e-3)
    assert along.max() == pytest.approx(np.linalg.norm(chin - nose), abs=1e-3)
    sides = (grid.reshape(-1, 2) - nose) @ across
    assert -sides.min() / sides.max() == pytest.approx(halves.left_px / halves.right_px, rel=0.01)


def test_a_jaw_point_behind_the_line_hides_its_half_instead_of_folding_it_over(mean_points):
    halves = measure_halves(face_of(posed(mean_points, yaw_deg=70)))
    assert min(halves.left_px, halves.right_px) == 0.0
    assert max(halves.left_px, halves.right_px) > 10.0


@pytest.mark.parametrize("angle", [-90, -45, 15, 90])
def test_turning_the_photo_turns_the_label(astronaut, garment, angle):
    before = whole(dressing := paste(astronaut, garment), dressing.mask.alpha, astronaut.rgb.shape[:2])
    turned = astronaut.turned(angle)
    after = whole(dressing := paste(turned, garment), dressing.mask.alpha, turned.rgb.shape[:2])
    expected = astronaut.turn_layer(before, angle) >= 0.5
    found = after >= 0.5
    assert (expected & found).sum() / (expected | found).sum() >= 0.98


def test_the_mirrored_photo_gets_the_mirrored_label(astronaut, garment):
    size = astronaut.rgb.shape[:2]
    before = whole(dressing := paste(astronaut, garment), dressing.mask.alpha, size) >= 0.5
    mirrored = astronaut.mirrored()
    after = whole(dressing := paste(mirrored, garment), dressing.mask.alpha, size)[:, ::-1] >= 0.5
    assert (before & after).sum() / (before | after).sum() >= 0.98


def test_the_label_is_what_was_drawn_and_nothing_else_changes(astronaut, garment):
    dressing = paste(astronaut, garment)
    out = composite(astronaut.rgb, dressing)
    size = astronaut.rgb.shape[:2]
    alpha, cords = whole(dressing, dressing.mask.alpha, size), whole(dressing, dressing.loops.alpha, size)
    untouched = (alpha == 0) & (cords == 0)
    assert np.array_equal(out[untouched], astronaut.rgb[untouched])
    assert not dressing.shadow.any()
    solid = alpha == 1
    shown = cv2.cvtColor(out, cv2.COLOR_RGB2LAB)[solid].astype(float)
    assert solid.sum() > 3000 and shown.std(axis=0).max() < 25  # one fabric, no photo shining through
    assert (cords > 0.5).sum() > 20


def test_what_is_nearer_hides_the_paste(astronaut, garment):
    in_front = np.zeros(astronaut.rgb.shape[:2], np.float32)
    in_front[:, : int(astronaut.points[4, 0])] = 1.0
    dressing = paste(astronaut, garment, in_front)
    out = composite(astronaut.rgb, dressing)
    assert np.array_equal(out[in_front == 1], astronaut.rgb[in_front == 1])
    assert dressing.amodal.sum() > 1.5 * dressing.mask.alpha.sum()


def test_effects_change_nothing(astronaut, garment):
    nobody, face = np.zeros(astronaut.rgb.shape[:2], np.float32), face_of(astronaut.points)
    drawn = [
        composite(
            astronaut.rgb, dress_halves(astronaut.rgb, face, garment, nobody, Effects(value, value, value))
        )
        for value in (True, False)
    ]
    assert np.array_equal(*drawn)


def test_nose_out_starts_below_the_nose(astronaut):
    face = face_of(astronaut.points)
    below = draw_garment("surgical", "nose_out", np.random.default_rng(4))
    top = place_halves(face, below).grid_px[..., 1].min()
    assert top > astronaut.points[4, 1]
    assert STATES == ("correct", "nose_out")


def test_a_state_it_cannot_draw_and_a_face_seen_end_on_are_refused_in_one_line(astronaut, mean_points):
    with pytest.raises(UnknownName, match=r"hanging.*correct, nose_out"):
        measure_halves(face_of(astronaut.points), "hanging")
    flat = mean_points.copy()
    flat[152, :2] = flat[197, :2] + 1.0
    with pytest.raises(ItemFault, match="from nose to chin"):
        measure_halves(face_of(flat))


def test_it_lies_in_the_picture_like_the_mesh_mask(hopper, garment):
    assert inside_share(place_halves(mesh_of(hopper.face), garment), hopper.rgb.shape[:2]) == 1.0


@pytest.mark.parametrize("design", sorted(DESIGNS))
def test_every_design_can_be_pasted_in_both_states(astronaut, design):
    for state in set(STATES) & set(allowed_states(design)):
        dressing = paste(astronaut, draw_garment(design, state, np.random.default_rng(1)))
        alpha = whole(dressing, dressing.mask.alpha, astronaut.rgb.shape[:2])
        # Upper lip covered, eyes not.
        lip, *eyes = (astronaut.points[i, :2].astype(int) for i in (0, 159, 386))
        assert alpha[lip[1], lip[0]] == 1.0
        assert all(alpha[eye[1], eye[0]] == 0.0 for eye in eyes)
        assert (dressing.mask.opacity <= dressing.mask.alpha).all()


def test_stripes_on_a_narrow_half_melt_instead_of_aliasing(mean_points):
    striped = draw_garment("cloth", "correct", np.random.default_rng(3))
    fabric = replace(striped.fabric, pattern="stripes", ground=(250, 250, 250), ink=(5, 5, 5), period_mm=5.0)
    fabric = replace(fabric, angle_deg=0.0)
    photo, nobody = np.full((420, 400, 3), 128, np.uint8), np.zeros((420, 400), np.float32)
    face = face_of(posed(mean_points, yaw_deg=32) * 0.4)
    dressing = dress_halves(photo, face, replace(striped, fabric=fabric), nobody, Effects())
    halves = measure_halves(face)
    narrow, wide = sorted((halves.left_px, halves.right_px))
    assert wide > 3 * narrow > 0
    seam = int(halves.top_xy[0]) - dressing.box[0]
    sides = [np.s_[:, :seam], np.s_[:, seam + 1 :]]
    contrast = [float(dressing.mask.colour[side][dressing.mask.alpha[side] == 1].std()) for side in sides]
    small = 0 if halves.left_px < halves.right_px else 1
    assert contrast[small] < 0.6 * contrast[1 - small]
