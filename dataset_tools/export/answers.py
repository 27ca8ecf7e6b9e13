"""The datasheet's answers that follow from the manifests and the exported files; pure.

One function a section: answers by question, "" where nothing can be computed.
"""

from __future__ import annotations

from importlib.metadata import version

from dataset_tools.core.labels import SKIN_ITA
from dataset_tools.export import tables
from dataset_tools.export.facts import DatasetFacts
from dataset_tools.export.licence_faults import licence_faults
from dataset_tools.export.markdown import plain, table
from dataset_tools.export.people import attribute_table, removal
from dataset_tools.export.summary import Summary

Answers = dict[str, str]

# Kinds of sources that may be the makers' own files: whether those came from the people, only they know.
_LOCAL_KINDS = frozenset({"folder", "archive"})


def computed_answers(facts: DatasetFacts) -> dict[str, Answers]:
    """Computed answers by section and question; a question without one is absent or ""."""
    return {
        "motivation": {},
        "composition": _composition(facts),
        "collection": _collection(facts),
        "labelling": _labelling(facts),
        "uses": _uses(facts.summary),
        "distribution": _distribution(facts),
        "maintenance": _maintenance(facts),
    }


def _composition(facts: DatasetFacts) -> Answers:
    summary = facts.summary
    return {
        "instances": "A picture of one or more people, with every face mask outlined on it: collected "
        "photos, and photos onto which a face mask was rendered. Some pictures show no face mask on purpose.",
        "counts": tables.overview(summary) + "\n\n" + tables.labels(summary),
        "sampling": "A sample: what the configured sources offered, less what was dropped. It was not "
        "checked whether it stands for a larger set, and nothing says that it does.\n\n"
        + table(("Not in this dataset", "Count"), [("pictures without a label", summary.left_out)]),
        "content": "The picture, without camera metadata and turned upright, and the record of its "
        "origin (source, address, author, licence).\n\n" + tables.sizes(summary),
        "labels": "The exact mask of every labelled object, with its label, its box, and who drew it.\n\n"
        + "\n\n".join(filter(None, (tables.origins(summary), tables.attributes(summary)))),
        "missing_information": table(("What is not known", "Count"), _unknown(summary)),
        "relationships": "Yes: `group` joins a photo, its near duplicates and its rendered children, and "
        "`parent_id` names the photo that a picture was rendered from. Relations between people were not "
        "recorded.",
        "splits": tables.splits(summary) + "\n\nA group lies in one split only, so that no photo or its "
        "rendered children is learned from and tested on. A split that a source states is kept; other groups "
        "are dealt out evenly over mask types, wearing states and real and rendered pictures.",
        "errors": _errors(facts),
        "self_contained": "Yes: the pictures themselves are in it. The address of each picture is kept for "
        "credit and removal; nothing guarantees that it stays.",
        "subpopulations": _subpopulations(summary),
        "identification": "Yes: faces can be seen, and the address and author of a picture can lead to its "
        "page. No name and no face embedding is stored.",
        "sensitive": "Faces are personal data. What a person wears, and the attributes below, must not be "
        "read as more than they are.\n\n" + attribute_table(summary),
    }


def _unknown(summary: Summary) -> list[tuple[str, int]]:
    return [
        ("author of a picture", summary.unattributed),
        ("address of a picture (local files have none)", summary.without_url),
        ("mask type of a face mask", summary.mask_types["unknown"]),
        ("wearing state of a face mask", summary.wearing_states["unknown"]),
    ]


def _errors(facts: DatasetFacts) -> str:
    summary, copies = facts.summary, facts.history.duplicates
    rows = [
        ("exact copies dropped", copies["duplicate"]),
        ("near copies dropped", copies["near_duplicate"]),
        ("near copies kept, in the group of their original", summary.relatives),
        ("instances that only a model proposed", summary.origins["model"]),
    ]
    return (
        "Masks of rendered pictures are exact by construction; those drawn by people and taken over from "
        "published datasets are as good as their makers.\n\n"
        + table(("Redundancy and noise", "Count"), rows)
        + "\n\n"
        + tables.reviews(summary)
    )


