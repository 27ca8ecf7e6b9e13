"""Metrics equal independent libraries: scikit-learn, torchmetrics for masks, pysodmetrics for soft maps."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from baselines.metrics import (
    METRICS,
    PIXEL_METRICS,
    boundary_iou,
    count_pixels,
    harmonic_mean,
    hd95,
    mask_scores,
    score_image,
    summarise,
)
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


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 100_000))
def test_the_five_scores_of_any_masks_equal_scikit_learn(seed: int) -> None:
    probability, truth = random_pair(seed)
    ours = mask_scores(count_pixels(probability >= 0.5, truth))
    assert ours == pytest.approx(reference_masks(probability, truth), abs=1e-12, nan_ok=True)


def test_the_five_scores_equal_torchmetrics() -> None:
    import torch
    from torchmetrics.functional import classification as theirs

    rng = np.random.default_rng(9)
    for _ in range(10):
        predicted, truth = rng.random((2, 30, 40)) < rng.uniform(0.2, 0.8, (2, 1, 1))
        pair = torch.tensor(predicted.astype(np.int64)), torch.tensor(truth.astype(np.int64))
        expected = {
            "iou": theirs.binary_jaccard_index(*pair).item(),
            "f1": theirs.binary_f1_score(*pair).item(),
            "precision": theirs.binary_precision(*pair).item(),
            "recall": theirs.binary_recall(*pair).item(),
            "accuracy": theirs.binary_accuracy(*pair).item(),
        }
        assert mask_scores(count_pixels(predicted, truth)) == pytest.approx(expected, abs=1e-6)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 100_000))
def test_soft_scores_of_any_map_equal_pysodmetrics(seed: int) -> None:
    probability, truth = random_pair(seed, ROOMY)
    ours = summarise([score_image(probability, truth)])
    for name, expected in reference_sod([(probability, truth)]).items():
        assert ours[name] == pytest.approx(expected, abs=1e-6), name


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


@pytest.mark.parametrize("level", [0.1, 0.3, 1 / 3, 0.7])
def test_s_measure_of_a_flat_map_by_hand(level: float) -> None:
    # Label: rows and columns 0 to 3 of 8; its centroid (1.5, 1.5) rounds to 2, so the quarters meet at 3. The
    # upper left one is all label and flat in both: similarity 1; the others hold both, the map is flat: 0.
    truth = np.zeros((8, 8), dtype=bool)
    truth[:4, :4] = True
    objects = 0.25 * 2 * level / (level**2 + 1) + 0.75 * 2 * (1 - level) / ((1 - level) ** 2 + 1)
    ours = score_image(np.full((8, 8), level), truth).s_measure
    assert ours == pytest.approx(0.5 * objects + 0.5 * 9 / 64, abs=1e-12)


def test_dataset_figures_equal_scikit_learn_on_the_pooled_pixels() -> None:
    from sklearn import metrics as sk

    pairs = [random_pair(seed) for seed in range(40)]
    truth = np.concatenate([truth.ravel() for _, truth in pairs])
    pooled = np.concatenate([probability.ravel() >= 0.5 for probability, _ in pairs])
    ours = summarise([score_image(*pair) for pair in pairs])
    expected = {
        "iou_dataset": sk.jaccard_score(truth, pooled),
        "dice_dataset": sk.f1_score(truth, pooled),
        "precision_dataset": sk.precision_score(truth, pooled),
        "recall_dataset": sk.recall_score(truth, pooled),
        "pa_dataset": sk.accuracy_score(truth, pooled),
        "mpa_dataset": sk.balanced_accuracy_score(truth, pooled),
        "miou_dataset": sk.jaccard_score(truth, pooled, average="macro"),
    }
    assert {name: ours[name] for name in expected} == pytest.approx(expected, abs=1e-12)


def test_means_over_pictures_are_means_of_the_pictures_scores() -> None:
    pairs = [random_pair(seed) for seed in range(40)]
    scores = [score_image(*pair) for pair in pairs]
    ours = summarise(scores)
    for name in ("iou", "precision", "accuracy", "mae", "f_adp", "s_measure", "boundary_iou", "hd95"):
        assert ours[name] == pytest.approx(np.mean([getattr(one, name) for one in scores])), name
    assert ours["recall"] == pytest.approx(np.nanmean([one.recall for one in scores]))
    assert ours["f1_mean"] == pytest.approx(np.mean([one.f1 for one in scores]))
    for one, (probability, truth) in zip(scores, pairs, strict=True):
        assert one.boundary_iou == boundary_iou(probability >= 0.5, truth)
        assert one.hd95 == hd95(probability >= 0.5, truth)


def test_mae_is_not_taken_from_rounded_levels() -> None:
    # 1e-4 is less than a level of 1/255.
    truth = np.zeros((50, 50), dtype=bool)
    truth[:25] = True
    assert score_image(np.where(truth, 1 - 1e-4, 1e-4), truth).mae == pytest.approx(1e-4, rel=1e-9)
    assert score_image(truth.astype(float), truth).mae == 0.0


def test_dataset_figures_without_any_label_or_background() -> None:
    nothing, all_of_it = np.zeros((3, 3), dtype=bool), np.ones((3, 3), dtype=bool)
    agreed = summarise([score_image(nothing.astype(float), nothing)])
    names = ("iou_dataset", "dice_dataset", "recall_dataset", "pa_dataset", "mpa_dataset", "miou_dataset")
    assert [agreed[name] for name in names] == [1.0] * 6
    invented = summarise([score_image(np.where(np.eye(3) > 0, 1.0, 0.0), nothing)])
    assert math.isnan(invented["recall_dataset"])
    assert math.isnan(invented["recall"])
    assert invented["f1_of_means"] == 0.0
    assert invented["mpa_dataset"] == pytest.approx(6 / 9)  # the background's alone
    filled = summarise([score_image(all_of_it.astype(float), all_of_it)])
    assert [filled[name] for name in names] == [1.0] * 6


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
    assert list(summary) == [name for name, _ in METRICS]
    assert {name for name, _ in METRICS} >= PIXEL_METRICS


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
