"""Fuzzy c-means: every point belongs to every cluster a little, near ones more."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dataset_tools.core.seeds import generator

FloatArray = npt.NDArray[np.float64]

_TINY = 1e-300  # squared distance of a point that lies on a centre


@dataclass(frozen=True, slots=True)
class FuzzyClusters:
    """Result of `fuzzy_c_means`.

    Attributes:
        centres: (c, D) float64.
        iterations: updates of the centres that were made.
        has_converged: False when the iterations ran out first.
    """

    centres: FloatArray
    iterations: int
    has_converged: bool


def fuzzy_c_means(
    points: FloatArray, clusters: int, *, m: float = 2.0, most: int = 100, tol: float = 1e-5, seed: int = 0
) -> FuzzyClusters:
    """Minimise the sum of u_ik^m d_ik^2 by turns over memberships and centres.

    Args:
        points: (N, D) float64, N >= 1.
        clusters: c >= 1; with fewer distinct points some centres coincide.
        m: > 1; the larger, the fuzzier.
        most: updates at most.
        tol: stop when no membership changes by more.
        seed: of the first centres, drawn like those of k-means++.

    Source: Bezdek, Pattern Recognition with Fuzzy Objective Function Algorithms, 1981;
        Arthur & Vassilvitskii, k-means++, SODA 2007.
    """
    columns = np.ascontiguousarray(points.T)
    centres = _first_centres(points, clusters, seed)
    before = _memberships(columns, centres, m)
    for iteration in range(1, most + 1):
        weights = before * before if m == 2 else before**m
        centres = (weights @ points) / weights.sum(axis=1, keepdims=True)
        after = _memberships(columns, centres, m)
        if np.abs(after - before).max() <= tol:
            return FuzzyClusters(centres, iteration, has_converged=True)
        before = after
    return FuzzyClusters(centres, most, has_converged=False)


def memberships(points: FloatArray, centres: FloatArray, m: float = 2.0) -> FloatArray:
    """How much each point belongs to each centre.

    Args:
        points: (N, D) float64.
        centres: (c, D) float64.
        m: as in `fuzzy_c_means`.

    Returns:
        (c, N) float64 in [0, 1]; columns sum to 1. A point on several centres is shared by them equally.
    """
    return _memberships(np.ascontiguousarray(points.T), centres, m)


def standardised(points: FloatArray) -> FloatArray:
    """Columns of (N, D) with mean 0 and deviation 1; a constant column becomes 0."""
    spread = points.std(axis=0)
    steady = spread <= 1e-9 * np.abs(points).max(axis=0)
    return np.asarray((points - points.mean(axis=0)) / np.where(steady, 1, spread) * ~steady)


def _memberships(columns: FloatArray, centres: FloatArray, m: float) -> FloatArray:
    squares = np.empty((len(centres), columns.shape[1]))
    for row, centre in zip(squares, centres, strict=True):
        np.square(columns - centre[:, None]).sum(axis=0, out=row)
    np.maximum(squares, _TINY, out=squares)
    # Divided by the least distance first: powers of the quotients cannot overflow.
    shares = squares.min(axis=0) / squares
    if m != 2:
        shares **= 1 / (m - 1)
    return np.asarray(shares / shares.sum(axis=0), dtype=np.float64)


def _first_centres(points: FloatArray, clusters: int, seed: int) -> FloatArray:
    rng = generator(seed, "fuzzy c-means")
    centres = [points[rng.integers(len(points))]]
    nearest = np.square(points - centres[0]).sum(axis=1)
    for _ in range(clusters - 1):
        total = nearest.sum()
        chances = nearest / total if total > 0 else None
        centres.append(points[rng.choice(len(points), p=chances)])
        nearest = np.minimum(nearest, np.square(points - centres[-1]).sum(axis=1))
    return np.array(centres)
