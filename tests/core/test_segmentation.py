"""COCO segmentations against pycocotools and matplotlib, and hostile ones against nothing at all."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from dataset_tools.core.errors import ItemFault
from dataset_tools.core.masks import decode_counts, rle_to_mask
from dataset_tools.core.segmentation import decode_segmentation, polygons_to_mask


def blobs(seed: int, size_hw: tuple[int, int]) -> np.ndarray:
    rng = np.random.default_rng(seed)
    mask = np.zeros(size_hw, dtype=bool)
    for _ in range(4):
        y, x = rng.integers(0, size_hw[0]), rng.integers(0, size_hw[1])
        mask[y : y + rng.integers(1, 40), x : x + rng.integers(1, 40)] ^= True
    return mask


@pytest.mark.parametrize("seed", range(12))
def test_compressed_counts_equal_pycocotools(seed):
    mask = blobs(seed, (67 + seed, 90))
    encoded = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    value = {"size": list(encoded["size"]), "counts": encoded["counts"].decode()}
    assert np.array_equal(rle_to_mask(decode_segmentation(value, mask.shape)), mask)


def test_uncompressed_counts_are_taken_exactly():
    value = {"size": [2, 3], "counts": [1, 2, 0, 1, 2]}
    assert decode_segmentation(value, (2, 3)).counts == (1, 3, 2)


def test_a_polygon_covers_the_pixels_whose_centres_it_holds():
    square = polygons_to_mask([[1, 1, 4, 1, 4, 3, 1, 3]], (5, 6))
    assert square.sum() == 6
    assert square[1:3, 1:4].all()


@given(st.lists(st.tuples(st.floats(-20, 60), st.floats(-20, 60)), min_size=3, max_size=9, unique=True))
def test_polygon_filling_agrees_with_an_even_odd_point_test(points):
    # Ray casting written out pixel by pixel: slow, independent of the edge flags.
    mask = polygons_to_mask([[value for point in points for value in point]], (40, 40))
    edges = list(zip(points, points[1:] + points[:1], strict=True))
    for y in range(0, 40, 7):
        for x in range(0, 40, 5):
            crossings = [
                x0 + (y + 0.5 - y0) * ((x1 - x0) / (y1 - y0))
                for (x0, y0), (x1, y1) in edges
                if (y0 <= y + 0.5) != (y1 <= y + 0.5)
            ]
            if any(abs(crossing - x - 0.5) < 1e-6 for crossing in crossings):
                continue
            assert mask[y, x] == (sum(crossing < x + 0.5 for crossing in crossings) % 2 == 1)


# pycocotools 2.0.11 still uses the array protocol of numpy 1.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_a_disc_agrees_with_pycocotools_almost_everywhere():
    angles = np.linspace(0, 2 * np.pi, 90, endpoint=False)
    ring = np.stack([200 + 120 * np.cos(angles), 180 + 100 * np.sin(angles)], axis=1).ravel().tolist()
    ours = polygons_to_mask([ring], (400, 400))
    theirs = coco_mask.decode(coco_mask.frPyObjects([ring], 400, 400))[:, :, 0].astype(bool)
    assert (ours & theirs).sum() / (ours | theirs).sum() > 0.99


def test_several_polygons_are_joined():
    mask = polygons_to_mask([[0, 0, 2, 0, 2, 2, 0, 2], [1, 1, 3, 1, 3, 3, 1, 3]], (4, 4))
    assert mask.sum() == 7


HOSTILE = [
    ({"size": [10, 10], "counts": [50, 49]}, "rle_sum"),
    ({"size": [10, 10], "counts": [50, 51]}, "rle_sum"),
    ({"size": [10, 10], "counts": []}, "rle_sum"),
    ({"size": [10, 10], "counts": [10**4000, 1]}, "rle_sum"),
    ({"size": [10, 10], "counts": [110, -10]}, "rle_sum"),
    ({"size": [10, 10], "counts": [-10, 60, 50]}, "rle_value"),
    ({"size": [10, 10], "counts": [50.5, 49.5]}, "rle_value"),
    ({"size": [10, 10], "counts": ["50", 50]}, "rle_value"),
    ({"size": [10, 10], "counts": [True, 99]}, "rle_value"),
    ({"size": [10, 10], "counts": [None]}, "rle_value"),
    ({"size": [65535, 65535], "counts": [65535 * 65535]}, "rle_size"),
    ({"size": [10, 11], "counts": [50, 60]}, "rle_size"),
    ({"size": [10], "counts": [50, 50]}, "rle_size"),
    ({"size": [10.0, 10.0], "counts": [50, 50]}, "rle_size"),
    ({"size": "10x10", "counts": [50, 50]}, "rle_size"),
    ({"counts": [50, 50]}, "rle_size"),
    ({"size": [10, 10], "counts": "\x7f\x7f"}, "rle_value"),
    ({"size": [10, 10], "counts": "é"}, "rle_value"),
    ({"size": [10, 10], "counts": "o" * 40}, "rle_value"),
    ({"size": [10, 10], "counts": "o"}, "rle_value"),
    ({"size": [10, 10], "counts": ""}, "rle_sum"),
    ({"size": [10, 10], "counts": "000"}, "rle_sum"),
    ({"size": [10, 10]}, "schema"),
    ({"size": [10, 10], "counts": {"a": 1}}, "schema"),
    ({"size": [10, 10], "counts": [100]}, "no_area"),
    (None, "schema"),
    ([], "schema"),
    ("text", "schema"),
    (7, "schema"),
    ([[1, 1, 5, 1, math.nan, 5]], "not_finite"),
    ([[1, 1, 5, 1, math.inf, 5]], "not_finite"),
    ([[1, 1, 5, 1, 2e9, 5]], "out_of_bounds"),
    ([[1, 1, 5, 1, 10**4000, 5]], "out_of_bounds"),
    ([[1, 1, 5, -11, 5, 5]], "out_of_bounds"),
    ([[1, 1, 5, 1]], "degenerate"),
    ([[1, 1, 1, 1, 1, 1, 1, 1]], "degenerate"),
    ([[]], "degenerate"),
    ([[1, 1, 5, 1, 5]], "schema"),
    ([["1", "1", "5", "1", "5", "5"]], "schema"),
    ([[True, 1, 5, 1, 5, 5]], "schema"),
    ([1, 1, 5, 1, 5, 5], "schema"),
    ([[0.0, 0.0] * 10_001], "schema"),
    ([[1.1, 1.1, 1.2, 1.1, 1.2, 1.2]], "no_area"),
    ([[1, 1, 5, 1, 5, 5], [1, 1, math.nan, 1, 5, 5]], "not_finite"),
]


@pytest.mark.parametrize(("value", "reason"), HOSTILE)
def test_hostile_segmentations_are_refused_with_a_reason(value, reason):
    with pytest.raises(ItemFault) as caught:
        decode_segmentation(value, (10, 10))
    assert caught.value.reason == reason
    assert "\n" not in str(caught.value)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=8) | st.dictionaries(st.sampled_from(["size", "counts"]), inner),
    max_leaves=20,
)


@given(json_values)
def test_no_json_value_does_worse_than_an_item_fault(value):
    try:
        mask = decode_segmentation(json.loads(json.dumps(value)), (10, 10))
    except ItemFault:
        return
    assert sum(mask.counts) == 100


@given(st.text(alphabet=[chr(code) for code in range(48, 112)], max_size=60))
def test_any_text_of_the_code_decodes_or_is_refused(text):
    try:
        counts = decode_counts(text)
    except ItemFault:
        return
    assert all(isinstance(count, int) for count in counts)
