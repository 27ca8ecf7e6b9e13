"""The statistics page: one HTML file that opens offline, and the same facts as `report.json`.

Figures 3 and 4 follow those of the MFSD dataset in ABANet (Rezvani et al., Expert Systems 2024): image
sizes, face orientation, masked faces per image, mask types.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from dataset_tools.core.errors import ConfigError, ItemFault
from dataset_tools.core.files import write_text
from dataset_tools.core.images import ImageStore
from dataset_tools.core.labels import LABEL_COLOURS, MASK_TYPE, Label
from dataset_tools.core.manifest import Manifest
from dataset_tools.core.record import Rejection, Sample
from dataset_tools.stats import charts
from dataset_tools.stats.contact_sheet import thumbnail
from dataset_tools.stats.facts import (
    FACE_EDGES_PX,
    IMAGE_EDGES_PX,
    MASKS_PER_IMAGE,
    POSES,
    Facts,
    bin_names,
    by_count,
    collect_facts,
    in_order,
)
from dataset_tools.stats.html import cards, picture, table, text
from dataset_tools.stats.rendered import RenderedFacts, collect_rendered
from dataset_tools.stats.rendered_page import render_overlay

# Pictures on the contact sheet of each kind (real with labels, synthetic, real without labels).
_SHEET_PER_KIND = 12
_THUMBNAIL_PX = 256

# The page needs no script, font or address; this makes a browser refuse any that slipped in.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"

_MEANINGS = {
    "human": "drawn or confirmed by people",
    "synth": "exact, from the renderer",
    "published": "from a published dataset",
    "model": "proposed by a model, not confirmed",
}


def write_report(
    chain: Mapping[str, Manifest], images: ImageStore, out_dir: Path, title: str = "Dataset report"
) -> Path:
    """Write `report.html` and `report.json`.

    Args:
        chain: manifests by stage name, in the order they ran; the last one is what the page shows.
        images: the workspace's pictures.
        out_dir: folder for both files.
        title: heading of the page.

    Returns:
        Path of the page.

    Raises:
        ConfigError: an empty chain.
    """
    if not chain:
        raise ConfigError("a report needs at least one finished stage")
    last = list(chain.values())[-1]
    facts = collect_facts(
        last.samples(),
        _rejections(chain.values()),
        {stage: manifest.counts for stage, manifest in chain.items()},
    )
    rendered = collect_rendered(chain["synth"]) if "synth" in chain else RenderedFacts()
    overlay = render_overlay(rendered, images) if rendered.yields else ""
    page = render_page(facts, list(_figures(choose_samples(last.samples()), images)), title, overlay)
    values = {**facts.as_json(), "rendered": rendered.as_json()}
    write_text(out_dir / "report.json", json.dumps(values, indent=2, ensure_ascii=False) + "\n")
    write_text(out_dir / "report.html", page)
    return out_dir / "report.html"


def _rejections(manifests: Iterable[Manifest]) -> Iterator[Rejection]:
    for manifest in manifests:
        yield from manifest.rejections()


def choose_samples(samples: Iterable[Sample], per_kind: int = _SHEET_PER_KIND) -> list[Sample]:
    """Up to `per_kind` samples each of: labelled photos, rendered pictures, photos without labels.

    Those with the smallest ids are taken: ids come from the pictures' bytes, so this is a fair draw that
    is the same in every order.
    """
    kinds: dict[int, list[Sample]] = {0: [], 1: [], 2: []}
    for sample in samples:
        kind = 1 if sample.is_synthetic else 0 if sample.is_labelled else 2
        kinds[kind].append(sample)
        if len(kinds[kind]) > 8 * per_kind:
            kinds[kind] = _smallest(kinds[kind], per_kind)
    return [sample for found in kinds.values() for sample in _smallest(found, per_kind)]


def _smallest(samples: list[Sample], count: int) -> list[Sample]:
    return heapq.nsmallest(count, samples, key=lambda sample: sample.id)


def _figures(samples: Iterable[Sample], images: ImageStore) -> Iterator[str]:
    for sample in samples:
        try:
            small = thumbnail(images.read(sample.image), sample.instances, _THUMBNAIL_PX)
        except ItemFault as fault:
            yield f"<figure><figcaption><b>{text(sample.id[:12])}</b> {text(fault)}</figcaption></figure>"
            continue
        yield (
            f"<figure>{picture(small, _caption(sample))}<figcaption><b>{text(sample.id[:12])}</b> "
            f"{text(_caption(sample))}</figcaption></figure>"
        )


def _caption(sample: Sample) -> str:
    types = sorted({item.attribute(MASK_TYPE) for item in sample.instances} - {""})
    if not sample.is_labelled:
        state = "proposals" if sample.instances else "no label"
    else:
        state = "" if any(item.label is Label.FACE_MASK for item in sample.instances) else "no face mask"
    kind = "synthetic" if sample.is_synthetic else "photo"
    parts = [kind, sample.split.value, sample.provenance.source, *types, state]
    return " · ".join(part for part in parts if part)


def render_page(facts: Facts, figures: Sequence[str], title: str, overlay: str = "") -> str:
    """The whole page as text; `figures` are finished `<figure>` elements, `overlay` a finished section."""
    css = (Path(__file__).parent / "page.css").read_text(encoding="utf-8")
    body = "".join(
        [
            f"<h1>{text(title)}</h1>",
            f'<p class="lead">{text(_lead(facts))}</p>',
            _tiles(facts),
            "<h2>Figure 3 · Sizes, orientation, faces per picture</h2>",
            _figure_three(facts),
            "<h2>Figure 4 · Mask types and how they are worn</h2>",
            _figure_four(facts),
            "<h2>Splits, sources, licences</h2>",
            _origins(facts),
            "<h2>From the crawl to the dataset</h2>",
            _flow(facts),
            "<h2>What was dropped, and why</h2>",
            _dropped(facts),
            overlay,
            "<h2>Samples with their labels</h2>",
            _legend(),
            f'<div class="sheet">{"".join(figures)}</div>',
            "<footer>Counted from the manifest; the same facts are in report.json.</footer>",
        ]
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{text(title)}</title><style>\n{css}</style></head><body><main>{body}</main></body></html>\n"
    )


def _lead(facts: Facts) -> str:
    width, height = facts.mean_size_wh
    return (
        f"{facts.pictures:,} pictures with {facts.faces:,} detected faces and {facts.masked_faces:,} "
        f"labelled face masks; {width:.0f} × {height:.0f} pixels on average."
    )


def _tiles(facts: Facts) -> str:
    tiles = {
        "photos": facts.photos,
        "synthetic pictures": facts.synthetic,
        "with ground truth": facts.labelled,
        "detected faces": facts.faces,
        "labelled face masks": facts.masked_faces,
        "proposals": facts.proposals,
        "items rejected": sum(facts.rejections.values()),
    }
    cells = (f'<div class="tile"><b>{count:,}</b><span>{name}</span></div>' for name, count in tiles.items())
    return f'<div class="tiles">{"".join(cells)}</div>'


def _figure_three(facts: Facts) -> str:
    per_image = in_order(facts.masks_per_image, MASKS_PER_IMAGE)
    return cards(
        (
            "(a) Image sizes",
            charts.columns(
                in_order(facts.image_sizes, bin_names(IMAGE_EDGES_PX)), "Image sizes", "longer side in pixels"
            ),
        ),
        (
            "(b) Face orientation",
            charts.columns(in_order(facts.poses, POSES), "Face orientation", "where the face looks"),
        ),
        (
            "(c) Face masks per labelled picture",
            charts.columns(per_image, "Face masks per picture", "face masks on one picture"),
        ),
        (
            "Face sizes",
            charts.columns(
                in_order(facts.face_sizes, bin_names(FACE_EDGES_PX)), "Face sizes", "shorter side in pixels"
            ),
        ),
        ("Picture shape", charts.bars(by_count(facts.image_shapes), "Picture shape")),
        ("Detector's opinion of the faces", charts.bars(by_count(facts.wearing), "Wearing")),
    )


def _figure_four(facts: Facts) -> str:
    origins = {_MEANINGS.get(kind, kind): count for kind, count in by_count(facts.drawn_by).items()}
    return cards(
        ("Mask types", charts.bars(by_count(facts.mask_types), "Mask types")),
        ("Wearing states", charts.bars(by_count(facts.wearing_states), "Wearing states")),
        ("Labels", charts.bars(by_count(facts.labels), "Labels")),
        (
            "Who drew the labels",
            table(("Origin", "Instances"), list(origins.items())),
        ),
        kind="two",
    )


def _origins(facts: Facts) -> str:
    splits = [(split, kind, count) for (split, kind), count in sorted(facts.splits.items())]
    return cards(
        ("Splits", table(("Split", "Kind", "Pictures"), splits)),
        ("Sources", table(("Source", "Pictures"), list(by_count(facts.sources).items()))),
        ("Licences", table(("Licence", "Pictures"), list(by_count(facts.licences).items()))),
        ("Review", table(("State", "Pictures"), list(by_count(facts.reviews).items()))),
        kind="four",
    )


def _flow(facts: Facts) -> str:
    rows = [
        (stage, counts.inputs, counts.kept, counts.rejected, counts.derived, counts.derived_rejected)
        for stage, counts in facts.flow.items()
    ]
    titles = ("Stage", "In", "Kept", "Rejected", "Made new", "Could not be made")
    return f'<div class="card scroll">{table(titles, rows)}</div>'


def _dropped(facts: Facts) -> str:
    if not facts.rejections:
        return '<p class="note">Nothing was rejected.</p>'
    rows = []
    for (stage, reason), count in sorted(facts.rejections.items()):
        examples = "".join(
            f'<p class="example"><code>{text(item)}</code><br>{text(detail)}</p>'
            for item, detail in facts.examples[(stage, reason)]
        )
        rows.append(
            f'<tr><td class="word">{text(stage)}</td><td class="word">{text(reason)}</td>'
            f'<td class="number">{count:,}</td><td>{examples}</td></tr>'
        )
    return (
        '<div class="card scroll"><table><thead><tr><th>Stage</th><th>Reason</th>'
        f'<th class="number">Items</th><th>Examples</th></tr></thead><tbody>{"".join(rows)}</tbody>'
        "</table></div>"
    )


def _legend() -> str:
    entries = (
        f'<span><i style="background:rgb{colour}"></i>{label.value.replace("_", " ")}</span>'
        for label, colour in LABEL_COLOURS.items()
    )
    return f'<div class="legend">{"".join(entries)}</div>'
