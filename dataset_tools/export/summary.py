"""What an export holds, counted from the manifest; the card says nothing that is not counted here."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from dataset_tools.core.labels import (
    MASK_TYPE,
    MASK_TYPES,
    SKIN_ITA,
    WEARING_STATE,
    WEARING_STATES,
    Label,
)
from dataset_tools.core.record import Sample
from dataset_tools.export.licences import read_terms
from dataset_tools.export.markdown import counted
from dataset_tools.formats.job import SPLITS, ExportJob

# Kinds of `Instance.drawn_by`, in the order a reader asks for them.
ORIGINS = {
    "human": "drawn or confirmed by people",
    "synth": "exact, from the renderer",
    "published": "taken over from a published dataset",
    "model": "proposed by a model, not confirmed",
}


@dataclass(slots=True)
class Spread:
    """Least, greatest and mean of some numbers, one pass."""

    count: int = 0
    total: float = 0.0
    least: float = math.inf
    most: float = -math.inf

    def add(self, value: float) -> None:
        """Take one more number in."""
        self.count += 1
        self.total += value
        self.least = min(self.least, value)
        self.most = max(self.most, value)

    @property
    def mean(self) -> float:
        """Their mean; NaN for none."""
        return self.total / self.count if self.count else math.nan

    def as_json(self) -> dict[str, float | int | None]:
        """Plain values; None for what no number stands behind."""
        some = bool(self.count)
        return {
            "count": self.count,
            "least": self.least if some else None,
            "mean": round(self.mean, 4) if some else None,
            "most": self.most if some else None,
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
        mask_types, wearing_states: face-mask instances by attribute; "unknown" when not known.
        licences: samples by licence.
        rendered_licences: of them rendered.
        sources: samples by (source, licence).
        rendered_from: rendered samples by the source of the photo beneath.
        renderers: rendered samples by the renderer that made them.
        reviews: samples by what people said of them.
        methods: reviewed samples by how opinions became one.
        agreement: least overlap (IoU) between reviewers of samples that several saw.
        reviewers: names of all of them; only their number leaves the suite.
        widths_px, heights_px: of the pictures.
        faces: detected faces.
        negatives: samples without a face mask.
        unattributed: samples whose author is not stated.
        without_url: samples that came from no address, as local files do.
        unlabelled: samples without a complete ground truth; only there when proposals were asked for.
        measured_skin: face masks whose wearer's skin tone was measured in the photo.
        relatives: collected photos beyond the first of their group: near duplicates that stayed.
        left_out: samples of the manifest that are not in the export, for lack of a label.
    """

    samples: Counter[str] = field(default_factory=Counter)
    synthetic: Counter[str] = field(default_factory=Counter)
    groups: Counter[str] = field(default_factory=Counter)
    labels: Counter[str] = field(default_factory=Counter)
    origins: Counter[str] = field(default_factory=Counter)
    mask_types: Counter[str] = field(default_factory=Counter)
    wearing_states: Counter[str] = field(default_factory=Counter)
    licences: Counter[str] = field(default_factory=Counter)
    rendered_licences: Counter[str] = field(default_factory=Counter)
    sources: Counter[tuple[str, str]] = field(default_factory=Counter)
    rendered_from: Counter[str] = field(default_factory=Counter)
    renderers: Counter[str] = field(default_factory=Counter)
    reviews: Counter[str] = field(default_factory=Counter)
    methods: Counter[str] = field(default_factory=Counter)
    agreement: Spread = field(default_factory=Spread)
    reviewers: set[str] = field(default_factory=set)
    widths_px: Spread = field(default_factory=Spread)
    heights_px: Spread = field(default_factory=Spread)
    faces: int = 0
    negatives: int = 0
    unattributed: int = 0
    without_url: int = 0
    unlabelled: int = 0
    measured_skin: int = 0
    relatives: int = 0
    left_out: int = 0

    @property
    def total(self) -> int:
        """Samples in all splits."""
        return sum(self.samples.values())

    @property
    def rendered(self) -> int:
        """Samples made by the renderer."""
        return sum(self.synthetic.values())

    def gaps(self) -> list[str]:
        """What a user could miss in this dataset, one sentence each."""
        found = [f"The {split.value} split is empty." for split in SPLITS if not self.samples[split.value]]
        if not self.origins["human"]:
            found.append("No mask was drawn or confirmed by a person.")
        if self.total and self.rendered == self.total:
            found.append("Every picture is synthetic: no real face mask is in it.")
        missing_types = [name for name in MASK_TYPES if not self.mask_types[name]]
        if missing_types:
            found.append(f"Mask types that do not occur: {', '.join(missing_types)}.")
        missing_states = [name for name in WEARING_STATES if not self.wearing_states[name]]
        if missing_states:
            found.append(f"Wearing states that do not occur: {', '.join(missing_states)}.")
        unknown = self.mask_types["unknown"]
        if unknown:
            found.append(f"The mask type is not known for {counted(unknown, 'face mask')}.")
        if self.unattributed:
            found.append(f"The author is not stated for {counted(self.unattributed, 'picture')}.")
        unlicensed = sum(count for words, count in self.licences.items() if not read_terms(words).is_stated)
        if unlicensed:
            found.append(f"The licence is not known for {counted(unlicensed, 'picture')}.")
        found.append("Age and gender were not recorded, so balance over them is not known.")
        found.append(
            f"Skin tone was measured, in the photo as it is lit, for "
            f"{counted(self.measured_skin, 'face mask')} only."
            if self.measured_skin
            else "Skin tone was not recorded, so balance over it is not known."
        )
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
            "rendered_licences": dict(sorted(self.rendered_licences.items())),
            "rendered_from": dict(sorted(self.rendered_from.items())),
            "renderers": dict(sorted(self.renderers.items())),
            "reviews": dict(sorted(self.reviews.items())),
            "review_methods": dict(sorted(self.methods.items())),
            "agreement": self.agreement.as_json(),
            "reviewers": len(self.reviewers),
            "widths_px": self.widths_px.as_json(),
            "heights_px": self.heights_px.as_json(),
            "faces": self.faces,
            "negatives": self.negatives,
            "unattributed": self.unattributed,
            "without_url": self.without_url,
            "unlabelled": self.unlabelled,
            "measured_skin": self.measured_skin,
            "relatives": self.relatives,
            "left_out": self.left_out,
        }


