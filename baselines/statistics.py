"""How sure a figure is: spread over trials, bootstrap intervals over pictures, paired tests between rows.

Pictures of one group (several crops of a photo, a photo and its rendered children) resemble each other, so
groups, not pictures, are drawn: an interval over pictures that are copies of one another would be too narrow.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from baselines.metrics import ImageScores, figures_of_sums, score_table
from dataset_tools.core.errors import DataError
from dataset_tools.core.seeds import generator

FloatArray = npt.NDArray[np.float64]
Figures = Callable[[FloatArray], Mapping[str, FloatArray]]

RESAMPLES = 2000
CONFIDENCE = 0.95
FLIPS = 9999  # with the observed one they make p a multiple of 1/10,000
_BLOCK = 500  # flips at a time, so that memory stays small


@dataclass(frozen=True, slots=True)
class Spread:
    """Mean and standard deviation (n - 1 in the denominator) over trials; no deviation from one trial."""

    mean: float
    sd: float | None
    trials: int


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure and its confidence interval; no bounds where fewer than two groups speak of it.

    Attributes:
        value: on the pictures themselves.
        low, high: bounds of the interval.
        groups: how many were drawn from.
    """

    value: float
    low: float | None
    high: float | None
    groups: int


@dataclass(frozen=True, slots=True)
class PairedTest:
    """Whether two rows differ on the same pictures.

    Attributes:
        mean_difference: of the pictures' scores, first minus second.
        p_value: two-sided, of the sign-flip test on that mean: how often so large a mean comes about when
            each group's differences are as likely to have the other sign.
        pictures, groups: how many.
        wins, losses: pictures on which the first scored more, or less.
    """

    mean_difference: float
    p_value: float
    pictures: int
    groups: int
    wins: int
    losses: int


def spread(values: Sequence[float]) -> Spread:
    """Mean ± sd of one figure over trials.

    Raises:
        DataError: no trial.
    """
    if not values:
        raise DataError("no trial to take the mean of")
    mean = math.fsum(values) / len(values)
    if len(values) == 1:
        return Spread(mean, None, 1)
    return Spread(
        mean, math.sqrt(math.fsum((one - mean) ** 2 for one in values) / (len(values) - 1)), len(values)
    )


def score_intervals(
    scores: Sequence[ImageScores], groups: Sequence[Hashable], *, seed: int = 0
) -> dict[str, Interval]:
    """Intervals of every figure of `baselines.metrics.summarise`; arguments as of `bootstrap`."""
    return bootstrap(score_table(scores), figures_of_sums, groups, seed=seed)


def mean_interval(values: Sequence[float], groups: Sequence[Hashable], *, seed: int = 0) -> Interval:
    """Interval of a plain mean; arguments as of `bootstrap`."""
    table = np.stack([np.asarray(values, dtype=np.float64), np.ones(len(values))], axis=1)
    return bootstrap(table, lambda sums: {"mean": sums[..., 0] / sums[..., 1]}, groups, seed=seed)["mean"]


def bootstrap(
    table: FloatArray,
    figures: Figures,
    groups: Sequence[Hashable],
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
) -> dict[str, Interval]:
    """BCa bootstrap intervals of figures that follow from sums over pictures.

    Args:
        table: (n, k) float64, one row of numbers a picture.
        figures: from sums of rows (…, k) to figures (…) by name, such as `metrics.figures_of_sums`.
        groups: of each picture; whole groups are drawn, with replacement.
        seed: equal seeds give equal bounds.
        resamples: how many sets of groups are drawn.
        confidence: share of repetitions whose interval holds the true value.

    Raises:
        DataError: no picture, or not one group name a picture.

    Source: Efron, Better bootstrap confidence intervals, JASA 1987; drawing groups: Davison and Hinkley,
    Bootstrap methods and their application, 1997, section 3.8.
    """
    sums = _group_sums(table, groups)
    total = sums.sum(axis=0)
    values = figures(total)
    count = len(sums)
    if count < 2:
        return {name: Interval(float(value), None, None, count) for name, value in values.items()}
    drawn = generator(seed, "bootstrap").integers(0, count, (resamples, count))
    drawn += np.arange(resamples)[:, None] * count
    weights = np.bincount(drawn.ravel(), minlength=resamples * count).reshape(resamples, count)
    replicates = figures(weights.astype(np.float64) @ sums)
    without_one = figures(total - sums)
    found = {}
    for name, value in values.items():
        bounds = bca_bounds(replicates[name], float(value), without_one[name], confidence)
        low, high = bounds if bounds is not None else (None, None)
        found[name] = Interval(float(value), low, high, count)
    return found


def bca_bounds(
    replicates: FloatArray, value: float, without_one: FloatArray, confidence: float = CONFIDENCE
) -> tuple[float, float] | None:
    """Bias-corrected and accelerated bounds.

    Args:
        replicates: (B,) the figure of each drawn set; undefined ones (NaN) are left out.
        value: the figure itself.
        without_one: (n,) the figure without each group in turn.
        confidence: in (0, 1).

    Returns:
        Low and high; None when the figure is undefined; plain percentiles when all replicates lie on one
        side of `value`, where the correction is infinite.
    """
    from scipy.special import ndtr, ndtri

    known = replicates[~np.isnan(replicates)]
    if math.isnan(value) or not known.size:
        return None
    tails = np.array([(1 - confidence) / 2, (1 + confidence) / 2])
    below = (np.count_nonzero(known < value) + np.count_nonzero(known <= value)) / (2 * known.size)
    bias = float(ndtri(below))
    if math.isfinite(bias):
        z = bias + ndtri(tails)
        tails = ndtr(bias + z / (1 - _acceleration(without_one) * z))
    low, high = np.quantile(known, tails)
    return float(low), float(high)


