"""The landmarks by the three networks of an older MediaPipe wheel, run by OpenCV.

For machines that reach PyPI but not the official bundle. The newer MediaPipe Tasks accepts a bundle made of
these files but reads the 468-point output as if it held 478 points, so every landmark is wrong; hence this
small pipeline: BlazeFace -> upright face crop -> Face Mesh (468 points) -> Iris (5 points an eye).

Source: Bazarevsky et al., BlazeFace, arXiv:1907.05047; Kartynnik et al., Face Mesh, arXiv:1907.06724;
Ablavatski et al., Iris, arXiv:2006.11341; constants of the graphs in the mediapipe 0.10.21 wheel.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dataset_tools.core.images import RgbImage
from dataset_tools.filter.aizoo import suppress
from dataset_tools.filter.landmarker import MAX_FACES, Points

WHEEL_NAME = "mediapipe-face-mesh@0.10.21"

_DETECT_SIDE = 128
_MESH_SIDE = 192
_IRIS_SIDE = 64
_DETECT_NMS_IOU = 0.3
_FACE_SCALE = 1.5  # crop side / face size
_IRIS_SCALE = 2.3  # crop side / eye width
_MESH_POINTS = 468
_LEFT_EYE = (33, 133)  # outer, inner corner; "left" is the picture's
_RIGHT_EYE = (362, 263)  # inner, outer corner

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Crop:
    """A turned square of the picture: centre and side in pixels, angle in radians, clockwise."""

    centre: tuple[float, float]
    side: float
    angle: float
    pixels: int

    def to_picture(self) -> Floats:
        """(2, 3) affine map from crop pixels to picture pixels."""
        scale = self.side / self.pixels
        turn = scale * np.array(
            [
                [math.cos(self.angle), -math.sin(self.angle)],
                [math.sin(self.angle), math.cos(self.angle)],
            ]
        )
        shift = np.asarray(self.centre) - turn @ np.full(2, self.pixels / 2)
        return np.column_stack([turn, shift])

    def cut(self, image_rgb: RgbImage, *, mirrored: bool = False) -> Any:
        """The network's input (1, 3, pixels, pixels), RGB in [0, 1]; the edge goes on outside the picture."""
        import cv2

        patch = cv2.warpAffine(
            image_rgb,
            self.to_picture(),
            (self.pixels, self.pixels),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
        if mirrored:
            patch = np.ascontiguousarray(patch[:, ::-1])
        return cv2.dnn.blobFromImage(patch, scalefactor=1 / 255.0)

    def place(self, points: Floats) -> Floats:
        """Points in crop pixels (N, 3) as picture pixels; z is scaled alike."""
        affine = self.to_picture()
        flat = points[:, :2] @ affine[:, :2].T + affine[:, 2]
        return np.column_stack([flat, points[:, 2] * self.side / self.pixels])


@functools.cache
def detection_anchors() -> Floats:
    """(896, 2) anchor centres of BlazeFace: two a cell on a 16x16 grid, six a cell on an 8x8 grid."""
    levels = []
    for side, count in ((16, 2), (8, 6)):
        steps = (np.arange(side) + 0.5) / side
        rows, columns = np.meshgrid(steps, steps, indexing="ij")
        levels.append(np.repeat(np.stack([columns.ravel(), rows.ravel()], axis=1), count, axis=0))
    return np.concatenate(levels)


class WheelLandmarker:
    """The three networks; give it files that `dataset_tools.weights` has verified."""

    name = WHEEL_NAME

    def __init__(self, detector: Path, mesh: Path, iris: Path, min_score: float = 0.5) -> None:
        import cv2

        self._min_score = min_score
        self._detector: Any = cv2.dnn.readNetFromTFLite(str(detector))
        self._mesh: Any = cv2.dnn.readNetFromTFLite(str(mesh))
        self._iris: Any = cv2.dnn.readNetFromTFLite(str(iris))

    def find(self, image_rgb: RgbImage) -> list[Points]:
        """As `Landmarker.find`."""
        found = []
        for crop in self._face_crops(image_rgb)[:MAX_FACES]:
            first = self._mesh_points(image_rgb, crop)
            if first is None:
                continue
            # A second look at the crop that the first landmarks suggest, as MediaPipe does in videos.
            second = self._mesh_points(image_rgb, _crop_around(first))
            mesh = first if second is None else second
            found.append(np.concatenate([mesh, self._iris_points(image_rgb, mesh)]))
        return found

    def _face_crops(self, image_rgb: RgbImage) -> list[_Crop]:
        height, width = image_rgb.shape[:2]
        square = _Crop((width / 2, height / 2), float(max(height, width)), 0.0, _DETECT_SIDE)
        self._detector.setInput(_black_outside(image_rgb, square) * 2.0 - 1.0)
        scores, regressed = self._detector.forward(["classificators", "regressors"])
        probabilities = 1.0 / (1.0 + np.exp(-np.clip(scores.reshape(-1).astype(np.float64), -100, 100)))
        likely = np.flatnonzero(probabilities >= self._min_score)
        values = regressed.reshape(-1, 16)[likely].astype(np.float64) / _DETECT_SIDE
        centres = values[:, :2] + detection_anchors()[likely]
        boxes = np.concatenate([centres - values[:, 2:4] / 2, centres + values[:, 2:4] / 2], axis=1)
        crops = []
        for index in suppress(boxes, probabilities[likely], _DETECT_NMS_IOU):
            eyes = values[index, 4:8].reshape(2, 2) + detection_anchors()[likely[index]]
            across = eyes[1] - eyes[0]
            centre = (boxes[index, :2] + boxes[index, 2:]) / 2 * _DETECT_SIDE
            placed = square.place(np.array([[*centre, 0.0]]))[0]
            side = float((boxes[index, 2:] - boxes[index, :2]).max()) * square.side * _FACE_SCALE
            angle = math.atan2(across[1], across[0])
            crops.append(_Crop((float(placed[0]), float(placed[1])), side, angle, _MESH_SIDE))
        return crops

    def _mesh_points(self, image_rgb: RgbImage, crop: _Crop) -> Floats | None:
        self._mesh.setInput(crop.cut(image_rgb))
        presence, values = self._mesh.forward(["conv2d_31", "conv2d_21"])
        logit = float(np.clip(presence.ravel()[0], -100, 100))
        if 1.0 / (1.0 + math.exp(-logit)) < self._min_score:
            return None
        return crop.place(values.reshape(_MESH_POINTS, 3).astype(np.float64))

    def _iris_points(self, image_rgb: RgbImage, mesh: Floats) -> Floats:
        """(10, 3): of each eye the iris's centre, right, top, left and bottom, left eye first."""
        eyes = []
        for corners, mirrored in ((_LEFT_EYE, False), (_RIGHT_EYE, True)):
            one, other = mesh[corners[0]], mesh[corners[1]]
            across = other[:2] - one[:2]
            centre = (one + other) / 2
            crop = _Crop(
                (float(centre[0]), float(centre[1])),
                float(np.hypot(*across)) * _IRIS_SCALE,
                math.atan2(across[1], across[0]),
                _IRIS_SIDE,
            )
            # The network knows one eye; the other is shown to it in the mirror.
            self._iris.setInput(crop.cut(image_rgb, mirrored=mirrored))
            iris = self._iris.forward("output_iris").reshape(5, 3).astype(np.float64)
            if mirrored:
                iris[:, 0] = _IRIS_SIDE - iris[:, 0]
                iris = iris[[0, 3, 2, 1, 4]]
            placed = crop.place(iris)
            placed[:, 2] = centre[2]
            eyes.append(placed)
        return np.concatenate(eyes)


def _crop_around(mesh: Floats) -> _Crop:
    across = mesh[_RIGHT_EYE[1], :2] - mesh[_LEFT_EYE[0], :2]
    angle = math.atan2(across[1], across[0])
    back = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    turned = mesh[:, :2] @ back.T
    low, high = turned.min(axis=0), turned.max(axis=0)
    centre = back.T @ ((low + high) / 2)
    side = float((high - low).max()) * _FACE_SCALE
    return _Crop((float(centre[0]), float(centre[1])), side, angle, _MESH_SIDE)


def _black_outside(image_rgb: RgbImage, square: _Crop) -> Any:
    import cv2

    patch = cv2.warpAffine(
        image_rgb,
        square.to_picture(),
        (square.pixels, square.pixels),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_CONSTANT,
    )
    return cv2.dnn.blobFromImage(patch, scalefactor=1 / 255.0)
