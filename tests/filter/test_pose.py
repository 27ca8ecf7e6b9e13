from __future__ import annotations

import math

import numpy as np
import pytest

from dataset_tools.filter.pose import head_pose_deg

# A face looking straight at the camera: x right, y down, z away from the camera.
FRONTAL = {
    33: (-45, 0, 0),
    133: (-20, 0, 0),
    362: (20, 0, 0),
    263: (45, 0, 0),
    10: (0, -60, 0),
    152: (0, 90, 0),
}
NOSE = (0.0, 35.0, -40.0)


def turned(yaw: float = 0.0, pitch: float = 0.0, roll: float = 0.0) -> np.ndarray:
    """The frontal face turned as `core.record.Face.pose_deg` says: nose right, nose down, clockwise."""
    points = np.zeros((478, 3))
    points[:] = NOSE
    for index, place in FRONTAL.items():
        points[index] = place
    a, b, c = (math.radians(angle) for angle in (yaw, pitch, roll))
    about_y = np.array([[math.cos(a), 0, -math.sin(a)], [0, 1, 0], [math.sin(a), 0, math.cos(a)]])
    about_x = np.array([[1, 0, 0], [0, math.cos(b), -math.sin(b)], [0, math.sin(b), math.cos(b)]])
    about_z = np.array([[math.cos(c), -math.sin(c), 0], [math.sin(c), math.cos(c), 0], [0, 0, 1]])
    return points @ (about_z @ about_y @ about_x).T + (200, 150, 0)


def test_the_test_turns_the_nose_where_its_words_say() -> None:
    assert turned(yaw=20)[1, 0] > turned()[1, 0]
    assert turned(pitch=20)[1, 1] > turned()[1, 1]
    assert turned(roll=20)[263, 1] > turned()[263, 1]  # clockwise: the right eye goes down


@pytest.mark.parametrize("angle", [-35.0, -5.0, 0.0, 5.0, 35.0])
def test_each_angle_alone_comes_back_with_its_sign(angle: float) -> None:
    assert head_pose_deg(turned(yaw=angle)) == pytest.approx((angle, 0, 0), abs=1e-9)
    assert head_pose_deg(turned(pitch=angle)) == pytest.approx((0, angle, 0), abs=1e-9)
    assert head_pose_deg(turned(roll=angle)) == pytest.approx((0, 0, angle), abs=1e-9)


def test_roll_does_not_disturb_yaw_and_pitch() -> None:
    straight, leaning = (head_pose_deg(turned(yaw=20, pitch=-10, roll=roll)) for roll in (0, 25))
    assert leaning == pytest.approx((straight[0], straight[1], straight[2] + 25), abs=1e-9)


def test_size_and_place_change_nothing() -> None:
    points = turned(yaw=12, pitch=7, roll=-9)
    assert head_pose_deg(points * 3 + 11) == pytest.approx(head_pose_deg(points))
