"""Where on a face crop a mask may lie, and the one size at which classical methods look at it.

A method sees a square and not how much margin was left around the face. It therefore learns one box from
the training crops: the median of the labels' bounding boxes. On tight crops (MFSD) that is the lower half
of the square, on crops with margin a smaller box in their middle. Without labels it is the lower 60 % of
the square, the specification's choice for a tight crop (`baselines.md` section 3.4).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from baselines.crops import FloatMap, resize_labels, resize_map, resize_rgb

RgbImage = npt.NDArray[np.uint8]
BoolMask = npt.NDArray[np.bool_]
Example = tuple[RgbImage, BoolMask]
Extent = tuple[float, float, float, float]

WORKING_PX = 256  # what GrabCut is given in `baselines.md` section 1.9; MFSD's crops have 250
LOWER_FACE = "lower_face"  # key of the fitted box
LOWER_SHARE = 0.6  # of a face's height that may be mask


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle of picture pixels, at least one wide and high; x1 and y1 are exclusive."""

    x0: int
    y0: int
    x1: int
    y1: int

    @property
    def area_px(self) -> int:
        """Number of pixels inside."""
        return (self.x1 - self.x0) * (self.y1 - self.y0)

    @property
    def face_area_px(self) -> float:
        """Area of the face of which this box is the lower part."""
        return self.area_px / LOWER_SHARE

    def mask(self, side: int = WORKING_PX) -> BoolMask:
        """(side, side) bool, True inside."""
        inside = np.zeros((side, side), dtype=np.bool_)
        inside[self.y0 : self.y1, self.x0 : self.x1] = True
        return inside

    def ellipse(self, side: int = WORKING_PX) -> BoolMask:
        """(side, side) bool, True inside the ellipse that touches the four edges."""
        rows, columns = np.mgrid[:side, :side] + 0.5
        across = (2 * columns - self.x0 - self.x1) / (self.x1 - self.x0)
        down = (2 * rows - self.y0 - self.y1) / (self.y1 - self.y0)
        return np.asarray(across**2 + down**2 <= 1, dtype=np.bool_)


def fit_lower_face(examples: Iterable[Example]) -> dict[str, FloatMap]:
    """The median bounding box of the labels.

    Args:
        examples: crops (S, S, 3) uint8 and labels (S, S) bool; empty labels do not count.

    Returns:
        "lower_face": (4,) float32, x0, y0, x1, y1 as shares of the side; nothing when no label counts.
    """
    return median_box([found for _, label in examples if (found := extent(label)) is not None])


def median_box(boxes: Sequence[Extent]) -> dict[str, FloatMap]:
    """What `fit_lower_face` answers, of extents found elsewhere."""
    if not boxes:
        return {}
    return {LOWER_FACE: np.median(np.array(boxes), axis=0).astype(np.float32)}


def extent(label: BoolMask) -> Extent | None:
    """A label's bounding box x0, y0, x1, y1 as shares of width and height; None for an empty label."""
    rows, columns = np.flatnonzero(label.any(axis=1)), np.flatnonzero(label.any(axis=0))
    if not rows.size:
        return None
    height, width = label.shape
    return (columns[0] / width, rows[0] / height, (columns[-1] + 1) / width, (rows[-1] + 1) / height)


def lower_face(fitted: Mapping[str, npt.NDArray[np.float32]], side: int = WORKING_PX) -> Box:
    """The fitted box on a crop of that side; without one the lower 60 %."""
    shares = fitted.get(LOWER_FACE)
    x0, y0, x1, y1 = (0.0, 1 - LOWER_SHARE, 1.0, 1.0) if shares is None else shares.tolist()
    left, right = _span(x0, x1, side)
    top, bottom = _span(y0, y1, side)
    return Box(left, top, right, bottom)


def _span(low: float, high: float, side: int) -> tuple[int, int]:
    start = min(max(round(low * side), 0), side - 1)
    return start, min(max(round(high * side), start + 1), side)


def at_working_size(square: RgbImage) -> RgbImage:
    """(S, S, 3) uint8 to (256, 256, 3)."""
    return np.ascontiguousarray(resize_rgb(square, WORKING_PX))


def label_at_working_size(label: BoolMask) -> BoolMask:
    """(S, S) bool to (256, 256) bool, nearest pixel."""
    return resize_labels(label.astype(np.uint8), WORKING_PX) > 0


def back_to(side: int, mask: BoolMask) -> FloatMap:
    """(256, 256) bool to (side, side) float32 of 0 and 1: 1 where at least half of a pixel is covered."""
    covered = resize_map(mask.astype(np.float32), side)
    return (covered >= 0.5).astype(np.float32)


def grey(rgb: RgbImage) -> npt.NDArray[np.uint8]:
    """(H, W, 3) uint8 to (H, W) uint8 by the weights of Rec. 601."""
    return np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), dtype=np.uint8)
