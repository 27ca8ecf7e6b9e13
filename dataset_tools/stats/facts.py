"""Count samples and rejections; pure, and one pass over any number of them."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dataset_tools.core.labels import MASK_TYPE, WEARING_STATE, Label
from dataset_tools.core.manifest import ShardCounts
from dataset_tools.core.record import Face, Rejection, Sample

# Upper edges of bins in pixels; the last bin is open.
IMAGE_EDGES_PX = (256, 512, 1024, 2048)
FACE_EDGES_PX = (32, 64, 128, 256)

# Yaw at which a face no longer counts as frontal, and at which it counts as a profile, in degrees.
FRONT_YAW_DEG = 15.0
PROFILE_YAW_DEG = 45.0

POSES = ("left", "left-front", "front", "right-front", "right", "not known")
UNKNOWN = "not known"

# A chart lumps all higher counts of faces together.
MANY_FACES = 5
MASKS_PER_IMAGE = (*map(str, range(MANY_FACES)), f"{MANY_FACES}+")

# Examples kept of every rejection reason.
EXAMPLES = 3


@dataclass(slots=True)
class Facts:
    """All counts of a report.

    Attributes:
        flow: how the items of each stage ended, by stage name, in order.
        photos, synthetic: collected and rendered pictures.
        labelled: pictures with a complete ground truth.
        faces: detected faces.
        masked_faces: face-mask instances that are ground truth.
        proposals: instances that only a model has drawn; they count here and in `drawn_by`, nowhere else.
        width_sum_px, height_sum_px: over all pictures.
        image_sizes: pictures by longer side, see `IMAGE_EDGES_PX`.
        image_shapes: pictures that are portrait, landscape or square.
        poses: faces by yaw, see `POSES`.
        masks_per_image: labelled pictures by number of face masks on them.
        face_sizes: faces by shorter side of their box.
        mask_types, wearing_states: face-mask instances that are ground truth.
        wearing: faces by the detector's opinion.
        labels: ground-truth instances by label.
        drawn_by: all instances by who drew them.
        splits: pictures by (split, "real" or "synthetic").
        sources, licences, reviews: pictures.
        rejections: by (stage, reason).
        examples: up to `EXAMPLES` of (item key, detail) for each of them.
    """

    flow: dict[str, ShardCounts] = field(default_factory=dict)
    photos: int = 0
    synthetic: int = 0
    labelled: int = 0
    faces: int = 0
    masked_faces: int = 0
    proposals: int = 0
    width_sum_px: int = 0
    height_sum_px: int = 0
    image_sizes: Counter[str] = field(default_factory=Counter)
    image_shapes: Counter[str] = field(default_factory=Counter)
    poses: Counter[str] = field(default_factory=Counter)
    masks_per_image: Counter[str] = field(default_factory=Counter)
    face_sizes: Counter[str] = field(default_factory=Counter)
    mask_types: Counter[str] = field(default_factory=Counter)
    wearing_states: Counter[str] = field(default_factory=Counter)
    wearing: Counter[str] = field(default_factory=Counter)
    labels: Counter[str] = field(default_factory=Counter)
    drawn_by: Counter[str] = field(default_factory=Counter)
    splits: Counter[tuple[str, str]] = field(default_factory=Counter)
    sources: Counter[str] = field(default_factory=Counter)
    licences: Counter[str] = field(default_factory=Counter)
    reviews: Counter[str] = field(default_factory=Counter)
    rejections: Counter[tuple[str, str]] = field(default_factory=Counter)
    examples: dict[tuple[str, str], list[tuple[str, str]]] = field(default_factory=dict)

    @property
    def pictures(self) -> int:
        """Photos and rendered pictures."""
        return self.photos + self.synthetic

    @property
    def mean_size_wh(self) -> tuple[float, float]:
        """Mean width and height in pixels; zeros for no pictures."""
        count = max(self.pictures, 1)
        return (self.width_sum_px / count, self.height_sum_px / count)

    def add_sample(self, sample: Sample) -> None:
        """Count one picture with everything on it."""
        height, width = sample.image.size_hw
        self.width_sum_px += width
        self.height_sum_px += height
        self.photos += not sample.is_synthetic
        self.synthetic += sample.is_synthetic
        self.labelled += sample.is_labelled
        self.image_sizes[bin_name(max(height, width), IMAGE_EDGES_PX)] += 1
        shape = "square" if height == width else "portrait" if height > width else "landscape"
        self.image_shapes[shape] += 1
        self.splits[(sample.split.value, "synthetic" if sample.is_synthetic else "real")] += 1
        self.sources[sample.provenance.source] += 1
        self.licences[sample.provenance.licence] += 1
        self.reviews[sample.review.state.value] += 1
        for face in sample.faces:
            self._add_face(face)
        self._add_instances(sample)

    def _add_face(self, face: Face) -> None:
        self.faces += 1
        left, top, right, bottom = face.box_xyxy
        self.face_sizes[bin_name(min(right - left, bottom - top), FACE_EDGES_PX)] += 1
        self.poses[pose_name(face)] += 1
        self.wearing[face.wearing.value] += 1

    def _add_instances(self, sample: Sample) -> None:
        self.drawn_by.update(item.drawn_by.partition(":")[0] for item in sample.instances)
        truth = [item for item in sample.instances if not item.is_proposal]
        self.proposals += len(sample.instances) - len(truth)
        self.labels.update(item.label.value for item in truth)
        masks = [item for item in truth if item.label is Label.FACE_MASK]
        self.masked_faces += len(masks)
        if sample.is_labelled:
            self.masks_per_image[MASKS_PER_IMAGE[min(len(masks), MANY_FACES)]] += 1
        self.mask_types.update(item.attribute(MASK_TYPE) or UNKNOWN for item in masks)
        self.wearing_states.update(item.attribute(WEARING_STATE) or UNKNOWN for item in masks)

    def add_rejection(self, rejection: Rejection) -> None:
        """Count one dropped item and keep it as an example if there are few yet."""
        key = (rejection.stage, rejection.reason.value)
        self.rejections[key] += 1
        kept = self.examples.setdefault(key, [])
        if len(kept) < EXAMPLES:
            kept.append((rejection.item_key, rejection.detail))

    def as_json(self) -> dict[str, Any]:
        """The same facts as plain values; mappings keep the order of the page."""
        width, height = self.mean_size_wh
        return {
            "flow": {
                stage: {
                    "inputs": counts.inputs,
                    "kept": counts.kept,
                    "derived": counts.derived,
                    "rejected": counts.rejected,
                    "derived_rejected": counts.derived_rejected,
                }
                for stage, counts in self.flow.items()
            },
            "pictures": self.pictures,
            "photos": self.photos,
            "synthetic": self.synthetic,
            "labelled": self.labelled,
            "faces": self.faces,
            "masked_faces": self.masked_faces,
            "proposals": self.proposals,
            "mean_size_wh": [round(width, 1), round(height, 1)],
            "image_sizes": in_order(self.image_sizes, bin_names(IMAGE_EDGES_PX)),
            "image_shapes": by_count(self.image_shapes),
            "poses": in_order(self.poses, POSES),
            "masks_per_image": in_order(self.masks_per_image, MASKS_PER_IMAGE),
            "face_sizes": in_order(self.face_sizes, bin_names(FACE_EDGES_PX)),
            "mask_types": by_count(self.mask_types),
            "wearing_states": by_count(self.wearing_states),
            "wearing": by_count(self.wearing),
            "labels": by_count(self.labels),
            "drawn_by": by_count(self.drawn_by),
            "splits": {f"{split}/{kind}": count for (split, kind), count in sorted(self.splits.items())},
            "sources": by_count(self.sources),
            "licences": by_count(self.licences),
            "reviews": by_count(self.reviews),
            "rejections": [
                {
                    "stage": stage,
                    "reason": reason,
                    "count": count,
                    "examples": [
                        {"item": item, "detail": detail} for item, detail in self.examples[(stage, reason)]
                    ],
                }
                for (stage, reason), count in sorted(self.rejections.items())
            ],
        }


def collect_facts(
    samples: Iterable[Sample],
    rejections: Iterable[Rejection] = (),
    flow: Mapping[str, ShardCounts] | None = None,
) -> Facts:
    """Count samples of the last stage and rejections of all stages."""
    facts = Facts(flow=dict(flow or {}))
    for sample in samples:
        facts.add_sample(sample)
    for rejection in rejections:
        facts.add_rejection(rejection)
    return facts


def bin_names(edges: tuple[int, ...]) -> list[str]:
    """Names of the bins below, between and from the edges: "< 32", "32–63", …, "≥ 256"."""
    inner = [f"{low}–{high - 1}" for low, high in itertools.pairwise(edges)]
    return [f"< {edges[0]}", *inner, f"≥ {edges[-1]}"]


def bin_name(value: float, edges: tuple[int, ...]) -> str:
    """The bin a value falls in; an edge belongs to the bin above it."""
    return bin_names(edges)[sum(value >= edge for edge in edges)]


def pose_name(face: Face) -> str:
    """Where a face looks, by yaw, as seen in the picture (left: towards its left edge)."""
    if not face.pose_deg:
        return UNKNOWN
    yaw = face.pose_deg[0]
    if abs(yaw) < FRONT_YAW_DEG:
        return "front"
    side = "right" if yaw > 0 else "left"
    return side if abs(yaw) >= PROFILE_YAW_DEG else f"{side}-front"


def in_order(counts: Counter[str], names: Iterable[str]) -> dict[str, int]:
    """Counts in a given order, zeros included."""
    return {name: counts[name] for name in names}


def by_count(counts: Counter[str]) -> dict[str, int]:
    """Counts with the largest first; equal ones by name."""
    return dict(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))
