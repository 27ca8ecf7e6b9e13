"""Verification figures equal scikit-learn's, and closed forms at the ends."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, roc_auc_score, roc_curve

from baselines.verification.protocol import (
    THRESHOLDS,
    accuracy_per_fold,
    area_under_roc,
    tar_at_far,
    tar_at_far_by_folds,
)


def random_pairs(seed: int, count: int = 600) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    same = rng.random(count) < 0.5
    distances = np.clip(rng.normal(np.where(same, 1.2, 1.9), 0.4), 0, 4)
    return distances, same, np.arange(count) % 10


def test_accuracy_equals_a_search_with_scikit_learn() -> None:
    distances, same, folds = random_pairs(0)
    expected = []
    for fold in range(10):
        learn, judge = folds != fold, folds == fold
        scores = [accuracy_score(same[learn], distances[learn] < one) for one in THRESHOLDS]
        best = THRESHOLDS[int(np.argmax(scores))]
        expected.append(accuracy_score(same[judge], distances[judge] < best))
    assert accuracy_per_fold(distances, same, folds) == pytest.approx(expected)


def test_thresholds_are_0_to_4_in_steps_of_a_hundredth() -> None:
    assert len(THRESHOLDS) == 400
    assert THRESHOLDS[[0, 1, 399]] == pytest.approx([0.0, 0.01, 3.99])


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("far", [1e-3, 0.02, 0.3])
def test_tar_at_far_equals_the_roc_curve(seed: int, far: float) -> None:
    distances, same, _ = random_pairs(seed, 3000)
    rates = roc_curve(same, -distances, drop_intermediate=False)
    expected = max(tar for wrong, tar in zip(rates[0], rates[1], strict=True) if wrong <= far)
    assert tar_at_far(distances, same, far) == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(3))
def test_area_under_roc_equals_scikit_learn_with_ties(seed: int) -> None:
    distances, same, _ = random_pairs(seed)
    tied = distances.round(1)
    assert area_under_roc(tied, same) == pytest.approx(roc_auc_score(same, -tied))


def test_3000_different_pairs_allow_three_false_accepts() -> None:
    others = np.linspace(1, 3, 3000)
    own = np.full(100, (others[2] + others[3]) / 2)
    own[:40] = others[3] + 1e-6  # only a fourth false accept would let these in
    distances = np.concatenate((own, others))
    same = np.arange(3100) < 100
    assert tar_at_far(distances, same) == pytest.approx(0.6)


def test_by_folds_the_threshold_is_interpolated_between_grid_points() -> None:
    # Different pairs every 0.001 from 1 on: 1 in 1000 lies at the threshold where 2 of 2000 are accepted.
    others = 1 + np.arange(2000) / 1000 + 1e-9
    own = np.concatenate((np.full(90, 0.5), np.full(10, 1.5)))
    distances, same = np.concatenate((own, others)), np.arange(2100) < 100
    folds = np.arange(2100) % 10
    assert tar_at_far_by_folds(distances, same, folds) == pytest.approx(0.9)
    assert tar_at_far(distances, same) == pytest.approx(0.9)


def test_perfect_and_useless_embeddings() -> None:
    same = np.arange(200) % 2 == 0
    folds = np.arange(200) // 20
    perfect = np.where(same, 0.5, 1.5)
    assert accuracy_per_fold(perfect, same, folds).mean() == 1
    assert tar_at_far(perfect, same) == tar_at_far_by_folds(perfect, same, folds) == 1
    useless = np.zeros(200)
    assert accuracy_per_fold(useless, same, folds).mean() == 0.5
    assert tar_at_far(useless, same) == 0
    assert area_under_roc(useless, same) == 0.5


def test_one_kind_of_pairs_alone_gives_no_number() -> None:
    distances, folds = np.ones(20), np.arange(20) % 2
    for same in (np.ones(20, dtype=bool), np.zeros(20, dtype=bool)):
        assert math.isnan(tar_at_far(distances, same))
        assert math.isnan(tar_at_far_by_folds(distances, same, folds))
        assert math.isnan(area_under_roc(distances, same))
