"""Otsu's threshold: the level that splits values into the two classes with least spread within."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from baselines.classical.lower_face import BoolMask, RgbImage, grey

LEVELS = 255


def otsu_level(values: npt.NDArray[np.uint8]) -> int:
    """Otsu's level of uint8 values of any shape; the upper class is `values > level`.

    One value alone makes no two classes: the level is that value, and the upper class is empty.

    Source: Otsu, A threshold selection method from gray-level histograms, IEEE Trans. SMC 1979.
    """
    if values.min() == values.max():
        return int(values.min())
    level, _ = cv2.threshold(values.reshape(-1, 1), 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    return int(level)


def above_otsu(
    index: npt.NDArray[np.float32], within: BoolMask, bounds: tuple[float, float] = (-1.0, 1.0)
) -> BoolMask:
    """Pixels above Otsu's level of an index.

    Args:
        index: (H, W) float32.
        within: (H, W) bool, the pixels whose values set the level; at least one is True.
        bounds: range of the index; it is cut into 256 levels.

    Returns:
        (H, W) bool over the whole picture, not only `within`.
    """
    low, high = bounds
    levels = np.round((index.clip(low, high) - low) * (LEVELS / (high - low))).astype(np.uint8)
    return np.asarray(levels > otsu_level(levels[within]), dtype=np.bool_)


def otsu_mask(rgb: RgbImage, within: BoolMask) -> BoolMask:
    """The more frequent side of Otsu's brightness level inside a region: a mask fills most of its place.

    Args:
        rgb: (H, W, 3) uint8.
        within: (H, W) bool, at least one True.

    Returns:
        (H, W) bool, False outside `within`.
    """
    brightness = grey(rgb)
    bright = brightness > otsu_level(brightness[within])
    is_bright = np.count_nonzero(bright & within) * 2 >= np.count_nonzero(within)
    return np.asarray((bright if is_bright else ~bright) & within, dtype=np.bool_)
