"""What an export holds, counted from the manifest; the card says nothing that is not counted here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from dataset_tools.core.errors import ManifestError
from dataset_tools.core.labels import (
    MASK_TYPE,
    MASK_TYPES,
    WEARING_STATE,
    WEARING_STATES,
    Label,
)
from dataset_tools.core.manifest import Manifest
from dataset_tools.core.record import Rejection, Sample
from dataset_tools.formats.job import SPLITS, ExportJob

# Kinds of `Instance.drawn_by`, in the order a reader asks for them.
ORIGINS = {
    "human": "drawn or confirmed by people",
    "synth": "exact, from the renderer",
    "published": "taken over from a published dataset",
    "model": "proposed by a model, not confirmed",
}


@dataclass(slots=True)
class Summary:
    """Counts over the samples of one export.

    Attributes:
        samples: by split.
        synthetic: of them rendered, by split.
        groups: by split.
        labels: instances by label.
        origins: instances by kind of origin, see `ORIGINS`.
        mask_types, wearing_states: face-mask instances by attribute; "" when not known.
        licences: samples by licence.
        sources: samples by (source, licence).
        faces: detected faces.
        negatives: samples without a face mask.
        unattributed: samples whose author is not stated.
        left_out: samples of the manifest that are not in the export, for lack of a label.
        rejections: by (stage, reason), over all stages that led here.
    """

    samples: Counter[str] = field(default_factory=Counter)
    synthetic: Counter[str] = field(default_factory=Counter)
    groups: Counter[str] = field(default_factory=Counter)
    labels: Counter[str] = field(default_factory=Counter)
    origins: Counter[str] = field(default_factory=Counter)
    mask_types: Counter[str] = field(default_factory=Counter)
    wearing_states: Counter[str] = field(default_factory=Counter)
    licences: Counter[str] = field(default_factory=Counter)
    sources: Counter[tuple[str, str]] = field(default_factory=Counter)
    faces: int = 0
    negatives: int = 0
    unattributed: int = 0
    left_out: int = 0
    rejections: Counter[tuple[str, str]] = field(default_factory=Counter)

    @property
    def total(self) -> int:
        """Samples in all splits."""
        return sum(self.samples.values())

    def gaps(self) -> list[str]:
        """What a user could miss in this dataset, one sentence each."""
        found = [f"The {split.value} split is empty." for split in SPLITS if not self.samples[split.value]]
        if not self.origins["human"]:
            found.append("No mask was drawn or confirmed by a person.")
        synthetic = sum(self.synthetic.values())
        if self.total and synthetic == self.total:
            found.append("Every picture is synthetic: no real face mask is in it.")
        missing_types = [name for name in MASK_TYPES if not self.mask_types[name]]
        if missing_types:
            found.append(f"Mask types that do not occur: {', '.join(missing_types)}.")
        missing_states = [name for name in WEARING_STATES if not self.wearing_states[name]]
        if missing_states:
            found.append(f"Wearing states that do not occur: {', '.join(missing_states)}.")
        unknown = self.mask_types["unknown"]
        if unknown:
            found.append(f"The mask type is not known for {unknown} face masks.")
        if self.unattributed:
            found.append(f"The author is not stated for {self.unattributed} pictures.")
        found.append("Age, gender and skin tone were not recorded, so balance over them is not known.")
        return found

    def as_json(self) -> dict[str, Any]:
        """The counts as plain, sorted JSON values."""
        return {
            "samples": dict(sorted(self.samples.items())),
            "synthetic": dict(sorted(self.synthetic.items())),
            "groups": dict(sorted(self.groups.items())),
            "instances": dict(sorted(self.labels.items())),
            "drawn_by": dict(sorted(self.origins.items())),
            "mask_types": dict(sorted(self.mask_types.items())),
            "wearing_states": dict(sorted(self.wearing_states.items())),
            "licences": dict(sorted(self.licences.items())),
            "rejections": {
                f"{stage}/{reason}": count for (stage, reason), count in sorted(self.rejections.items())
            },
            "faces": self.faces,
            "negatives": self.negatives,
            "left_out": self.left_out,
        }


def summarise(job: ExportJob, rejections: Sequence[Rejection] = ()) -> Summary:
    """Count an export; `rejections` are those of the export itself."""
    summary = Summary()
    groups: dict[str, set[str]] = {}
    for sample in job.samples():
        groups.setdefault(sample.split.value, set()).add(sample.group)
        _count_sample(summary, sample)
    summary.groups.update({split: len(names) for split, names in groups.items()})
    summary.left_out = sum(1 for _ in job.manifest.samples()) - summary.total - len(rejections)
    summary.rejections.update((item.stage, item.reason.value) for item in rejections)
    for manifest in manifest_chain(job.manifest):
        stage = manifest.stage
        summary.rejections.update((stage, item.reason.value) for item in manifest.rejections())
    return summary


def _count_sample(summary: Summary, sample: Sample) -> None:
    split = sample.split.value
    summary.samples[split] += 1
    summary.synthetic[split] += sample.is_synthetic
    summary.licences[sample.provenance.licence] += 1
    summary.sources[(sample.provenance.source, sample.provenance.licence)] += 1
    summary.unattributed += not sample.provenance.author
    summary.faces += len(sample.faces)
    masks = [item for item in sample.instances if item.label is Label.FACE_MASK]
    summary.negatives += not masks
    for item in sample.instances:
        summary.labels[item.label.value] += 1
        summary.origins[item.drawn_by.partition(":")[0]] += 1
    summary.mask_types.update(item.attribute(MASK_TYPE) or "unknown" for item in masks)
    summary.wearing_states.update(item.attribute(WEARING_STATE) or "unknown" for item in masks)


def manifest_chain(manifest: Manifest) -> list[Manifest]:
    """The manifests that led to this one, from the crawl on; parents that are gone end the chain."""
    chain = [manifest]
    while parent := str(chain[0].header.get("parent", "")):
        found = sorted((manifest.workspace / "manifests").glob(f"*-{parent[:12]}"))
        opened = _open_first(found, parent)
        if opened is None:
            break
        chain.insert(0, opened)
    return chain


def _open_first(folders: Iterable[Any], key: str) -> Manifest | None:
    for folder in folders:
        try:
            manifest = Manifest(folder)
        except ManifestError:
            continue
        if manifest.key == key:
            return manifest
    return None
