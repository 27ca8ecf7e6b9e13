"""Markdown from foreign words and counts; pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

Cell = str | int


def table(titles: Sequence[str], rows: Iterable[Sequence[Cell]]) -> str:
    """A Markdown table; every cell is plain text."""
    lines = [list(titles), ["---"] * len(titles), *([str(cell) for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(plain(cell) for cell in line) + " |" for line in lines)


def plain(text: str) -> str:
    """Foreign words as plain Markdown text: no markup, no line break, no table cell of their own."""
    line = " ".join(text.split())
    for mark, harmless in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("|", "\\|"), ("[", "\\[")):
        line = line.replace(mark, harmless)
    return line


def counted(count: int, noun: str) -> str:
    """ "1 picture", "2 pictures"."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def by_count(counts: Counter[str]) -> list[tuple[str, int]]:
    """Counts, the largest first; equal ones by name."""
    return sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
