"""Boundary IoU and HD95 against straightforward scipy versions, and by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.spatial.distance import cdist

from baselines.metrics import boundary_iou, hd95
from baselines.metrics.surface import boundary_width_px
from dataset_tools.core.errors import MaskShapeError

SIZES = [(1, 1), (1, 9), (7, 1), (8, 8), (33, 21), (64, 90)]


def random_mask(rng: np.random.Generator, size_hw: tuple[int, int]) -> np.ndarray:
    """Noise, blobs (with holes and several parts), nothing, or all."""
    kind = rng.integers(5)
    noise = rng.random(size_hw)
    if kind == 0:
        return noise < rng.choice([0.02, 0.3, 0.9])
    if kind == 4:
        return np.full(size_hw, bool(rng.integers(2)))
    smooth = ndimage.gaussian_filter(noise, rng.choice([1.0, 3.0]))
    return smooth > np.quantile(smooth, rng.choice([0.3, 0.6, 0.9]))


def random_masks(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    size_hw = SIZES[seed % len(SIZES)]
    first = random_mask(rng, size_hw)
    if seed % 3 == 0:  # a neighbour of it, as a good prediction is
        return first, np.roll(first, tuple(rng.integers(-2, 3, 2)), axis=(0, 1))
    return first, random_mask(rng, size_hw)


def slow_boundary_iou(first: np.ndarray, second: np.ndarray) -> float:
    """The definition, with chessboard distances to the nearest pixel outside the mask."""
    width = max(round(0.02 * math.sqrt(first.shape[0] ** 2 + first.shape[1] ** 2)), 1)
    bands = []
    for mask in (first, second):
        padded = np.pad(mask, 1)
        away = ndimage.distance_transform_cdt(padded, metric="chessboard")[1:-1, 1:-1]
        bands.append(mask & (away <= width))
    union = (bands[0] | bands[1]).sum()
    return float((bands[0] & bands[1]).sum() / union) if union else 1.0


def slow_hd95(first: np.ndarray, second: np.ndarray) -> float:
    """All distances between all outline pixels."""
    if not first.any() or not second.any():
        return 0.0 if first.any() == second.any() else float(np.hypot(*first.shape))
    points = []
    for mask in (first, second):
        inside = ndimage.binary_erosion(mask, ndimage.generate_binary_structure(2, 1), border_value=0)
        points.append(np.argwhere(mask & ~inside))
    distances = cdist(*points)
    return max(float(np.percentile(distances.min(axis=axis), 95)) for axis in (0, 1))


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 100_000))
def test_boundary_iou_equals_its_definition(seed: int) -> None:
    first, second = random_masks(seed)
    assert boundary_iou(first, second) == pytest.approx(slow_boundary_iou(first, second), abs=1e-12)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 100_000))
def test_hd95_equals_brute_force(seed: int) -> None:
    first, second = random_masks(seed)
    assert hd95(first, second) == pytest.approx(slow_hd95(first, second), abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 100_000))
def test_both_are_symmetric_blind_to_flips_and_perfect_on_equal_masks(seed: int) -> None:
    first, second = random_masks(seed)
    for score, perfect in ((boundary_iou, 1.0), (hd95, 0.0)):
        value = score(first, second)
        assert value == pytest.approx(score(second, first), abs=1e-12)
        assert value == pytest.approx(score(first[::-1, ::-1], second[::-1, ::-1]), abs=1e-12)
        assert value == pytest.approx(score(first.T, second.T), abs=1e-12)
        assert score(first, first) == perfect


def test_whole_masks_of_a_large_picture_equal_brute_force() -> None:
    rows, columns = np.mgrid[:700, :900]
    first = (rows - 340) ** 2 + (columns - 400) ** 2 < 300**2
    second = (rows - 350) ** 2 / 2 + (columns - 420) ** 2 < 210**2
    assert boundary_width_px(first.shape) == 23
    assert boundary_iou(first, second) == pytest.approx(slow_boundary_iou(first, second), abs=1e-12)
    assert hd95(first, second) == pytest.approx(slow_hd95(first, second), abs=1e-9)


def test_two_squares_three_pixels_apart_by_hand() -> None:
    first, second = np.zeros((40, 40), dtype=bool), np.zeros((40, 40), dtype=bool)
    first[10:20, 10:20] = True
    second[10:20, 13:23] = True
    # Band width round(0.02 * 56.6) = 1: frames of 36 pixels. They meet in the 7 columns they share: 14 pixels
    # of rows 10 and 19; and nowhere else, as columns 10, 19 of the one and 13, 22 of the other are inside.
    assert boundary_iou(first, second) == pytest.approx(14 / (72 - 14))
    # Of the 36 outline pixels, the 10 of the far side are 3 away from the other outline and none is further.
    assert hd95(first, second) == 3.0


@pytest.mark.parametrize(("predicted", "label"), [(False, True), (True, False)])
def test_a_missed_mask_is_further_away_than_any_distance(predicted: bool, label: bool) -> None:
    masks = (np.full((30, 40), predicted), np.full((30, 40), label))
    assert hd95(*masks) == 50.0
    assert boundary_iou(*masks) == 0.0


def test_two_empty_masks_agree() -> None:
    empty = np.zeros((5, 5), dtype=bool)
    assert (boundary_iou(empty, empty), hd95(empty, empty)) == (1.0, 0.0)


def test_a_mask_that_fills_the_picture_has_its_outline_at_the_border() -> None:
    full = np.ones((9, 9), dtype=bool)
    hole = full.copy()
    hole[4, 4] = False
    assert boundary_iou(full, full) == 1.0
    assert 0 < boundary_iou(full, hole) < 1
    assert hd95(full, hole) == pytest.approx(slow_hd95(full, hole))


def test_masks_of_different_sizes_are_refused() -> None:
    for score in (boundary_iou, hd95):
        with pytest.raises(MaskShapeError, match=r"label is \(4, 5\)"):
            score(np.ones((5, 4), dtype=bool), np.ones((4, 5), dtype=bool))
