"""The 478 face landmarks by MediaPipe Tasks, in pixels, also on tight crops.

Landmarks are found on the whole photo and, for a face that this missed, on a crop around it. A crop gets a
grey border: BlazeFace, the detector inside, was trained on faces with room around them.
"""

from __future__ import annotations

import atexit
import os
import sys
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from dataset_tools.core.images import RgbImage
from dataset_tools.core.record import LANDMARK_COUNT

Points = npt.NDArray[np.float64]  # (478, 3): x, y, z in pixels of the picture, z smaller is nearer

TASKS_NAME = "mediapipe-tasks@1"
MAX_FACES = 10

# Of the longer side, on each side. On 100 tight crops of masked faces the detection rate rose from 46 to 86.
BORDER_SHARE = 0.25
CROP_MARGIN = 0.35  # of the box's longer side, on each side
_GREY = 128


class Landmarker(Protocol):
    """Finds the landmarks of all faces it can see.

    Attributes:
        name: "name@version".
    """

    name: str

    def find(self, image_rgb: RgbImage) -> list[Points]:
        """Landmarks of each face of a (H, W, 3) uint8 RGB picture, in its pixels."""


class TasksLandmarker:
    """MediaPipe's FaceLandmarker in IMAGE mode on the CPU; needs the official `face_landmarker.task`."""

    name = TASKS_NAME

    def __init__(self, bundle: Path, min_score: float = 0.5) -> None:
        with quiet_stderr():
            from mediapipe.tasks.python import BaseOptions
            from mediapipe.tasks.python.vision import (
                FaceLandmarker,
                FaceLandmarkerOptions,
                RunningMode,
            )

            options = FaceLandmarkerOptions(
                base_options=BaseOptions(model_asset_path=str(bundle), delegate=BaseOptions.Delegate.CPU),
                running_mode=RunningMode.IMAGE,
                num_faces=MAX_FACES,
                min_face_detection_confidence=min_score,
                min_face_presence_confidence=min_score,
            )
            self._task: Any = FaceLandmarker.create_from_options(options)
        atexit.register(_forget, weakref.ref(self._task))

    def find(self, image_rgb: RgbImage) -> list[Points]:
        """As `Landmarker.find`."""
        import mediapipe

        height, width = image_rgb.shape[:2]
        image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(image_rgb))
        with quiet_stderr():
            result = self._task.detect(image)
        # z comes in the same relative unit as x.
        scale = (width, height, width)
        return [
            np.asarray([(point.x, point.y, point.z) for point in face], dtype=np.float64) * scale
            for face in result.face_landmarks
            if len(face) == LANDMARK_COUNT
        ]


def _forget(reference: weakref.ref[Any]) -> None:
    # MediaPipe's destructor talks to a thread pool that Python has shut down by then, and prints a
    # traceback; without a handle it does nothing. The process ends here anyway.
    task = reference()
    if task is not None:
        task._handle = None


def find_with_border(landmarker: Landmarker, image_rgb: RgbImage) -> list[Points]:
    """Landmarks on the picture with a grey border around it, in pixels of the picture itself."""
    height, width = image_rgb.shape[:2]
    border = round(BORDER_SHARE * max(height, width))
    padded = np.full((height + 2 * border, width + 2 * border, 3), _GREY, dtype=np.uint8)
    padded[border : border + height, border : border + width] = image_rgb
    return [points - np.array([border, border, 0.0]) for points in landmarker.find(padded)]


def find_in_box(
    landmarker: Landmarker, image_rgb: RgbImage, box_xyxy: tuple[float, float, float, float]
) -> Points | None:
    """Landmarks of the face in a box, searched on a crop around it; None when there are none.

    Of several faces in the crop the one that overlaps the box best is taken.
    """
    height, width = image_rgb.shape[:2]
    x0, y0, x1, y1 = box_xyxy
    margin = CROP_MARGIN * max(x1 - x0, y1 - y0)
    left, top = max(int(x0 - margin), 0), max(int(y0 - margin), 0)
    right, bottom = min(int(x1 + margin) + 1, width), min(int(y1 + margin) + 1, height)
    found = find_with_border(landmarker, image_rgb[top:bottom, left:right])
    candidates = [points + np.array([left, top, 0.0]) for points in found]
    matching = [points for points in candidates if box_iou(landmark_box(points), box_xyxy) > MATCH_IOU]
    return max(matching, key=lambda points: box_iou(landmark_box(points), box_xyxy), default=None)


# Landmarks and detector draw a face's outline differently; half of a frontal box is shared even so.
MATCH_IOU = 0.3


def landmark_box(points: Points) -> tuple[float, float, float, float]:
    """Smallest box around landmarks, not clipped to the picture."""
    x0, y0 = points[:, :2].min(axis=0)
    x1, y1 = points[:, :2].max(axis=0)
    return (float(x0), float(y0), float(x1), float(y1))


def box_iou(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> float:
    """Intersection over union of two boxes x0, y0, x1, y1; 0 when both are empty."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(width, 0.0) * max(height, 0.0)
    area = (one[2] - one[0]) * (one[3] - one[1]) + (other[2] - other[0]) * (other[3] - other[1])
    return shared / (area - shared) if area > shared else 0.0


@contextmanager
def quiet_stderr() -> Iterator[None]:
    """Send what native code writes to file descriptor 2 to nowhere.

    MediaPipe and TFLite log from C++ before any logger can be configured; errors still arrive as exceptions.
    """
    sys.stderr.flush()
    saved = os.dup(2)
    sink = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(sink, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(sink)
