"""Confident learning gives cleanlab's numbers, and finds labels that were made wrong on purpose."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataset_tools.core.errors import MaskShapeError
from dataset_tools.stats.noise import count_pixels, find_noise

# Two pictures of 3 x 4 pixels: probability of "face mask" in 1/4095, and the label.
LEVELS = np.array(
    [
        [[4000, 3900, 200, 100], [3500, 2600, 1500, 50], [3700, 300, 3600, 10]],
        [[100, 200, 3000, 3800], [150, 3900, 3950, 2500], [20, 40, 1900, 60]],
    ]
)
LABELS = np.array(
    [[[1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 0, 0]], [[0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 0, 1]]], dtype=bool
)
# cleanlab 2.9.0 on these 24 pixels as one array with two classes: count.get_confident_thresholds,
# count.compute_confident_joint(calibrate=False) with its off-diagonal indices (9, 10, 17, 23, which
# filter.find_label_issues(filter_by="confident_learning") gives too), and count.estimate_joint, which rounds
# to whole pixels.
THRESHOLDS = (0.79100529, 0.66768417)
CONFIDENT = [[9, 2], [2, 7]]
ISSUES = (2, 2)  # of the first 12 and the other 12 pixels
JOINT = [[0.4166666666666667, 0.08333333333333333], [0.125, 0.375]]


@pytest.fixture(scope="module")
def estimate():
    return find_noise({f"p{k}": count_pixels(LABELS[k], LEVELS[k] / 4095) for k in (0, 1)})


def test_thresholds_and_confident_joint_are_those_of_cleanlab(estimate):
    assert estimate.thresholds == pytest.approx(THRESHOLDS, abs=1e-8)
    assert estimate.confident.tolist() == CONFIDENT
    assert estimate.labelled.tolist() == [12, 12]


def test_doubted_pixels_of_each_picture_are_those_of_cleanlab(estimate):
    found = {key: item.extra_px + item.missing_px for key, item in estimate.suspects.items()}
    assert found == {"p0": ISSUES[0], "p1": ISSUES[1]}
    assert estimate.suspects["p0"].quality == pytest.approx(1 - 2 / 12)


def test_the_joint_is_cleanlabs_without_its_rounding_to_pixels(estimate):
    assert estimate.joint == pytest.approx(np.array(JOINT), abs=0.5 / 24)
    assert estimate.joint.sum() == pytest.approx(1)
    assert estimate.wrong_shares == pytest.approx((2 / 11, 2 / 9))


def test_suspicion_is_the_doubted_share_and_ranks_the_pictures(estimate):
    # p0: 7 labelled pixels, one of them doubted, and one missing; p1: 5 labelled.
    assert list(estimate.suspects) == ["p1", "p0"]
    assert estimate.suspects["p0"].suspicion == pytest.approx(2 / 8)
    assert estimate.suspects["p1"].suspicion == pytest.approx(2 / 6)


@settings(max_examples=60, deadline=None)
@given(st.floats(0.51, 1.0), st.integers(0, 1000))
def test_a_model_that_agrees_doubts_nothing_however_sure_it_is(sureness, seed):
    label = np.random.default_rng(seed).random((6, 6)) < 0.4
    noise = find_noise({"a": count_pixels(label, np.where(label, sureness, 1 - sureness))})
    assert noise.suspects["a"].suspicion == 0
    assert noise.suspects["a"].quality == 1


def test_masks_that_were_made_wrong_are_ranked_first():
    random = np.random.default_rng(3)
    pictures, wrong = {}, set()
    for number in range(60):
        truth = np.zeros((40, 40), dtype=bool)
        top, left = random.integers(4, 12, 2)
        truth[top : top + 18, left : left + 20] = True
        soft = np.clip(np.where(truth, 0.8, 0.15) + random.normal(0, 0.12, truth.shape), 0, 1)
        label = truth.copy()
        if number % 6 == 0:
            wrong.add(str(number))
            if number % 12:
                label[:, : left + 8] = False
            else:
                label[top - 4 : top + 22, left : left + 28] = True
        pictures[str(number)] = count_pixels(label, soft)
    noise = find_noise(pictures)
    assert set(list(noise.suspects)[: len(wrong)]) == wrong
    right = [item.suspicion for key, item in noise.suspects.items() if key not in wrong]
    assert max(right) < 0.1


def test_without_a_picture_nothing_is_estimated():
    noise = find_noise({})
    assert noise.suspects == {}
    assert noise.labelled.tolist() == [0, 0]


def test_a_class_that_nobody_labelled_is_never_confident():
    noise = find_noise({"a": count_pixels(np.zeros((2, 2), bool), np.full((2, 2), 0.9))})
    assert noise.confident[:, 1].tolist() == [0, 0]
    assert noise.wrong_shares == (0.0, 0.0)


def test_a_prediction_of_another_size_is_refused():
    with pytest.raises(MaskShapeError, match="shape"):
        count_pixels(np.zeros((2, 2), bool), np.zeros((2, 3)))
