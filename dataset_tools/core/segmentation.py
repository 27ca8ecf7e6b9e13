"""COCO segmentations from and to exact masks in plain Python and numpy: every value is checked first.

pycocotools hands unchecked numbers to C: short counts come back as uninitialised memory and an infinite
polygon coordinate ends the process. So nothing here calls it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from dataset_tools.core.errors import ItemFault
from dataset_tools.core.masks import (
    BoolMask,
    RleMask,
    counts_to_rle,
    encode_counts,
    mask_to_rle,
    text_to_rle,
)
from dataset_tools.core.reasons import Reason

MAX_POLYGON_POINTS = 10_000


def decode_segmentation(value: Any, size_hw: tuple[int, int]) -> RleMask:
    """The mask of a COCO `segmentation` value: RLE object (counts as list or string) or polygons.

    Args:
        value: as parsed from JSON.
        size_hw: of the picture; an RLE must have this size.

    Raises:
        ItemFault: schema, rle_size, rle_value, rle_sum, not_finite, out_of_bounds, degenerate, no_area.
    """
    if isinstance(value, dict):
        mask = _decode_rle(value, size_hw)
    elif isinstance(value, list) and value:
        mask = mask_to_rle(polygons_to_mask(value, size_hw))
    else:
        raise ItemFault(Reason.SCHEMA, "no segmentation (a box alone is no mask)")
    if mask.is_empty:
        raise ItemFault(Reason.NO_AREA, "the mask covers no pixel")
    return mask


def _decode_rle(value: dict[str, Any], size_hw: tuple[int, int]) -> RleMask:
    size = value.get("size")
    if not isinstance(size, list) or len(size) != 2 or not all(type(side) is int for side in size):
        raise ItemFault(Reason.RLE_SIZE, f"RLE size {str(size)[:80]} is not two integers")
    if (size[0], size[1]) != size_hw:
        raise ItemFault(
            Reason.RLE_SIZE, f"RLE size {size[0]}x{size[1]}, picture is {size_hw[0]}x{size_hw[1]}"
        )
    counts = value.get("counts")
    if isinstance(counts, str):
        return text_to_rle(counts, size_hw)
    if not isinstance(counts, list):
        raise ItemFault(Reason.SCHEMA, f"RLE counts are {type(counts).__name__}, expected list or text")
    # Before summing, so that giant numbers cannot make giant sums.
    if any(type(count) is int and count > size_hw[0] * size_hw[1] for count in counts):
        raise ItemFault(Reason.RLE_SUM, "an RLE run is longer than the picture has pixels")
    return counts_to_rle(counts, size_hw)


def rle_to_coco(rle: RleMask) -> dict[str, Any]:
    """`{"size": [H, W], "counts": text}` with COCO's compressed run lengths; exact."""
    return {"size": list(rle.size_hw), "counts": encode_counts(rle.counts)}


def coco_to_rle(segmentation: dict[str, Any]) -> RleMask:
    """The mask of a compressed or plain COCO run-length code.

    Raises:
        ItemFault: text that is no such code (`rle_value`), or counts that do not fill the size.
    """
    height, width = (int(side) for side in segmentation["size"])
    counts = segmentation["counts"]
    if isinstance(counts, str):
        return text_to_rle(counts, (height, width))
    return counts_to_rle(counts, (height, width))


def polygons_to_mask(polygons: Sequence[Any], size_hw: tuple[int, int]) -> BoolMask:
    """Union of COCO polygons as a (H, W) bool mask.

    Fill rule: a pixel (x, y) belongs to a polygon when its centre (x + 0.5, y + 0.5) lies inside by the
    even-odd rule; a centre exactly on an edge belongs to the side right of or below that edge.

    Args:
        polygons: lists x0, y0, x1, y1, …; x right, y down, pixel corners at integers.
        size_hw: of the picture.

    Raises:
        ItemFault: schema (not numbers in pairs, more than 10,000 points), not_finite, out_of_bounds
            (outside [-1, 2] times the picture), degenerate (fewer than 3 distinct points).
    """
    checked = [_checked_polygon(polygon, size_hw) for polygon in polygons]
    mask = np.zeros(size_hw, dtype=np.bool_)
    for points_xy in checked:
        mask |= _fill(points_xy, size_hw)
    return mask


def _checked_polygon(polygon: Any, size_hw: tuple[int, int]) -> npt.NDArray[np.float64]:
    if not isinstance(polygon, list) or not all(type(value) in (int, float) for value in polygon):
        raise ItemFault(Reason.SCHEMA, "a polygon is not a list of numbers")
    if len(polygon) % 2 or len(polygon) > 2 * MAX_POLYGON_POINTS:
        raise ItemFault(
            Reason.SCHEMA, f"a polygon of {len(polygon)} numbers; at most {MAX_POLYGON_POINTS} x, y pairs"
        )
    height, width = size_hw
    for index, value in enumerate(polygon):
        side = height if index % 2 else width
        if isinstance(value, float) and not math.isfinite(value):
            raise ItemFault(Reason.NOT_FINITE, f"polygon coordinate {value}")
        if not -side <= value <= 2 * side:
            raise ItemFault(
                Reason.OUT_OF_BOUNDS, f"polygon coordinate {str(value)[:40]} far outside {width}x{height}"
            )
    points = np.asarray(polygon, dtype=np.float64).reshape(-1, 2)
    if len(np.unique(points, axis=0)) < 3:
        raise ItemFault(Reason.DEGENERATE, "a polygon with fewer than 3 distinct points")
    return points


def _fill(points_xy: npt.NDArray[np.float64], size_hw: tuple[int, int]) -> BoolMask:
    # Edge flags: each edge flips the first pixel right of it in every row it crosses; a running exclusive
    # or along the row then gives the inside.
    height, width = size_hw
    flips = np.zeros((height, width + 1), dtype=np.bool_)
    for (x0, y0), (x1, y1) in zip(points_xy, np.roll(points_xy, -1, axis=0), strict=True):
        if y0 > y1:
            x0, y0, x1, y1 = x1, y1, x0, y0
        # Rows whose centre line y + 0.5 lies in [y0, y1).
        first, end = max(math.ceil(y0 - 0.5), 0), min(math.ceil(y1 - 0.5), height)
        if first >= end:
            continue
        rows = np.arange(first, end)
        crossings = x0 + (rows + 0.5 - y0) * ((x1 - x0) / (y1 - y0))
        columns = np.clip(np.ceil(crossings - 0.5), 0, width).astype(np.int64)
        flips[rows, columns] ^= True
    return np.asarray(np.logical_xor.accumulate(flips, axis=1)[:, :width], dtype=np.bool_)
