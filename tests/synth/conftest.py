"""Landmarks of two public-domain portraits (numbers, not pictures), and turned and mirrored copies."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from dataset_tools.core.labels import Wearing
from dataset_tools.core.record import Face
from synth.topology import canonical_face


def as_face(points: np.ndarray, wearing: Wearing = Wearing.UNMASKED) -> Face:
    rounded = np.rint(points * 64) / 64
    low, high = points[:, :2].min(axis=0), points[:, :2].max(axis=0)
    box = (float(low[0]), float(low[1]), float(high[0]), float(high[1]))
    return Face(box, 0.9, wearing, "fixture@1", tuple(rounded.ravel().tolist()))


@dataclass(frozen=True)
class Portrait:
    rgb: np.ndarray
    points: np.ndarray

    @property
    def face(self) -> Face:
        return as_face(self.points)

    def turned(self, angle_deg: float) -> Portrait:
        """Turned clockwise about its middle on a square canvas that holds every turn."""
        side = int(np.ceil(np.hypot(*self.rgb.shape[:2]))) + 2
        matrix = self.matrix(angle_deg, side)
        inner = matrix.copy()
        inner[:, 2] += matrix[:, :2] @ (0.5, 0.5) - 0.5  # OpenCV's pixel centres lie at integers
        rgb = cv2.warpAffine(self.rgb, inner, (side, side), flags=cv2.INTER_CUBIC)
        points = self.points.copy()
        points[:, :2] = self.points[:, :2] @ matrix[:, :2].T + matrix[:, 2]
        return Portrait(rgb, points)

    def matrix(self, angle_deg: float, side: int) -> np.ndarray:
        cosine, sine = np.cos(np.radians(angle_deg)), np.sin(np.radians(angle_deg))
        turn = np.array([[cosine, -sine], [sine, cosine]])
        middle = np.array([self.rgb.shape[1], self.rgb.shape[0]]) / 2
        return np.column_stack([turn, np.array([side, side]) / 2 - turn @ middle])

    def turn_layer(self, layer: np.ndarray, angle_deg: float) -> np.ndarray:
        side = int(np.ceil(np.hypot(*self.rgb.shape[:2]))) + 2
        matrix = self.matrix(angle_deg, side)
        matrix[:, 2] += matrix[:, :2] @ (0.5, 0.5) - 0.5
        return cv2.warpAffine(layer.astype(np.float32), matrix, (side, side), flags=cv2.INTER_LINEAR)

    def mirrored(self) -> Portrait:
        points = self.points.copy()
        points[:468] = self.points[canonical_face().mirror]
        points[:, 0] = self.rgb.shape[1] - points[:, 0]
        return Portrait(np.ascontiguousarray(self.rgb[:, ::-1]), points)

    def shrunk(self, factor: float) -> Portrait:
        size = (round(self.rgb.shape[1] * factor), round(self.rgb.shape[0] * factor))
        return Portrait(cv2.resize(self.rgb, size, interpolation=cv2.INTER_AREA), self.points * factor)


@pytest.fixture(scope="session")
def landmark_sets() -> dict[str, np.ndarray]:
    stored = json.loads((Path(__file__).parent / "landmarks.json").read_text())
    return {name: np.array(entry["landmarks_xyz"]).reshape(478, 3) for name, entry in stored.items()}


@pytest.fixture(scope="session")
def astronaut(landmark_sets: dict[str, np.ndarray], astronaut_rgb: np.ndarray) -> Portrait:
    return Portrait(astronaut_rgb, landmark_sets["astronaut"])


@pytest.fixture(scope="session")
def hopper(landmark_sets: dict[str, np.ndarray], hopper_path: Path) -> Portrait:
    with Image.open(hopper_path) as opened:
        return Portrait(np.asarray(opened.convert("RGB")), landmark_sets["grace_hopper"])


@pytest.fixture(scope="session")
def make_face() -> Callable[..., Face]:
    return as_face


@pytest.fixture(scope="session")
def mean_points() -> np.ndarray:
    """The mean face as 478 landmarks: 2 px per mm, eyes at (200, 160), irises at the eye centres."""
    vertices = canonical_face().vertices_mm
    left, right = vertices[[33, 133]].mean(axis=0), vertices[[362, 263]].mean(axis=0)
    full = np.concatenate([vertices, np.repeat([left, right], 5, axis=0)])
    return full * 2.0 + (200.0, 160.0, 0.0)
