"""How good a face is to look at: pure scores in [0, 1], lower is worse.

Sharpness and size use one rule, v / (v + h): 0 for nothing, 1/2 at the half value h, towards 1 beyond.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

from dataset_tools.core.errors import DataError
from dataset_tools.core.images import RgbImage

# Variance of the Laplacian of grey values 0..255 at which a face scores 1/2; a usual limit for "blurred".
SHARPNESS_HALF = 100.0
SIZE_HALF_PX = 100.0  # ABANet's smallest face

_SHARPNESS_SIDE_PX = 128
_CRUSHED, _BLOWN = 8, 247


def sharpness(face_rgb: RgbImage) -> float:
    """Variance of the 4-neighbour Laplacian v of a face, as v / (v + 100).

    The crop is brought to 128x128 grey pixels first, so that a large and a small picture of one face are
    judged alike and an enlarged small face counts as blurred.

    Args:
        face_rgb: (H, W, 3) uint8 RGB, H, W >= 1.

    Raises:
        DataError: an empty crop.

    Source: Pech-Pacheco et al., Diatom autofocusing, ICPR 2000 (the variance of the Laplacian).
    """
    side = (_SHARPNESS_SIDE_PX, _SHARPNESS_SIDE_PX)
    grey = np.asarray(_grey(face_rgb).resize(side, Image.Resampling.BILINEAR), dtype=np.float64)
    inner = grey[1:-1, 1:-1]
    around = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:]
    variance = float(np.var(around - 4 * inner))
    return variance / (variance + SHARPNESS_HALF)


def exposure(face_rgb: RgbImage) -> float:
    """Share of a face's pixels that are neither crushed to black (<= 8) nor blown to white (>= 247).

    The mean brightness is not asked: it would judge skin, not light.

    Args:
        face_rgb: (H, W, 3) uint8 RGB, H, W >= 1.

    Raises:
        DataError: an empty crop.
    """
    grey: npt.NDArray[np.uint8] = np.asarray(_grey(face_rgb))
    return float(np.mean((grey > _CRUSHED) & (grey < _BLOWN)))


def frontal(pose_deg: Sequence[float]) -> float:
    """Cosine of the angle between where the face looks and the camera, at least 0; 0 for an unknown pose.

    Args:
        pose_deg: () or yaw, pitch, roll in degrees; roll does not count.
    """
    if not pose_deg:
        return 0.0
    return max(math.cos(math.radians(pose_deg[0])) * math.cos(math.radians(pose_deg[1])), 0.0)


def inside(box_xyxy: tuple[float, float, float, float], size_hw: tuple[int, int]) -> float:
    """Share of a box's area that lies inside a picture of that size; 0 for an empty box."""
    x0, y0, x1, y1 = box_xyxy
    height, width = size_hw
    shown = max(min(x1, width) - max(x0, 0.0), 0.0) * max(min(y1, height) - max(y0, 0.0), 0.0)
    area = (x1 - x0) * (y1 - y0)
    return shown / area if area > 0 else 0.0


def face_size(box_xyxy: tuple[float, float, float, float]) -> float:
    """Shorter side s of a face box in pixels, as s / (s + 100); 0 for an empty box."""
    side = shorter_side_px(box_xyxy)
    return side / (side + SIZE_HALF_PX)


def shorter_side_px(box_xyxy: tuple[float, float, float, float]) -> float:
    """Shorter side of a box in pixels, at least 0."""
    x0, y0, x1, y1 = box_xyxy
    return max(min(x1 - x0, y1 - y0), 0.0)


def crop_box(image_rgb: RgbImage, box_xyxy: tuple[float, float, float, float]) -> RgbImage:
    """The whole pixels a box touches, inside the picture; at least one pixel."""
    height, width = image_rgb.shape[:2]
    left = min(max(int(box_xyxy[0]), 0), width - 1)
    top = min(max(int(box_xyxy[1]), 0), height - 1)
    right = max(min(int(np.ceil(box_xyxy[2])), width), left + 1)
    bottom = max(min(int(np.ceil(box_xyxy[3])), height), top + 1)
    return image_rgb[top:bottom, left:right]


def _grey(face_rgb: RgbImage) -> Image.Image:
    if face_rgb.ndim != 3 or 0 in face_rgb.shape:
        raise DataError(f"a face crop needs pixels, found shape {face_rgb.shape}")
    return Image.fromarray(np.ascontiguousarray(face_rgb)).convert("L")
