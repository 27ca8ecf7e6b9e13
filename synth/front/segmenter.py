"""Parts of a head by MediaPipe's multiclass selfie segmenter: hair, skin, clothes and things before a face.

Within the face oval everything that is not face, eyes or mouth lies in front of it; the network calls all
those "face skin". Beards it may call hair, so hair must come in from above.

Source: model card "Selfie Multiclass Segmentation", Google 2023 (Apache-2.0).
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from dataset_tools.core.images import RgbImage
from dataset_tools.weights import resolve
from synth.front.facegrid import BoolMask, FaceGrid, Floats32

SEGMENTER_FILES = ("selfie_multiclass",)

PARTS = ("background", "hair", "body_skin", "face_skin", "clothes", "other")

_HAIR, _BODY, _FACE, _CLOTHES, _OTHER = 1, 2, 3, 4, 5
_SIDE = 256
_SURE = 0.8
_LIKELY = 0.5
_MIN_AREA_MM2 = 30.0
_MIN_DEPTH_MM = 3.0
_HAIR_STARTS_ABOVE_MM = 45.0
_NECK_HEIGHT_MM = 100.0
_CONTINUES_MM = 6.0


@functools.cache
def _segmenter() -> Any:
    from mediapipe.tasks.python import BaseOptions
    from mediapipe.tasks.python.vision import ImageSegmenter, ImageSegmenterOptions, RunningMode

    path = resolve(SEGMENTER_FILES[0])
    options = ImageSegmenterOptions(
        base_options=BaseOptions(model_asset_path=str(path), delegate=BaseOptions.Delegate.CPU),
        running_mode=RunningMode.IMAGE,
        output_confidence_masks=True,
        output_category_mask=False,
    )
    return ImageSegmenter.create_from_options(options)


def read_parts(rgb: RgbImage) -> Floats32:
    """Probability of each of `PARTS`, (h, w, 6) float32, of a picture of one head.

    Raises:
        WeightsUnavailable: the network's file cannot be had.
    """
    import cv2
    import mediapipe

    height, width = rgb.shape[:2]
    side = max(height, width)
    square = cv2.copyMakeBorder(rgb, 0, side - height, 0, side - width, cv2.BORDER_REPLICATE)
    square = cv2.resize(square, (_SIDE, _SIDE), interpolation=cv2.INTER_LINEAR)
    image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(square))
    masks = _segmenter().segment(image).confidence_masks
    stack = np.dstack(
        [np.asarray(mask.numpy_view(), dtype=np.float32).reshape(_SIDE, _SIDE) for mask in masks]
    )
    large = cv2.resize(stack, (side, side), interpolation=cv2.INTER_LINEAR)
    return np.asarray(large[:height, :width], dtype=np.float32)


def parts_in_front(grid: FaceGrid) -> BoolMask:
    """Pixels of what the segmenter sees in front of the face, (h, w) bool on the grid.

    Raises:
        WeightsUnavailable: the network's file cannot be had.
    """
    return before_face(grid, read_parts(grid.rgb))


def before_face(grid: FaceGrid, parts: Floats32) -> BoolMask:
    """Pixels of what lies in front of the face, from the probabilities of `PARTS`, (h, w) bool.

    Args:
        grid: the face.
        parts: (h, w, 6) on the grid.
    """
    body = parts[..., _BODY] * (grid.height_mm < _NECK_HEIGHT_MM)
    before = parts[..., _HAIR] + body + parts[..., _CLOTHES] + parts[..., _OTHER]
    kinds = (parts[..., _HAIR], body + parts[..., _CLOTHES] + parts[..., _OTHER])
    outlined = _outlined(grid, before)
    found = np.zeros(grid.inside.shape, dtype=np.bool_)
    for is_hair, kind in zip((True, False), kinds, strict=True):
        found |= _trusted(grid, outlined & (kind > 0.5 * before), is_hair)
    return found | (grid.near(found, _CONTINUES_MM) & ~grid.inside & (before > _LIKELY))


def _outlined(grid: FaceGrid, before: Floats32) -> BoolMask:
    # The network works at a few millimetres; the photo's edge between sure and surely not is finer.
    import cv2

    seeds = np.zeros(before.shape, dtype=np.int32)
    seeds[~grid.near(before > 1 - _SURE, 1.0)] = 1
    seeds[~grid.near(before < _SURE, 1.0)] = 2
    found = cv2.watershed(cv2.medianBlur(grid.lab, 3), seeds)
    return np.asarray((found == 2) | ((found == -1) & (before > _LIKELY)), dtype=np.bool_)


def _trusted(grid: FaceGrid, mask: BoolMask, is_hair: bool) -> BoolMask:
    import cv2

    count, labels, stats, _ = cv2.connectedComponentsWithStats(
        (mask & grid.inside).astype(np.uint8), connectivity=8
    )
    found = np.zeros(mask.shape, dtype=np.bool_)
    for index in range(1, count):
        if stats[index, cv2.CC_STAT_AREA] < _MIN_AREA_MM2 * grid.px_per_mm**2:
            continue
        part = labels == index
        # The oval is a millimetre or two off; what only touches its rim is beside the face.
        if grid.depth_mm[part].max() < _MIN_DEPTH_MM:
            continue
        if is_hair and np.percentile(grid.height_mm[part], 5) > _HAIR_STARTS_ABOVE_MM:
            continue
        found |= part
    return found
