"""From probabilities to masks, and how well a model expects them to fit. Pure arrays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from annotation.prelabel.proposer import ProbabilityMap, Proposal
from dataset_tools.core.labels import Label
from dataset_tools.core.masks import BoolMask

# From this probability on a pixel belongs to the proposal.
FOREGROUND_PROBABILITY = 0.5


def proposal_masks(proposals: Sequence[Proposal]) -> list[BoolMask]:
    """Each proposal's pixels, (H, W) bool; holes stay.

    No pixel goes to two faces under one label: the surest has it, then the first.

    Args:
        proposals: of one picture.
    """
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


def overlap(first: BoolMask, second: BoolMask) -> float:
    """Intersection over union of two masks of one picture; 1 when both are empty."""
    either = int(np.count_nonzero(first | second))
    return int(np.count_nonzero(first & second)) / either if either else 1.0
