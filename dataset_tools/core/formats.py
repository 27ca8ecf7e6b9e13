"""Encoded pictures as bytes: what format they are, whether they are whole, and without their metadata.

Nothing here decodes a pixel; see `images`.
"""

from __future__ import annotations

import re
import struct
import zlib

from dataset_tools.core.errors import ImageFault
from dataset_tools.core.reasons import Reason

_SIGNATURES = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF8", "GIF"),
    (b"BM", "BMP"),
    (b"II*\x00", "TIFF"),
    (b"MM\x00*", "TIFF"),
)
_HEIF_BRANDS = frozenset({b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"})
# The next marker inside entropy-coded data: FF00 is a stuffed byte, FFD0 to FFD7 are restarts. Starting with
# one literal byte it is searched by memchr; with "\xff+" the search takes half as long as decoding.
_JPEG_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")


def sniff_format(data: bytes) -> str | None:
    """Format named by the first bytes ("JPEG", "PNG", …), None when it is no allowed picture."""
    for signature, name in _SIGNATURES:
        if data.startswith(signature):
            return name
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data[4:8] == b"ftyp":
        # ISO 14496-12: the major brand, a version, then the brands it is compatible with.
        length = min(int.from_bytes(data[:4], "big"), 256)
        brands = {data[8:12], *(data[at : at + 4] for at in range(16, length, 4))}
        if brands & {b"avif", b"avis"}:
            return "AVIF"
        if brands & _HEIF_BRANDS:
            return "HEIF"
    return None


def what_it_looks_like(data: bytes) -> str:
    """A line for people about bytes that are no picture."""
    head = data[:256].lstrip().lower()
    if head.startswith((b"<!doctype", b"<html", b"<?xml", b"<svg")):
        return "an HTML, XML or SVG page, not a picture"
    if head.startswith(b"%pdf"):
        return "a PDF, not a picture"
    if head[:1] in (b"{", b"["):
        return "JSON, not a picture"
    return f"no known picture format (first bytes {data[:8].hex()})"


def check_png_data(data: bytes) -> None:
    """Follow the chunks of a PNG and count its pixel data.

    Raises:
        ImageFault: `truncated` when they are not all there, `corrupt` when they cannot be inflated.
    """
    position, inflated = 8, 0
    decoder = zlib.decompressobj()
    wanted = -1
    while len(data) >= position + 12:
        (length,) = struct.unpack_from(">I", data, position)
        kind, body = data[position + 4 : position + 8], memoryview(data)[position + 8 : position + 8 + length]
        if kind == b"IHDR" and length == 13:
            wanted = _png_data_size(*struct.unpack(">IIBBBBB", body))
        elif kind == b"IDAT":
            piece = bytes(body)
            while piece and inflated < wanted:
                try:
                    inflated += len(decoder.decompress(piece, 1 << 18))
                except zlib.error as error:
                    raise ImageFault(Reason.CORRUPT, f"PNG: {error}") from error
                piece = decoder.unconsumed_tail
        elif kind == b"IEND":
            break
        position += 12 + length
    else:
        raise ImageFault(Reason.TRUNCATED, "PNG ends before its IEND chunk")
    if inflated < wanted:
        raise ImageFault(Reason.TRUNCATED, f"PNG holds {inflated} bytes of pixels, {wanted} are needed")


def _png_data_size(width: int, height: int, depth: int, colour: int, *more: int) -> int:
    """Bytes of inflated pixel data: rows of packed samples, each after one filter byte (PNG section 7.2)."""
    bits = depth * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}.get(colour, 1)
    passes = [(0, 0, 1, 1)]
    if more[-1] == 1:  # Adam7: x and y of the first pixel, steps in x and y
        passes = [
            (0, 0, 8, 8),
            (4, 0, 8, 8),
            (0, 4, 4, 8),
            (2, 0, 4, 4),
            (0, 2, 2, 4),
            (1, 0, 2, 2),
            (0, 1, 1, 2),
        ]
    sizes = [(-((x - width) // dx), -((y - height) // dy)) for x, y, dx, dy in passes]
    return sum(rows * (1 + (columns * bits + 7) // 8) for columns, rows in sizes if columns > 0 and rows > 0)


def strip_jpeg_metadata(data: bytes) -> bytes:
    """The same JPEG with nothing but what decodes it: no metadata, thumbnails, comments or trailing bytes.

    JFIF (APP0) and Adobe (APP14) stay: they say how to read the colours. Pixels are untouched. The first end
    marker of the picture itself ends it: what follows may be anything, further pictures with EXIF included.

    Raises:
        ImageFault: `corrupt`, when the segments cannot be followed.
    """
    kept = [b"\xff\xd8"]
    position = 2
    while True:
        while data[position : position + 2] == b"\xff\xff":
            position += 1
        marker = data[position : position + 2]
        if len(marker) < 2 or marker[0] != 0xFF:
            raise ImageFault(Reason.CORRUPT, "JPEG: no marker where one must stand")
        if marker[1] == 0xDA:
            found = _JPEG_MARKER.search(data, position + 2 + _segment_length(data, position))
            if found is None:
                raise ImageFault(Reason.TRUNCATED, "JPEG: no end marker")
            kept.append(data[position : found.start()].rstrip(b"\xff"))  # without bytes that fill up to it
            position = found.start()
            continue
        if marker[1] == 0xD9:
            return b"".join([*kept, b"\xff\xd9"])
        length = _segment_length(data, position)
        segment = data[position : position + 2 + length]
        kept.append(_needed_part(marker[1], segment))
        position += 2 + length


def _needed_part(marker: int, segment: bytes) -> bytes:
    """What of a segment is needed to decode; of JFIF and Adobe what they define, anything may follow that."""
    if marker == 0xE0:  # up to the size of the thumbnail, of which there is none
        is_jfif = len(segment) >= 18 and segment[4:9] == b"JFIF\0"
        return b"\xff\xe0\x00\x10" + segment[4:16] + b"\0\0" if is_jfif else b""
    if marker == 0xEE:
        is_adobe = len(segment) >= 16 and segment[4:9] == b"Adobe"
        return b"\xff\xee\x00\x0e" + segment[4:16] if is_adobe else b""
    is_table = 0xC0 <= marker <= 0xCF or marker in (0xDB, 0xDC, 0xDD)
    return segment if is_table else b""


def _segment_length(data: bytes, position: int) -> int:
    """Length of the segment whose marker stands at `position`, without the marker."""
    length = int.from_bytes(data[position + 2 : position + 4], "big")
    if length < 2 or len(data) < position + 2 + length:
        raise ImageFault(Reason.TRUNCATED, "JPEG: a segment is cut")
    return length
