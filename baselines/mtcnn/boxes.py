"""Boxes and windows: offsets, squares, overlap, and which of many stay. Pure tensors.

A box is x0, y0, x1, y1 in pixels, x right and y down, x1 and y1 exclusive, float32.
"""

from __future__ import annotations

import torch
from torch import Tensor

from baselines.mtcnn.networks import STAGE_SIDE_PX

_CELL_PX = STAGE_SIDE_PX["p"]
_STRIDE_PX = 2  # of P-Net


def box_areas(boxes: Tensor) -> Tensor:
    """(N,) areas of (N, 4) boxes; 0 for a box whose edges cross."""
    return (boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(dim=1)


def overlaps(boxes: Tensor, others: Tensor) -> Tensor:
    """(N, M) areas that each of (N, 4) boxes shares with each of (M, 4) others."""
    low = torch.maximum(boxes[:, None, :2], others[None, :, :2])
    high = torch.minimum(boxes[:, None, 2:], others[None, :, 2:])
    return (high - low).clamp(min=0).prod(dim=2)


def offsets_from_boxes(windows: Tensor, boxes: Tensor) -> Tensor:
    """(N, 4) distances of each box's edges from its window's, in window sides."""
    return (boxes - windows) / _sides(windows)


def boxes_from_offsets(windows: Tensor, offsets: Tensor) -> Tensor:
    """(N, 4) boxes that lie at those offsets from their windows; undoes `offsets_from_boxes`."""
    return windows + offsets * _sides(windows)


def _sides(windows: Tensor) -> Tensor:
    return (windows[:, 2:] - windows[:, :2]).repeat(1, 2)


def squared(boxes: Tensor) -> Tensor:
    """The squares around the same centres, with the longer side; they may reach beyond the picture."""
    half = (boxes[:, 2:] - boxes[:, :2]).amax(dim=1, keepdim=True) / 2
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    return torch.cat((centre - half, centre + half), dim=1)


def clipped(boxes: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """Boxes cut to a picture of that size."""
    height, width = size_hw
    return torch.stack(
        (
            boxes[:, 0].clamp(0, width),
            boxes[:, 1].clamp(0, height),
            boxes[:, 2].clamp(0, width),
            boxes[:, 3].clamp(0, height),
        ),
        dim=1,
    )


def pyramid_scales(size_hw: tuple[int, int], min_face_px: int, factor: float) -> list[float]:
    """How much a picture is resized for each level; a face of `min_face_px` fills a window of the first.

    Returns:
        Falling scales; empty when the picture is smaller than the smallest face.
    """
    scale = _CELL_PX / min_face_px
    scales = []
    while min(size_hw) * scale >= _CELL_PX:
        scales.append(scale)
        scale *= factor
    return scales


def window_grid(cells_yx: Tensor, scale_xy: tuple[float, float]) -> Tensor:
    """(N, 4) windows of the original picture behind (N, 2) places of P-Net's map.

    Args:
        cells_yx: row and column in the map.
        scale_xy: width and height of the resized picture, as shares of the original's.
    """
    corner = cells_yx.flip(1).float() * _STRIDE_PX
    shares = corner.new_tensor(scale_xy)
    return torch.cat((corner / shares, (corner + _CELL_PX) / shares), dim=1)


def nms(boxes: Tensor, scores: Tensor, threshold: float) -> Tensor:
    """Indices of the boxes that stay, best first: a box goes when its IoU with a better one exceeds it."""
    import torchvision

    kept: Tensor = torchvision.ops.nms(boxes.float(), scores.float(), threshold)
    return kept


def smaller_box_nms(boxes: Tensor, scores: Tensor, threshold: float) -> Tensor:
    """As `nms`, but the shared area is compared with the smaller of the two boxes.

    A small box inside a larger one goes, though their IoU is low. torchvision has no such mode.
    """
    order = scores.argsort(descending=True, stable=True)
    boxes = boxes[order].float()
    areas = box_areas(boxes)
    shares = overlaps(boxes, boxes) / torch.minimum(areas[:, None], areas[None]).clamp(min=1e-9)
    stays = torch.ones(len(boxes), dtype=torch.bool, device=boxes.device)
    for index in range(len(boxes)):
        if stays[index]:
            stays[index + 1 :] &= shares[index, index + 1 :] <= threshold
    return order[stays]
