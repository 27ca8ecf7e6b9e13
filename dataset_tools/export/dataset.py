"""Export a finished manifest: check everything, write all formats and the card, then swap the folder in.

<out>/README.md        the dataset card
<out>/DATASHEET.md     the datasheet: every question of Gebru et al., computed, stated or marked missing
<out>/dataset.json     id, version, counts, what is missing for open publication
<out>/croissant.json   Croissant metadata of the Parquet files
<out>/data/            Hugging Face Parquet (format "huggingface")
<out>/<format>/        every other format
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

from dataset_tools.core.files import write_text
from dataset_tools.core.images import ImageStore
from dataset_tools.core.manifest import Manifest
from dataset_tools.core.progress import ProgressFactory, silent
from dataset_tools.core.record import Rejection
from dataset_tools.export.card import write_card
from dataset_tools.export.croissant import write_croissant
from dataset_tools.export.datasheet import write_datasheet
from dataset_tools.export.facts import DatasetFacts
from dataset_tools.export.history import read_history
from dataset_tools.export.missing import missing_for_publication
from dataset_tools.export.parquet_files import dataset_info, read_parts, read_schema
from dataset_tools.export.replace import replacing_folder
from dataset_tools.export.settings import ExportSettings
from dataset_tools.export.summary import summarise
from dataset_tools.formats.job import ExportJob, check_samples
from dataset_tools.formats.registry import find_format


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What was written.

    Attributes:
        folder: the dataset.
        formats: in it.
        samples: pictures by split name ("train", "val", "test").
        instances: labelled objects.
        left_out: samples of the manifest that have no label.
        rejections: samples that could not be written.
        missing: what the card still lacks for open publication.
    """

    folder: Path
    formats: tuple[str, ...]
    samples: dict[str, int]
    instances: int
    left_out: int
    rejections: tuple[Rejection, ...]
    missing: tuple[str, ...]


def export_dataset(
    manifest: Manifest,
    images: ImageStore,
    settings: ExportSettings,
    out_dir: Path,
    progress: ProgressFactory = silent,
) -> ExportReport:
    """Write the whole dataset folder; an earlier one stays until the new one is complete.

    Args:
        manifest: of the split stage, or of any stage after it.
        images: the workspace's pictures.
        settings: formats, and what the card says.
        out_dir: the dataset folder to make or replace.
        progress: opens the progress display.

    Raises:
        LicenceMissing: a sample has no licence.
        ManifestError: a sample has no split.
    """
    unchecked = ExportJob(manifest, images, settings.about, settings.include_proposals)
    with progress("check", None) as bar:
        counts, rejections = check_samples(unchecked, bar)
    bad = frozenset(rejection.item_key for rejection in rejections)
    job = dataclasses.replace(unchecked, left_out=bad)
    history = read_history(manifest, rejections)
    facts = DatasetFacts(settings, summarise(job, len(rejections)), history)
    with replacing_folder(out_dir) as fresh:
        for name in settings.formats:
            found = find_format(name)
            with progress(name, sum(counts.values())) as bar:
                found.write(job, fresh / found.folder, bar)
        if parts := read_parts(fresh):
            facts = dataclasses.replace(facts, parts=parts, info=dataset_info(fresh, parts))
        missing = _write_documents(facts, manifest.key, fresh)
    summary = facts.summary
    return ExportReport(
        folder=out_dir,
        formats=settings.formats,
        samples=dict(sorted(summary.samples.items())),
        instances=sum(summary.labels.values()),
        left_out=summary.left_out,
        rejections=tuple(rejections),
        missing=tuple(missing),
    )


def _write_documents(facts: DatasetFacts, manifest_key: str, folder: Path) -> list[str]:
    """Write card, datasheet, Croissant metadata and dataset.json; gives what is missing for publication."""
    settings = facts.settings
    missing = missing_for_publication(facts)
    rejections = sorted(facts.history.rejections.items())
    values = {
        "id": settings.identity,
        "name": settings.name,
        "version": settings.version,
        "date": settings.date,
        "contact": settings.contact,
        "revocations": settings.revocations,
        "formats": settings.formats,
        "manifest": manifest_key,
        "missing": missing,
        "missing_without_images": missing_for_publication(facts, with_images=False),
        "counts": {
            **facts.summary.as_json(),
            "rejections": {f"{stage}/{reason}": count for (stage, reason), count in rejections},
        },
        "history": facts.history.as_json(),
    }
    write_text(folder / "README.md", write_card(facts))
    write_text(folder / "DATASHEET.md", write_datasheet(facts))
    if facts.parts:
        write_text(folder / "croissant.json", write_croissant(facts, read_schema(folder)))
    write_text(folder / "dataset.json", json.dumps(values, indent=2, sort_keys=True) + "\n")
    return missing
