"""1:1 verification figures from distances alone; pure NumPy.

A pair is accepted as one person when the squared distance of its two embeddings of length 1, in [0, 4], lies
below a threshold.

Source: the protocol of Labeled Faces in the Wild (UMass technical report 07-49); `baselines.md` 5.9.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

THRESHOLDS: Floats = np.arange(0, 400) / 100
FAR_TARGET = 1e-3


def _below(distances: Floats) -> Ints:
    """How many distances lie below each of `THRESHOLDS`, (400,)."""
    return np.searchsorted(np.sort(distances), THRESHOLDS, side="left")


def accuracy_per_fold(distances: Floats, same: Bools, folds: Ints) -> Floats:
    """Share of pairs judged rightly in each fold, with the threshold that is best on all other folds.

    Among equally good thresholds the lowest one is taken.

    Args:
        distances: (N,) squared distances.
        same: (N,) whether a pair shows one person.
        folds: (N,) fold numbers, at least two different ones.

    Returns:
        One accuracy in [0, 1] per fold, by fold number.
    """
    names = np.unique(folds)
    right = np.stack([_right(distances[folds == one], same[folds == one]) for one in names])
    counts = np.array([np.count_nonzero(folds == one) for one in names])
    best_elsewhere = (right.sum(axis=0) - right).argmax(axis=1)
    found: Floats = right[np.arange(len(names)), best_elsewhere] / counts
    return found


def _right(distances: Floats, same: Bools) -> Ints:
    accepted_same = _below(distances[same])
    refused_different = np.count_nonzero(~same) - _below(distances[~same])
    right: Ints = accepted_same + refused_different
    return right


def tar_at_far(distances: Floats, same: Bools, far: float = FAR_TARGET) -> float:
    """Largest share of same pairs accepted by a threshold that accepts at most `far` of the different pairs.

    Thresholds are the distances themselves, over all pairs pooled (D-23). NaN without either kind of pairs.

    Args:
        distances, same: as `accuracy_per_fold`.
        far: false acceptance rate allowed; with fewer than 1 / far different pairs none may be accepted.
    """
    own, others = distances[same], np.sort(distances[~same])
    if not len(own) or not len(others):
        return float("nan")
    allowed = int(np.floor(far * len(others) + 1e-9))
    if allowed >= len(others):
        return 1.0
    # Accepting everything below the first different pair that is one too many.
    return float(np.mean(own < others[allowed]))


def tar_at_far_by_folds(distances: Floats, same: Bools, folds: Ints, far: float = FAR_TARGET) -> float:
    """Mean over folds of the share of same pairs accepted, the threshold found on all other folds.

    It lies between the two neighbours of `THRESHOLDS` where their false acceptance rate passes `far`,
    linearly in between; folds without same pairs do not count.

    Args:
        distances, same, folds: as `accuracy_per_fold`.
        far: false acceptance rate aimed at.
    """
    found = []
    for fold in np.unique(folds):
        inside = folds == fold
        others = distances[~inside & ~same]
        own = distances[inside & same]
        if not len(own) or not len(others):
            continue
        found.append(float(np.mean(own < _threshold_at(_below(others) / len(others), far))))
    return float(np.mean(found)) if found else float("nan")


def _threshold_at(rates: Floats, far: float) -> float:
    after = int(np.searchsorted(rates, far, side="right"))
    if after == len(rates):
        return float(THRESHOLDS[-1])
    if after == 0:
        return float(THRESHOLDS[0])
    low, high = rates[after - 1], rates[after]
    share = (far - low) / (high - low)
    return float(THRESHOLDS[after - 1] + share * (THRESHOLDS[after] - THRESHOLDS[after - 1]))


def area_under_roc(distances: Floats, same: Bools) -> float:
    """Chance that a same pair lies closer than a different one, ties half; NaN without either kind."""
    own, others = distances[same], np.sort(distances[~same])
    if not len(own) or not len(others):
        return float("nan")
    closer = len(others) - np.searchsorted(others, own, side="right")
    tied = np.searchsorted(others, own, side="right") - np.searchsorted(others, own, side="left")
    return float((closer + tied / 2).sum() / (len(own) * len(others)))
