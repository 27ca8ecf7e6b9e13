"""Intervals and tests against scipy, and against data whose answer is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from baselines.metrics import METRICS, score_image, summarise
from baselines.statistics import (
    bca_bounds,
    bootstrap,
    compare_neighbours,
    holm,
    mean_interval,
    mean_over_trials,
    paired_test,
    score_intervals,
    spread,
)
from dataset_tools.core.errors import DataError


def random_scores(seed: int, count: int) -> list:
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        truth = rng.random((8, 8)) < 0.4
        found.append(score_image(np.clip(truth * 0.3 + rng.random((8, 8)) * 0.7, 0, 1), truth))
    return found


def test_spread_over_trials_is_mean_and_sample_deviation() -> None:
    values = [0.91, 0.93, 0.9, 0.94, 0.92]
    found = spread(values)
    assert (found.mean, found.trials) == (pytest.approx(np.mean(values)), 5)
    assert found.sd == pytest.approx(np.std(values, ddof=1))
    assert spread([0.5]).sd is None
    with pytest.raises(DataError, match="no trial"):
        spread([])


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(4, 60))
def test_bca_bounds_equal_scipys_on_the_same_replicates(seed: int, count: int) -> None:
    values = np.random.default_rng(seed).beta(8, 2, count)
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=400, method="BCa", rng=np.random.default_rng(seed)
    )
    without_one = (values.sum() - values) / (count - 1)
    low, high = bca_bounds(theirs.bootstrap_distribution, float(values.mean()), without_one)
    assert low == pytest.approx(theirs.confidence_interval.low, abs=1e-12)
    assert high == pytest.approx(theirs.confidence_interval.high, abs=1e-12)


def test_interval_of_a_mean_is_scipys_up_to_chance() -> None:
    values = np.random.default_rng(3).beta(8, 2, 200)
    ours = mean_interval(values.tolist(), range(200))
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=4000, method="BCa", rng=np.random.default_rng(0)
    ).confidence_interval
    width = theirs.high - theirs.low
    assert ours.value == pytest.approx(values.mean())
    assert ours.low == pytest.approx(theirs.low, abs=0.08 * width)
    assert ours.high == pytest.approx(theirs.high, abs=0.08 * width)


def test_copies_of_a_picture_in_one_group_do_not_narrow_the_interval() -> None:
    values = np.random.default_rng(4).beta(8, 2, 50)
    once = mean_interval(values.tolist(), range(50))
    grouped = mean_interval(np.repeat(values, 4).tolist(), np.repeat(np.arange(50), 4).tolist())
    alone = mean_interval(np.repeat(values, 4).tolist(), range(200))
    assert (grouped.low, grouped.high) == (pytest.approx(once.low), pytest.approx(once.high))
    assert grouped.groups == 50
    assert alone.high - alone.low < 0.6 * (grouped.high - grouped.low)


def test_nineteen_of_twenty_intervals_hold_the_true_mean() -> None:
    rng, held = np.random.default_rng(8), 0
    for seed in range(200):
        values = rng.beta(8, 2, 40)
        found = mean_interval(values.tolist(), range(40), seed=seed)
        held += found.low <= 0.8 <= found.high
    assert 180 <= held <= 199


def test_every_figure_of_a_board_gets_an_interval_around_it() -> None:
    scores = random_scores(1, 30)
    found = score_intervals(scores, [str(index // 2) for index in range(30)])
    assert {name: one.value for name, one in found.items()} == pytest.approx(summarise(scores))
    assert found.keys() == {name for name, _ in METRICS}
    for name, one in found.items():
        assert one.groups == 15
        assert one.low <= one.value <= one.high, name


def test_equal_seeds_give_equal_bounds() -> None:
    scores = random_scores(2, 12)
    groups = list("aabbccddeeff")
    assert score_intervals(scores, groups, seed=5) == score_intervals(scores, groups, seed=5)
    assert score_intervals(scores, groups, seed=5)["iou"] != score_intervals(scores, groups, seed=6)["iou"]


def test_one_group_and_equal_values_make_no_false_promise() -> None:
    alone = mean_interval([0.4, 0.6], ["same", "same"])
    assert (alone.value, alone.low, alone.high, alone.groups) == (0.5, None, None, 1)
    equal = mean_interval([0.7] * 9, range(9))
    assert (equal.low, equal.high) == (pytest.approx(0.7), pytest.approx(0.7))


def test_a_figure_that_some_draws_leave_undefined_is_drawn_from_the_others() -> None:
    # Two of five pictures have a value: sums (value, known).
    table = np.array([[0.2, 1.0], [0.6, 1.0], [0.0, 0.0], [0.0, 0.0], [0.0, 0.0]])

    def figures(sums: np.ndarray) -> dict[str, np.ndarray]:
        with np.errstate(invalid="ignore"):
            return {"mean": sums[..., 0] / sums[..., 1], "never": sums[..., 0] * np.nan}

    found = bootstrap(table, figures, range(5))
    assert found["mean"].low == pytest.approx(0.2)
    assert found["mean"].high == pytest.approx(0.6)
    assert (math.isnan(found["never"].value), found["never"].low) == (True, None)


def test_pictures_and_groups_must_match() -> None:
    with pytest.raises(DataError, match="2 pictures need as many group names, found 1"):
        mean_interval([0.1, 0.2], ["a"])
    with pytest.raises(DataError, match="no picture"):
        mean_interval([], [])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 11))
def test_paired_test_of_few_pictures_equals_scipys_exact_one(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    # Eighths add up without rounding, so that sums which are equal are equal for scipy too.
    first, second = rng.integers(0, 9, count) / 8, rng.integers(0, 9, count) / 8
    ours = paired_test(first.tolist(), second.tolist(), range(count))
    if count == 1:
        assert ours.p_value == 1.0
        return
    theirs = stats.permutation_test(
        (first - second,), np.mean, permutation_type="samples", n_resamples=np.inf, vectorized=True
    )
    assert ours.p_value == pytest.approx(theirs.pvalue)
    assert ours.mean_difference == pytest.approx(np.mean(first - second))


def test_paired_test_of_many_pictures_agrees_with_scipys_t_test_and_wilcoxon() -> None:
    rng = np.random.default_rng(11)
    for shift in (0.0, 0.004, 0.012):
        first = rng.normal(0.9, 0.05, 300)
        second = first - shift + rng.normal(0, 0.03, 300)
        ours = paired_test(first.tolist(), second.tolist(), range(300))
        assert ours.p_value == pytest.approx(stats.ttest_rel(first, second).pvalue, abs=0.02)
        assert (ours.p_value < 0.01) == (stats.wilcoxon(first, second).pvalue < 0.01)
        assert (ours.wins, ours.losses) == ((first > second).sum(), (first < second).sum())


def test_copies_in_one_group_do_not_make_a_difference_surer() -> None:
    rng = np.random.default_rng(12)
    first, second = rng.random(12), rng.random(12) - 0.1
    once = paired_test(first.tolist(), second.tolist(), range(12))
    copied = paired_test(
        np.repeat(first, 6).tolist(), np.repeat(second, 6).tolist(), np.repeat(range(12), 6).tolist()
    )
    assert copied.p_value == pytest.approx(once.p_value)
    assert (copied.groups, copied.pictures) == (12, 72)


def test_equal_rows_do_not_differ() -> None:
    assert paired_test([0.5] * 40, [0.5] * 40, range(40)).p_value == 1.0


def test_p_values_of_a_table_are_adjusted_as_holm_did() -> None:
    # Worked by hand: sorted 0.005, 0.01, 0.03, 0.04 times 4, 3, 2, 1, never falling.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def test_neighbours_of_a_table_are_compared_on_the_same_pictures() -> None:
    rng = np.random.default_rng(13)
    keys = [("sample", index) for index in range(60)]
    best = dict(zip(keys, rng.normal(0.9, 0.02, 60), strict=True))
    next_best = {key: value + rng.normal(0, 0.001) for key, value in reversed(best.items())}
    worst = {key: value - 0.1 for key, value in best.items()}
    found = compare_neighbours([best, next_best, worst], {key: key for key in keys})
    assert [p < 0.01 for _, p in found] == [False, True]
    assert all(adjusted >= one.p_value for one, adjusted in found)
    with pytest.raises(DataError, match="not scored on the same pictures"):
        compare_neighbours([best, {keys[0]: 0.5}], {key: key for key in keys})
    with pytest.raises(DataError, match="a score for every picture"):
        paired_test([math.nan], [0.5], ["a"])
    with pytest.raises(DataError, match="found 1 and 2"):
        paired_test([0.1], [0.5, 0.6], ["a"])


def test_a_row_of_several_trials_is_averaged_picture_by_picture() -> None:
    assert mean_over_trials([{"a": 0.2, "b": 1.0}, {"b": 0.5, "a": 0.4}]) == pytest.approx(
        {"a": 0.3, "b": 0.75}
    )
    with pytest.raises(DataError, match="same pictures"):
        mean_over_trials([{"a": 0.2}, {"b": 0.5}])
    with pytest.raises(DataError, match="no trial"):
        mean_over_trials([])
