"""Binary masks as run-length codes: exact, small, and checked before use.

Run lengths follow COCO: columns first (Fortran order), alternating background and foreground,
starting with background. A box is always derived from the mask and never stored beside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dataset_tools.core.errors import ItemFault, MaskShapeError
from dataset_tools.core.reasons import Reason

BoolMask = npt.NDArray[np.bool_]

_MAX_CHARS_PER_COUNT = 13  # 13 * 5 bits hold any 64-bit number


@dataclass(frozen=True, slots=True)
class RleMask:
    """A binary mask of one picture.

    Attributes:
        size_hw: height and width in pixels, both >= 1.
        counts: run lengths in column order, background first; they sum to height * width. Only the
            first may be 0, so that equal masks have equal counts.
    """

    size_hw: tuple[int, int]
    counts: tuple[int, ...]

    @property
    def area_px(self) -> int:
        """Number of foreground pixels."""
        return sum(self.counts[1::2])

    @property
    def is_empty(self) -> bool:
        """True when no pixel is foreground."""
        return self.area_px == 0

    @property
    def box_xyxy(self) -> tuple[int, int, int, int]:
        """Smallest box around the foreground: x0, y0 inclusive, x1, y1 exclusive; zeros when empty."""
        if self.is_empty:
            return (0, 0, 0, 0)
        mask = rle_to_mask(self)
        rows = np.flatnonzero(mask.any(axis=1))
        columns = np.flatnonzero(mask.any(axis=0))
        return (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)


def mask_to_rle(mask: npt.ArrayLike) -> RleMask:
    """Encode a mask exactly.

    Args:
        mask: (H, W) bool, or any array in which non-zero means foreground; H, W >= 1.

    Raises:
        MaskShapeError: not two-dimensional, or a side is 0.
    """
    array = np.asarray(mask)
    if array.ndim != 2 or 0 in array.shape:
        raise MaskShapeError(f"a mask needs two sides of at least 1 pixel, found shape {array.shape}")
    flat = (array != 0).ravel(order="F")
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    bounds = np.concatenate(([0], edges, [flat.size]))
    counts = np.diff(bounds).tolist()
    if flat[0]:
        counts.insert(0, 0)
    return RleMask((int(array.shape[0]), int(array.shape[1])), tuple(counts))


def rle_to_mask(rle: RleMask) -> BoolMask:
    """Decode to a (H, W) bool array.

    Raises:
        ItemFault: counts that are negative or do not fill the picture.
    """
    check_rle(rle)
    height, width = rle.size_hw
    values = np.arange(len(rle.counts)) % 2 == 1
    flat = np.repeat(values, np.asarray(rle.counts, dtype=np.int64))
    return flat.reshape((height, width), order="F")


def check_rle(rle: RleMask) -> RleMask:
    """Return `rle` unchanged when its counts fill its picture exactly.

    Raises:
        ItemFault: a side below 1 (`rle_size`), a count that is no integer >= 0 (`rle_value`), or counts
            that do not sum to height * width (`rle_sum`).
    """
    height, width = rle.size_hw
    if height < 1 or width < 1:
        raise ItemFault(Reason.RLE_SIZE, f"RLE size {height}x{width} is not a picture size")
    for count in rle.counts:
        if isinstance(count, bool) or not isinstance(count, int) or count < 0:
            raise ItemFault(Reason.RLE_VALUE, f"RLE count {count!r} is not an integer >= 0")
    total = sum(rle.counts)
    if total != height * width:
        raise ItemFault(
            Reason.RLE_SUM, f"RLE counts sum to {total}, expected {height}x{width}={height * width}"
        )
    return rle


def counts_to_rle(counts: Sequence[int], size_hw: tuple[int, int]) -> RleMask:
    """A checked, canonical `RleMask` from untrusted run lengths (zero runs inside are merged).

    Raises:
        ItemFault: as `check_rle`.
    """
    checked = check_rle(RleMask(size_hw, tuple(counts)))
    return mask_to_rle(rle_to_mask(checked)) if 0 in checked.counts[1:] else checked


def decode_counts(text: str) -> list[int]:
    """Run lengths of COCO's compressed text form; they may still be wrong in sum or sign.

    Each character holds 6 bits above "0": five bits of a signed little-endian number and one that says
    it goes on. From the fourth run on, the number is the difference to the run two before.

    Raises:
        ItemFault: `rle_value` for a character outside the code, a number that never ends or has more than
            64 bits.

    Source: the published `rleToString` format of the COCO API.
    """
    counts: list[int] = []
    value, shift = 0, 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64:
            raise ItemFault(Reason.RLE_VALUE, f"character {character!r} is not of the RLE code")
        value |= (bits & 0x1F) << shift
        shift += 5
        if bits & 0x20:
            if shift >= 5 * _MAX_CHARS_PER_COUNT:
                raise ItemFault(Reason.RLE_VALUE, "a run length has more than 64 bits")
            continue
        if bits & 0x10:
            value -= 1 << shift
        counts.append(value + counts[-2] if len(counts) > 2 else value)
        value, shift = 0, 0
    if shift:
        raise ItemFault(Reason.RLE_VALUE, "the text ends inside a run length")
    return counts


def union(masks: Iterable[RleMask], size_hw: tuple[int, int]) -> BoolMask:
    """Pixels that any mask claims, (H, W) bool; all False for no masks.

    Raises:
        MaskShapeError: a mask of another size.
    """
    total = np.zeros(size_hw, dtype=np.bool_)
    for rle in masks:
        if rle.size_hw != size_hw:
            raise MaskShapeError(f"mask is {rle.size_hw}, picture is {size_hw}")
        total |= rle_to_mask(rle)
    return total
