"""Tables that the card and the datasheet share; every number in them is a count."""

from __future__ import annotations

from dataset_tools.core.labels import BACKGROUND_ID, LABEL_IDS
from dataset_tools.core.record import Split
from dataset_tools.export.facts import DatasetFacts
from dataset_tools.export.history import History
from dataset_tools.export.licences import describe_terms, read_terms
from dataset_tools.export.markdown import by_count, table
from dataset_tools.export.summary import ORIGINS, Spread, Summary
from dataset_tools.formats.huggingface import SPLIT_NAMES
from dataset_tools.formats.job import SPLITS


def overview(summary: Summary) -> str:
    """How much there is of everything."""
    rows = [
        ("Pictures", summary.total),
        ("collected photos", summary.total - summary.rendered),
        ("rendered pictures", summary.rendered),
        ("pictures without a face mask", summary.negatives),
        ("labelled face masks", summary.labels["face_mask"]),
        ("detected faces", summary.faces),
    ]
    if summary.unlabelled:
        rows.append(("pictures whose labels nobody has confirmed", summary.unlabelled))
    return table(("In this dataset", "Count"), rows)


def splits(summary: Summary) -> str:
    """Pictures and groups of every split that has any."""
    rows = [
        (SPLIT_NAMES[split], *_split_counts(summary, split))
        for split in SPLITS
        if summary.samples[split.value]
    ]
    return table(("Split", "Pictures", "Photos", "Rendered", "Groups"), rows)


def _split_counts(summary: Summary, split: Split) -> tuple[int, int, int, int]:
    name = split.value
    rendered = summary.synthetic[name]
    return (summary.samples[name], summary.samples[name] - rendered, rendered, summary.groups[name])


def labels(summary: Summary) -> str:
    """Ids and numbers of the labels."""
    rows: list[tuple[str | int, ...]] = [("background", BACKGROUND_ID, "-")]
    rows += [(label.value, number, summary.labels[label.value]) for label, number in LABEL_IDS.items()]
    return table(("Label", "Id", "Instances"), rows)


def origins(summary: Summary) -> str:
    """Who drew the instances."""
    rows = [
        (f"`{kind}:`", meaning, summary.origins[kind])
        for kind, meaning in ORIGINS.items()
        if summary.origins[kind]
    ]
    return table(("Begins with", "Meaning", "Instances"), rows)


def attributes(summary: Summary) -> str:
    """Mask types and wearing states, each in a table of its own."""
    counts = (("Mask type", summary.mask_types), ("Wearing state", summary.wearing_states))
    return "\n\n".join(table((title, "Face masks"), by_count(found)) for title, found in counts if found)


def sources(facts: DatasetFacts) -> str:
    """Pictures by source and licence, and rendered ones by the source of the photo beneath."""
    kinds = facts.history.sources
    rows = [
        (source, kinds.get(source, "renderer" if source == "synth" else "not on record"), licence, count)
        for (source, licence), count in sorted(facts.summary.sources.items())
    ]
    parts = [table(("Source", "Kind", "Licence", "Pictures"), rows)]
    if facts.summary.rendered_from:
        found = by_count(facts.summary.rendered_from)
        below = [(name, kinds.get(name, "not on record"), count) for name, count in found]
        parts.append(table(("Rendered onto photos of the source", "Kind", "Pictures"), below))
    return "\n\n".join(parts)


def licences(summary: Summary) -> str:
    """What every licence asks, as far as its words say."""
    rows = [
        (licence, describe_terms(read_terms(licence)), count, summary.rendered_licences[licence])
        for licence, count in sorted(summary.licences.items())
    ]
    return table(("Licence", "It asks", "Pictures", "Of them rendered"), rows)


def reviews(summary: Summary) -> str:
    """What people said of the pictures."""
    parts = [table(("Review", "Pictures"), sorted(summary.reviews.items()))]
    if summary.methods:
        parts.append(table(("Several opinions became one by", "Pictures"), sorted(summary.methods.items())))
    if summary.agreement.count:
        parts.append(table(("Overlap of reviewers (IoU)", "Value"), _spread(summary.agreement, 3)))
    return "\n\n".join(parts)


def sizes(summary: Summary) -> str:
    """Widths and heights of the pictures."""
    rows = [
        (title, *(f"{value:.0f}" for value in (spread.least, spread.mean, spread.most)))
        for title, spread in (("Width in px", summary.widths_px), ("Height in px", summary.heights_px))
        if spread.count
    ]
    return table(("Size", "Least", "Mean", "Greatest"), rows)


def _spread(spread: Spread, digits: int) -> list[tuple[str, str]]:
    rows = [("pictures", str(spread.count))]
    named = (("least", spread.least), ("mean", spread.mean), ("greatest", spread.most))
    return rows + [(name, f"{value:.{digits}f}") for name, value in named]


def rejections(history: History) -> str:
    """What was dropped, by stage and reason."""
    if not history.rejections:
        return "No item was rejected."
    rows = [(stage, reason, count) for (stage, reason), count in sorted(history.rejections.items())]
    return table(("Stage", "Reason", "Items"), rows)


def opt_outs(history: History) -> str:
    """What was refused because its site does not wish it, by kind; and whether the crawl asked at all."""
    parts = []
    if history.opt_outs:
        parts.append(table(("Refused by the site through", "Items"), by_count(history.opt_outs)))
    elif history.obeys_robots and history.obeys_opt_outs:
        parts.append("No site refused.")
    if history.obeys_robots is False:
        parts.append("**robots.txt was not obeyed** (`crawl.respect_robots: false`).")
    if history.obeys_opt_outs is False:
        parts.append(
            "**X-Robots-Tag and text-and-data-mining reservations were not obeyed** "
            "(`crawl.respect_opt_out: false`)."
        )
    if history.obeys_robots is None or history.obeys_opt_outs is None:
        parts.append("Whether the crawl obeyed the wishes of sites is not on record.")
    return "\n\n".join(parts)


def stages(history: History) -> str:
    """Every stage as it ran."""
    rows = [
        (
            run.name,
            run.version,
            run.seed or "-",
            run.counts.inputs,
            run.counts.kept,
            run.counts.derived,
            run.counts.rejected,
        )
        for run in history.stages
    ]
    return table(("Stage", "Version", "Seed", "Items in", "Kept", "Made", "Dropped"), rows)
