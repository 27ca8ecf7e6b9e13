"""Charts as plain HTML and inline SVG: text keeps its size in every column, colours follow light and dark."""

from __future__ import annotations

import math
from collections.abc import Mapping

from dataset_tools.stats.html import name as shown
from dataset_tools.stats.html import text

_DONUT_RADIUS = 15.9155  # circumference 100: a slice's share is its length in percent
_SLICES = 9  # further ones are shown as one
MOST_ROWS = 40
_MAP_PX = 210


def bars(counts: Mapping[str, int]) -> str:
    """Horizontal bars with count and share, for things without an order of their own."""
    if not counts:
        return '<p class="note">None.</p>'
    total, largest = sum(counts.values()), max(counts.values())
    rows = (
        f'<tr><th scope="row">{shown(name)}</th>'
        f'<td class="track">{_bar(count, largest)}</td>'
        f'<td class="number">{count:,}<small>{_share(count, total)}</small></td></tr>'
        for name, count in largest_of(counts).items()
    )
    return f'<table class="bars"><tbody>{"".join(rows)}</tbody></table>'


def _bar(count: int, largest: int) -> str:
    return f'<i style="width:{100 * count / largest:.1f}%"></i>' if count else ""


def largest_of(counts: Mapping[str, int], most: int = MOST_ROWS) -> dict[str, int]:
    """The first `most` entries; where there are more, the last of them stands for all others."""
    if len(counts) <= most:
        return dict(counts)
    items = list(counts.items())
    rest = items[most - 1 :]
    return {**dict(items[: most - 1]), f"{len(rest):,} others": sum(count for _, count in rest)}


def columns(counts: Mapping[str, int], axis: str) -> str:
    """Upright columns, for bins and other things that have an order; `axis` names what is counted."""
    total, largest = sum(counts.values()), max(counts.values(), default=0)
    cells = (
        f'<li><span class="top"><b>{count:,}</b><small>{_share(count, total) if count else ""}</small>'
        f'<i style="height:{100 * count / max(largest, 1):.1f}px"></i></span>'
        f'<span class="name">{text(name)}</span></li>'
        for name, count in counts.items()
    )
    return f'<ol class="columns">{"".join(cells)}</ol><p class="axis">{text(axis)}</p>'


def donut(counts: Mapping[str, int], title: str) -> str:
    """A ring of shares with its legend; what lies beyond the first few is one slice, the legend has all."""
    total = sum(counts.values())
    if not total:
        return '<p class="note">None.</p>'
    slices = list(largest_of(counts, _SLICES).items())
    arcs, start = [], 0.0
    for number, (name, count) in enumerate(slices):
        length = 100 * count / total
        arcs.append(
            f'<circle class="slice s{number}" cx="21" cy="21" r="{_DONUT_RADIUS}" '
            f'stroke-dasharray="{length:.3f} {100 - length:.3f}" stroke-dashoffset="{25 - start:.3f}">'
            f"<title>{text(name)}: {count:,}, {_share(count, total)}</title></circle>"
        )
        start += length
    ring = (
        f'<svg class="donut" viewBox="0 0 42 42" role="img" aria-label="{text(title)}">{"".join(arcs)}'
        f'<text x="21" y="22.6" text-anchor="middle">{total:,}</text></svg>'
    )
    rows = (
        f'<tr><td><i class="swatch s{min(number, len(slices) - 1)}"></i></td>'
        f'<th scope="row">{shown(name)}</th>'
        f'<td class="number">{count:,}<small>{_share(count, total)}</small></td></tr>'
        for number, (name, count) in enumerate(largest_of(counts).items())
    )
    return f'<div class="ring">{ring}<table class="bars"><tbody>{"".join(rows)}</tbody></table></div>'


def size_map(sizes: Mapping[tuple[int, int], int]) -> str:
    """Pictures by width and height, as dots whose area is their number; both axes are logarithmic.

    Args:
        sizes: pictures by the half powers of two that width and height are nearest to: (12, 14) stands for
            64 × 128 px.
    """
    if not sizes:
        return '<p class="note">None.</p>'
    every = [value for size in sizes for value in size]
    low, high = min(every) - 1, max(every) + 1
    low, high = low - low % 2, high + high % 2
    step, left, bottom = _MAP_PX / (high - low), 56, _MAP_PX + 14
    largest = max(sizes.values())
    parts = []
    for power in range(low, high + 1, 2):
        at, px = (power - low) * step, round(2 ** (power / 2))
        parts.append(
            f'<line x1="{left + at:.1f}" x2="{left + at:.1f}" y1="14" y2="{bottom}"/>'
            f'<line x1="{left}" x2="{left + _MAP_PX}" y1="{bottom - at:.1f}" y2="{bottom - at:.1f}"/>'
            f'<text x="{left + at:.1f}" y="{bottom + 16}" text-anchor="middle">{px}</text>'
            f'<text x="{left - 6}" y="{bottom - at + 4:.1f}" text-anchor="end">{px}</text>'
        )
    for (width, height), count in sorted(sizes.items(), key=lambda pair: -pair[1]):
        radius = max(min(step, 24.0) * 0.8 * math.sqrt(count / largest), 2.0)
        said = f"about {round(2 ** (width / 2))} × {round(2 ** (height / 2))} px: {count:,}"
        parts.append(
            f'<circle cx="{left + (width - low) * step:.1f}" cy="{bottom - (height - low) * step:.1f}" '
            f'r="{radius:.1f}"><title>{said}</title></circle>'
        )
    return (
        f'<svg class="sizes" viewBox="0 0 {_MAP_PX + 84} {_MAP_PX + 36}" role="img" '
        f'aria-label="Pictures by width and height">'
        f"{''.join(parts)}</svg>"
    )


def _share(count: int, total: int) -> str:
    if not total:
        return ""
    return "&lt; 1%" if 0 < count / total < 0.005 else f"{count / total:.0%}"
