"""Every metric equals an independent library: scikit-learn for masks, pysodmetrics for soft maps."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from baselines.metrics import METRICS, harmonic_mean, score_image, summarise
from dataset_tools.core.errors import DataError, MaskShapeError

ANY_SIZE = [(1, 1), (1, 9), (7, 1), (8, 8), (33, 21)]
# pysodmetrics' S-measure is NaN when the label's centroid lies in the last row or column.
ROOMY = [(24, 17), (33, 21), (40, 40)]


def random_pair(seed: int, sizes: list[tuple[int, int]] = ANY_SIZE) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    height, width = sizes[seed % len(sizes)]
    truth = rng.random((height, width)) < rng.choice([0.0, 0.2, 0.5, 0.95, 1.0])
    kind = seed % 4
    probability = rng.random((height, width))
    if kind == 1:
        probability = np.where(truth, 0.9, 0.1) * probability
    elif kind == 2:
        probability = truth.astype(np.float64)
    elif kind == 3:
        probability = np.full((height, width), rng.choice([0.0, 0.5, 1.0]))
    return probability, truth


def reference_sod(pairs: list[tuple[np.ndarray, np.ndarray]]) -> dict[str, float]:
    from py_sod_metrics import MAE, Fmeasure, Smeasure

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Fmeasure announces its successor
        f_measure, s, mae = Fmeasure(beta=0.3), Smeasure(alpha=0.5), MAE()
    for probability, truth in pairs:
        for metric in (f_measure, s, mae):
            metric.step(probability, truth, normalize=False)
    f_results = f_measure.get_results()["fm"]
    return {
        "f_adp": f_results["adp"],
        "f_max": f_results["curve"].max(),
        "f_mean": f_results["curve"].mean(),
        "s_measure": s.get_results()["sm"],
        "mae": mae.get_results()["mae"],
    }


def reference_masks(probability: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    from sklearn.metrics import accuracy_score, f1_score, jaccard_score, precision_score, recall_score

    predicted, label = (probability >= 0.5).ravel(), truth.ravel()
    nothing_there = not predicted.any() and not label.any()
    empty = 1.0 if nothing_there else 0.0
    return {
        "iou": jaccard_score(label, predicted, zero_division=empty),
        "f1": f1_score(label, predicted, zero_division=empty),
        "precision": precision_score(label, predicted, zero_division=empty),
        "recall": recall_score(label, predicted, zero_division=1.0 if nothing_there else np.nan),
        "accuracy": accuracy_score(label, predicted),
    }


@pytest.mark.parametrize("seed", range(60))
def test_mask_scores_of_a_picture_equal_scikit_learn(seed: int) -> None:
    probability, truth = random_pair(seed)
    ours = score_image(probability, truth)
    for name, expected in reference_masks(probability, truth).items():
        assert getattr(ours, name) == pytest.approx(expected, abs=1e-9, nan_ok=True), name


@pytest.mark.parametrize("seed", range(60))
def test_soft_scores_of_a_picture_equal_pysodmetrics(seed: int) -> None:
    probability, truth = random_pair(seed, ROOMY)
    ours = summarise([score_image(probability, truth)])
    for name, expected in reference_sod([(probability, truth)]).items():
        assert ours[name] == pytest.approx(expected, abs=1e-6), name


def test_soft_scores_of_a_set_equal_pysodmetrics() -> None:
    pairs = [random_pair(seed, ROOMY) for seed in range(40)]
    ours = summarise([score_image(*pair) for pair in pairs])
    for name, expected in reference_sod(pairs).items():
        assert ours[name] == pytest.approx(expected, abs=1e-6), name


def test_float32_predictions_of_a_network_score_like_pysodmetrics() -> None:
    rng = np.random.default_rng(5)
    probability = rng.random((40, 30)).astype(np.float32)
    truth = rng.random((40, 30)) < 0.3
    ours = summarise([score_image(probability, truth)])
    for name, expected in reference_sod([(probability.astype(np.float64), truth)]).items():
        assert ours[name] == pytest.approx(expected, abs=1e-6), name


def test_s_measure_of_a_label_that_ends_in_the_last_row_by_hand() -> None:
    # One column, label in the last of two rows, a perfect guess. Objects: 2*1/(1+1) = 1 for both sides.
    # Regions: both rows lie in the upper left quarter, which matches perfectly; the others are empty.
    truth = np.array([[False], [True]])
    assert score_image(truth.astype(float), truth).s_measure == pytest.approx(1.0)


def test_dataset_iou_equals_scikit_learn_on_the_pooled_pixels() -> None:
    from sklearn.metrics import jaccard_score

    pairs = [random_pair(seed) for seed in range(40)]
    pooled_truth = np.concatenate([truth.ravel() for _, truth in pairs])
    pooled = np.concatenate([probability.ravel() >= 0.5 for probability, _ in pairs])
    ours = summarise([score_image(*pair) for pair in pairs])
    assert ours["iou_dataset"] == pytest.approx(jaccard_score(pooled_truth, pooled), abs=1e-12)


def test_both_empty_is_a_perfect_answer() -> None:
    scores = score_image(np.zeros((4, 4)), np.zeros((4, 4), dtype=bool))
    assert (scores.iou, scores.f1, scores.precision, scores.recall) == (1.0, 1.0, 1.0, 1.0)
    assert scores.is_label_empty


def test_a_guess_on_an_empty_label_has_no_recall_and_is_left_out_of_its_mean() -> None:
    empty = np.zeros((4, 4), dtype=bool)
    label = empty.copy()
    label[:2] = True
    wrong = score_image(np.ones((4, 4)), empty)
    assert (wrong.iou, wrong.precision) == (0.0, 0.0)
    assert math.isnan(wrong.recall)
    summary = summarise([wrong, score_image(label.astype(float), label)])
    assert summary["recall"] == 1.0
    assert summary["precision"] == 0.5


def test_nothing_predicted_on_a_label_scores_zero() -> None:
    label = np.ones((3, 3), dtype=bool)
    scores = score_image(np.zeros((3, 3)), label)
    assert (scores.iou, scores.f1, scores.precision, scores.recall) == (0.0, 0.0, 0.0, 0.0)


def test_the_two_f1_figures_differ_where_they_should() -> None:
    truth = np.zeros((1, 100), dtype=bool)
    truth[0, :50] = True
    all_of_it, little = np.ones((1, 100)), np.zeros((1, 100))
    little[0, :10] = 1
    summary = summarise([score_image(all_of_it, truth), score_image(little, truth)])
    assert summary["f1_mean"] == pytest.approx((2 / 3 + 1 / 3) / 2)
    assert summary["f1_of_means"] == pytest.approx(harmonic_mean(0.75, 0.6))


def test_probability_one_half_counts_as_predicted() -> None:
    assert score_image(np.full((2, 2), 0.5), np.ones((2, 2), dtype=bool)).iou == 1.0


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000))
def test_scores_keep_their_bounds_and_identities(seed: int) -> None:
    probability, truth = random_pair(seed)
    one = score_image(probability, truth)
    assert one.f1 == pytest.approx(2 * one.iou / (1 + one.iou))
    assert sum((one.counts.tp, one.counts.fp, one.counts.fn, one.counts.tn)) == truth.size
    for value in (one.iou, one.f1, one.precision, one.accuracy, one.mae, one.f_adp, one.s_measure):
        assert -1e-9 <= value <= 1 + 1e-9


def test_summary_holds_exactly_the_listed_metrics() -> None:
    summary = summarise([score_image(*random_pair(3))])
    assert set(summary) == {name for name, _ in METRICS}


def test_maps_that_cannot_be_scored_are_refused() -> None:
    truth = np.zeros((2, 2), dtype=bool)
    with pytest.raises(MaskShapeError, match=r"prediction is \(3, 2\)"):
        score_image(np.zeros((3, 2)), truth)
    with pytest.raises(MaskShapeError):
        score_image(np.zeros((0, 2)), np.zeros((0, 2), dtype=bool))
    with pytest.raises(DataError, match="not a number in"):
        score_image(np.full((2, 2), np.nan), truth)
    with pytest.raises(DataError, match="not a number in"):
        score_image(np.full((2, 2), 1.01), truth)
    with pytest.raises(DataError, match="must be bool"):
        score_image(np.zeros((2, 2)), truth.astype(np.uint8))
    with pytest.raises(DataError, match="nothing to score"):
        summarise([])
