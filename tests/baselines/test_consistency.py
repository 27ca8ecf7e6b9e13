"""Rows that were measured pass, rows that cannot have been do not."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from baselines.consistency import check_row
from baselines.metrics import count_pixels, mask_scores, score_image, summarise


def random_scores(seed: int, pictures: int = 6) -> list:
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(pictures):
        truth = rng.random((9, 11)) < rng.choice([0.0, 0.1, 0.5, 1.0])
        probability = rng.choice([rng.random((9, 11)), np.where(truth, 0.8, 0.3), np.zeros((9, 11))])
        found.append(score_image(probability, truth))
    return found


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 100_000))
def test_every_measured_row_is_possible(seed: int) -> None:
    scores = random_scores(seed)
    assert check_row(summarise(scores), "means") == []
    for one in scores:
        assert check_row(mask_scores(one.counts), "picture") == []
        assert check_row(mask_scores(one.counts), "dataset") == []


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 100_000), st.sampled_from([2, 3, 4]))
def test_every_measured_row_is_possible_after_rounding(seed: int, digits: int) -> None:
    scores = random_scores(seed)
    half = 0.5 * 10**-digits + 1e-12
    rounded = {name: round(value, digits) for name, value in summarise(scores).items()}
    assert check_row(rounded, "means", half) == []
    counts = {name: round(value, digits) for name, value in mask_scores(scores[0].counts).items()}
    assert check_row(counts, "picture", half) == []


def test_f1_that_does_not_follow_from_iou_is_named() -> None:
    predicted, truth = np.zeros((4, 4), dtype=bool), np.zeros((4, 4), dtype=bool)
    predicted[:2], truth[1:3] = True, True
    values = mask_scores(count_pixels(predicted, truth))
    assert values["f1"] == 0.5
    (problem,) = check_row({"iou": values["iou"], "f1": 0.6}, "dataset")
    assert problem == "f1 0.6 must equal 2 IoU / (1 + IoU) = 0.5"
    assert check_row({"iou": values["iou"], "dice": 0.5, "pa": 0.5}, "dataset") == []


@pytest.mark.parametrize(
    ("values", "what"),
    [
        ({"iou": 0.9, "precision": 0.85}, "iou 0.9 cannot be above precision = 0.85"),
        ({"iou": 0.9, "recall": 0.85}, "cannot be above recall"),
        ({"iou": 0.9, "accuracy": 0.85}, "cannot be above accuracy"),
        ({"precision": 0.8, "recall": 0.8, "iou": 0.7}, "iou 0.7 must equal P R / (P + R - P R) = 0.666667"),
        ({"precision": 0.8, "recall": 0.6, "f1": 0.7}, "f1 0.7 must equal 2 P R / (P + R)"),
        ({"iou": 1.2}, "iou 1.2 is not in [0, 1]"),
    ],
)
def test_what_pixel_counts_cannot_give_is_named(values: dict[str, float], what: str) -> None:
    assert any(what in said for said in check_row(values, "dataset"))


@pytest.mark.parametrize(
    ("values", "what"),
    [
        ({"f1_mean": 0.8, "iou": 0.81}, "iou 0.81 cannot be above f1_mean = 0.8"),
        ({"f1_mean": 0.95, "iou": 0.8}, "f1_mean 0.95 cannot be above 2 IoU / (1 + IoU)"),
        ({"precision": 0.95, "recall": 0.97, "iou": 0.9}, "iou 0.9 cannot be below P + R - 1 = 0.92"),
        ({"precision": 0.95, "recall": 0.9, "f1_of_means": 0.91}, "f1_of_means 0.91 must equal"),
        ({"f1_mean": 0.9, "f1_of_means": 0.89}, "f1_mean 0.9 cannot be above f1_of_means"),
        ({"f_max": 0.8, "f_mean": 0.9}, "f_mean 0.9 cannot be above f_max"),
        ({"mae": 0.01, "accuracy": 0.9}, "mae 0.01 cannot be below (1 - accuracy) / 2 = 0.05"),
        ({"mae": 0.6, "accuracy": 0.9}, "mae 0.6 cannot be above 1 - accuracy / 2"),
        ({"hd95": -1.0}, "hd95 -1 is not a distance"),
        ({"hd95": math.inf}, "hd95 inf is not a distance"),
        ({"boundary_iou": 1.5}, "boundary_iou 1.5 is not in [0, 1]"),
        ({"iou_dataset": 0.5, "dice_dataset": 0.9}, "pooled pixels: f1 0.9 must equal 2 IoU / (1 + IoU)"),
    ],
)
def test_what_means_cannot_give_is_named(values: dict[str, float], what: str) -> None:
    assert any(what in said for said in check_row(values, "means"))


def test_means_need_not_meet_the_rule_of_one_picture() -> None:
    # IoU 1 and 0: means 0.5 and 0.5, while 2 * 0.5 / 1.5 is 0.67.
    assert check_row({"iou": 0.5, "f1_mean": 0.5, "precision": 0.5, "recall": 0.5}, "means") == []
    assert check_row({"iou": 0.5, "f1": 0.5}, "dataset") != []


@pytest.mark.parametrize(
    ("iou", "f1", "p", "r", "broken"),
    [
        (93.814, 96.817, 97.164, 96.474, ""),  # ABANet
        (91.680, 95.488, 94.754, 96.235, ""),  # BASNet
        (89.516, 94.469, 91.507, 97.630, ""),  # Unet, EfficientNet-B7
        (89.312, 92.967, 91.522, 97.435, "f1_of_means 0.92967 must equal"),  # PAN, ResNet-50
        (91.435, 96.576, 95.341, 97.845, "iou 0.91435 cannot be below P + R - 1 = 0.93186"),  # EINet
    ],
)
def test_rows_of_abanets_table_2(iou: float, f1: float, p: float, r: float, broken: str) -> None:
    values = {"iou": iou, "f1_of_means": f1, "precision": p, "recall": r}
    problems = check_row({name: value / 100 for name, value in values.items()}, "means", 0.00001)
    assert [broken in said for said in problems] == ([True] if broken else [])


def test_what_is_not_a_number_is_passed_over() -> None:
    assert check_row({"iou": 0.0, "recall": math.nan, "precision": 0.0, "somebody's": 7.0}, "picture") == []
