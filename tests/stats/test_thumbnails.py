"""Small labels decode to what they were."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dataset_tools.core.errors import ItemFault
from dataset_tools.core.labels import Label
from dataset_tools.core.masks import mask_to_rle
from dataset_tools.core.record import Instance
from dataset_tools.stats.thumbnails import (
    GUESS,
    PackedMask,
    pack_instances,
    small_jpeg,
    small_layers,
    small_size_wh,
)


def decode(code: str, size_wh: tuple[int, int]) -> np.ndarray:
    runs = [int(digits, 36) for digits in code.split(".")]
    flat = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return flat.reshape(size_wh[::-1])


def instance(mask: np.ndarray, label: Label = Label.FACE, drawn_by: str = "human:a") -> Instance:
    return Instance("i", label, mask_to_rle(mask), drawn_by)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 99))
def test_a_mask_of_the_pictures_own_size_comes_back_exactly(height, width, seed):
    mask = np.random.default_rng(seed).random((height, width)) < 0.5
    layers = small_layers(pack_instances([instance(mask)]), (width, height))
    if mask.any():
        assert (decode(layers["face"], (width, height)) == mask).all()
    else:
        assert layers == {}


def test_a_smaller_mask_is_set_where_a_third_of_it_was():
    mask = np.zeros((6, 9), dtype=bool)
    mask[0:3, 0] = True  # a third of the first 3 x 3 square
    mask[3, 3:5] = True  # two of nine pixels
    layers = small_layers(pack_instances([instance(mask)]), (3, 2))
    assert decode(layers["face"], (3, 2)).tolist() == [[True, False, False], [False, False, False]]


def test_labels_of_one_kind_are_joined_and_proposals_kept_apart():
    left, right = np.zeros((2, 4), bool), np.zeros((2, 4), bool)
    left[:, 0], right[:, 3] = True, True
    items = [instance(left), instance(right), instance(right, Label.FACE_MASK, "model:m@1")]
    layers = small_layers(pack_instances(items), (4, 2))
    assert set(layers) == {"face", GUESS}
    assert (decode(layers["face"], (4, 2)) == left | right).all()


def test_a_damaged_mask_is_a_fault_of_its_picture():
    with pytest.raises(ItemFault, match="sum to 3"):
        small_layers([PackedMask("face", (2, 2), np.array([1, 2], np.int32))], (2, 2))


@pytest.mark.parametrize(
    ("size_hw", "size_wh"), [((512, 1024), (160, 80)), ((40, 30), (30, 40)), ((2000, 10), (1, 160))]
)
def test_a_small_copy_keeps_its_shape_and_nothing_is_enlarged(size_hw, size_wh):
    assert small_size_wh(size_hw) == size_wh
    with Image.open(io.BytesIO(small_jpeg(np.full((*size_hw, 3), 77, np.uint8), size_wh))) as opened:
        assert (opened.format, opened.size) == ("JPEG", size_wh)
        assert np.abs(np.asarray(opened).astype(int) - 77).max() <= 1
