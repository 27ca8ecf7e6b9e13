"""Scores of outlines: boundary IoU, and the 95th percentile of the distance between two outlines.

Both look only at the box around the two masks; beyond it there is nothing to see. What lies outside the
picture counts as background, so a mask cut off by the border has an outline there.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from baselines.metrics.counts import BoolMask
from dataset_tools.core.errors import MaskShapeError

DILATION_RATIO = 0.02  # of the picture's diagonal; the value of the paper for COCO, Cityscapes and LVIS
HD_PERCENTILE = 95.0

_Bytes = npt.NDArray[np.uint8]


def boundary_iou(predicted: BoolMask, truth: BoolMask, dilation_ratio: float = DILATION_RATIO) -> float:
    """Overlap of two masks' inner bands along their outlines, blind to the interiors.

    A band holds the mask's pixels within `boundary_width_px` king's moves of a pixel that is not in it.

    Args:
        predicted, truth: (H, W) bool on one pixel grid.
        dilation_ratio: width of the band as a share of the picture's diagonal.

    Returns:
        Value in [0, 1], higher is better; 1 when both masks are empty, 0 when one is.

    Raises:
        MaskShapeError: sizes differ, or not two-dimensional.

    Source: Cheng et al., Boundary IoU, CVPR 2021, https://arxiv.org/abs/2103.16562
    """
    width = boundary_width_px(_checked(predicted, truth), dilation_ratio)
    box = _box(predicted, truth)
    if box is None:
        return 1.0
    import cv2

    # One square of side 2w + 1 erodes as w rounds of a 3x3 square do.
    kernel = np.ones((2 * width + 1, 2 * width + 1), dtype=np.uint8)
    bands = []
    for mask in (predicted, truth):
        pixels = _bytes_of(mask, box)
        bands.append(pixels ^ cv2.erode(pixels, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=0))
    return int(np.count_nonzero(bands[0] & bands[1])) / int(np.count_nonzero(bands[0] | bands[1]))


def boundary_width_px(size_hw: tuple[int, int], dilation_ratio: float = DILATION_RATIO) -> int:
    """Width of the band in pixels, at least 1: the ratio times the diagonal, rounded."""
    return max(round(dilation_ratio * math.hypot(*size_hw)), 1)


def hd95(predicted: BoolMask, truth: BoolMask) -> float:
    """95th percentile of the distance from one outline to the other, the larger of the two directions.

    An outline is made of the mask's pixels that have a 4-neighbour outside it. Distances are Euclidean,
    between pixel centres; percentiles are interpolated linearly. (Pooling both directions before the
    percentile is taken, as some libraries do, gives other figures.)

    Args:
        predicted, truth: (H, W) bool on one pixel grid.

    Returns:
        Pixels, >= 0, lower is better. 0 when both masks are empty; the picture's diagonal, which no distance
        reaches, when one is: a mask that was missed never looks near.

    Raises:
        MaskShapeError: sizes differ, or not two-dimensional.

    Source: Huttenlocher et al., TPAMI 1993 (ranked Hausdorff distance); Maier-Hein et al., Metrics reloaded,
    Nature Methods 2024.
    """
    size_hw = _checked(predicted, truth)
    is_empty = (not predicted.any(), not truth.any())
    if all(is_empty):
        return 0.0
    if any(is_empty):
        return math.hypot(*size_hw)
    box = _box(predicted, truth)
    assert box is not None
    first, second = _outline(_bytes_of(predicted, box)), _outline(_bytes_of(truth, box))
    return max(_distance_percentile(first, second), _distance_percentile(second, first))


def _outline(pixels: _Bytes) -> BoolMask:
    import cv2

    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    inside = cv2.erode(pixels, cross, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return np.asarray(pixels ^ inside, dtype=np.bool_)


def _distance_percentile(start: BoolMask, goal: BoolMask) -> float:
    import cv2

    away = cv2.distanceTransform((~goal).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    # OpenCV works in float32; squared distances are whole numbers, so rounding them makes it exact.
    squares = np.rint(away[start].astype(np.float64) ** 2)
    return float(np.percentile(np.sqrt(squares), HD_PERCENTILE))


def _checked(predicted: BoolMask, truth: BoolMask) -> tuple[int, int]:
    if predicted.ndim != 2 or predicted.shape != truth.shape:
        raise MaskShapeError(f"prediction is {predicted.shape}, label is {truth.shape}")
    return predicted.shape[0], predicted.shape[1]


def _box(predicted: BoolMask, truth: BoolMask) -> tuple[slice, slice] | None:
    either = predicted | truth
    rows = np.flatnonzero(either.any(axis=1))
    if not rows.size:
        return None
    columns = np.flatnonzero(either.any(axis=0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def _bytes_of(mask: BoolMask, box: tuple[slice, slice]) -> _Bytes:
    return np.ascontiguousarray(mask[box]).view(np.uint8)
