"""The page's sections of counts: figures 3 and 4 of the MFSD paper and what goes beyond them."""

from __future__ import annotations

from dataset_tools.core.labels import WEARING_STATES
from dataset_tools.stats import charts
from dataset_tools.stats.facets import FACETS, POSES, UNKNOWN
from dataset_tools.stats.facts import (
    FACE_EDGES_PX,
    IMAGE_EDGES_PX,
    PER_IMAGE,
    Facts,
    agreement_bins,
    bin_names,
    by_count,
    in_order,
)
from dataset_tools.stats.html import Row, cards, table, text
from dataset_tools.stats.html import name as shown
from dataset_tools.stats.skin import ITA_CLASSES

MEANINGS = {
    "human": "drawn or confirmed by people",
    "synth": "exact, from the renderer",
    "published": "from a published dataset",
    "model": "proposed by a model, not confirmed",
}

_SPLITS = ("train", "val", "test", "unassigned")
_CROSSED = ("kind", "mask_type", "wearing_state", "pose", "source", "licence", "origin", "review")


def lead(facts: Facts) -> str:
    """The dataset in one sentence."""
    width, height = facts.mean_size_wh
    return (
        f"{facts.pictures:,} pictures with {facts.faces:,} detected faces and {facts.masked_faces:,} "
        f"labelled face masks; {width:.0f} × {height:.0f} pixels on average."
    )


def tiles(facts: Facts) -> str:
    """The largest numbers."""
    values = {
        "photos": facts.photos,
        "synthetic pictures": facts.synthetic,
        "with ground truth": facts.labelled,
        "detected faces": facts.faces,
        "labelled face masks": facts.masked_faces,
        "proposals": facts.proposals,
        "items rejected": sum(facts.rejections.values()),
    }
    cells = (f'<div class="tile"><b>{count:,}</b><span>{name}</span></div>' for name, count in values.items())
    return f'<div class="tiles">{"".join(cells)}</div>'


def figure_three(facts: Facts) -> str:
    """Sizes, orientation and number of masked faces, as in the paper's figure 3."""
    return cards(
        (
            "(a) Image sizes",
            charts.columns(in_order(facts.image_sizes, bin_names(IMAGE_EDGES_PX)), "longer side in pixels"),
        ),
        ("(b) Face orientation", charts.columns(in_order(facts.poses, POSES), "where the face looks")),
        (
            "(c) Masked faces per picture",
            charts.columns(in_order(facts.masks_per_image, PER_IMAGE), "face masks on a labelled picture"),
        ),
    )


def figure_four(facts: Facts) -> str:
    """Mask types, as in the paper's figure 4, and how they are worn."""
    states = in_order(facts.wearing_states, (*WEARING_STATES, UNKNOWN))
    others = {name: count for name, count in by_count(facts.wearing_states).items() if name not in states}
    return cards(
        ("Mask types", charts.donut(by_count(facts.mask_types), "Mask types")),
        ("Wearing states", charts.bars(_worded({**states, **others}))),
        kind="two",
    )


def further(facts: Facts) -> str:
    """Faces, skin, sizes and shapes."""
    tones = in_order(facts.skin_tones, (name for _, name in ITA_CLASSES))
    known = sum(tones.values())
    tone_note = (
        f'<p class="note">Known for {known:,} of {facts.masked_faces:,} labelled face masks; as the photo '
        "shows it, light and camera included.</p>"
    )
    return cards(
        (
            "Face sizes",
            charts.columns(in_order(facts.face_sizes, bin_names(FACE_EDGES_PX)), "shorter side in pixels"),
        ),
        (
            "Faces per picture",
            charts.columns(in_order(facts.faces_per_image, PER_IMAGE), "detected faces on a picture"),
        ),
        ("Wearer's skin (ITA)", (charts.bars(tones) if known else "") + tone_note),
        ("Width and height", charts.size_map(facts.size_map)),
        ("Picture shape", charts.bars(by_count(facts.image_shapes))),
        ("Detector's opinion of the faces", charts.bars(by_count(facts.wearing))),
    )


