"""How far two people agree about one sample: overlap per label, and Cohen's kappa for choices. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from annotation.drawing import REGION_CHOICES
from annotation.verdict import Verdict
from dataset_tools.core.errors import MaskShapeError
from dataset_tools.core.labels import Label
from dataset_tools.core.masks import BoolMask, RleMask, rle_to_mask, union
from dataset_tools.core.record import Instance, ReviewState

# Ids of instances that a person started begin like this; all others name what was shown to everybody.
DRAWN_PREFIX = "drawn-"

_LABELLING = (ReviewState.ACCEPTED, ReviewState.CORRECTED)


@dataclass(frozen=True, slots=True)
class PictureAgreement:
    """Two people's verdicts on one sample side by side.

    Attributes:
        sample_id: the sample.
        people: whose verdicts, in the order they were given to `compare`.
        states: their verdicts.
        iou, boundary_iou: per label that at least one of them used; empty unless both left a labelling.
        choices: for every object that both have and at least one made a choice for: the choice's name, the
            first person's answer and the second's, "" for none.
    """

    sample_id: str
    people: tuple[str, str]
    states: tuple[ReviewState, ReviewState]
    iou: Mapping[Label, float] = field(default_factory=dict)
    boundary_iou: Mapping[Label, float] = field(default_factory=dict)
    choices: tuple[tuple[str, str, str], ...] = ()

    @property
    def worst(self) -> float | None:
        """Least IoU over the labels; None when there is nothing to compare."""
        return min(self.iou.values(), default=None)

    @property
    def mean_iou(self) -> float | None:
        """Mean IoU over the labels; None when there is nothing to compare."""
        return sum(self.iou.values()) / len(self.iou) if self.iou else None

    @property
    def equal_choices(self) -> dict[str, bool]:
        """Whether they made a choice alike for every object, by choice; only choices that were made."""
        result: dict[str, bool] = {}
        for name, first, second in self.choices:
            result[name] = result.get(name, True) and first == second
        return result


def compare(size_hw: tuple[int, int], first: Verdict, second: Verdict) -> PictureAgreement:
    """Set two people's verdicts on one sample side by side.

    Args:
        size_hw: the picture's size.
        first, second: their verdicts.

    Raises:
        MaskShapeError: a mask of another size.
        ValueError: verdicts on different samples.
    """
    if first.sample_id != second.sample_id:
        raise ValueError(f"verdicts on {first.sample_id} and {second.sample_id}")
    people, states = (first.reviewer, second.reviewer), (first.state, second.state)
    if not has_labelling(first) or not has_labelling(second):
        return PictureAgreement(first.sample_id, people, states)
    iou = label_iou(first.instances, second.instances, size_hw)
    boundary = label_boundary_iou(first.instances, second.instances, size_hw)
    choices = tuple(
        (name, first.instances[mine].attribute(name), second.instances[other].attribute(name))
        for mine, other in match(first.instances, second.instances)
        for name in REGION_CHOICES
    )
    made = tuple(answers for answers in choices if answers[1] or answers[2])
    return PictureAgreement(first.sample_id, people, states, iou, boundary, made)


def has_labelling(verdict: Verdict) -> bool:
    """True when the verdict says what is on the picture; not for "reject" and "fix"."""
    return verdict.state in _LABELLING


def label_iou(
    first: Iterable[Instance], second: Iterable[Instance], size_hw: tuple[int, int]
) -> dict[Label, float]:
    """Intersection over union of two labellings of one picture, per label.

    Args:
        first, second: instances of either person; those of one label are taken together.
        size_hw: the picture's size.

    Returns:
        Value in [0, 1] for every label that at least one of them used. A label that neither used is left
        out: agreeing on nothing would inflate a mean.

    Raises:
        MaskShapeError: a mask of another size.
    """
    return _by_label(first, second, size_hw, _overlap)


def label_boundary_iou(
    first: Iterable[Instance], second: Iterable[Instance], size_hw: tuple[int, int]
) -> dict[Label, float]:
    """Overlap of the outlines' bands, per label: as `label_iou`, but blind to the interiors.

    Source: Cheng et al., Boundary IoU, CVPR 2021, https://arxiv.org/abs/2103.16562
    """
    from baselines.metrics import boundary_iou

    return _by_label(first, second, size_hw, boundary_iou)


def _by_label(
    first: Iterable[Instance],
    second: Iterable[Instance],
    size_hw: tuple[int, int],
    measure: Callable[[BoolMask, BoolMask], float],
) -> dict[Label, float]:
    ours, theirs = list(first), list(second)
    for item in (*ours, *theirs):
        if item.mask.size_hw != size_hw:
            raise MaskShapeError(f"mask is {item.mask.size_hw}, picture is {size_hw}")
    result: dict[Label, float] = {}
    for label in Label:
        mine = [item.mask for item in ours if item.label == label]
        other = [item.mask for item in theirs if item.label == label]
        if all(mask.is_empty for mask in (*mine, *other)):
            continue
        # Most pictures come back unchanged from both; they need no decoding.
        result[label] = 1.0 if mine == other else measure(_pixels(mine, size_hw), _pixels(other, size_hw))
    return result


def _pixels(masks: Sequence[RleMask], size_hw: tuple[int, int]) -> BoolMask:
    return rle_to_mask(masks[0]) if len(masks) == 1 else union(masks, size_hw)


def _overlap(first: BoolMask, second: BoolMask) -> float:
    return int(np.count_nonzero(first & second)) / int(np.count_nonzero(first | second))


def mask_iou(first: RleMask, second: RleMask) -> float:
    """Intersection over union of two masks of one size; 0 when both are empty."""
    if first == second:
        return 0.0 if first.is_empty else 1.0
    return _overlap(rle_to_mask(first), rle_to_mask(second))


def match(first: Sequence[Instance], second: Sequence[Instance]) -> tuple[tuple[int, int], ...]:
    """Which instances of two labellings are the same object.

    What both made from one shown instance belongs together, unless one of them changed its label. The rest
    is paired within each label so that the sum of overlaps (IoU) is greatest.

    Args:
        first, second: instances of either person, with masks of one size.

    Returns:
        Pairs of indices, ordered by the first; instances that share no pixel with a counterpart are in none.
    """
    by_id = {item.id: index for index, item in enumerate(second) if not item.id.startswith(DRAWN_PREFIX)}
    pairs = [
        (index, by_id[item.id])
        for index, item in enumerate(first)
        if item.id in by_id and second[by_id[item.id]].label == item.label
    ]
    mine = set(range(len(first))) - {index for index, _ in pairs}
    theirs = set(range(len(second))) - {index for _, index in pairs}
    for label in Label:
        ours = sorted(index for index in mine if first[index].label == label)
        others = sorted(index for index in theirs if second[index].label == label)
        found = assign([[mask_iou(first[one].mask, second[two].mask) for two in others] for one in ours])
        pairs += [(ours[one], others[two]) for one, two in found]
    return tuple(sorted(pairs))


def assign(overlaps: Sequence[Sequence[float]]) -> list[tuple[int, int]]:
    """One-to-one pairs of rows and columns with the greatest sum of overlaps; none of overlap 0.

    Source: Kuhn, The Hungarian method for the assignment problem, 1955, doi:10.1002/nav.3800020109
    """
    if not overlaps or not overlaps[0]:
        return []
    if len(overlaps) == len(overlaps[0]) == 1:
        return [(0, 0)] if overlaps[0][0] > 0 else []
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(np.asarray(overlaps), maximize=True)
    return [
        (int(row), int(column))
        for row, column in zip(rows, columns, strict=True)
        if overlaps[row][column] > 0
    ]


def cohens_kappa(first: Sequence[str], second: Sequence[str]) -> float:
    """Agreement of two people's choices beyond chance.

    Args:
        first, second: their choices for the same items, in the same order.

    Returns:
        1 for full agreement, 0 for that of chance, down to -1; NaN for no items, or when both always made
        the same one choice, where chance alone explains all.

    Raises:
        ValueError: lengths differ.

    Source: Cohen, A coefficient of agreement for nominal scales, 1960, doi:10.1177/001316446002000104
    """
    if len(first) != len(second):
        raise ValueError(f"{len(first)} choices against {len(second)}")
    total = len(first)
    if total == 0:
        return float("nan")
    observed = sum(one == other for one, other in zip(first, second, strict=True)) / total
    mine, theirs = Counter(first), Counter(second)
    by_chance = sum(mine[choice] * theirs[choice] for choice in mine) / total**2
    if by_chance == 1.0:
        return float("nan")
    return (observed - by_chance) / (1.0 - by_chance)
