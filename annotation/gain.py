"""Which samples people should see first: those where a look is likely to change something. Pure."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence

from annotation.prelabel.proposer import DISAGREEMENT
from dataset_tools.core.labels import MASK_TYPE, Label, Wearing
from dataset_tools.core.masks import rle_to_mask
from dataset_tools.core.record import Face, Instance, Sample
from dataset_tools.core.seeds import derive_seed, generator

EASY_BATCH = 50

# Looks at an easy proposal differ at most so much: one ring of pixels around a mask 80 px wide.
EASY_DISAGREEMENT = 0.05

# Without a proposed mask: the detector saw one; nobody can tell; detector and model both say there is none.
GAIN_MISSED = 1.0
GAIN_UNKNOWN = 0.5
GAIN_BARE = 0.1

_GAIN_WITHOUT_MASK = {
    Wearing.MASKED: GAIN_MISSED,
    Wearing.INCORRECT: GAIN_MISSED,
    Wearing.UNKNOWN: GAIN_UNKNOWN,
    Wearing.UNMASKED: GAIN_BARE,
}


def expected_gain(sample: Sample) -> float:
    """How much a look at a sample is likely to improve its labels.

    The most doubtful thing in the picture decides, since it alone makes a person open the task:

    - a proposal counts 1 - confidence * (1 - disagreement): confidence is the overlap with the truth that is
      to be expected, so the rest is the share that a person would redraw; looks that disagree lower it
      further, as they tell of errors that the model is sure of;
    - a face without a proposed mask counts 1 when its detector calls it masked (one of the two is wrong),
      0.5 when nobody can tell, 0.1 when both say that there is none;
    - a picture without faces and without proposals counts 0.5.

    Returns:
        Value in [0, 1]; 0 for labelled samples, which are shown for a check only.
    """
    if sample.is_labelled:
        return 0.0
    proposals = [item for item in sample.instances if item.is_proposal]
    if not proposals and not sample.faces:
        return GAIN_UNKNOWN
    return max(max(map(_doubt, proposals), default=0.0), _gain_of_faces(sample))


def is_easy(sample: Sample, easy_from: float) -> bool:
    """Whether a glance will do: all proposals are sure, and none is missing.

    Args:
        sample: as it would be shown.
        easy_from: least confidence of a sure proposal, in [0, 1].
    """
    proposals = [item for item in sample.instances if item.is_proposal]
    if sample.is_labelled or not (proposals or sample.faces):
        return False
    return _gain_of_faces(sample) <= GAIN_BARE and all(
        (item.confidence or 0.0) >= easy_from and _disagreement(item) <= EASY_DISAGREEMENT
        for item in proposals
    )


def order_for_review(
    samples: Iterable[Sample], easy_from: float, gold_ids: Collection[str], seed: int
) -> list[Sample]:
    """The order in which people see samples; it depends on the samples and the seed alone.

    First what is not easy, by falling gain; then the easy ones, those of similar look beside each other, so
    that one which differs stands out. Labelled samples, gold or not, are spread evenly over all of it: each
    of as many equal stretches as there are holds one, at a drawn place and whatever its gain, so that
    neither its place nor its neighbours tell what it is.

    Args:
        samples: in any order.
        easy_from: as in `is_easy`.
        gold_ids: samples of known truth.
        seed: of the run.

    Returns:
        Every sample once.
    """
    known: list[Sample] = []
    hard: list[tuple[float, Sample]] = []
    easy: list[Sample] = []
    for sample in samples:
        if sample.is_labelled or sample.id in gold_ids:
            known.append(sample)
        elif is_easy(sample, easy_from):
            easy.append(sample)
        else:
            hard.append((expected_gain(sample), sample))
    known.sort(key=lambda sample: (derive_seed(seed, sample.id, "place"), sample.id))
    hard.sort(key=lambda entry: (-entry[0], entry[1].id))
    easy.sort(key=_look)
    return _spread(known, [*(sample for _, sample in hard), *easy], seed)


def batch_names(ordered: Sequence[Sample], easy_from: float) -> dict[str, str]:
    """Batches of easy samples to look through and accept together.

    Args:
        ordered: from `order_for_review`.
        easy_from: the same as there.

    Returns:
        Sample id to "easy-001", "easy-002", …: `EASY_BATCH` samples each, in order. They begin where the last
        sample that is not easy stands; labelled ones among them belong to their batch like any other.
        Samples before have no entry, and there is none at all when no sample is easy.
    """
    others = [index for index, sample in enumerate(ordered) if not sample.is_labelled]
    hard = [index for index in others if not is_easy(ordered[index], easy_from)]
    if len(hard) == len(others):
        return {}
    start = hard[-1] + 1 if hard else 0
    return {sample.id: f"easy-{index // EASY_BATCH + 1:03d}" for index, sample in enumerate(ordered[start:])}


def _doubt(proposal: Instance) -> float:
    return 1.0 - (proposal.confidence or 0.0) * (1.0 - _disagreement(proposal))


def _disagreement(proposal: Instance) -> float:
    return float(proposal.attribute(DISAGREEMENT, "0"))


def _gain_of_faces(sample: Sample) -> float:
    masks = [item for item in sample.instances if item.label is Label.FACE_MASK]
    return max(
        (
            _GAIN_WITHOUT_MASK[face.wearing]
            for index, face in enumerate(sample.faces)
            if not any(_is_on(mask, index, face) for mask in masks)
        ),
        default=0.0,
    )


def _is_on(mask: Instance, index: int, face: Face) -> bool:
    if mask.face >= 0:
        return mask.face == index
    x0, y0, x1, y1 = (max(round(value), 0) for value in face.box_xyxy)
    return bool(rle_to_mask(mask.mask)[y0:y1, x0:x1].any())


def _look(sample: Sample) -> tuple[str, int, str]:
    """Kind of the largest mask and its share of the picture to the nearest power of two; then the id."""
    masks = [item for item in sample.instances if item.label is Label.FACE_MASK and item.mask.area_px]
    if not masks:
        return "", 0, sample.id
    largest = max(masks, key=lambda item: (item.mask.area_px, item.id))
    height, width = sample.image.size_hw
    return largest.attribute(MASK_TYPE), round(math.log2(largest.mask.area_px / (height * width))), sample.id


def _spread(known: Sequence[Sample], others: Sequence[Sample], seed: int) -> list[Sample]:
    total, rest = len(known) + len(others), iter(others)
    place: dict[int, Sample] = {}
    for index, sample in enumerate(known):
        first, end = index * total // len(known), (index + 1) * total // len(known)
        place[int(generator(seed, "stretch", str(index)).integers(first, end))] = sample
    return [place[at] if at in place else next(rest) for at in range(total)]
