"""From a photo of a face to the upright square each recognition branch expects."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from baselines.verification.settings import INPUT_PX, Branch
from dataset_tools.core.errors import DataError

RgbImage = npt.NDArray[np.uint8]
Points = npt.NDArray[np.float64]
"""(5, 2) x and y, pixels, x right and y down: left and right eye, nose tip, left and right mouth corner, left
as the viewer sees it."""

# Where ArcFace's 112-pixel faces have these points: the template that the field has agreed on.
_ARCFACE_POINTS = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
# LightCNN's 128-pixel faces: height of the eyes' centre, its distance to the mouth's (`baselines.md` 5.3).
_LIGHTCNN_EYES_Y = 40.0
_LIGHTCNN_EYES_TO_MOUTH = 48.0


def face_square(rgb: RgbImage, points: Points | None, branch: Branch, centre_share: float) -> RgbImage:
    """The square a branch sees.

    Args:
        rgb: (H, W, 3) uint8 photo of one face.
        points: its landmarks; None: the middle of the photo is cut out, as it lies.
        branch: decides size and layout.
        centre_share: side of the middle cut, as a share of the photo's shorter side.

    Returns:
        (S, S, 3) uint8, S 112 or 128. What lies outside the photo is black.

    Raises:
        DataError: the landmarks lie on one spot.
    """
    side = INPUT_PX[branch]
    if points is None:
        return _middle(rgb, side, centre_share)
    matrix = similarity(points, _ARCFACE_POINTS) if branch == "a18" else eyes_and_mouth_transform(points)
    return np.asarray(cv2.warpAffine(rgb, matrix, (side, side), flags=cv2.INTER_LINEAR), dtype=np.uint8)


def _middle(rgb: RgbImage, side: int, share: float) -> RgbImage:
    height, width = rgb.shape[:2]
    cut = max(round(min(height, width) * share), 1)
    top, left = (height - cut) // 2, (width - cut) // 2
    square = rgb[top : top + cut, left : left + cut]
    method = cv2.INTER_AREA if cut > side else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(square, (side, side), interpolation=method), dtype=np.uint8)


def similarity(points: Points, targets: Points) -> npt.NDArray[np.float64]:
    """The turn, scale and shift that brings points closest to targets, in the least-squares sense.

    Args:
        points, targets: (N, 2), N >= 2.

    Returns:
        (2, 3) matrix for column vectors (x, y, 1).

    Raises:
        DataError: all points lie on one spot.
    """
    here, there = points[:, 0] + 1j * points[:, 1], targets[:, 0] + 1j * targets[:, 1]
    from_centre = here - here.mean()
    spread = float(np.sum(np.abs(from_centre) ** 2))
    if spread == 0:
        raise DataError("a face's landmarks all lie on one spot")
    turn = complex(np.sum(np.conj(from_centre) * (there - there.mean())) / spread)
    return _matrix(turn, complex(there.mean() - turn * here.mean()))


def eyes_and_mouth_transform(points: Points) -> npt.NDArray[np.float64]:
    """LightCNN's alignment: eyes level, their centre at (64, 40), the mouth's centre 48 pixels below them.

    Args:
        points: (5, 2) landmarks.

    Returns:
        (2, 3) matrix for column vectors (x, y, 1), as `similarity`.

    Raises:
        DataError: the eyes lie on one spot, or the mouth does not lie below them.
    """
    spots = points[:, 0] + 1j * points[:, 1]
    eyes, mouth, across = spots[:2].mean(), spots[3:].mean(), spots[1] - spots[0]
    if across == 0:
        raise DataError("a face's eyes lie on one spot")
    level = np.conj(across) / abs(across)
    below = float(((mouth - eyes) * level).imag)
    if below <= 0:
        raise DataError("a face's mouth does not lie below its eyes")
    turn = complex(level * _LIGHTCNN_EYES_TO_MOUTH / below)
    place = INPUT_PX["l29"] / 2 + 1j * _LIGHTCNN_EYES_Y
    return _matrix(turn, complex(place - turn * eyes))


def _matrix(turn: complex, shift: complex) -> npt.NDArray[np.float64]:
    return np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])
