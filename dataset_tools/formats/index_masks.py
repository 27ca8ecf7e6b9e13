"""Instances on one picture of numbers: painted by depth, read back exactly."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
from PIL import Image

from dataset_tools.core.errors import ItemFault
from dataset_tools.core.formats import sniff_format
from dataset_tools.core.images import ImageLimits, decode_photo
from dataset_tools.core.labels import PAINT_ORDER
from dataset_tools.core.masks import rle_to_mask
from dataset_tools.core.reasons import Reason
from dataset_tools.core.record import Instance, Sample


def paint_objects(sample: Sample) -> tuple[npt.NDArray[np.int32], list[Instance]]:
    """All instances on one (H, W) int32 picture of numbers from 1, 0 where there is none.

    Where instances overlap, the label later in `PAINT_ORDER` wins, and of one label the later instance.

    Returns:
        The picture, and the instances that still have a pixel on it: the first has number 1.
    """
    painted = np.zeros(sample.image.size_hw, dtype=np.int32)
    ordered = [item for label in PAINT_ORDER for item in sample.instances if item.label is label]
    for item in ordered:
        painted[rle_to_mask(item.mask)] = sample.instances.index(item) + 1
    counts = np.bincount(painted.ravel(), minlength=len(sample.instances) + 1)
    numbers = np.cumsum(counts > 0) - int(counts[0] > 0)
    numbers[0] = 0
    seen = [item for number, item in enumerate(sample.instances, 1) if counts[number]]
    return numbers.astype(np.int32)[painted], seen


def decode_ids(data: bytes, limits: ImageLimits) -> npt.NDArray[np.int64]:
    """Numbers of a picture as (H, W) int64: red + 256 green + 65536 blue.

    Raises:
        ItemFault: `format_not_allowed`, no PNG: others blur numbers; or as `decode_photo`.
    """
    if sniff_format(data) != "PNG":
        raise ItemFault(Reason.FORMAT_NOT_ALLOWED, "a picture of numbers must be a PNG; others blur them")
    rgb = decode_photo(data, limits).rgb.astype(np.int64)
    return np.asarray(rgb @ np.array([1, 256, 65536]), dtype=np.int64)


def encode_ids(numbers: npt.NDArray[np.int32]) -> bytes:
    """RGB PNG of numbers below 2^24 as `decode_ids` reads them."""
    rgb = np.stack([(numbers >> shift & 0xFF).astype(np.uint8) for shift in (0, 8, 16)], axis=2)
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "PNG")
    return buffer.getvalue()


def decode_index(data: bytes, limits: ImageLimits) -> npt.NDArray[np.uint8]:
    """Class numbers of a palette or grey PNG as (H, W) uint8, as stored, not as shown.

    Raises:
        ItemFault: `format_not_allowed`, no palette or 8-bit grey PNG; or as `decode_photo`.
    """
    if sniff_format(data) != "PNG":
        raise ItemFault(Reason.FORMAT_NOT_ALLOWED, "a picture of numbers must be a PNG; others blur them")
    decode_photo(data, limits)  # everything a picture may be refused for
    with Image.open(io.BytesIO(data)) as opened:
        if opened.mode not in ("P", "L", "1"):
            raise ItemFault(Reason.FORMAT_NOT_ALLOWED, f"a PNG of mode {opened.mode} holds no class numbers")
        return np.asarray(opened if opened.mode != "1" else opened.convert("L"), dtype=np.uint8)
