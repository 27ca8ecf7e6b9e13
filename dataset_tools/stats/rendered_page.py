"""The report's section on rendered masks: yield by pose, variety, and a sheet of type × pose × state."""

from __future__ import annotations

import numpy as np
from PIL import Image

from dataset_tools.core.errors import ItemFault
from dataset_tools.core.images import ImageStore, RgbImage
from dataset_tools.core.record import Face
from dataset_tools.stats import charts
from dataset_tools.stats.html import cards, picture, table, text
from dataset_tools.stats.rendered import (
    DRESSED,
    SHEET_POSES,
    Cell,
    RenderedFacts,
    sheet_cells,
    yaw_bins,
    yaw_name,
)

_TILE_PX = 128
_AROUND_FACE = 0.35  # of the face box's longer side


def render_overlay(facts: RenderedFacts, images: ImageStore) -> str:
    """The section as HTML."""
    poses = {pose: sum(n for cell, n in facts.kinds.items() if cell[2] == pose) for pose in SHEET_POSES}
    return "".join(
        [
            cards(
                ("Faces dressed, by yaw", _yield_table(facts)),
                ("Wearer's pose", charts.bars(poses)),
                kind="wide",
            ),
            '<p class="note">One example of each mask type, pose and wearing state that occurs, and how many '
            "there are.</p>",
            _sheet(facts, images),
        ]
    )


def _yield_table(facts: RenderedFacts) -> str:
    reasons = sorted(set(facts.overall) - {DRESSED})
    rows: list[tuple[str | int, ...]] = []
    for name, counts in [
        *((yaw_name(low), facts.yields[low]) for low in yaw_bins(facts.yields)),
        ("all", facts.overall),
    ]:
        total = sum(counts.values())
        share = f"{counts[DRESSED] / total:.1%}" if total else "–"
        rows.append((name, total, counts[DRESSED], share, *(counts[reason] for reason in reasons)))
    return f'<div class="scroll">{table(("Yaw", "Faces", "Dressed", "Yield", *reasons), rows)}</div>'


def _sheet(facts: RenderedFacts, images: ImageStore) -> str:
    tiles = "".join(_tile(facts, cell, images) for cell in sheet_cells(facts))
    return f'<ul class="examples">{tiles}</ul>'


def _tile(facts: RenderedFacts, cell: Cell, images: ImageStore) -> str:
    sample, item = facts.examples[cell]
    kind, state, pose = cell
    try:
        photo = images.read(sample.image)
    except ItemFault as fault:
        shown = text(fault)
    else:
        shown = picture(crop_face(photo, sample.faces[item.face]), ", ".join(cell))
    said = f"{pose}, {state.replace('_', ' ')} · {facts.kinds[cell]:,}"
    return f"<li>{shown}<b>{text(kind)}</b>{text(said)}</li>"


def crop_face(photo: RgbImage, face: Face) -> RgbImage:
    """A square of 128 px around a face, (128, 128, 3); what lies outside the photo is grey."""
    x0, y0, x1, y1 = face.box_xyxy
    half = (0.5 + _AROUND_FACE) * max(x1 - x0, y1 - y0)
    middle_x, middle_y = (x0 + x1) / 2, (y0 + y1) / 2
    square = (middle_x - half, middle_y - half, middle_x + half, middle_y + half)
    padded = Image.fromarray(photo).transform(
        (2 * _TILE_PX, 2 * _TILE_PX),
        Image.Transform.EXTENT,
        square,
        Image.Resampling.BICUBIC,
        fillcolor=(128, 128, 128),
    )
    return np.asarray(padded.resize((_TILE_PX, _TILE_PX), Image.Resampling.BOX), dtype=np.uint8)
