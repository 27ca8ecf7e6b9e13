"""The dataset card: a README.md with the Hub's YAML head, every figure from the manifest."""

from __future__ import annotations

from collections import Counter
from typing import Any

import yaml

from dataset_tools.core.labels import BACKGROUND_ID, LABEL_IDS
from dataset_tools.core.record import Split
from dataset_tools.export.settings import ExportSettings
from dataset_tools.export.summary import ORIGINS, Summary
from dataset_tools.formats.huggingface import SPLIT_NAMES
from dataset_tools.formats.job import SPLITS

# SPDX ids that the Hub knows under the same words in lower case.
HUB_LICENCES = frozenset(
    {
        "apache-2.0", "mit", "cc0-1.0", "cc-by-2.0", "cc-by-2.5", "cc-by-3.0", "cc-by-4.0", "cc-by-sa-3.0",
        "cc-by-sa-4.0", "cc-by-nc-2.0", "cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-nd-4.0", "cc-by-nc-nd-3.0",
        "cc-by-nc-nd-4.0", "cc-by-nc-sa-2.0", "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0", "pddl", "odc-by",
        "odbl", "bsd-3-clause", "unlicense",
    }
)  # fmt: skip

_SIZE_CATEGORIES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
_LARGEST_CATEGORY = "1M<n<10M"


def missing_for_publication(summary: Summary, settings: ExportSettings) -> list[str]:
    """What an openly published dataset must say and this one does not yet, one sentence each."""
    missing: list[str] = []
    if not settings.contact:
        missing.append("a contact for removal requests (export.contact)")
    if not settings.description:
        missing.append("a sentence that says what the dataset is (export.description)")
    if summary.origins["model"]:
        missing.append("confirmation of the model's proposals (export.include_proposals is on)")
    return missing


def write_card(summary: Summary, settings: ExportSettings) -> str:
    """The whole README.md; same counts and settings, same text."""
    head = yaml.safe_dump(_metadata(summary, settings), sort_keys=False, allow_unicode=True)
    parts = [
        f"# {_text(settings.name)}",
        _intro(summary, settings),
        "## Contents\n\n" + _contents(summary),
        "## Labels\n\n" + _labels(summary),
        "## Sources and licences\n\n" + _sources(summary),
        "## What was dropped\n\n" + _rejections(summary),
        "## Known gaps\n\n" + "\n".join(f"- {sentence}" for sentence in summary.gaps()),
        "## Loading\n\n" + _loading(settings),
        "## People in the pictures\n\n" + _people(settings),
    ]
    return f"---\n{head}---\n\n" + "\n\n".join(parts) + "\n"


def licence_fields(licences: Counter[str]) -> dict[str, str]:
    """The Hub's licence fields: one SPDX id when all samples share it, `other` with a name otherwise."""
    if len(licences) == 1:
        (only,) = licences
        if only.lower() in HUB_LICENCES:
            return {"license": only.lower()}
        return {"license": "other", "license_name": _slug(only)}
    return {"license": "other", "license_name": "mixed-see-licence-column"}


def _metadata(summary: Summary, settings: ExportSettings) -> dict[str, Any]:
    creators = {"human": "expert-generated", "synth": "machine-generated", "published": "found"}
    found = [word for kind, word in creators.items() if summary.origins[kind]]
    sizes = [name for limit, name in _SIZE_CATEGORIES if summary.total < limit]
    metadata: dict[str, Any] = {
        **licence_fields(summary.licences),
        "pretty_name": settings.name,
        "task_categories": ["image-segmentation"],
        "task_ids": ["semantic-segmentation", "instance-segmentation"],
        "annotations_creators": found or ["no-annotation"],
        "size_categories": [sizes[0] if sizes else _LARGEST_CATEGORY],
        "tags": ["face-masks", "faces", "occlusion"],
    }
    if "huggingface" in settings.formats:
        files = [
            {"split": SPLIT_NAMES[split], "path": f"data/{SPLIT_NAMES[split]}-*"}
            for split in SPLITS
            if summary.samples[split.value]
        ]
        metadata["configs"] = [{"config_name": "default", "data_files": files}]
    return metadata


def _intro(summary: Summary, settings: ExportSettings) -> str:
    stated = [f"Version {_text(settings.version)}" + (f", {_text(settings.date)}" if settings.date else "")]
    synthetic = sum(summary.synthetic.values())
    stated.append(
        f"Pictures: {summary.total} ({summary.total - synthetic} collected, {synthetic} rendered), of them "
        f"without a face mask: {summary.negatives}. Labelled face masks: {summary.labels['face_mask']}"
    )
    lines = [_text(settings.description)] if settings.description else []
    return "\n\n".join([*lines, ". ".join(stated) + "."])


