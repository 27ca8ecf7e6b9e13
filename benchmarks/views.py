"""Photos turned and mirrored with their landmarks: what a mask must follow (R2, R3)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from synth.placement import read_landmarks
from synth.topology import canonical_face
from synth.wearers import overlap


@dataclass(frozen=True)
class View:
    """A photo turned or mirrored.

    Attributes:
        rgb: the changed photo.
        points: (478, 3) the face's landmarks in it.
        move: takes a (H, W) layer of the photo to the changed one.
    """

    rgb: np.ndarray
    points: np.ndarray
    move: Callable[[np.ndarray], np.ndarray]


def turned(rgb: np.ndarray, points: np.ndarray, angle_deg: float) -> View:
    """Clockwise about the middle, on a square canvas that holds every turn."""
    height, width = rgb.shape[:2]
    side = math.ceil(math.hypot(height, width)) + 2
    cosine, sine = math.cos(math.radians(angle_deg)), math.sin(math.radians(angle_deg))
    turn = np.array([[cosine, -sine], [sine, cosine]])
    offset = np.array([side / 2, side / 2]) - turn @ (width / 2, height / 2)
    moved = points.copy()
    moved[:, :2] = points[:, :2] @ turn.T + offset
    # OpenCV's pixel centres lie at integers.
    matrix = np.column_stack([turn, offset + turn @ (0.5, 0.5) - 0.5])

    def move(layer: np.ndarray) -> np.ndarray:
        return cv2.warpAffine(layer, matrix, (side, side), flags=cv2.INTER_LINEAR)

    return View(cv2.warpAffine(rgb, matrix, (side, side), flags=cv2.INTER_CUBIC), moved, move)


def mirrored(rgb: np.ndarray, points: np.ndarray) -> View:
    """Left and right exchanged; the irises' landmarks, which no mask needs, keep their places in the list."""
    moved = points.copy()
    moved[:468] = points[canonical_face().mirror]
    moved[:, 0] = rgb.shape[1] - moved[:, 0]
    return View(np.ascontiguousarray(rgb[:, ::-1]), moved, lambda layer: layer[:, ::-1])


def same(before: np.ndarray, view: View, after: np.ndarray) -> float:
    """IoU of the moved label and the label of the moved photo, where the photo has pixels."""
    valid = view.move(np.ones_like(before)) > 0.999
    return overlap((view.move(before) >= 0.5) & valid, (after >= 0.5) & valid)


def found_again(finder: Any, view: View) -> np.ndarray | None:
    """Landmarks of the face in the changed photo, None when it is not found."""
    size = float(np.ptp(view.points[:, :2], axis=0).max())
    for face in finder.find(view.rgb):
        if face.landmarks_xyz:
            points = read_landmarks(face.landmarks_xyz)
            if np.abs(points - view.points)[:, :2].mean() < size / 4:
                return points
    return None