def provenance(facts: Facts) -> str:
    """Sources, licences and who drew what."""
    drawers: list[Row] = [
        (name or "people", MEANINGS.get(kind, kind), count)
        for (kind, name), count in sorted(facts.drawers.items(), key=lambda pair: (-pair[1], pair[0]))
    ]
    counts = cards(
        ("Sources", charts.bars(by_count(facts.sources))),
        ("Licences", charts.bars(by_count(facts.licences))),
        ("Labels", charts.bars(_worded(by_count(facts.labels)))),
    )
    drawn = table(("Who", "How", "Instances"), drawers[: charts.MOST_ROWS])
    return f'{counts}<div class="card scroll"><h3>Who drew the labels</h3>{drawn}</div>'


def _worded(counts: dict[str, int]) -> dict[str, int]:
    # Our own words only: a name from outside is shown as it is.
    return {name.replace("_", " "): count for name, count in counts.items()}


def review(facts: Facts) -> str:
    """What people said, and how far they agreed."""
    mean, seen = facts.mean_agreement, sum(facts.agreements.values())
    if mean is None:
        agreement = (
            '<p class="note">No picture was labelled by two or more people, so there is nothing to say about '
            "their agreement.</p>"
        )
    else:
        agreement = charts.columns(
            in_order(facts.agreements, agreement_bins()), "least IoU over labels and pairs of people"
        ) + (f'<p class="note">Mean {mean:.3f} over {seen:,} pictures that several people saw.</p>')
    people = len(facts.people)
    methods = (
        charts.bars(by_count(facts.methods))
        if facts.methods
        else '<p class="note">Nobody has looked yet.</p>'
    )
    return cards(
        ("Verdicts", charts.bars(_worded(by_count(facts.reviews)))),
        (
            "How opinions became one",
            f'{methods}<p class="note">{people:,} {"person" if people == 1 else "people"} in all.</p>',
        ),
        ("Agreement between reviewers", agreement),
    )


def by_split(facts: Facts) -> str:
    """Every attribute by split: counts, and shares within the split."""
    found = {split for _, _, split in facts.cells}
    splits = [split for split in _SPLITS if split in found]
    totals = {split: sum(n for (s, _), n in facts.splits.items() if s == split) for split in splits}
    head = "".join(f'<th class="number">{split}<small>{totals[split]:,}</small></th>' for split in splits)
    bodies = "".join(_crossed(facts, facet, splits, totals) for facet in _CROSSED)
    return (
        '<div class="card scroll"><table class="cross"><thead><tr><th>Pictures</th>'
        f"{head}</tr></thead>{bodies}</table></div>"
        '<p class="note">A picture with two mask types counts for both.</p>'
    )


def _crossed(facts: Facts, facet: str, splits: list[str], totals: dict[str, int]) -> str:
    rows = []
    for value in list(by_count(facts.pictures_by(facet)))[: charts.MOST_ROWS]:
        counts = [facts.cells[(facet, value, split)] for split in splits]
        cells = "".join(
            f'<td class="number">{count:,}<small>{count / max(totals[split], 1):.0%}</small></td>'
            for split, count in zip(splits, counts, strict=True)
        )
        rows.append(f"<tr><td>{shown(value)}</td>{cells}</tr>")
    title = f'<tr><th scope="rowgroup" colspan="{len(splits) + 1}">{FACETS[facet]}</th></tr>'
    return f"<tbody>{title}{''.join(rows)}</tbody>"


def flow(facts: Facts) -> str:
    """What every stage made of its items."""
    rows = [
        (stage, counts.inputs, counts.kept, counts.rejected, counts.derived, counts.derived_rejected)
        for stage, counts in facts.flow.items()
    ]
    titles = ("Stage", "In", "Kept", "Rejected", "Made new", "Could not be made")
    return f'<div class="card scroll">{table(titles, rows)}</div>'


def dropped(facts: Facts) -> str:
    """Rejections by stage and reason, with examples."""
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
        '<div class="card scroll"><table class="dropped"><thead><tr><th>Stage</th><th>Reason</th>'
        f'<th class="number">Items</th><th>Examples</th></tr></thead><tbody>{"".join(rows)}</tbody>'
        "</table></div>"
    )