def summarise(job: ExportJob, rejected: int = 0) -> Summary:
    """Count an export; `rejected` samples of it could not be written."""
    summary = Summary()
    groups: dict[str, set[str]] = {}
    photos: Counter[str] = Counter()
    for sample in job.samples():
        groups.setdefault(sample.split.value, set()).add(sample.group)
        photos[sample.group] += not sample.is_synthetic
        _count_sample(summary, sample)
    summary.groups.update({split: len(names) for split, names in groups.items()})
    summary.relatives = sum(count - 1 for count in photos.values() if count > 1)
    summary.left_out = sum(1 for _ in job.manifest.samples()) - summary.total - rejected
    return summary


def _count_sample(summary: Summary, sample: Sample) -> None:
    split, origin, review = sample.split.value, sample.provenance, sample.review
    height, width = sample.image.size_hw
    summary.samples[split] += 1
    summary.synthetic[split] += sample.is_synthetic
    summary.licences[origin.licence] += 1
    summary.sources[(origin.source, origin.licence)] += 1
    if sample.is_synthetic:
        summary.rendered_licences[origin.licence] += 1
        summary.rendered_from[dict(origin.evidence).get("parent_source", "") or "not stated"] += 1
        summary.renderers[_renderer(origin.recipe)] += 1
    summary.reviews[review.state.value] += 1
    summary.reviewers.update(review.reviewers)
    if review.method:
        summary.methods[review.method] += 1
    if review.agreement is not None:
        summary.agreement.add(review.agreement)
    summary.widths_px.add(width)
    summary.heights_px.add(height)
    summary.unattributed += not origin.author
    summary.without_url += not origin.url
    summary.unlabelled += not sample.is_labelled
    summary.faces += len(sample.faces)
    _count_instances(summary, sample)


def _count_instances(summary: Summary, sample: Sample) -> None:
    masks = [item for item in sample.instances if item.label is Label.FACE_MASK]
    summary.negatives += not masks
    for item in sample.instances:
        summary.labels[item.label.value] += 1
        summary.origins[item.drawn_by.partition(":")[0]] += 1
    summary.mask_types.update(item.attribute(MASK_TYPE) or "unknown" for item in masks)
    summary.wearing_states.update(item.attribute(WEARING_STATE) or "unknown" for item in masks)
    summary.measured_skin += sum(bool(item.attribute(SKIN_ITA)) for item in masks)


def _renderer(recipe: str) -> str:
    try:
        stated = json.loads(recipe)["renderer"]
    except (ValueError, KeyError, TypeError):
        return "not stated"
    return str(stated)
