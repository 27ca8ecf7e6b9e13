"""The prelabel stage: a model proposes masks for samples that nobody has labelled.

Proposals are marked "model:<name>@<version>" and never ground truth.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from annotation.prelabel.proposer import ProbabilityMap, Proposal, Proposer
from annotation.prelabel.settings import PrelabelSettings
from dataset_tools.core.images import ImageStore
from dataset_tools.core.labels import Label
from dataset_tools.core.masks import BoolMask, mask_to_rle
from dataset_tools.core.progress import Progress
from dataset_tools.core.record import Instance, Rejection, Sample
from dataset_tools.core.stage import each

# From this probability on a pixel belongs to the proposal.
FOREGROUND_PROBABILITY = 0.5


class PrelabelStage:
    """Adds proposals to unlabelled samples; labelled ones pass untouched.

    Args:
        settings: which model, and what is kept.
        seed: of the run; nothing here is random.
        proposer: the model; by default the baseline that `settings.checkpoint` names.

    Raises:
        DataError: the checkpoint is not one.
    """

    name = "prelabel"
    version = "1"
    parallel = True

    def __init__(self, settings: PrelabelSettings, seed: int, proposer: Proposer | None = None) -> None:
        self.settings = settings
        self.seed = seed
        self.proposer = proposer
        if proposer is None and settings.checkpoint is not None:
            from annotation.prelabel.from_baseline import BaselineProposer

            self.proposer = BaselineProposer(settings.checkpoint, settings.device)

    @property
    def config(self) -> dict[str, Any]:
        """The thresholds and the model by its weights: neither its folder nor the device decides the rows."""
        values = self.settings.model_dump(mode="json", exclude={"checkpoint", "device"})
        if self.proposer is None:
            return values | {"model": "", "weights_sha256": ""}
        return values | {
            "model": f"{self.proposer.name}@{self.proposer.version}",
            "weights_sha256": str(getattr(self.proposer, "weights_sha256", "")),
        }

    def plan(self, samples: Iterable[Sample]) -> None:
        """Nothing to look at beforehand."""

    def run(
        self, items: Sequence[Sample], *, plan: None, images: ImageStore, progress: Progress
    ) -> Iterator[Sample | Rejection]:
        """Propose for one shard."""
        yield from each(items, self.name, lambda sample: self._handle(sample, images), progress)

    def _handle(self, sample: Sample, images: ImageStore) -> Iterator[Sample]:
        if sample.is_labelled or self.proposer is None:
            yield sample
            return
        rgb = images.read(sample.image)
        (proposals,) = self.proposer.propose([rgb], [[face.box_xyxy for face in sample.faces]])
        drawn_by = f"model:{self.proposer.name}@{self.proposer.version}"
        kept = tuple(item for item in sample.instances if not item.is_proposal)
        added = proposal_instances(proposals, drawn_by, self.settings)
        yield replace(sample, instances=kept + added)


def proposal_instances(
    proposals: Sequence[Proposal], drawn_by: str, settings: PrelabelSettings
) -> tuple[Instance, ...]:
    """Probability maps as instances; holes stay, and no pixel goes to two faces under one label.

    Args:
        proposals: of one picture.
        drawn_by: "model:<name>@<version>".
        settings: what is too small or too unsure.
    """
    instances = []
    for proposal, mask in zip(proposals, _masks(proposals), strict=True):
        confidence = expected_iou(proposal.probability, mask)
        if int(mask.sum()) < settings.min_area_px or confidence < settings.min_confidence:
            continue
        where = "picture" if proposal.face < 0 else f"face{proposal.face}"
        instances.append(
            Instance(
                id=f"proposal-{where}-{proposal.label.value}",
                label=proposal.label,
                mask=mask_to_rle(mask),
                drawn_by=drawn_by,
                confidence=confidence,
                face=proposal.face,
            )
        )
    return tuple(instances)


def _masks(proposals: Sequence[Proposal]) -> list[BoolMask]:
    """Each proposal's pixels; of several faces under one label the surest, then the first, has the pixel."""
    best: dict[Label, ProbabilityMap] = {}
    taken: dict[Label, BoolMask] = {}
    for proposal in proposals:
        known = best.get(proposal.label)
        best[proposal.label] = (
            proposal.probability if known is None else np.maximum(known, proposal.probability)
        )
    masks = []
    for proposal in proposals:
        label, probability = proposal.label, proposal.probability
        mask = (probability >= FOREGROUND_PROBABILITY) & (probability == best[label])
        if label in taken:
            mask &= ~taken[label]
        taken[label] = taken[label] | mask if label in taken else mask
        masks.append(mask)
    return masks


def expected_iou(probability: ProbabilityMap, mask: BoolMask) -> float:
    """How well the model expects its own mask to meet the truth.

    Were the probabilities right, the mask would share sum(p over the mask) pixels with the truth, and mask
    and truth together would cover area(mask) + sum(p outside) pixels; their ratio is the value. A hesitant
    inside and a wide uncertain rim both lower it.

    Args:
        probability: (H, W) float32 in [0, 1].
        mask: (H, W) bool.

    Returns:
        Value in [0, 1], rounded to 6 digits; 0 for an empty mask.
    """
    inside = float(probability[mask].sum(dtype=np.float64))
    outside = float(probability.sum(dtype=np.float64)) - inside
    area = int(mask.sum())
    return round(min(max(inside / (area + max(outside, 0.0)), 0.0), 1.0), 6) if area else 0.0
