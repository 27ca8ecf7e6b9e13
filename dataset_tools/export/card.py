"""The dataset card: a README.md with the Hub's YAML head, every figure from the manifest."""

from __future__ import annotations

from collections import Counter
from typing import Any

import yaml

from dataset_tools.export import tables
from dataset_tools.export.facts import DatasetFacts
from dataset_tools.export.history import History
from dataset_tools.export.licence_faults import licence_faults
from dataset_tools.export.licences import hub_licence, licence_slug
from dataset_tools.export.markdown import plain, table
from dataset_tools.export.people import people_section
from dataset_tools.export.settings import ExportSettings
from dataset_tools.export.summary import Summary
from dataset_tools.formats.huggingface import SPLIT_NAMES
from dataset_tools.formats.job import SPLITS
from dataset_tools.formats.registry import FORMATS

# https://github.com/huggingface/hub-docs, datasetcard.md: the fixed words of the head.
_SIZE_CATEGORIES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
_LARGEST_CATEGORIES = ((10_000_000, "1M<n<10M"), (100_000_000, "10M<n<100M"))
_ENORMOUS = "100M<n<1B"


def write_card(facts: DatasetFacts) -> str:
    """The whole README.md; same facts, same text."""
    settings, summary, history = facts.settings, facts.summary, facts.history
    head = yaml.safe_dump(card_metadata(facts), sort_keys=False, allow_unicode=True)
    parts = [
        f"# {plain(settings.name)}",
        _intro(settings),
        "## Contents\n\n" + _contents(summary),
        "## Labels\n\n" + _labels(summary),
        "## Sources and licences\n\n" + _sources(facts),
        "## What was dropped\n\n" + _dropped(summary, history),
        "## Review\n\n" + tables.reviews(summary),
        "## Known gaps\n\n" + "\n".join(f"- {plain(sentence)}" for sentence in summary.gaps()),
        "## Loading\n\n" + _loading(settings),
        "## People in the pictures\n\n" + people_section(facts),
        "## Documentation\n\n" + _documentation(facts),
    ]
    return f"---\n{head}---\n\n" + "\n\n".join(parts) + "\n"


def licence_fields(licences: Counter[str]) -> dict[str, Any]:
    """The Hub's licence fields: all licences found; `other` with a name for words the Hub does not know."""
    known = sorted({hub_licence(words) for words in licences} - {""})
    others = sorted({licence_slug(words) or "unnamed" for words in licences if not hub_licence(words)})
    if not others:
        return {"license": known[0] if len(known) == 1 else known} if known else {}
    name = others[0] if len(others) == 1 else "see-licence-column"
    return {"license": [*known, "other"] if known else "other", "license_name": name}


def size_category(total: int) -> str:
    """The Hub's word for a number of pictures."""
    limits = (*_SIZE_CATEGORIES, *_LARGEST_CATEGORIES)
    return next((name for limit, name in limits if total < limit), _ENORMOUS)


def card_metadata(facts: DatasetFacts) -> dict[str, Any]:
    """The card's YAML head as plain values."""
    summary, settings = facts.summary, facts.settings
    creators = {"human": "expert-generated", "synth": "machine-generated", "published": "found"}
    found = [word for kind, word in creators.items() if summary.origins[kind]]
    metadata: dict[str, Any] = {
        **licence_fields(summary.licences),
        "pretty_name": settings.name,
        "task_categories": ["image-segmentation"],
        "task_ids": ["semantic-segmentation", "instance-segmentation"],
        "annotations_creators": found or ["no-annotation"],
        "source_datasets": _source_datasets(facts.history),
        "size_categories": [size_category(summary.total)],
        "tags": ["face-masks", "faces", "occlusion", *(["synthetic"] if summary.rendered else [])],
    }
    if facts.info:
        metadata["dataset_info"] = facts.info
    if facts.parts:
        names = [SPLIT_NAMES[split] for split in SPLITS]
        files = [
            {"split": name, "path": f"data/{name}-*"}
            for name in names
            if any(part.split == name for part in facts.parts)
        ]
        metadata["configs"] = [{"config_name": "default", "data_files": files}]
    return metadata


def _source_datasets(history: History) -> list[str]:
    own = ["original"] if set(history.sources) - set(history.published) or not history.sources else []
    others = [
        name if "/" in name else f"extended|other-{licence_slug(name)}"
        for name in sorted(history.published.values())
    ]
    return [*own, *others]


def _intro(settings: ExportSettings) -> str:
    dated = f", {plain(settings.date)}" if settings.date else ""
    lines = [plain(settings.description)] if settings.description else []
    lines.append(f"Version {plain(settings.version)}{dated}.")
    if settings.homepage:
        lines.append(f"Home: {plain(settings.homepage)}")
    return "\n\n".join(lines)


def _contents(summary: Summary) -> str:
    return (
        f"{tables.overview(summary)}\n\n{tables.splits(summary)}\n\n"
        "A group (a photo, its near duplicates and its rendered children) lies in one split only."
    )


def _labels(summary: Summary) -> str:
    parts = [
        "`mask` holds one id per pixel; `instances` holds every object's own exact mask.",
        tables.labels(summary),
        "Who drew them (`drawn_by` of each instance):",
        tables.origins(summary),
        tables.attributes(summary),
    ]
    return "\n\n".join(filter(None, parts))


def _sources(facts: DatasetFacts) -> str:
    parts = [
        "The licence stands with every row (`licence`, `author`, `url`, `source`); it is that of the picture "
        "as its source states it, also for pictures rendered from it.",
        tables.sources(facts),
        tables.licences(facts.summary),
    ]
    parts += [f"**It lacks {plain(fault)}.**" for fault in licence_faults(facts.summary, with_images=True)]
    return "\n\n".join(parts)


def _dropped(summary: Summary, history: History) -> str:
    parts = [
        table(("Not in this dataset", "Count"), [("pictures without a label", summary.left_out)]),
        tables.rejections(history),
        tables.opt_outs(history),
    ]
    if not history.is_complete:
        parts.append("The records of earlier stages are gone from the workspace; they may have dropped more.")
    return "\n\n".join(parts)


def _loading(settings: ExportSettings) -> str:
    parts: list[str] = []
    if "huggingface" in settings.formats:
        parts.append(
            "```python\nimport numpy as np\nfrom datasets import load_dataset\n\n"
            'dataset = load_dataset("path/to/this/folder", split="train")\n'
            'image = dataset[0]["image"]  # PIL image\n'
            'label_ids = np.array(dataset[0]["mask"])  # (H, W), ids of the table above\n```\n\n'
            'The masks are palette pictures: `np.array` gives the ids, `.convert("L")` would give grey '
            "values."
        )
    others = [name for name in settings.formats if name != "huggingface"]
    if others:
        folders = [f"- `{FORMATS[name].folder}/`: {FORMATS[name].title}" for name in others]
        parts.append(
            "The same samples in other formats, in the exported folder and not on the Hub:\n\n"
            + "\n".join(folders)
        )
    return "\n\n".join(parts)


def _documentation(facts: DatasetFacts) -> str:
    settings = facts.settings
    lines = [
        "- `DATASHEET.md`: the datasheet (Gebru et al.), every question",
        *(["- `croissant.json`: Croissant metadata"] if facts.parts else []),
        "- `dataset.json`: the same counts for programs",
        f"- id of the dataset through all its versions: `{plain(settings.identity)}`",
    ]
    if settings.revocations:
        lines.append(f"- withdrawn versions and pictures: {plain(settings.revocations)}")
    if settings.citation:
        lines.append(f"- to cite: {plain(settings.citation)}")
    return "\n".join(lines)
