from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from dataset_tools.core.errors import ItemFault, MaskShapeError
from dataset_tools.core.masks import (
    RleMask,
    check_rle,
    counts_to_rle,
    decode_counts,
    encode_counts,
    index_to_rles,
    mask_to_rle,
    rle_to_mask,
    text_to_rle,
    union,
)
from dataset_tools.core.reasons import Reason


@st.composite
def masks(draw: st.DrawFn) -> np.ndarray:
    height, width = draw(st.integers(1, 12)), draw(st.integers(1, 12))
    bits = draw(st.lists(st.booleans(), min_size=height * width, max_size=height * width))
    return np.array(bits, dtype=bool).reshape(height, width)


def test_counts_go_down_columns_and_start_with_background() -> None:
    mask = np.array([[0, 1], [0, 1], [1, 0]], dtype=bool)
    assert mask_to_rle(mask).counts == (2, 3, 1)
    assert mask_to_rle(np.ones((2, 2), bool)).counts == (0, 4)


@given(masks())
def test_round_trip_is_exact_and_agrees_with_pycocotools(mask: np.ndarray) -> None:
    rle = mask_to_rle(mask)
    assert np.array_equal(rle_to_mask(rle), mask)
    theirs = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    ours = coco_mask.frPyObjects({"size": list(rle.size_hw), "counts": list(rle.counts)}, *rle.size_hw)
    assert ours == theirs
    assert rle.area_px == int(coco_mask.area(theirs))
    x, y, width, height = coco_mask.toBbox(theirs)
    if rle.area_px:
        assert rle.box_xyxy == (x, y, x + width, y + height)
    else:
        assert rle.box_xyxy == (0, 0, 0, 0)


@pytest.mark.parametrize(
    ("counts", "size_hw", "reason"),
    [
        ((3, 3), (2, 2), Reason.RLE_SUM),
        ((1, 1), (2, 2), Reason.RLE_SUM),
        ((5, -1), (2, 2), Reason.RLE_VALUE),
        ((1.5, 2.5), (2, 2), Reason.RLE_VALUE),
        ((True, 3), (2, 2), Reason.RLE_VALUE),
        ((0,), (0, 4), Reason.RLE_SIZE),
    ],
)
def test_wrong_counts_are_refused_with_their_reason(counts: tuple, size_hw: tuple, reason: Reason) -> None:
    with pytest.raises(ItemFault) as fault:
        check_rle(RleMask(size_hw, counts))
    assert fault.value.reason is reason


def test_zero_runs_inside_are_merged_so_that_equal_masks_have_equal_counts() -> None:
    assert counts_to_rle([1, 0, 1, 2], (2, 2)).counts == (2, 2)


def test_a_mask_without_two_sides_is_refused() -> None:
    with pytest.raises(MaskShapeError, match="shape"):
        mask_to_rle(np.zeros((2, 2, 2)))


def test_union_refuses_a_mask_of_another_size() -> None:
    small = mask_to_rle(np.ones((2, 2), bool))
    assert union([small], (2, 2)).all()
    with pytest.raises(MaskShapeError):
        union([small], (3, 3))


def theirs_of(mask: np.ndarray) -> dict:
    found: dict = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    return found


# pycocotools' own decoder uses a NumPy interface of before version 2.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize("size_hw", [(1, 300), (300, 1), (257, 131), (640, 480)])
@pytest.mark.parametrize("cell", [1, 7, 40, 1000])
def test_large_masks_of_any_grain_agree_with_pycocotools(size_hw: tuple[int, int], cell: int) -> None:
    # Coarse grains take the way of few changes, fine ones that of turning the whole picture.
    rows, columns = np.indices(size_hw) // cell
    grain = np.random.default_rng(cell).random((rows.max() + 1, columns.max() + 1)) < 0.5
    for mask in (grain[rows, columns], np.asfortranarray(grain[rows, columns]), ~grain[rows, columns]):
        rle, theirs = mask_to_rle(mask), theirs_of(mask)
        assert encode_counts(rle.counts) == theirs["counts"].decode()
        assert text_to_rle(theirs["counts"].decode(), size_hw) == rle
        assert decode_counts(theirs["counts"].decode()) == list(rle.counts)
        assert np.array_equal(rle_to_mask(rle), coco_mask.decode(theirs))
        x, y, width, height = coco_mask.toBbox(theirs)
        assert rle.box_xyxy == ((x, y, x + width, y + height) if mask.any() else (0, 0, 0, 0))
        assert rle.is_empty == (not mask.any())


@given(masks())
def test_compressed_text_is_that_of_pycocotools_both_ways(mask: np.ndarray) -> None:
    rle, text = mask_to_rle(mask), theirs_of(mask)["counts"].decode()
    assert encode_counts(rle.counts) == text
    assert text_to_rle(text, rle.size_hw) == rle


def test_a_box_with_a_zero_run_in_it_is_still_the_masks_box() -> None:
    # What check_rle lets through but mask_to_rle never makes.
    assert RleMask((4, 3), (5, 0, 0, 2, 5)).box_xyxy == (1, 1, 2, 3)
    assert RleMask((4, 3), (12, 0)).box_xyxy == (0, 0, 0, 0)


@given(st.lists(st.lists(st.integers(0, 4), min_size=5, max_size=5), min_size=1, max_size=6))
def test_all_masks_of_an_index_picture_are_those_of_its_values(rows: list[list[int]]) -> None:
    index = np.array(rows)
    found = index_to_rles(index)
    assert list(found) == [int(value) for value in np.unique(index) if value]
    for value, rle in found.items():
        assert rle == mask_to_rle(index == value)


def test_an_index_picture_needs_two_sides() -> None:
    for shape in ((3,), (0, 4), (2, 2, 2)):
        with pytest.raises(MaskShapeError):
            index_to_rles(np.zeros(shape, dtype=np.int64))


@pytest.mark.parametrize("counts", [(2**62, 2**62, 2**62, 2**62), (10**30,), (-(2**62), 2**62, 4)])
def test_giant_runs_neither_overflow_nor_pass(counts: tuple[int, ...]) -> None:
    with pytest.raises(ItemFault):
        rle_to_mask(RleMask((2, 2), counts))
