"""Connected pixels of a mask (8 neighbours), and the usual repairs: close, fill, keep the largest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from baselines.classical.lower_face import BoolMask


@dataclass(frozen=True, slots=True)
class Component:
    """One connected part of a mask.

    Attributes:
        pixels: (H, W) bool.
        area_px: number of its pixels.
        width_px, height_px: of its bounding box.
    """

    pixels: BoolMask
    area_px: int
    width_px: int
    height_px: int


def components(mask: BoolMask, *, least_px: float = 1) -> Iterator[Component]:
    """The connected parts of at least that many pixels, in reading order of their first pixels."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    for number in range(1, count):
        area = int(stats[number, cv2.CC_STAT_AREA])
        if area >= least_px:
            width, height = stats[number, cv2.CC_STAT_WIDTH], stats[number, cv2.CC_STAT_HEIGHT]
            yield Component(labels == number, area, int(width), int(height))


def largest(mask: BoolMask) -> BoolMask:
    """The largest connected part, the first of equals; an empty mask stays empty."""
    found = max(components(mask), key=lambda one: one.area_px, default=None)
    return mask.copy() if found is None else found.pixels


def closed(mask: BoolMask, size_px: int) -> BoolMask:
    """Dilation and then erosion by a square of that side; the border of the picture erodes nothing."""
    kernel = np.ones((size_px, size_px), np.uint8)
    # Without a frame OpenCV dilates into pixels that do not exist and cannot erode them again.
    framed = np.pad(mask.astype(np.uint8), size_px)
    result = cv2.morphologyEx(framed, cv2.MORPH_CLOSE, kernel)
    return np.asarray(result[size_px:-size_px, size_px:-size_px] > 0, dtype=np.bool_)


def opened(mask: BoolMask, size_px: int) -> BoolMask:
    """Erosion and then dilation by a square of that side."""
    kernel = np.ones((size_px, size_px), np.uint8)
    return np.asarray(cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, kernel) > 0, dtype=np.bool_)


def filled(mask: BoolMask) -> BoolMask:
    """The mask and every hole that no path of 4 neighbours joins to the border of the picture."""
    framed = np.pad(mask.astype(np.uint8), 1)
    cv2.floodFill(framed, None, (0, 0), 2)
    return np.asarray(framed[1:-1, 1:-1] != 2, dtype=np.bool_)