def _acceleration(without_one: FloatArray) -> float:
    known = without_one[~np.isnan(without_one)]
    off = known.mean() - known if known.size else known
    below = 6 * float((off**2).sum()) ** 1.5
    return float((off**3).sum()) / below if below > 0 else 0.0


def paired_test(
    first: Sequence[float], second: Sequence[float], groups: Sequence[Hashable], *, seed: int = 0
) -> PairedTest:
    """Sign-flip permutation test of two rows' scores on the same pictures.

    All sign patterns are tried where there are at most `FLIPS` of them, as many random ones otherwise.

    Args:
        first, second: score of each picture, in one order. For a row of several trials: means over them.
        groups: of each picture; the signs of a group's pictures flip together.
        seed: of the random patterns.

    Raises:
        DataError: no picture, unequal numbers of scores, or a score that is not a number.

    Source: Fisher, The design of experiments, 1935, section 21; (1 + b) / (1 + m) of Phipson and Smyth, 2010.
    """
    if len(first) != len(second):
        raise DataError(f"a paired test needs the same pictures, found {len(first)} and {len(second)} scores")
    differences = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    if not np.isfinite(differences).all():
        raise DataError("a paired test needs a score for every picture")
    sums = _group_sums(differences[:, None], groups)[:, 0]
    # Sums that differ only by rounding count as equally large.
    observed = abs(float(sums.sum())) - 1e-9 * float(np.abs(sums).sum())
    is_exact = 2 ** min(len(sums), 62) <= FLIPS
    hits = _extreme_flips(sums, observed, seed, is_exact)
    p_value = hits / 2 ** len(sums) if is_exact else (hits + 1) / (FLIPS + 1)
    return PairedTest(
        mean_difference=float(differences.mean()),
        p_value=p_value,
        pictures=len(differences),
        groups=len(sums),
        wins=int(np.count_nonzero(differences > 0)),
        losses=int(np.count_nonzero(differences < 0)),
    )


def _extreme_flips(sums: FloatArray, observed: float, seed: int, is_exact: bool) -> int:
    if is_exact:
        patterns = np.arange(2 ** len(sums))[:, None] >> np.arange(len(sums)) & 1
        return int(np.count_nonzero(np.abs((2.0 * patterns - 1) @ sums) >= observed))
    rng = generator(seed, "flips")
    hits = 0
    for start in range(0, FLIPS, _BLOCK):
        signs = rng.integers(0, 2, (min(_BLOCK, FLIPS - start), len(sums)), dtype=np.int8)
        hits += int(np.count_nonzero(np.abs((2.0 * signs - 1) @ sums) >= observed))
    return hits


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values of several tests, raised so that all may be read at once (Holm 1979), in the given order."""
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min((len(order) - rank) * p_values[index], 1.0))
        adjusted[index] = highest
    return adjusted


def mean_over_trials(trials: Sequence[Mapping[Hashable, float]]) -> dict[Hashable, float]:
    """A row's score of each picture, averaged over its trials; the pictures' keys in the first trial's order.

    Raises:
        DataError: no trial, or trials of different pictures.
    """
    if not trials:
        raise DataError("no trial to take the mean of")
    if any(one.keys() != trials[0].keys() for one in trials):
        raise DataError("the trials of a row were not scored on the same pictures")
    return {key: math.fsum(one[key] for one in trials) / len(trials) for key in trials[0]}


def compare_neighbours(
    rows: Sequence[Mapping[Hashable, float]], groups: Mapping[Hashable, Hashable], *, seed: int = 0
) -> list[tuple[PairedTest, float]]:
    """Each row of a ranked table against the next one.

    Args:
        rows: score by picture key, best row first.
        groups: of each picture key.
        seed: of the random sign patterns.

    Returns:
        For every row but the last: its test against the row below, and the p-value adjusted for the number
        of tests in the table (`holm`).

    Raises:
        DataError: rows scored on different pictures, or a score that is not a number.
    """
    tests = []
    for upper, lower in pairwise(rows):
        if upper.keys() != lower.keys():
            raise DataError("neighbouring rows were not scored on the same pictures")
        keys = list(upper)
        first, second = ([row[key] for key in keys] for row in (upper, lower))
        tests.append(paired_test(first, second, [groups[key] for key in keys], seed=seed))
    return list(zip(tests, holm([one.p_value for one in tests]), strict=True))


def _group_sums(table: FloatArray, groups: Sequence[Hashable]) -> FloatArray:
    if len(table) != len(groups):
        raise DataError(f"{len(table)} pictures need as many group names, found {len(groups)}")
    if not len(table):
        raise DataError("no picture to draw from")
    numbers: dict[Hashable, int] = {}
    index = [numbers.setdefault(group, len(numbers)) for group in groups]
    sums = np.zeros((len(numbers), table.shape[1]))
    np.add.at(sums, index, table)
    return sums
