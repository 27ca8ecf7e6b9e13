"""The bar on a real pseudo terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import sys
import termios
from contextlib import suppress

import pytest

from dataset_tools.core.progress import terminal


def read_all(reader: int) -> str:
    """What a closed pseudo terminal still holds; it hands out one write at a time."""
    parts = []
    with suppress(OSError):  # EIO marks the end
        while part := os.read(reader, 10_000):
            parts.append(part)
    return b"".join(parts).decode()


@pytest.mark.parametrize("columns", [0, 100])
def test_a_terminal_shows_count_rate_and_time_left(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    reader, writer = pty.openpty()
    fcntl.ioctl(writer, termios.TIOCSWINSZ, struct.pack("HHHH", 30 if columns else 0, columns, 0, 0))
    with os.fdopen(writer, "w") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        with terminal("crawl", 3) as bar:
            bar.advance(3)
            bar.note("loss 0.5")
    shown = read_all(reader)
    os.close(reader)
    for part in ("crawl", "100%", "3/3", "it/s", "<00:00"):
        assert part in shown
