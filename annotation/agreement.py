"""How far two people agree about one sample: overlap per label, and Cohen's kappa for choices. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from dataset_tools.core.labels import Label
from dataset_tools.core.masks import union
from dataset_tools.core.record import Instance


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
    ours, theirs = list(first), list(second)
    result: dict[Label, float] = {}
    for label in Label:
        mine = union((item.mask for item in ours if item.label == label), size_hw)
        other = union((item.mask for item in theirs if item.label == label), size_hw)
        either = int((mine | other).sum())
        if either:
            result[label] = int((mine & other).sum()) / either
    return result


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
