"""GrabCut from a rectangle (OpenCV): colour models of inside and outside, joined by a graph cut."""

from __future__ import annotations

import cv2
import numpy as np

from baselines.classical.components import largest, opened
from baselines.classical.lower_face import BoolMask, Box, RgbImage

ITERATIONS = 5
SIDE_MARGIN = 0.05  # of the width, left and right: what lies there is sure background (section 1.9)
RNG_SEED = 0
# Grey levels. On pictures of one colour the two colour models are equal but for rounding, and the cut of such
# a graph can take OpenCV seven seconds.
LEAST_DEVIATION = 1.0


def grabcut_rectangle(lower_face: Box, side: int) -> Box:
    """The lower face without the outer 5 % of the crop left and right.

    On a tight crop masks reach both borders; without these strips GrabCut would see no background beside
    the face.
    """
    margin = round(SIDE_MARGIN * side)
    x0 = min(max(lower_face.x0, margin), side - margin - 1)
    x1 = max(min(lower_face.x1, side - margin), x0 + 1)
    return Box(x0, lower_face.y0, x1, lower_face.y1)


def grabcut(rgb: RgbImage, rectangle: Box) -> BoolMask:
    """Foreground inside the rectangle; all outside is background.

    Args:
        rgb: (H, W, 3) uint8.
        rectangle: holds the object; some pixel must lie outside it.

    Returns:
        (H, W) bool; the same at each call: OpenCV's generator is set to a fixed seed. Empty for a picture
        of practically one colour.

    Source: Rother et al., GrabCut, SIGGRAPH 2004, https://doi.org/10.1145/1015706.1015720
    """
    if rgb.std(axis=(0, 1)).max() < LEAST_DEVIATION:
        return np.zeros(rgb.shape[:2], dtype=np.bool_)
    marks = np.zeros(rgb.shape[:2], dtype=np.uint8)
    shape = (rectangle.x0, rectangle.y0, rectangle.x1 - rectangle.x0, rectangle.y1 - rectangle.y0)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.setRNGSeed(RNG_SEED)
    bgr = np.ascontiguousarray(rgb[..., ::-1])
    cv2.grabCut(bgr, marks, shape, *models, ITERATIONS, cv2.GC_INIT_WITH_RECT)
    return np.asarray((marks == cv2.GC_FGD) | (marks == cv2.GC_PR_FGD), dtype=np.bool_)


def cleaned(mask: BoolMask) -> BoolMask:
    """The largest part after a 3×3 opening (`baselines.md` section 1.9)."""
    return largest(opened(mask, 3))