def _contents(summary: Summary) -> str:
    rows = [
        (SPLIT_NAMES[split], *_split_counts(summary, split))
        for split in SPLITS
        if summary.samples[split.value]
    ]
    text = _table(("Split", "Pictures", "Photos", "Rendered", "Groups"), rows)
    return (
        text + "\n\nA group (a photo, its near duplicates and its rendered children) lies in one split only."
    )


def _split_counts(summary: Summary, split: Split) -> tuple[int, int, int, int]:
    name = split.value
    rendered = summary.synthetic[name]
    return (summary.samples[name], summary.samples[name] - rendered, rendered, summary.groups[name])


def _labels(summary: Summary) -> str:
    ids = [("background", BACKGROUND_ID, "-")]
    ids += [(label.value, number, str(summary.labels[label.value])) for label, number in LABEL_IDS.items()]
    origins = [
        (f"`{kind}:`", meaning, summary.origins[kind])
        for kind, meaning in ORIGINS.items()
        if summary.origins[kind]
    ]
    parts = [
        "`mask` holds one id per pixel; `instances` holds every object's own exact mask.",
        _table(("Label", "Id", "Instances"), ids),
        "Who drew them (`drawn_by` of each instance):",
        _table(("Begins with", "Meaning", "Instances"), origins),
    ]
    for title, counts in (("Mask type", summary.mask_types), ("Wearing state", summary.wearing_states)):
        if counts:
            parts.append(_table((title, "Face masks"), _by_count(counts)))
    return "\n\n".join(parts)


def _sources(summary: Summary) -> str:
    rows = [(source, licence, count) for (source, licence), count in sorted(summary.sources.items())]
    return (
        "The licence stands with every row (`licence`, `author`, `url`, `source`); it is that of the picture "
        "as its source states it, also for pictures rendered from it.\n\n"
        + _table(("Source", "Licence", "Pictures"), rows)
    )


def _rejections(summary: Summary) -> str:
    lines = [f"Pictures of the collection that are not here because they have no label: {summary.left_out}."]
    if summary.rejections:
        rows = [(stage, reason, count) for (stage, reason), count in sorted(summary.rejections.items())]
        lines.append(_table(("Stage", "Reason", "Items"), rows))
    else:
        lines.append("No item was rejected.")
    return "\n\n".join(lines)


def _loading(settings: ExportSettings) -> str:
    parts: list[str] = []
    if "huggingface" in settings.formats:
        parts.append(
            "```python\nimport numpy as np\nfrom datasets import load_dataset\n\n"
            'dataset = load_dataset("path/to/this/folder", split="train")\n'
            'image = dataset[0]["image"]              # PIL image\n'
            'label_ids = np.array(dataset[0]["mask"])  # (H, W), ids of the table above\n```\n\n'
            'The masks are palette pictures: `np.array` gives the ids, `.convert("L")` would give grey '
            "values."
        )
    others = [folder for folder in ("coco", "mfsd") if folder in settings.formats]
    if others:
        parts.append(
            f"The same samples lie in {' and '.join(f'`{name}/`' for name in others)} of the exported "
            "folder, which is not uploaded to the Hub."
        )
    return "\n\n".join(parts)


def _people(settings: ExportSettings) -> str:
    contact = _text(settings.contact) if settings.contact else "**not stated yet**"
    return (
        "The pictures show human faces, which are personal data. The purpose is segmentation of face "
        "masks: no face embedding is stored, groups carry no names, and camera metadata is removed. Do not "
        "use this dataset to recognise people or to build a database for that. Mask type and wearing state "
        "describe the object worn, not the person. Whether a use is lawful where you are is yours to check; "
        "a licence of a photo does not speak for the person in it.\n\n"
        f"Removal of a picture: {contact}. Give the `id` or the `url` of the row."
    )


def _by_count(counts: Counter[str]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))


def _table(titles: tuple[str, ...], rows: list[Any]) -> str:
    lines = [titles, tuple("---" for _ in titles), *rows]
    return "\n".join("| " + " | ".join(_text(str(cell)) for cell in line) + " |" for line in lines)


def _text(text: str) -> str:
    """Foreign words as plain Markdown text: no markup, no line break, no table cell of their own."""
    plain = " ".join(text.split())
    for mark, harmless in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("|", "\\|"), ("[", "\\[")):
        plain = plain.replace(mark, harmless)
    return plain


def _slug(text: str) -> str:
    return "-".join("".join(c if c.isalnum() else " " for c in text.lower()).split()) or "unnamed"
