"""Which box each anchor of the detector answers for while it learns. Pure arrays."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dataset_tools.core.anchors import AnyFloats, Floats, anchors_cxcywh

POSITIVE_IOU = 0.35


def match(boxes_xyxy: AnyFloats) -> npt.NDArray[np.int64]:
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


def _overlaps(anchors: Floats, boxes_xyxy: AnyFloats) -> Floats:
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
    overlaps: Floats = shared / joint
    return overlaps
