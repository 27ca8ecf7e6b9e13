"""Small pictures and small labels for the gallery: what a page can carry for thousands of samples."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from dataset_tools.core.images import RgbImage
from dataset_tools.core.masks import BoolMask, RleMask, check_rle, mask_to_rle
from dataset_tools.core.record import Instance
from dataset_tools.stats.contact_sheet import shrink_mask

LONGEST_PX = 160
_QUALITY = 62
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"

# Layer of what a model said and nobody has confirmed, whatever its label.
GUESS = "guess"


@dataclass(frozen=True, slots=True, eq=False)
class PackedMask:
    """A stored mask in a tenth of the memory, to hold many.

    Attributes:
        layer: label, or `GUESS`.
        size_hw: of the picture.
        counts: (n,) int32, as `RleMask.counts`.
    """

    layer: str
    size_hw: tuple[int, int]
    counts: npt.NDArray[np.int32]


def pack_instances(instances: Iterable[Instance]) -> tuple[PackedMask, ...]:
    """Labels of a picture as layers: ground truth by label, proposals together."""
    return tuple(pack_mask(GUESS if item.is_proposal else item.label.value, item.mask) for item in instances)


def pack_mask(layer: str, mask: RleMask) -> PackedMask:
    """One mask as a layer."""
    return PackedMask(layer, mask.size_hw, np.asarray(mask.counts, dtype=np.int32))


def small_size_wh(size_hw: tuple[int, int], longest_px: int = LONGEST_PX) -> tuple[int, int]:
    """Width and height of a small copy; a smaller picture is not enlarged."""
    scale = min(1.0, longest_px / max(size_hw))
    return max(1, round(size_hw[1] * scale)), max(1, round(size_hw[0] * scale))


def small_jpeg(rgb: RgbImage, size_wh: tuple[int, int]) -> bytes:
    """A small JPEG of (H, W, 3) uint8 RGB."""
    buffer = io.BytesIO()
    small = Image.fromarray(rgb).resize(size_wh, Image.Resampling.BOX, reducing_gap=1.0)
    small.save(buffer, "JPEG", quality=_QUALITY)
    return buffer.getvalue()


def small_layers(masks: Sequence[PackedMask], size_wh: tuple[int, int]) -> dict[str, str]:
    """Each layer as text: run lengths in rows, background first, in base 36 with "." between them.

    Raises:
        ItemFault: a mask that does not fill its picture.
    """
    layers: dict[str, BoolMask] = {}
    for item in masks:
        mask = _small_mask(item, size_wh)
        layers[item.layer] = layers[item.layer] | mask if item.layer in layers else mask
    return {
        layer: ".".join(map(_base36, mask_to_rle(mask.T).counts))
        for layer, mask in layers.items()
        if mask.any()
    }


def _small_mask(item: PackedMask, size_wh: tuple[int, int]) -> BoolMask:
    # As stored, columns are rows: the picture is shrunk lying on its side, which spares a pass over it.
    check_rle(RleMask(item.size_hw, tuple(item.counts.tolist())))
    lying = np.repeat(np.arange(len(item.counts)) % 2 == 1, item.counts).reshape(item.size_hw[::-1])
    return shrink_mask(lying, size_wh[::-1]).T


def _base36(value: int) -> str:
    digits = ""
    while value >= 36:
        value, digit = divmod(value, 36)
        digits = _DIGITS[digit] + digits
    return _DIGITS[value] + digits
