"""Bar charts as inline SVG; colours come from the page's style sheet, so they follow light and dark."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

_WIDTH = 440
_LABEL_WIDTH = 126
_VALUE_WIDTH = 104
_ROW_HEIGHT = 26
_BAR_HEIGHT = 16

_COLUMN_AREA_HEIGHT = 150
_COLUMN_TOP = 38
_COLUMN_BOTTOM = 26
_WIDEST_COLUMN = 56


def bars(counts: Mapping[str, int], title: str) -> str:
    """Horizontal bars with count and share, for things without an order of their own."""
    total = sum(counts.values())
    largest = max(counts.values(), default=0)
    room = _WIDTH - _LABEL_WIDTH - _VALUE_WIDTH
    parts: list[str] = []
    for row, (name, count) in enumerate(counts.items()):
        middle = row * _ROW_HEIGHT + _ROW_HEIGHT / 2
        length = room * count / largest if largest else 0.0
        top = middle - _BAR_HEIGHT / 2
        share = f"{count:,} · {count / total:.0%}" if total else "0"
        parts.append(
            f'<text class="name" x="{_LABEL_WIDTH - 8}" y="{middle:g}" text-anchor="end" dy=".35em">'
            f"{_short(name, 15)}</text>"
            f'<rect class="bar" x="{_LABEL_WIDTH}" y="{top:g}" width="{max(length, 1.5):.1f}" '
            f'height="{_BAR_HEIGHT}" rx="3"/>'
            f'<text class="value" x="{_LABEL_WIDTH + length + 7:.1f}" y="{middle:g}" dy=".35em">'
            f"{share}</text>"
        )
    return _svg(title, max(len(counts), 1) * _ROW_HEIGHT, parts)


def columns(counts: Mapping[str, int], title: str, axis: str) -> str:
    """Upright columns, for bins and other things that have an order; `axis` names what is counted."""
    total = sum(counts.values())
    largest = max(counts.values(), default=0)
    step = _WIDTH / max(len(counts), 1)
    width = min(_WIDEST_COLUMN, step * 0.66)
    base = _COLUMN_TOP + _COLUMN_AREA_HEIGHT
    parts = [f'<line class="axis" x1="0" x2="{_WIDTH}" y1="{base}" y2="{base}"/>']
    for index, (name, count) in enumerate(counts.items()):
        middle = (index + 0.5) * step
        height = _COLUMN_AREA_HEIGHT * count / largest if largest else 0.0
        share = f"{count / total:.0%}" if total else ""
        if count:
            parts.append(
                f'<rect class="bar" x="{middle - width / 2:.1f}" y="{base - height:.1f}" '
                f'width="{width:.1f}" height="{height:.1f}" rx="3"/>'
                f'<text class="share" x="{middle:.1f}" y="{base - height - 6:.1f}" '
                f'text-anchor="middle">{share}</text>'
            )
        top = base - height - (22 if count else 6)
        parts.append(
            f'<text class="value" x="{middle:.1f}" y="{top:.1f}" text-anchor="middle">{count:,}</text>'
            f'<text class="name" x="{middle:.1f}" y="{base + 18}" text-anchor="middle">'
            f"{_short(name, 12)}</text>"
        )
    parts.append(
        f'<text class="share" x="{_WIDTH / 2}" y="{base + 38}" text-anchor="middle">{escape(axis)}</text>'
    )
    return _svg(title, base + _COLUMN_BOTTOM + 20, parts)


def _short(name: str, length: int) -> str:
    shown = name if len(name) <= length else name[: length - 1] + "…"
    return f"{escape(shown)}<title>{escape(name)}</title>" if shown != name else escape(shown)


def _svg(title: str, height: float, parts: list[str]) -> str:
    return (
        f'<svg viewBox="0 0 {_WIDTH} {height:g}" role="img" aria-label="{escape(title, quote=True)}">'
        f"{''.join(parts)}</svg>"
    )
