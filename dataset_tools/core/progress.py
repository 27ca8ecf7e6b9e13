"""Progress of long work: silent by default, a bar with rate and ETA on a terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

_FALLBACK_SIZE = {"ncols": 80, "nrows": 24}


class Progress(Protocol):
    """What a stage may tell while it works."""

    def advance(self, count: int = 1) -> None:
        """`count` more items are done."""

    def note(self, text: str) -> None:
        """A short state such as "loss 0.31", shown beside the bar."""


class ProgressFactory(Protocol):
    """Opens one progress display per piece of work."""

    def __call__(self, label: str, total: int | None) -> Any:
        """A context manager that yields a `Progress`; `total` None when it is not known."""


class _Silent:
    def advance(self, count: int = 1) -> None:
        return None

    def note(self, text: str) -> None:
        return None


@contextmanager
def silent(label: str, total: int | None) -> Iterator[Progress]:
    """A `ProgressFactory` that shows nothing."""
    yield _Silent()


class _Bar:
    def __init__(self, bar: Any) -> None:
        self._bar = bar

    def advance(self, count: int = 1) -> None:
        self._bar.update(count)

    def note(self, text: str) -> None:
        self._bar.set_postfix_str(text, refresh=False)


@contextmanager
def terminal(label: str, total: int | None) -> Iterator[Progress]:
    """A `ProgressFactory` that draws a bar with count, rate and ETA on standard error."""
    from tqdm import tqdm

    # Some pseudo terminals state a width of 0, on which tqdm draws nothing at all; a file states none.
    width = os.get_terminal_size(sys.stderr.fileno()).columns if sys.stderr.isatty() else 0
    size: dict[str, Any] = {"dynamic_ncols": True} if width else _FALLBACK_SIZE
    with tqdm(total=total, desc=f"{label:<10}", file=sys.stderr, **size) as bar:
        yield _Bar(bar)
