"""Hands before a face: MediaPipe's palm detector and hand landmarks, run by OpenCV, as pixels.

The networks give 21 joints; flesh around the bones is sure hand, what is farther away than a finger is wide
is sure not, and a watershed puts the outline between them on the photo's own edge. Gaps between spread
fingers stay open.

Source: Zhang et al., MediaPipe Hands, arXiv:2006.10214; constants of the graphs in the mediapipe 0.10.21
wheel.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dataset_tools.core.images import RgbImage
from dataset_tools.weights import resolve
from synth.front.facegrid import BoolMask, FaceGrid

HAND_FILES = ("palm_detection", "hand_landmark")

Floats = npt.NDArray[np.float64]

_PALM_SIDE = 192
_HAND_SIDE = 224
_MIN_PALM_SCORE = 0.4
_MIN_FIRST_SCORE, _MIN_HAND_SCORE = 0.15, 0.7
_PALM_NMS_IOU = 0.3
_MAX_HANDS = 4
_PALM_SCALE, _PALM_SHIFT = 2.6, -0.5  # crop side / palm size; shift towards the fingers
_HAND_SCALE, _HAND_SHIFT = 2.0, -0.1  # the same around known joints
_WRIST, _MIDDLE_BASE = 0, 9
_FINGERS = ((1, 2, 3, 4), (5, 6, 7, 8), (9, 10, 11, 12), (13, 14, 15, 16), (17, 18, 19, 20))
_PALM = (0, 1, 5, 9, 13, 17)
# Width of a finger / length of the palm (wrist to the middle finger's base): hands of adults, 17 and 95 mm.
_FINGER_WIDTH = 0.18
_MIN_OVERLAP_MM2 = 60.0
_ROOM_MM = 70.0  # around the face's window: hands reach in from below and beside
# The networks also see hands in mouths and folds of cheeks; a real one has a hand's size, and its wrist
# is neither on the face nor above it.
_PALM_MM = (50.0, 140.0)
_HIGHEST_WRIST_MM = -10.0  # below the eye line


@dataclass(frozen=True)
class _Crop:
    # A turned square of the picture; angle in radians, clockwise.
    centre: tuple[float, float]
    side: float
    angle: float

    def to_picture(self, pixels: int) -> Floats:
        scale = self.side / pixels
        cosine, sine = math.cos(self.angle) * scale, math.sin(self.angle) * scale
        turn = np.array([[cosine, -sine], [sine, cosine]])
        return np.column_stack([turn, np.asarray(self.centre) - turn @ np.full(2, pixels / 2)])

    def cut(self, rgb: RgbImage, pixels: int) -> Any:
        import cv2

        affine = self.to_picture(pixels)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        patch = cv2.warpAffine(rgb, affine, (pixels, pixels), flags=flags, borderMode=cv2.BORDER_CONSTANT)
        return cv2.dnn.blobFromImage(patch, scalefactor=1 / 255.0)

    def place(self, points: Floats, pixels: int) -> Floats:
        affine = self.to_picture(pixels)
        placed: Floats = points @ affine[:, :2].T + affine[:, 2]
        return placed


@functools.cache
def networks() -> tuple[Any, Any]:
    """Palm detector and hand landmarks, loaded once.

    Raises:
        WeightsUnavailable: their files cannot be had.
    """
    import cv2

    palm, hand = (cv2.dnn.readNetFromTFLite(str(resolve(name))) for name in HAND_FILES)
    return palm, hand


@functools.cache
def palm_anchors() -> Floats:
    """(2016, 2) anchor centres: two a cell on a 24x24 grid, six a cell on a 12x12 grid."""
    levels = []
    for side, count in ((24, 2), (12, 6)):
        steps = (np.arange(side) + 0.5) / side
        rows, columns = np.meshgrid(steps, steps, indexing="ij")
        levels.append(np.repeat(np.stack([columns.ravel(), rows.ravel()], axis=1), count, axis=0))
    return np.concatenate(levels)


def hand_in_front(photo: RgbImage, grid: FaceGrid) -> BoolMask:
    """Pixels of hands that reach over the face, (h, w) bool on the grid.

    Args:
        photo: (H, W, 3) sRGB, which the grid was made of.
        grid: the face.

    Raises:
        WeightsUnavailable: the networks' files cannot be had.
    """
    found = np.zeros(grid.inside.shape, dtype=np.bool_)
    rgb, to_photo = _surroundings(photo, grid)
    for joints in find_hands(rgb):
        on_grid = grid.to_grid(joints @ to_photo[:, :2].T + to_photo[:, 2])
        if grid.drop_of(*on_grid[_WRIST]) < _HIGHEST_WRIST_MM or _is_on_face(grid, on_grid[_WRIST]):
            continue
        palm_mm = float(np.linalg.norm(on_grid[_MIDDLE_BASE] - on_grid[_WRIST])) / grid.px_per_mm
        if not _PALM_MM[0] <= palm_mm <= _PALM_MM[1]:
            continue
        hand = hand_pixels(grid, on_grid)
        if (hand & grid.inside).sum() >= _MIN_OVERLAP_MM2 * grid.px_per_mm**2:
            found |= hand
    return found


def _is_on_face(grid: FaceGrid, point: Floats) -> bool:
    rows, columns = grid.inside.shape
    column, row = (int(value) for value in np.floor(point))
    return 0 <= row < rows and 0 <= column < columns and bool(grid.inside[row, column])


def _surroundings(photo: RgbImage, grid: FaceGrid) -> tuple[RgbImage, Floats]:
    # More of the photo at the grid's scale, and the (2, 3) map of its pixels to the photo's.
    import cv2

    x, y, width, height = grid.box
    step = width / grid.rgb.shape[1]
    room = round(_ROOM_MM * grid.px_per_mm * step)
    x0, y0 = max(x - room, 0), max(y - room, 0)
    crop = photo[y0 : y + height + room, x0 : x + width + room]
    size = (max(round(crop.shape[1] / step), 1), max(round(crop.shape[0] / step), 1))
    rgb = cv2.resize(crop, size, interpolation=cv2.INTER_AREA) if step > 1 else crop
    scale = crop.shape[1] / size[0], crop.shape[0] / size[1]
    to_photo = np.array([[scale[0], 0.0, x0], [0.0, scale[1], y0]])
    return np.asarray(rgb, dtype=np.uint8), to_photo


def find_hands(rgb: RgbImage) -> list[Floats]:
    """Joints of each hand, (21, 2) pixels, in MediaPipe's order.

    Args:
        rgb: (h, w, 3) uint8; hands smaller than a tenth of its longer side are not found.

    Raises:
        WeightsUnavailable: the networks' files cannot be had.
    """
    hands: list[Floats] = []
    for crop in _palm_crops(rgb)[:_MAX_HANDS]:
        first = _joints(rgb, crop, _MIN_FIRST_SCORE)
        if first is None:
            continue
        # A mouth that passed for a hand once does not pass on the crop its joints suggest.
        joints = _joints(rgb, _crop_around(first), _MIN_HAND_SCORE)
        if joints is None:
            continue
        if all(np.hypot(*(joints.mean(axis=0) - other.mean(axis=0))) > 0.3 * crop.side for other in hands):
            hands.append(joints)
    return hands


def _palm_crops(rgb: RgbImage) -> list[_Crop]:
    import cv2

    height, width = rgb.shape[:2]
    square = _Crop((width / 2, height / 2), float(max(height, width)), 0.0)
    network, _ = networks()
    network.setInput(square.cut(rgb, _PALM_SIDE))
    scores, regressed = network.forward(["Identity_1", "Identity"])
    probabilities = 1.0 / (1.0 + np.exp(-np.clip(scores.reshape(-1).astype(np.float64), -100, 100)))
    likely = np.flatnonzero(probabilities >= _MIN_PALM_SCORE)
    values = regressed.reshape(-1, 18)[likely].astype(np.float64) / _PALM_SIDE
    centres = values[:, :2] + palm_anchors()[likely]
    corners = np.concatenate([centres - values[:, 2:4] / 2, values[:, 2:4]], axis=1)
    kept = cv2.dnn.NMSBoxes(corners.tolist(), probabilities[likely].tolist(), _MIN_PALM_SCORE, _PALM_NMS_IOU)
    crops = []
    for index in np.asarray(kept, dtype=int).ravel():
        points = values[index, 4:].reshape(7, 2) + palm_anchors()[likely[index]]
        points, centre = (
            square.place(p * _PALM_SIDE, _PALM_SIDE) for p in (points, centres[index : index + 1])
        )
        size = float(values[index, 2:4].max()) * square.side
        crops.append(_towards_fingers(centre[0], size, points[2] - points[0], _PALM_SCALE, _PALM_SHIFT))
    return crops


def _towards_fingers(centre: Floats, size: float, along: Floats, scale: float, shift: float) -> _Crop:
    # The crop is turned so that the fingers point up in it.
    angle = math.atan2(along[0], -along[1])
    down = np.array([-math.sin(angle), math.cos(angle)])
    middle = centre + down * shift * size
    return _Crop((float(middle[0]), float(middle[1])), size * scale, angle)


def _joints(rgb: RgbImage, crop: _Crop, min_score: float) -> Floats | None:
    _, network = networks()
    network.setInput(crop.cut(rgb, _HAND_SIDE))
    presence, values = network.forward(["Identity_1", "Identity"])
    if float(presence.ravel()[0]) < min_score:
        return None
    return crop.place(values.reshape(21, 3)[:, :2].astype(np.float64), _HAND_SIDE)


def _crop_around(joints: Floats) -> _Crop:
    along = joints[_MIDDLE_BASE] - joints[_WRIST]
    angle = math.atan2(along[0], -along[1])
    back = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    turned = joints @ back.T
    low, high = turned.min(axis=0), turned.max(axis=0)
    centre = back.T @ ((low + high) / 2)
    return _towards_fingers(centre, float((high - low).max()), along, _HAND_SCALE, _HAND_SHIFT)


def hand_pixels(grid: FaceGrid, joints: Floats) -> BoolMask:
    """Pixels of one hand, (h, w) bool on the grid.

    Args:
        grid: the face it is near.
        joints: (21, 2) on the grid.
    """
    import cv2

    palm = np.linalg.norm(joints[_MIDDLE_BASE] - joints[_WRIST])
    bones = [np.linalg.norm(joints[f[k + 1]] - joints[f[k]]) for f in _FINGERS for k in range(3)]
    # Foreshortened palms look short; fingers do not all point at the camera at once.
    width = _FINGER_WIDTH * max(float(palm), 2.2 * float(np.max(bones)))
    sure, possible = flesh(grid, joints, 0.45 * width), flesh(grid, joints, 1.5 * width)
    seeds = np.zeros(grid.inside.shape, dtype=np.int32)
    seeds[~possible] = 1
    seeds[sure] = 2
    found = cv2.watershed(cv2.medianBlur(grid.lab, 3), seeds)
    hand = (found == 2).astype(np.uint8)
    # The seam is a pixel wide, half of it hand.
    return np.asarray(
        cv2.morphologyEx(hand, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)) | sure.astype(np.uint8),
        dtype=np.bool_,
    )


def flesh(grid: FaceGrid, joints: Floats, width: float) -> BoolMask:
    """Fingers as thick lines and the palm as their hull, thickened alike; `width` in pixels of the grid."""
    import cv2

    drawn = np.zeros(grid.inside.shape, dtype=np.uint8)
    points = np.rint(joints * 16).astype(np.int32)
    thick = max(round(width), 1)
    for finger in _FINGERS:
        cv2.polylines(drawn, [points[list(finger)]], False, 1, thick, cv2.LINE_8, 4)
    hull = cv2.convexHull(points[list(_PALM)])
    cv2.fillConvexPoly(drawn, hull, 1, cv2.LINE_8, 4)
    cv2.polylines(drawn, [hull], True, 1, thick, cv2.LINE_8, 4)
    return np.asarray(drawn, dtype=np.bool_)
