"""Reads the body of an answer: capped, inflated under the same cap, and never slower than allowed."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable

from dataset_tools.core.errors import FetchFault
from dataset_tools.core.reasons import Reason
from dataset_tools.crawl.resolving import TryAgain
from dataset_tools.crawl.transport import Response


async def read_body(
    response: Response,
    max_bytes: int,
    *,
    is_cut: bool = False,
    min_bytes_per_s: float = 0.0,
    over_s: float = 10.0,
) -> bytes:
    """The whole body without its content-encoding.

    Args:
        response: its head was read.
        max_bytes: of the stated length, and of what comes after inflating.
        is_cut: take the first `max_bytes` of a longer body instead of refusing it.
        min_bytes_per_s: slowest rate allowed, taken over spans of `over_s` seconds as bytes arrive; a
            silence is the transport's business.
        over_s: length of such a span.

    Raises:
        FetchFault: `too_many_bytes`, or `transport` for an encoding nobody asked for (broken, brotli, …).
        TryAgain: `transport`, cut short or too slow.
    """
    stated = response.headers.get("content-length", "")
    if stated.isdecimal() and int(stated[:20]) > max_bytes and not is_cut:
        raise FetchFault(Reason.TOO_MANY_BYTES, f"{stated[:20]} bytes stated, at most {max_bytes} allowed")
    inflate = _inflater(response.headers.get("content-encoding", "identity"))
    pace = _Pace(min_bytes_per_s, over_s)
    parts: list[bytes] = []
    size = 0
    async for block in response.blocks():
        # One byte more than allowed tells "too long" from "exactly full".
        parts.append(inflate(block, max_bytes + 1 - size))
        size += len(parts[-1])
        if size > max_bytes:
            if is_cut:
                return b"".join(parts)[:max_bytes]
            raise FetchFault(Reason.TOO_MANY_BYTES, f"more than {max_bytes} bytes")
        pace.count(len(block))
    return b"".join(parts)


class _Pace:
    def __init__(self, least: float, over_s: float) -> None:
        self._least, self._over_s = least, over_s
        self._since, self._bytes = time.monotonic(), 0

    def count(self, size: int) -> None:
        self._bytes += size
        lasted = time.monotonic() - self._since
        if lasted < self._over_s:
            return
        if self._bytes < self._least * lasted:
            raise TryAgain(Reason.TRANSPORT, f"slower than {self._least:g} bytes/s over {self._over_s:g} s")
        self._since, self._bytes = time.monotonic(), 0


def _inflater(encoding: str) -> Callable[[bytes, int], bytes]:
    """Undo one layer of compression that we did not ask for, at most so many bytes at a time."""
    name = encoding.strip().lower()
    if name in ("", "identity"):
        return lambda block, most: block
    if name not in ("gzip", "x-gzip", "deflate"):
        raise FetchFault(Reason.TRANSPORT, f"answer in content-encoding {name[:40]!r}, not asked for")
    decoder = zlib.decompressobj(wbits=47)  # 32 + 15: gzip or zlib, told by the header

    def inflate(block: bytes, most: int) -> bytes:
        try:
            return decoder.decompress(block, most)
        except zlib.error as error:
            raise FetchFault(Reason.TRANSPORT, f"broken {name} encoding: {error}") from error

    return inflate
