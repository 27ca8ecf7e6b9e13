"""Square windows of a picture: where they lie, how they are cut, resized and put back. Pure arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

_Pixels = TypeVar("_Pixels", bound=np.generic)

FloatMap = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Window:
    """A square of picture pixels; it may reach beyond the picture.

    Attributes:
        x0, y0: left and top edge, pixels, inclusive; may be negative.
        side: pixels, >= 1.
    """

    x0: int
    y0: int
    side: int

    def visible_xyxy(self, size_hw: tuple[int, int]) -> tuple[int, int, int, int]:
        """The part inside a picture of that size: x1 and y1 exclusive."""
        height, width = size_hw
        x0, y0 = max(self.x0, 0), max(self.y0, 0)
        return x0, y0, min(self.x0 + self.side, width), min(self.y0 + self.side, height)


def face_window(
    box_xyxy: tuple[float, float, float, float], margin: float, size_hw: tuple[int, int]
) -> Window:
    """The square around a face box, moved into the picture as far as it fits.

    A face at the border would otherwise be shown with its own mirror image, which no real photo holds.

    Args:
        box_xyxy: pixels; x1, y1 exclusive.
        margin: added on each side, as a share of the longer side of the box.
        size_hw: of the picture; the square is never longer than its longer side.
    """
    x0, y0, x1, y1 = box_xyxy
    height, width = size_hw
    side = max(round(max(x1 - x0, y1 - y0) * (1 + 2 * margin)), 1)
    side = min(side, max(height, width))
    return Window(_fitted((x0 + x1) / 2, side, width), _fitted((y0 + y1) / 2, side, height), side)


def _fitted(centre: float, side: int, size: int) -> int:
    if side >= size:
        return (size - side) // 2
    return min(max(round(centre - side / 2), 0), size - side)


def image_window(size_hw: tuple[int, int]) -> Window:
    """The smallest centred square that holds the whole picture."""
    height, width = size_hw
    side = max(height, width)
    return Window((width - side) // 2, (height - side) // 2, side)


def cut(pixels: npt.NDArray[_Pixels], window: Window) -> npt.NDArray[_Pixels]:
    """The window's pixels as (side, side[, C]); beyond the picture it is mirrored at its border pixels."""
    height, width = pixels.shape[:2]
    rows = _mirrored(window.y0, window.side, height)
    columns = _mirrored(window.x0, window.side, width)
    return np.ascontiguousarray(pixels[rows][:, columns])


def _mirrored(start: int, count: int, size: int) -> npt.NDArray[np.intp]:
    period = max(2 * (size - 1), 1)
    steps = np.arange(start, start + count) % period
    return np.where(steps < size, steps, period - steps)


def cut_visible(pixels: npt.NDArray[_Pixels], window: Window) -> npt.NDArray[_Pixels]:
    """The part of the picture inside the window, without mirrored pixels; a view."""
    x0, y0, x1, y1 = window.visible_xyxy((pixels.shape[0], pixels.shape[1]))
    return pixels[y0:y1, x0:x1]


def visible_part(
    square: npt.NDArray[_Pixels], window: Window, size_hw: tuple[int, int]
) -> npt.NDArray[_Pixels]:
    """Of an array as `cut` returns, the pixels that lie inside the picture; a view."""
    x0, y0, x1, y1 = window.visible_xyxy(size_hw)
    return square[y0 - window.y0 : y1 - window.y0, x0 - window.x0 : x1 - window.x0]


def resize_rgb(rgb: npt.NDArray[np.uint8], side: int) -> npt.NDArray[np.uint8]:
    """(H, W, 3) uint8 to (side, side, 3), bilinear; smoothed first when it shrinks."""
    if rgb.shape[:2] == (side, side):
        return rgb
    return np.asarray(Image.fromarray(rgb).resize((side, side), Image.Resampling.BILINEAR))


def resize_labels(labels: npt.NDArray[np.uint8], side: int) -> npt.NDArray[np.uint8]:
    """(H, W) uint8 class numbers to (side, side) by nearest pixel: no new value appears."""
    if labels.shape == (side, side):
        return labels
    return np.asarray(Image.fromarray(labels).resize((side, side), Image.Resampling.NEAREST))


def resize_map(values: FloatMap, side: int) -> FloatMap:
    """(H, W) float32 to (side, side), bilinear; values stay within their old bounds."""
    if values.shape == (side, side):
        return values
    resized = Image.fromarray(values).resize((side, side), Image.Resampling.BILINEAR)
    return np.asarray(resized, dtype=np.float32).clip(values.min(), values.max())
