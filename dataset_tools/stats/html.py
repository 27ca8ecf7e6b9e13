"""Pieces of HTML that the parts of the report share."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape

from PIL import Image

from dataset_tools.core.images import RgbImage
from dataset_tools.core.text import printable

Row = Sequence[str | int]

_LONGEST_WORD = 16
_LONGEST_NAME = 90


def cards(*shown: tuple[str, str], kind: str = "") -> str:
    """Titled boxes side by side; contents are finished HTML."""
    boxes = (f'<section class="card"><h3>{text(title)}</h3>{content}</section>' for title, content in shown)
    return f'<div class="charts {kind}">{"".join(boxes)}</div>'


def table(titles: Sequence[str], rows: Sequence[Row]) -> str:
    """A table; columns whose first cell is a number are set as numbers."""
    if not rows:
        return '<p class="note">None.</p>'
    numeric = [isinstance(cell, int) for cell in rows[0]]
    head = "".join(
        f"<th{' class=number' if is_number else ''}>{text(title)}</th>"
        for title, is_number in zip(titles, numeric, strict=True)
    )
    lines = ("".join(map(_cell, row)) for row in rows)
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(value: str | int) -> str:
    if isinstance(value, int):
        return f'<td class="number">{value:,}</td>'
    # A short word is never cut; anything longer may be, anywhere, so that no name can burst the page.
    is_word = len(value) <= _LONGEST_WORD
    return f"<td{' class=word' if is_word else ''}>{name(value)}</td>"


def text(value: object) -> str:
    """Foreign words as harmless HTML text; control characters are shown, not obeyed."""
    return escape(printable(str(value)), quote=True)


def name(value: object) -> str:
    """A foreign name as HTML text, cut where it would fill the page; a hover shows all of it."""
    whole = str(value)
    if len(whole) <= _LONGEST_NAME:
        return text(whole)
    return f'<span title="{text(whole)}">{text(whole[: _LONGEST_NAME - 1])}…</span>'


def picture(rgb: RgbImage, alternative: str) -> str:
    """An `<img>` that carries its own JPEG.

    Args:
        rgb: (H, W, 3) uint8.
        alternative: what it shows, in words.
    """
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "JPEG", quality=85, subsampling=0)
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    height, width = rgb.shape[:2]
    return (
        f'<img alt="{text(alternative)}" width="{width}" height="{height}" '
        f'src="data:image/jpeg;base64,{data}">'
    )