def _subpopulations(summary: Summary) -> str:
    return "Age and gender were not recorded. " + (
        f"The colour of the wearer's skin as the photo shows it (`{SKIN_ITA}`) was measured on some face "
        "masks; it is no ethnic group.\n\n"
        + table(("Skin tone", "Face masks"), [("measured", summary.measured_skin)])
        if summary.measured_skin
        else "Skin tone was not recorded."
    )


def _collection(facts: DatasetFacts) -> Answers:
    history, settings = facts.history, facts.settings
    parts = [tables.sources(facts)]
    if facts.summary.renderers:
        rows = sorted(facts.summary.renderers.items())
        parts.append("Rendered pictures were made by:\n\n" + table(("Renderer", "Pictures"), rows))
    third = sorted(
        f"{plain(name)} ({kind})" for name, kind in history.sources.items() if kind not in _LOCAL_KINDS
    )
    days = [f"Downloads from {history.first_day} to {history.last_day} (UTC)."] if history.first_day else []
    return {
        "acquisition": "\n\n".join(parts),
        "mechanisms": f"The suite maskset, version {version('maskset')}, in these stages:\n\n"
        + tables.stages(history)
        + "\n\n"
        + tables.opt_outs(history),
        "strategy": "None beyond the sources' own: everything they listed was fetched and judged by fixed "
        "rules.\n\n" + tables.rejections(history) + _incomplete(facts),
        "people_involved": _reviewers(facts),
        "timeframe": " ".join(days),
        "from_whom": f"Via other sources: {', '.join(third)}." if third else "",
        "consent": plain(settings.consent),
        "revoking": removal(settings) if settings.contact else "",
    }


def _reviewers(facts: DatasetFacts) -> str:
    if not facts.summary.reviewers:
        return ""
    count = table(("People", "Count"), [("reviewers of masks", len(facts.summary.reviewers))])
    return f"Their names are not published.\n\n{count}"


def _incomplete(facts: DatasetFacts) -> str:
    if facts.history.is_complete:
        return ""
    return "\n\nThe records of earlier stages are gone from the workspace; they may have dropped more."


def _labelling(facts: DatasetFacts) -> Answers:
    ran = {run.name for run in facts.history.stages}
    steps = [
        ("crawl", "pictures were decoded, turned upright, and freed of camera metadata"),
        ("detect", "faces and their landmarks were found by a detector"),
        ("filter", "pictures without a usable face, and copies, were dropped"),
        ("synth", "face masks were rendered onto photos of bare faces"),
        ("prelabel", "a model proposed masks"),
        ("review", "people's verdicts on masks were taken in"),
    ]
    done = "\n".join(f"- {stage}: {text}" for stage, text in steps if stage in ran)
    return {
        "done": f"Yes:\n\n{done}\n\n{tables.reviews(facts.summary)}" if done else "",
        "raw_data": "In the makers' workspace, not in this dataset."
        if facts.history.keeps_originals
        else "No: pictures are kept as decoded and re-encoded.",
        "software": f"Yes: maskset {version('maskset')}, under Apache-2.0.",
    }


def _uses(summary: Summary) -> Answers:
    tasks = ["detection of face masks (every instance has a box)"]
    if set(summary.mask_types) - {"unknown"}:
        tasks.append("classification of mask types")
    if set(summary.wearing_states) - {"unknown"}:
        tasks.append("classification of how a mask is worn")
    return {
        "other_tasks": "Besides segmentation: " + ", ".join(tasks) + ".",
        "impact": "\n".join(f"- {plain(sentence)}" for sentence in summary.gaps()),
        "not_for": "Recognising people, building a database for that, watching whether people obey a rule, "
        "and inferring health, belief or origin from what is worn.",
    }


def _distribution(facts: DatasetFacts) -> Answers:
    summary = facts.summary
    faults = licence_faults(summary, with_images=True)
    return {
        "how": f"As a folder with the formats {', '.join(facts.settings.formats)}.",
        "licence": "Each picture keeps the licence of its source, rendered ones that of their photo.\n\n"
        + tables.licences(summary),
        "third_party_terms": "The licences above are those of the pictures' authors."
        + "".join(f"\n- It lacks {plain(fault)}." for fault in faults),
    }


def _maintenance(facts: DatasetFacts) -> Answers:
    settings = facts.settings
    listed = f"Withdrawn versions and pictures are listed at {plain(settings.revocations)}."
    return {
        "contact": plain(settings.contact),
        "erratum": listed if settings.revocations else "",
    }
