from __future__ import annotations

import numpy as np
import pytest

from dataset_tools.core.errors import ItemFault
from dataset_tools.core.reasons import Reason
from synth.placement import (
    LEFT_EYE_CORNERS,
    NOSE_BRIDGE,
    RIGHT_EYE_CORNERS,
    RIGID,
    eye_centres,
    eye_roll_by_centre_deg,
    eye_roll_deg,
    fit_head_frame,
    read_landmarks,
)
from synth.topology import JAW, canonical_face


def turn(points: np.ndarray, yaw: float, pitch: float, roll: float) -> np.ndarray:
    """Rotation written from the sign rules of `core.record.Face`, independently of the code under test."""
    y, p, r = np.radians([yaw, pitch, roll])
    about_y = np.array([[np.cos(y), 0, -np.sin(y)], [0, 1, 0], [np.sin(y), 0, np.cos(y)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(p), -np.sin(p)], [0, np.sin(p), np.cos(p)]])
    about_z = np.array([[np.cos(r), -np.sin(r), 0], [np.sin(r), np.cos(r), 0], [0, 0, 1]])
    return points @ (about_z @ about_y @ about_x).T


@pytest.mark.parametrize("roll", [-170, -90, -33.3, 0, 10, 45, 60, 90, 179])
def test_eye_roll_is_recovered_to_a_hundredth_of_a_degree(landmark_sets, roll):
    for points in landmark_sets.values():
        left, right = eye_centres(points)
        upright = eye_roll_deg(left, right)
        turned_left, turned_right = eye_centres(turn(points, 0, 0, roll))
        difference = eye_roll_deg(turned_left, turned_right) - upright - roll
        assert abs((difference + 180) % 360 - 180) < 0.01


@pytest.mark.parametrize("roll", [-60, -25, 0, 10, 45, 60])
def test_misas_route_over_the_face_centre_gives_the_same_angle(roll):
    eyes = np.array([[-30.0, -20.0], [33.0, -18.0], [2.0, 25.0]])
    angle = np.radians(roll)
    matrix = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    left, right, centre = eyes @ matrix.T + 100
    assert eye_roll_by_centre_deg(left, right, centre) == pytest.approx(eye_roll_deg(left, right), abs=1e-9)


@pytest.mark.parametrize(
    ("yaw", "pitch", "roll"), [(0, 0, 0), (30, 0, 0), (-70, 5, 0), (0, 25, 0), (20, -30, 120), (0, 0, -90)]
)
def test_head_frame_recovers_a_known_pose(mean_points, yaw, pitch, roll):
    posed = 1.7 * turn(mean_points - (200, 160, 0), yaw, pitch, roll) + (310.0, 220.0, 5.0)
    frame = fit_head_frame(posed)
    found = np.array(frame.pose_deg)
    assert np.abs((found - (yaw, pitch, roll) + 180) % 360 - 180).max() < 1e-6
    assert frame.px_per_mm == pytest.approx(3.4)
    assert frame.origin_px == pytest.approx((310, 220, 5), abs=1e-6)
    assert np.abs(frame.to_head(posed[:468]) - canonical_face().vertices_mm).max() < 1e-9
    assert np.abs(frame.to_image(frame.to_head(posed)) - posed).max() < 1e-9


def test_landmark_groups_are_where_their_names_say():
    mean = canonical_face()
    layout, mirror = mean.layout_mm, mean.mirror
    assert all(layout[i, 0] < 0 for i in LEFT_EYE_CORNERS)
    assert tuple(mirror[list(LEFT_EYE_CORNERS)]) == RIGHT_EYE_CORNERS
    assert layout[LEFT_EYE_CORNERS[0], 0] < layout[LEFT_EYE_CORNERS[1], 0]
    assert np.abs(layout[list(NOSE_BRIDGE), 0]).max() == 0
    assert (np.diff(layout[list(NOSE_BRIDGE), 1]) > 0).all()
    assert (np.diff(mean.vertices_mm[list(NOSE_BRIDGE), 2]) < 0).all()  # each one nearer: down to the tip
    assert tuple(mirror[list(JAW)]) == tuple(reversed(JAW))
    assert (np.diff(layout[list(JAW), 0]) > 0).all()
    assert set(mirror[list(RIGID)]) == set(RIGID)


def test_a_face_without_landmarks_is_a_fault():
    with pytest.raises(ItemFault) as caught:
        read_landmarks(())
    assert caught.value.reason is Reason.NO_LANDMARKS
    with pytest.raises(ItemFault, match="not finite"):
        read_landmarks((float("nan"),) * (478 * 3))


def test_landmarks_in_one_point_are_a_fault():
    with pytest.raises(ItemFault, match="coincide"):
        fit_head_frame(np.full((478, 3), 50.0))
