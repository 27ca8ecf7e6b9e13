"""Anchors of AIZOO's detector, and boxes as a network states them: offsets from an anchor. Pure arrays.

The table is that of the published inference code. `dataset_tools.filter.aizoo` holds it for running a
network; the two rooms do not import each other, a test compares them.
"""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt

INPUT_SIDE_PX = 260
GRID_SIDES = (33, 17, 9, 5, 3)
ANCHOR_SIZES = ((0.04, 0.056), (0.08, 0.11), (0.16, 0.22), (0.32, 0.45), (0.64, 0.72))
RATIOS = (1.0, 0.62, 0.42)
ANCHORS_PER_CELL = 4
BOX_NUMBERS = 4
POSITIVE_IOU = 0.35

_CENTRE_VARIANCE = 0.1
_SIZE_VARIANCE = 0.2

Floats = npt.NDArray[np.float32]


@functools.cache
def anchors_cxcywh() -> Floats:
    """The (5972, 4) anchors: centre x, centre y, width, height as fractions of the picture.

    Levels from fine to coarse, cells row by row; in a cell both sizes at ratio 1, then the first size at
    ratios 0.62 and 0.42.
    """
    levels = []
    for side, (small, large) in zip(GRID_SIDES, ANCHOR_SIZES, strict=True):
        shapes = [(small, small), (large, large)]
        shapes += [(small * ratio**0.5, small / ratio**0.5) for ratio in RATIOS[1:]]
        steps = (np.arange(side) + 0.5) / side
        y, x = np.meshgrid(steps, steps, indexing="ij")
        centres = np.repeat(np.stack([x.ravel(), y.ravel()], axis=1), len(shapes), axis=0)
        levels.append(np.concatenate([centres, np.tile(shapes, (side * side, 1))], axis=1))
    table: Floats = np.concatenate(levels).astype(np.float32)
    table.setflags(write=False)
    return table


def encode_boxes(boxes_xyxy: Floats, anchors: Floats) -> Floats:
    """(N, 4) offsets of boxes from anchors; the inverse of `decode_boxes`.

    Args:
        boxes_xyxy: (N, 4) fractions of the picture, of positive size.
        anchors: (N, 4) centre x, centre y, width, height.
    """
    centres = (boxes_xyxy[:, :2] + boxes_xyxy[:, 2:]) / 2
    sizes = boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]
    shift = (centres - anchors[:, :2]) / anchors[:, 2:] / _CENTRE_VARIANCE
    growth = np.log(sizes / anchors[:, 2:]) / _SIZE_VARIANCE
    offsets: Floats = np.concatenate([shift, growth], axis=1).astype(np.float32)
    return offsets


def decode_boxes(offsets: Floats, anchors: Floats) -> Floats:
    """(N, 4) boxes x0, y0, x1, y1 as fractions of the picture, not clipped; arguments as `encode_boxes`."""
    centres = anchors[:, :2] + offsets[:, :2] * _CENTRE_VARIANCE * anchors[:, 2:]
    halves = anchors[:, 2:] * np.exp(offsets[:, 2:] * _SIZE_VARIANCE) / 2
    boxes: Floats = np.concatenate([centres - halves, centres + halves], axis=1).astype(np.float32)
    return boxes


def match(boxes_xyxy: Floats) -> npt.NDArray[np.int64]:
    """Which box each anchor answers for: (5972,) its index, or -1 for none.

    An anchor takes the box it overlaps most, from an IoU of `POSITIVE_IOU` on. Every box gets its best anchor
    besides: a face between the anchors, or smaller than the smallest, would have none.

    Args:
        boxes_xyxy: (N, 4) fractions of the picture.
    """
    anchors = anchors_cxcywh()
    owner: npt.NDArray[np.int64] = np.full(len(anchors), -1, dtype=np.int64)
    if not len(boxes_xyxy):
        return owner
    overlap = _overlaps(anchors, boxes_xyxy)
    best = overlap.argmax(axis=1)
    owner = np.where(overlap[np.arange(len(anchors)), best] >= POSITIVE_IOU, best, -1)
    areas = (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]).prod(axis=1)
    # The smallest face chooses last: of two that want one anchor it has fewer others.
    for index in np.argsort(areas, kind="stable")[::-1]:
        owner[int(overlap[:, index].argmax())] = index
    return owner


def _overlaps(anchors: Floats, boxes_xyxy: Floats) -> Floats:
    """(A, N) IoU of anchors, centre and size, with boxes."""
    sides = []
    for axis in (0, 1):
        low = anchors[:, axis] - anchors[:, axis + 2] / 2
        high = low + anchors[:, axis + 2]
        near, far = boxes_xyxy[:, axis], boxes_xyxy[:, axis + 2]
        side = np.minimum(high[:, None], far[None]) - np.maximum(low[:, None], near[None])
        sides.append(np.maximum(side, 0, out=side))
    shared = sides[0] * sides[1]
    areas = (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]).prod(axis=1)
    joint = (anchors[:, 2] * anchors[:, 3])[:, None] + areas[None] - shared
    return np.asarray(shared / joint, dtype=np.float32)
