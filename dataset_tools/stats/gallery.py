"""The gallery: pictures with their labels, to be filtered and looked through in the page itself.

The page carries one data block with all that is known of each picture, and blocks of small JPEGs that are
decoded when their turn comes. `gallery.js` builds the cards.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from dataset_tools.core.errors import ItemFault
from dataset_tools.core.images import ImageStore
from dataset_tools.core.labels import LABEL_COLOURS
from dataset_tools.core.text import printable
from dataset_tools.stats.choosing import Entry
from dataset_tools.stats.facets import FACETS
from dataset_tools.stats.html import text
from dataset_tools.stats.noise import NoiseEstimate
from dataset_tools.stats.noise_page import SUSPICION, SUSPICION_VALUES, suspicion_value
from dataset_tools.stats.thumbnails import GUESS, small_jpeg, small_layers, small_size_wh

PICTURES_PER_BLOCK = 50
_THREADS = 4

LAYERS = {**{label.value: label.value.replace("_", " ") for label in LABEL_COLOURS}, GUESS: "model's opinion"}


@dataclass(frozen=True, slots=True)
class _Small:
    jpeg: bytes
    layers: dict[str, str]
    fault: str = ""


def gallery_section(entries: Sequence[Entry], total: int, noise: NoiseEstimate, images: ImageStore) -> str:
    """The section as HTML, with its data.

    Args:
        entries: pictures that are shown.
        total: pictures that there are.
        noise: for the pictures' suspicion.
        images: the workspace's pictures; one that cannot be read leaves a note on its card.
    """
    small = list(_small_pictures(entries, images))
    rows = [_row(entry, item, noise) for entry, item in zip(entries, small, strict=True)]
    titles = {**FACETS, SUSPICION: "Suspicion"}
    data = {"facets": list(titles.items()), "orders": {SUSPICION: SUSPICION_VALUES}, "rows": rows}
    return "".join(
        (
            f'<p class="note">{_said_of_draw(len(entries), total)}</p>',
            _controls(titles),
            '<p id="shown" role="status" aria-live="polite"></p>',
            '<ul id="cards" class="sheet"></ul>'
            '<p><button type="button" id="more" hidden>Show more</button></p>',
            _DIALOG,
            f'<script type="application/json" id="gallery-data">{script_json(data)}</script>',
            *_blocks(small),
        )
    )


def _said_of_draw(shown: int, total: int) -> str:
    if shown == total:
        return f"All {total:,} pictures of the dataset."
    return (
        f"{shown:,} of {total:,} pictures: those on which label and model differ most, some of every kind, "
        "and a fair draw of the others. The counts at the filters are those of the pictures here."
    )


def _small_pictures(entries: Sequence[Entry], images: ImageStore) -> Iterator[_Small]:
    def make(entry: Entry) -> _Small:
        size_wh = small_size_wh(entry.image.size_hw)
        try:
            return _Small(small_jpeg(images.read(entry.image), size_wh), small_layers(entry.masks, size_wh))
        except (ItemFault, OSError) as fault:
            return _Small(b"", {}, str(fault))

    # Pillow lets other threads run while it decodes and encodes.
    with ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1), "thumbnail") as pool:
        yield from pool.map(make, entries)


def _row(entry: Entry, small: _Small, noise: NoiseEstimate) -> dict[str, Any]:
    suspect = noise.suspects.get(entry.sample_id)
    facets = {**entry.facets, SUSPICION: (suspicion_value(suspect),)}
    row: dict[str, Any] = {
        "id": entry.sample_id,
        "key": printable(entry.item_key),
        "size": small_size_wh(entry.image.size_hw),
        "in": [[printable(value) for value in values] for values in facets.values()],
        "more": [[name, printable(value)] for name, value in entry.details],
        "on": small.layers,
    }
    if suspect is not None:
        row["doubt"] = round(suspect.suspicion, 4)
    if small.fault:
        row["fault"] = printable(small.fault)
    return row


def script_json(value: Any) -> str:
    """JSON that may stand inside a script element: no character of it can end or open anything."""
    dumped = json.dumps(value, separators=(",", ":"))
    return dumped.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _blocks(small: Sequence[_Small]) -> Iterator[str]:
    for start in range(0, len(small), PICTURES_PER_BLOCK):
        block = small[start : start + PICTURES_PER_BLOCK]
        lines = "\n".join(base64.b64encode(item.jpeg).decode("ascii") for item in block)
        yield f'<script type="text/plain" class="pictures">{lines}</script>'


def _controls(titles: dict[str, str]) -> str:
    filters = "".join(
        f'<label>{text(title)}<select data-facet="{number}" id="filter-{key}"></select></label>'
        for number, (key, title) in enumerate(titles.items())
    )
    layers = "".join(
        f'<label class="check"><input type="checkbox" data-layer="{key}" checked>'
        f'<i class="swatch l-{key}"></i>{text(name)}</label>'
        for key, name in LAYERS.items()
    )
    return (
        '<form id="controls" class="card" aria-label="Gallery">'
        f'<fieldset class="filters"><legend>Filter</legend>{filters}'
        '<label>Name or id<input type="search" id="search" autocomplete="off"></label>'
        '<label>Order<select id="order"><option value="id">by id</option>'
        '<option value="doubt">most suspicious first</option></select></label></fieldset>'
        f'<fieldset class="layers"><legend>Overlay</legend>{layers}'
        '<label class="check">Opacity<input type="range" id="opacity" min="0" max="100" value="45"></label>'
        '<button type="reset">Reset</button></fieldset></form>'
    )


_DIALOG = (
    '<dialog id="detail" aria-labelledby="detail-title"><header><h3 id="detail-title"></h3>'
    '<button type="button" id="previous">Previous</button><button type="button" id="next">Next</button>'
    '<button type="button" id="close">Close</button></header>'
    '<div class="enlarged"></div><div class="scroll"><table><tbody></tbody></table></div></dialog>'
)
