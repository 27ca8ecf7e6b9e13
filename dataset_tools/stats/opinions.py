"""What models said of pictures that now have a ground truth: the evidence for the label-noise estimate.

There are two kinds. Saved predictions of a trained baseline are probability maps. A proposal that people have
since looked at is a mask with one confidence, kept by the manifest of the prelabel stage.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dataset_tools.core.labels import Label
from dataset_tools.core.masks import BoolMask, RleMask, mask_to_rle, rle_to_mask
from dataset_tools.core.record import Instance, ReviewState, Sample
from dataset_tools.stats.facets import true_masks
from dataset_tools.stats.noise import PixelCounts, count_pixels

_JUDGED = (ReviewState.ACCEPTED, ReviewState.CORRECTED)
_DEFAULT_CONFIDENCE = 0.5
_SEEN_AS_MASK = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """A trained model's opinion on face masks in one part of a picture.

    Attributes:
        box_xyxy: the part, whole pixels inside the picture; x1, y1 exclusive.
        probability: (y1 - y0, x1 - x0) float in [0, 1], of "face mask".
        made_by: "name@version" of the model.
    """

    box_xyxy: tuple[int, int, int, int]
    probability: npt.NDArray[np.floating]
    made_by: str


# Gives what is saved of a picture; an empty sequence when nothing is.
PredictionReader = Callable[[Sample], Sequence[Prediction]]


@dataclass(frozen=True, slots=True, eq=False)
class Opinion:
    """What models said of one labelled picture, against its label.

    Attributes:
        counts: pixels by label and probability.
        seen_as_mask: pixels to which a probability of at least a half was given.
        made_by: the models, sorted.
    """

    counts: PixelCounts
    seen_as_mask: RleMask
    made_by: tuple[str, ...]

    @property
    def disagreement(self) -> float:
        """1 - IoU of label and prediction within what was judged; 0 when both are empty."""
        sure = self.counts.probability >= _SEEN_AS_MASK
        both, union = int(self.counts.pixels[1, sure].sum()), int(self.counts.pixels[1].sum())
        union += int(self.counts.pixels[0, sure].sum())
        return 1 - both / union if union else 0.0


def is_judged(sample: Sample) -> bool:
    """True when people decided on a photo's labels, so that an earlier proposal can be held against them."""
    return sample.is_labelled and not sample.is_synthetic and sample.review.state in _JUDGED


def opinion_of_predictions(sample: Sample, predictions: Sequence[Prediction]) -> Opinion:
    """Saved predictions against the label; where parts overlap, the higher probability counts.

    Args:
        sample: a labelled picture.
        predictions: at least one.

    Raises:
        ItemFault: a label that does not fill its picture.
        MaskShapeError: a prediction that does not fill its box.
    """
    probability = np.zeros(sample.image.size_hw)
    seen = np.zeros(sample.image.size_hw, dtype=np.bool_)
    for item in predictions:
        x0, y0, x1, y1 = item.box_xyxy
        count_pixels(seen[y0:y1, x0:x1], item.probability)  # refuses another shape
        part = probability[y0:y1, x0:x1]
        np.maximum(part, item.probability, out=part)
        seen[y0:y1, x0:x1] = True
    counts = count_pixels(_union(true_masks(sample), sample.image.size_hw)[seen], probability[seen])
    is_mask = mask_to_rle(probability >= _SEEN_AS_MASK)
    return Opinion(counts, is_mask, tuple(sorted({item.made_by for item in predictions})))


def opinion_of_proposals(sample: Sample, proposals: Sequence[Instance]) -> Opinion:
    """A picture's proposals, as they were before people looked, against what people left.

    A proposal's confidence c is the IoU that its model expects. With as many pixels wrongly in as wrongly out
    that is a share of d = 2c / (1 + c) of the proposed pixels being right (the expected Dice overlap), so
    every pixel inside has the probability d, and those outside share the (1 - d) * area that are missing.
    Where proposals overlap, the higher probability counts.

    Args:
        sample: a judged picture, see `is_judged`.
        proposals: of face masks, at least one: where there is none, no confidence is known either.

    Raises:
        ItemFault: a mask that does not fill the picture.
    """
    label = _union(true_masks(sample), sample.image.size_hw)
    open_px = ~np.zeros_like(label)  # not counted yet
    missing_px, rows = 0.0, []
    for dice, item in sorted(((_dice(item), item) for item in proposals), key=lambda pair: -pair[0]):
        part = rle_to_mask(item.mask) & open_px
        missing_px += (1 - dice) * item.mask.area_px
        open_px &= ~part
        rows.append((dice, *_by_label(part, label)))
    outside = int(open_px.sum())
    rows.append((min(missing_px / outside, 1.0) if outside else 0.0, *_by_label(open_px, label)))
    table = np.array(rows)
    counts = PixelCounts(table[:, 0], table[:, 1:].T.astype(np.int64))
    return Opinion(counts, mask_to_rle(~open_px), tuple(sorted({item.drawn_by for item in proposals})))


def _dice(proposal: Instance) -> float:
    confidence = _DEFAULT_CONFIDENCE if proposal.confidence is None else proposal.confidence
    return 2 * confidence / (1 + confidence)


def _by_label(part: BoolMask, label: BoolMask) -> tuple[int, int]:
    masked = int((part & label).sum())
    return int(part.sum()) - masked, masked


def mask_proposals(sample: Sample) -> tuple[Instance, ...]:
    """A picture's proposed face masks."""
    return tuple(item for item in sample.instances if item.is_proposal and item.label is Label.FACE_MASK)


def _union(instances: Iterable[Instance], size_hw: tuple[int, int]) -> BoolMask:
    union = np.zeros(size_hw, dtype=np.bool_, order="F")  # as decoded masks: whole passes are faster
    for item in instances:
        union |= rle_to_mask(item.mask)
    return union
