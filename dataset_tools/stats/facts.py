"""Count samples and rejections; pure, and one pass over any number of them."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dataset_tools.core.labels import MASK_TYPE, SKIN_ITA, WEARING_STATE
from dataset_tools.core.manifest import ShardCounts
from dataset_tools.core.record import Face, Rejection, Review, Sample
from dataset_tools.stats.facets import FACETS, POSES, UNKNOWN, facets_of, pose_name, true_masks
from dataset_tools.stats.skin import ITA_CLASSES, noted_class

# Upper edges of bins in pixels; the last bin is open.
IMAGE_EDGES_PX = (256, 512, 1024, 2048)
FACE_EDGES_PX = (32, 64, 128, 256)

# Edges of the bins of agreement (IoU) between reviewers.
AGREEMENT_EDGES = (0.5, 0.7, 0.8, 0.9, 0.95)

# A chart lumps all higher counts of faces together.
MANY_FACES = 5
PER_IMAGE = (*map(str, range(MANY_FACES)), f"{MANY_FACES}+")

PEOPLE = "human"

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
        size_map: pictures by width and height, each as the nearest half power of two: 12 stands for 64 px.
        image_sizes: pictures by longer side, see `IMAGE_EDGES_PX`.
        image_shapes: pictures that are portrait, landscape or square.
        poses: faces by yaw, see `POSES`.
        masks_per_image: labelled pictures by number of face masks on them.
        faces_per_image: pictures by number of detected faces.
        face_sizes: faces by shorter side of their box.
        mask_types, wearing_states: face-mask instances that are ground truth.
        wearing: faces by the detector's opinion.
        labels: ground-truth instances by label.
        drawn_by: all instances by kind of who drew them.
        drawers: the same by full name; people are not named.
        skin_tones: ground-truth face masks by the wearer's skin (ITA class), where it is known.
        people: everybody who reviewed a picture.
        methods: reviewed pictures by how opinions became one, see `Review.method`.
        agreements: pictures that two or more people saw, by their agreement; see `agreement_bins`.
        agreement_sum: of these pictures.
        cells: pictures by (facet, value, split), see `facets.FACETS`.
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
    size_map: Counter[tuple[int, int]] = field(default_factory=Counter)
    image_sizes: Counter[str] = field(default_factory=Counter)
    image_shapes: Counter[str] = field(default_factory=Counter)
    poses: Counter[str] = field(default_factory=Counter)
    masks_per_image: Counter[str] = field(default_factory=Counter)
    faces_per_image: Counter[str] = field(default_factory=Counter)
    face_sizes: Counter[str] = field(default_factory=Counter)
    mask_types: Counter[str] = field(default_factory=Counter)
    wearing_states: Counter[str] = field(default_factory=Counter)
    wearing: Counter[str] = field(default_factory=Counter)
    labels: Counter[str] = field(default_factory=Counter)
    drawn_by: Counter[str] = field(default_factory=Counter)
    drawers: Counter[tuple[str, str]] = field(default_factory=Counter)
    skin_tones: Counter[str] = field(default_factory=Counter)
    people: set[str] = field(default_factory=set)
    methods: Counter[str] = field(default_factory=Counter)
    agreements: Counter[str] = field(default_factory=Counter)
    agreement_sum: float = 0.0
    cells: Counter[tuple[str, str, str]] = field(default_factory=Counter)
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

    @property
    def mean_agreement(self) -> float | None:
        """Mean agreement (IoU) of the pictures that several people saw; None when there are none."""
        count = sum(self.agreements.values())
        return self.agreement_sum / count if count else None

    def pictures_by(self, facet: str) -> Counter[str]:
        """Pictures by value of a facet; a picture with two mask types counts for both."""
        counts: Counter[str] = Counter()
        for (key, value, _), count in self.cells.items():
            if key == facet:
                counts[value] += count
        return counts

    def add_sample(self, sample: Sample) -> None:
        """Count one picture with everything on it."""
        height, width = sample.image.size_hw
        self.width_sum_px += width
        self.height_sum_px += height
        self.photos += not sample.is_synthetic
        self.synthetic += sample.is_synthetic
        self.labelled += sample.is_labelled
        self.size_map[(round(2 * math.log2(width)), round(2 * math.log2(height)))] += 1
        self.image_sizes[bin_name(max(height, width), IMAGE_EDGES_PX)] += 1
        shape = "square" if height == width else "portrait" if height > width else "landscape"
        self.image_shapes[shape] += 1
        self.splits[(sample.split.value, "synthetic" if sample.is_synthetic else "real")] += 1
        self.sources[sample.provenance.source] += 1
        self.licences[sample.provenance.licence] += 1
        self._add_review(sample.review)
        self.faces_per_image[PER_IMAGE[min(len(sample.faces), MANY_FACES)]] += 1
        self.cells.update(
            (facet, value, sample.split.value)
            for facet, values in facets_of(sample).items()
            for value in values
        )
        for face in sample.faces:
            self._add_face(face)
        self._add_instances(sample)

    def _add_review(self, review: Review) -> None:
        self.reviews[review.state.value] += 1
        self.people.update(review.reviewers)
        if review.method:
            self.methods[review.method] += 1
        if review.agreement is not None:
            self.agreements[agreement_bin(review.agreement)] += 1
            self.agreement_sum += review.agreement

    def _add_face(self, face: Face) -> None:
        self.faces += 1
        left, top, right, bottom = face.box_xyxy
        self.face_sizes[bin_name(min(right - left, bottom - top), FACE_EDGES_PX)] += 1
        self.poses[pose_name(face)] += 1
        self.wearing[face.wearing.value] += 1

    def _add_instances(self, sample: Sample) -> None:
        for item in sample.instances:
            kind, _, name = item.drawn_by.partition(":")
            self.drawn_by[kind] += 1
            self.drawers[(kind, "" if kind == PEOPLE else name)] += 1
        truth = [item for item in sample.instances if not item.is_proposal]
        self.proposals += len(sample.instances) - len(truth)
        self.labels.update(item.label.value for item in truth)
        masks = true_masks(sample)
        self.masked_faces += len(masks)
        if sample.is_labelled:
            self.masks_per_image[PER_IMAGE[min(len(masks), MANY_FACES)]] += 1
        self.mask_types.update(item.attribute(MASK_TYPE) or UNKNOWN for item in masks)
        self.wearing_states.update(item.attribute(WEARING_STATE) or UNKNOWN for item in masks)
        tones = (noted_class(item.attribute(SKIN_ITA)) for item in masks)
        self.skin_tones.update(tone for tone in tones if tone)

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
            "masks_per_image": in_order(self.masks_per_image, PER_IMAGE),
            "faces_per_image": in_order(self.faces_per_image, PER_IMAGE),
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
            "drawers": {f"{kind}:{name}": count for (kind, name), count in sorted(self.drawers.items())},
            "skin_tones": in_order(self.skin_tones, (name for _, name in ITA_CLASSES)),
            "agreement": {
                "people": len(self.people),
                "methods": by_count(self.methods),
                "pictures": in_order(self.agreements, agreement_bins()),
                "mean": None if self.mean_agreement is None else round(self.mean_agreement, 4),
            },
            "pictures_by": {facet: by_count(self.pictures_by(facet)) for facet in FACETS},
            "by_split": {
                facet: {
                    f"{value}/{split}": count
                    for (key, value, split), count in sorted(self.cells.items())
                    if key == facet
                }
                for facet in FACETS
                if facet != "split"
            },
            "rejections": self._rejections_as_json(),
        }

    def _rejections_as_json(self) -> list[dict[str, Any]]:
        return [
            {
                "stage": stage,
                "reason": reason,
                "count": count,
                "examples": [
                    {"item": item, "detail": detail} for item, detail in self.examples[(stage, reason)]
                ],
            }
            for (stage, reason), count in sorted(self.rejections.items())
        ]


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


def agreement_bins() -> list[str]:
    """Names of the bins of agreement, the lowest first: "< 0.50", "0.50–0.70", …, "≥ 0.95"."""
    inner = [f"{low:.2f}–{high:.2f}" for low, high in itertools.pairwise(AGREEMENT_EDGES)]
    return [f"< {AGREEMENT_EDGES[0]:.2f}", *inner, f"≥ {AGREEMENT_EDGES[-1]:.2f}"]


def agreement_bin(value: float) -> str:
    """The bin of an agreement in [0, 1]; an edge belongs to the bin above it."""
    return agreement_bins()[sum(value >= edge for edge in AGREEMENT_EDGES)]


def in_order(counts: Counter[str], names: Iterable[str]) -> dict[str, int]:
    """Counts in a given order, zeros included."""
    return {name: counts[name] for name in names}


def by_count(counts: Counter[str]) -> dict[str, int]:
    """Counts with the largest first; equal ones by name."""
    return dict(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))
