from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from dataset_tools.core.errors import ItemFault, MaskShapeError
from dataset_tools.core.masks import RleMask, check_rle, counts_to_rle, mask_to_rle, rle_to_mask, union
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
