"""Label Studio's brush code: a picture's RGBA bytes as bit-packed run lengths (thi.ng "rle-pack").

Bits, most significant first: 32 bits number of bytes N = 4 * height * width; 5 bits word size - 1 (always
8 bits); four times 4 bits field width - 1 (stock: 3, 4, 8, 16); then tokens until N bytes are told:

    1 bit run flag | 2 bits index of field width n | n bits length - 1 | 1 byte if run, else `length` bytes

Pixels are row by row, four equal bytes each; the mask is the alpha byte. A brush stroke made in the browser
has an antialiased edge, so a pixel counts as drawn from half coverage on.

Four equal bytes make a run, so what Label Studio writes has nothing but runs of whole pixels: these are found
by one short walk and expanded together. Any other code is read token by token.

Source: https://github.com/thi-ng/umbrella/tree/develop/packages/rle-pack; padding and the choice of field
widths follow `label_studio_sdk.converter.brush`, so that both encoders give equal bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from dataset_tools.core.errors import ItemFault
from dataset_tools.core.masks import BoolMask
from dataset_tools.core.reasons import Reason

AlphaMask = npt.NDArray[np.uint8]  # (H, W), 0 = not drawn, 255 = drawn

# From this alpha on a pixel is drawn: half coverage.
DRAWN_ALPHA = 128

_CHANNELS = 4
_FIELD_BITS = np.array([3, 4, 8, 16])
_LONGEST_RUN = 1 << 16
_HEADER_BITS = 53  # 32 + 5 + 4 * 4
_WIDEST_TOKEN = 27  # bits of a run whose field has all 16 that the header can tell
_PARAMETERS = f"{8 - 1:05b}" + "".join(f"{bits - 1:04b}" for bits in _FIELD_BITS.tolist())


def encode_brush(mask: BoolMask) -> list[int]:
    """Encode a mask as Label Studio stores it.

    Args:
        mask: (H, W) bool.

    Returns:
        Bytes as integers in [0, 255], equal to what the stock encoder gives for the same mask.
    """
    flat = np.ascontiguousarray(mask, dtype=np.bool_).ravel()
    ends = np.append(np.flatnonzero(flat[1:] != flat[:-1]), flat.size - 1)
    lengths = np.diff(ends, prepend=-1) * _CHANNELS
    lengths, drawn, is_long = _cut_long_runs(lengths, flat[ends])
    # Shorter than 257 bytes: the narrowest field that holds it; every piece of a longer run: 16 bits.
    field = np.where(is_long, 3, np.searchsorted([8, 16], lengths))
    bits = _FIELD_BITS[field]
    # A run is never a single byte (a pixel has four), so every token has its run flag set.
    token = (((0b100 | field) << bits | (lengths - 1)) << 8) | np.where(drawn, 255, 0)
    width = bits + 11
    rows = np.unpackbits((token << (32 - width)).astype(">u4").view(np.uint8).reshape(-1, 4), axis=1)
    told = rows[np.arange(32) < width[:, None]]
    header = np.frombuffer(f"{flat.size * _CHANNELS:032b}{_PARAMETERS}".encode(), np.uint8) - ord("0")
    stream = np.concatenate([header, told])
    # The stock encoder adds a whole zero byte when the bits already fill their last byte.
    padding = np.zeros(8 - stream.size % 8, dtype=np.uint8)
    code: list[int] = np.packbits(np.concatenate([stream, padding])).tolist()
    return code


def _cut_long_runs(
    lengths: npt.NDArray[np.int64], drawn: BoolMask
) -> tuple[npt.NDArray[np.int64], BoolMask, BoolMask]:
    is_long = lengths > 256
    pieces = (lengths - 1) // _LONGEST_RUN + 1
    cut = np.full(int(pieces.sum()), _LONGEST_RUN, dtype=np.int64)
    cut[np.cumsum(pieces) - 1] = lengths - (pieces - 1) * _LONGEST_RUN
    return cut, np.repeat(drawn, pieces), np.repeat(is_long, pieces)


def decode_brush(code: Sequence[Any], size_hw: tuple[int, int]) -> BoolMask:
    """Decode an untrusted brush code to the pixels that count as drawn.

    Args:
        code: what stands in a result's `value.rle`.
        size_hw: the picture's size, known from elsewhere.

    Returns:
        (H, W) bool: alpha >= `DRAWN_ALPHA`.

    Raises:
        ItemFault: as `decode_alpha`.
    """
    data, field_bits = _checked_header(code, size_hw)
    runs = _whole_pixel_runs(data, field_bits, size_hw[0] * size_hw[1])
    if runs is None:
        return _read_tokens(data, field_bits, size_hw) >= DRAWN_ALPHA
    lengths, alphas = runs
    return np.repeat(alphas >= DRAWN_ALPHA, lengths).reshape(size_hw)


def decode_alpha(code: Sequence[Any], size_hw: tuple[int, int]) -> AlphaMask:
    """Decode an untrusted brush code to its alpha channel, (H, W) uint8.

    Nothing is allocated before the code's own size is known to be that of the picture, and nothing is read
    past its end.

    Raises:
        ItemFault: `rle_size`, the code is of another picture size; `rle_value`, not bytes, or another word
            size than 8 bits; `rle_sum`, tokens that end early or tell more bytes than announced.
    """
    data, field_bits = _checked_header(code, size_hw)
    runs = _whole_pixel_runs(data, field_bits, size_hw[0] * size_hw[1])
    if runs is None:
        return _read_tokens(data, field_bits, size_hw)
    lengths, alphas = runs
    return np.repeat(alphas, lengths).reshape(size_hw)


def _checked_header(code: Sequence[Any], size_hw: tuple[int, int]) -> tuple[bytes, list[int]]:
    try:
        data = bytes(code)
    except (TypeError, ValueError) as error:
        raise ItemFault(Reason.RLE_VALUE, f"brush code is no list of bytes: {error}") from None
    if len(data) * 8 < _HEADER_BITS:
        raise ItemFault(Reason.RLE_SUM, f"brush code of {len(data)} bytes has no room for its header")
    height, width = size_hw
    total = int.from_bytes(data[:4], "big")
    if total != height * width * _CHANNELS:
        raise ItemFault(
            Reason.RLE_SIZE,
            f"brush code tells {total} bytes, a {height}x{width} picture has {height * width * 4}",
        )
    parameters = int.from_bytes(data[4:7], "big")
    if parameters >> 19 != 8 - 1:
        raise ItemFault(Reason.RLE_VALUE, f"brush code has {(parameters >> 19) + 1}-bit words, expected 8")
    return data, [((parameters >> shift) & 15) + 1 for shift in (15, 11, 7, 3)]


def _whole_pixel_runs(
    data: bytes, field_bits: list[int], pixels: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]] | None:
    """Lengths in pixels and values of a code that is nothing but runs of whole pixels, None for any other.

    Where the next token begins depends on the one before, so the walk itself cannot be vectorised; but a
    token's width depends on its first three bits alone, and these can be looked up for every bit at once.
    """
    # No such code has more tokens than pixels; what a longer one has behind them is never looked at.
    told = np.frombuffer(data[: (_HEADER_BITS + _WIDEST_TOKEN * pixels) // 8 + 1], np.uint8)
    bits = np.concatenate([np.unpackbits(told), np.zeros(_WIDEST_TOKEN, np.uint8)])
    width_of = np.array([0, 0, 0, 0, *(field + 11 for field in field_bits)], np.uint8)  # 0: not a run
    widths = width_of[bits[:-2] << 2 | bits[1:-1] << 1 | bits[2:]].tobytes()
    starts: list[int] = []
    at = _HEADER_BITS
    while step := widths[at]:
        starts.append(at)
        at += step
    if at > told.size * 8:  # the last token is cut
        starts.pop()
    first = np.array(starts, dtype=np.int64)
    whole = np.concatenate([told, np.zeros(8, np.uint8)])
    window = whole[(first >> 3)[:, None] + np.arange(8)].view(">u8")[:, 0].astype(np.uint64)
    window <<= (first & 7).astype(np.uint64)
    field_of = np.array(field_bits, np.uint64)
    token = (window << np.uint64(3)) >> (np.uint64(56) - field_of[(window >> np.uint64(61)) & np.uint64(3)])
    lengths = (token >> np.uint64(8)).astype(np.int64) + 1
    done = np.cumsum(lengths)
    count = int(np.searchsorted(done, pixels * _CHANNELS)) + 1
    if count > done.size or done[count - 1] != pixels * _CHANNELS or (lengths[:count] % _CHANNELS).any():
        return None
    return lengths[:count] // _CHANNELS, token[:count].astype(np.uint8)


def _read_tokens(data: bytes, field_bits: list[int], size_hw: tuple[int, int]) -> AlphaMask:
    height, width = size_hw
    total = height * width * _CHANNELS
    out = np.zeros(total, dtype=np.uint8)
    padded = data + b"\0" * 8  # a token head is read as one 64-bit window
    pairs = np.frombuffer(padded, dtype=np.uint8).astype(np.uint16)
    end = len(data) * 8
    bit, done = _HEADER_BITS, 0
    while done < total:
        if bit >= end:
            raise ItemFault(Reason.RLE_SUM, f"brush code ends after {done} of {total} bytes")
        at = bit >> 3
        window = int.from_bytes(padded[at : at + 8], "big") << (bit & 7) & 0xFFFF_FFFF_FFFF_FFFF
        bits = field_bits[(window >> 61) & 3]
        length = ((window >> (61 - bits)) & ((1 << bits) - 1)) + 1
        is_run = window >> 63
        values_at = bit + 3 + bits
        bit = values_at + (8 if is_run else 8 * length)
        if bit > end or done + length > total:
            raise ItemFault(
                Reason.RLE_SUM, f"brush code's token at byte {done} does not fit its {total} bytes"
            )
        if is_run:
            out[done : done + length] = (window >> (53 - bits)) & 255
        else:
            start, shift = values_at >> 3, values_at & 7
            block = pairs[start : start + length + 1]
            out[done : done + length] = ((block[:-1] << shift) | (block[1:] >> (8 - shift))) & 255
        done += length
    return out.reshape(height, width, _CHANNELS)[..., 3]
