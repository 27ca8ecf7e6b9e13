"""Binary masks as run-length codes: exact, small, and checked before use.

Run lengths follow COCO: columns first (Fortran order), alternating background and foreground,
starting with background. A box is always derived from the mask and never stored beside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dataset_tools.core.errors import ItemFault, MaskShapeError
from dataset_tools.core.reasons import Reason

BoolMask = npt.NDArray[np.bool_]

_MAX_CHARS_PER_COUNT = 7  # 35 bits: more than any picture has pixels, and no sum of them overflows 64

# With more changes than one in this many pixels, turning the whole picture is cheaper than sorting them.
_DENSE = 64


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
        return not any(self.counts[1::2])

    @property
    def box_xyxy(self) -> tuple[int, int, int, int]:
        """Smallest box around the foreground: x0, y0 inclusive, x1, y1 exclusive; zeros when empty."""
        height = self.size_hw[0]
        bounds = np.cumsum(np.asarray(self.counts, dtype=np.int64))
        starts, ends = bounds[: len(self.counts) - 1 : 2], bounds[1::2]
        filled = ends > starts
        starts, lasts = starts[filled], ends[filled] - 1
        if not len(starts):
            return (0, 0, 0, 0)
        columns, last_columns = starts // height, lasts // height
        left, right = int(columns[0]), int(last_columns[-1]) + 1
        if (columns != last_columns).any():  # a run that goes on in the next column touches both borders
            return (left, 0, right, height)
        return (left, int((starts % height).min()), right, int((lasts % height).max()) + 1)


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
    if array.dtype != np.bool_:
        array = array != 0
    height, width = int(array.shape[0]), int(array.shape[1])
    edges = _edges(array)
    bounds = np.concatenate(([0], edges, [height * width]))
    counts = np.diff(bounds).tolist()
    if array[0, 0]:
        counts.insert(0, 0)
    return RleMask((height, width), tuple(counts))


def _edges(mask: BoolMask) -> npt.NDArray[np.int64]:
    """Places in column order whose pixel differs from the one before, ascending."""
    height, width = mask.shape
    if not mask.flags.f_contiguous:
        # Pictures lie in row order. Turning every pixel costs more than turning the few places of change.
        changes = _flat_places(mask[1:] ^ mask[:-1])
        if len(changes) <= height * width // _DENSE:
            rows, columns = np.divmod(changes, width)
            turns = np.flatnonzero(mask[0, 1:] ^ mask[-1, :-1]) + 1
            return np.sort(np.concatenate((columns * height + rows + 1, turns * height)))
    flat = mask.ravel(order="F")
    return _flat_places(flat[1:] ^ flat[:-1]) + 1


def _flat_places(flags: BoolMask) -> npt.NDArray[np.int64]:
    """`np.flatnonzero`, by words of eight: faster where few are set."""
    flat = flags.ravel()
    whole = len(flat) // 8 * 8
    words = np.flatnonzero(flat[:whole].view(np.uint64))
    if len(words) > whole // 32:
        return np.flatnonzero(flat)
    groups, offsets = np.nonzero(flat[:whole].reshape(-1, 8)[words])
    return np.concatenate((words[groups] * 8 + offsets, np.flatnonzero(flat[whole:]) + whole))


def index_to_rles(index: npt.NDArray[np.integer[Any]]) -> dict[int, RleMask]:
    """The masks of all values of an index picture but 0, in one pass, by ascending value.

    Args:
        index: (H, W) integers >= 0, e.g. label ids or object numbers.

    Raises:
        MaskShapeError: not two-dimensional, or a side is 0.
    """
    if index.ndim != 2 or 0 in index.shape:
        raise MaskShapeError(f"an index picture needs two sides of at least 1 pixel, found {index.shape}")
    flat = index.ravel(order="F")
    starts = np.concatenate(([0], np.flatnonzero(flat[1:] != flat[:-1]) + 1))
    ends = np.concatenate((starts[1:], [flat.size]))
    values = flat[starts]
    order = np.argsort(values, kind="stable")
    firsts = np.flatnonzero(np.concatenate(([True], values[order][1:] != values[order][:-1])))
    size_hw = (int(index.shape[0]), int(index.shape[1]))
    masks: dict[int, RleMask] = {}
    for group in np.split(order, firsts[1:]):
        value = int(values[group[0]])
        if value:
            bounds = np.stack((starts[group], ends[group]), axis=1).ravel()
            counts = np.diff(bounds, prepend=0, append=flat.size).tolist()
            masks[value] = RleMask(size_hw, tuple(counts if counts[-1] else counts[:-1]))
    return masks


def rle_to_mask(rle: RleMask) -> BoolMask:
    """Decode to a (H, W) bool array, in column order in memory.

    Raises:
        ItemFault: counts that are negative or do not fill the picture.
    """
    height, width = rle.size_hw
    counts = np.asarray(rle.counts)
    if counts.dtype != np.int64 or not _fills(counts, rle.size_hw):
        check_rle(rle)  # says what is wrong, or that it is nothing but an odd type
        counts = counts.astype(np.int64)
    flat = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    return flat.reshape((height, width), order="F")


def _fills(counts: npt.NDArray[np.int64], size_hw: tuple[int, int]) -> bool:
    """Whether runs are all >= 0 and fill the picture; none of them may be so large that sums overflow."""
    pixels = size_hw[0] * size_hw[1]
    return (
        min(size_hw) >= 1
        and len(counts) > 0
        and int(counts.min()) >= 0
        and int(counts.max()) <= pixels
        and int(counts.sum()) == pixels
    )


def check_rle(rle: RleMask) -> RleMask:
    """Return `rle` unchanged when its counts fill its picture exactly.

    Raises:
        ItemFault: a side below 1 (`rle_size`), a count that is no integer >= 0 (`rle_value`), or counts
            that do not sum to height * width (`rle_sum`).
    """
    height, width = rle.size_hw
    if height < 1 or width < 1:
        raise ItemFault(Reason.RLE_SIZE, f"RLE size {height}x{width} is not a picture size")
    if set(map(type, rle.counts)) - {int} or min(rle.counts, default=0) < 0:
        wrong = next(count for count in rle.counts if type(count) is not int or count < 0)
        raise ItemFault(Reason.RLE_VALUE, f"RLE count {str(wrong)[:40]} is not an integer >= 0")
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


def text_to_rle(text: str, size_hw: tuple[int, int]) -> RleMask:
    """A checked, canonical `RleMask` from COCO's compressed text form.

    Raises:
        ItemFault: as `decode_counts` and `check_rle`.
    """
    counts = _decode_text(text)
    if not _fills(counts, size_hw) or not counts[1:].all():
        return counts_to_rle(counts.tolist(), size_hw)
    return RleMask(size_hw, tuple(counts.tolist()))


def encode_counts(counts: Sequence[int]) -> str:
    """COCO's compressed text form of run lengths; the inverse of `decode_counts`.

    Args:
        counts: each in [0, 2^31).
    """
    values = np.array(counts, dtype=np.int64)
    values[3:] -= np.array(counts[1:-2], dtype=np.int64)
    characters = np.zeros((len(values), _MAX_CHARS_PER_COUNT), dtype=np.uint8)
    going = np.ones(len(values), dtype=np.bool_)
    for place in range(_MAX_CHARS_PER_COUNT):
        bits = values & 0x1F
        values >>= 5
        ends = values == -(bits >> 4)  # only copies of the sign bit are left
        characters[:, place] = np.where(going, (bits | np.where(ends, 0, 0x20)) + 48, 0)
        going &= ~ends
        if not going.any():
            break
    flat = characters.ravel()
    return str(flat[flat != 0].tobytes(), "ascii")


def decode_counts(text: str) -> list[int]:
    """Run lengths of COCO's compressed text form; they may still be wrong in sum or sign.

    Each character holds 6 bits above "0": five bits of a signed little-endian number and one that says
    it goes on. From the fourth run on, the number is the difference to the run two before.

    Raises:
        ItemFault: `rle_value` for a character outside the code, a number that never ends or has more than
            35 bits.

    Source: the published `rleToString` format of the COCO API.
    """
    counts: list[int] = _decode_text(text).tolist()
    return counts


def _decode_text(text: str) -> npt.NDArray[np.int64]:
    if not text.isascii():
        wrong = next(character for character in text if not character.isascii())
        raise ItemFault(Reason.RLE_VALUE, f"character {wrong!r} is not of the RLE code")
    codes = np.frombuffer(text.encode("ascii"), dtype=np.uint8)
    if not len(codes):
        return np.zeros(0, dtype=np.int64)
    bits = codes - np.uint8(48)  # what lies below the code wraps around to above it
    if bits.max() > 63:
        wrong = text[int(np.flatnonzero(bits > 63)[0])]
        raise ItemFault(Reason.RLE_VALUE, f"character {wrong!r} is not of the RLE code")
    lasts = np.flatnonzero(bits < 0x20)
    if not len(lasts) or lasts[-1] != len(bits) - 1:
        raise ItemFault(Reason.RLE_VALUE, "the text ends inside a run length")
    firsts = np.concatenate(([0], lasts[:-1] + 1))
    lengths = lasts - firsts + 1
    if lengths.max() > _MAX_CHARS_PER_COUNT:
        raise ItemFault(Reason.RLE_VALUE, f"a run length has more than {5 * _MAX_CHARS_PER_COUNT} bits")
    values: npt.NDArray[np.int64] = (bits[firsts] & 0x1F).astype(np.int64)
    for place in range(1, int(lengths.max())):  # few numbers have further characters
        longer = np.flatnonzero(lengths > place)
        values[longer] |= (bits[firsts[longer] + place] & 0x1F).astype(np.int64) << 5 * place
    values -= np.where(bits[lasts] & 0x10, np.int64(1) << (5 * lengths), 0)
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    return values


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
