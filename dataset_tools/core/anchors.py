"""Anchors of AIZOO's face-mask detector: what training one and running one must agree on. Pure arrays.

Source: the published inference code of AIZOOTech/FaceMaskDetection.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import numpy.typing as npt

INPUT_SIDE_PX = 260
GRID_SIDES = (33, 17, 9, 5, 3)
NMS_IOU = 0.4  # published picture inference

_ANCHOR_SIZES = ((0.04, 0.056), (0.08, 0.11), (0.16, 0.22), (0.32, 0.45), (0.64, 0.72))
_RATIOS = (1.0, 0.62, 0.42)
_CENTRE_VARIANCE = 0.1
_SIZE_VARIANCE = 0.2

ANCHORS_PER_CELL = 4
BOX_NUMBERS = 4

Floats = npt.NDArray[np.float64]
AnyFloats = npt.NDArray[np.floating[Any]]


@functools.cache
def anchors_cxcywh() -> Floats:
    """The (5972, 4) anchors: centre x, centre y, width, height as fractions of the picture.

    Levels from fine to coarse; cells row by row; in a cell: both sizes at ratio 1, then the first size at
    ratios 0.62 and 0.42 (width = size * sqrt(ratio), height = size / sqrt(ratio)).
    """
    levels = []
    for side, (small, large) in zip(GRID_SIDES, _ANCHOR_SIZES, strict=True):
        shapes = [(small, small), (large, large)]
        shapes += [(small * ratio**0.5, small / ratio**0.5) for ratio in _RATIOS[1:]]
        steps = (np.arange(side) + 0.5) / side
        rows, columns = np.meshgrid(steps, steps, indexing="ij")
        centres = np.stack([columns.ravel(), rows.ravel()], axis=1)
        cells = np.concatenate(
            [np.repeat(centres, len(shapes), axis=0), np.tile(shapes, (side * side, 1))], axis=1
        )
        levels.append(cells)
    table: Floats = np.concatenate(levels)
    table.setflags(write=False)
    return table


def decode_boxes(offsets: AnyFloats, anchors: Floats) -> Floats:
    """Boxes as (N, 4) x0, y0, x1, y1 fractions of the picture, not clipped.

    Args:
        offsets: (N, 4) network output.
        anchors: (N, 4) centre x, centre y, width, height.
    """
    centres = anchors[:, :2] + offsets[:, :2] * _CENTRE_VARIANCE * anchors[:, 2:]
    sizes = anchors[:, 2:] * np.exp(offsets[:, 2:] * _SIZE_VARIANCE)
    return np.concatenate([centres - sizes / 2, centres + sizes / 2], axis=1)


def encode_boxes(boxes_xyxy: AnyFloats, anchors: Floats) -> Floats:
    """(N, 4) offsets of boxes from anchors; the inverse of `decode_boxes`.

    Args:
        boxes_xyxy: (N, 4) fractions of the picture, of positive size.
        anchors: (N, 4) centre x, centre y, width, height.
    """
    centres = (boxes_xyxy[:, :2] + boxes_xyxy[:, 2:]) / 2
    sizes = boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]
    shift = (centres - anchors[:, :2]) / anchors[:, 2:] / _CENTRE_VARIANCE
    growth = np.log(sizes / anchors[:, 2:]) / _SIZE_VARIANCE
    offsets: Floats = np.concatenate([shift, growth], axis=1)
    return offsets
