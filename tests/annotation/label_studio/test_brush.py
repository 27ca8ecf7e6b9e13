from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from annotation.label_studio.brush import decode_alpha, decode_brush, encode_brush
from dataset_tools.core.errors import ItemFault
from dataset_tools.core.reasons import Reason

sides = st.tuples(st.integers(1, 24), st.integers(1, 24))
masks = sides.flatmap(lambda shape: arrays(np.bool_, shape))
alphas = sides.flatmap(lambda shape: arrays(np.uint8, shape))

# Pixels: runs of 4 to 65,536 bytes and those just off the limits of the code's four field widths.
run_lengths = st.sampled_from([1, 2, 3, 4, 5, 63, 64, 65, 16_383, 16_384, 16_385]) | st.integers(1, 300)


def row_of_runs(runs: list[tuple[int, int]]) -> np.ndarray:
    return np.repeat(
        np.array([value for _, value in runs], np.uint8), [length for length, _ in runs]
    ).reshape(1, -1)


long_masks = st.lists(st.tuples(run_lengths, st.integers(0, 1)), min_size=1, max_size=8).map(
    lambda runs: row_of_runs(runs).astype(bool)
)
# A stroke: empty, an antialiased edge, full, an edge, empty.
stroked_rows = st.lists(
    st.tuples(st.integers(1, 30), st.sampled_from([0, 255])) | st.tuples(st.just(1), st.integers(0, 255)),
    min_size=1,
    max_size=30,
).map(row_of_runs)


def stock():
    # What Label Studio's own SDK does is the reference.
    from label_studio_sdk.converter import brush

    return brush


def blob_mask(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    ring = ((y - height / 2) / height) ** 2 + ((x - width / 2) / width) ** 2
    return (ring < 0.15) & (ring > 0.02)


@settings(deadline=None)
@given(masks)
def test_a_mask_comes_back_exactly(mask):
    assert np.array_equal(decode_brush(encode_brush(mask), mask.shape), mask)


@settings(deadline=None)
@given(masks)
def test_encoded_bytes_equal_those_of_the_stock_encoder(mask):
    assert encode_brush(mask) == stock().mask2rle(mask.astype(np.uint8) * 255)


@settings(deadline=None, max_examples=50)
@given(long_masks)
def test_long_rows_equal_the_stock_encoder_and_come_back_exactly(mask):
    code = encode_brush(mask)
    assert code == stock().mask2rle(mask.astype(np.uint8) * 255)
    assert np.array_equal(decode_brush(code, mask.shape), mask)


@settings(deadline=None)
@given(alphas | stroked_rows)
def test_decoded_alpha_equals_that_of_the_stock_decoder(alpha):
    code = stock().encode_rle(np.repeat(alpha.ravel(), 4))
    assert np.array_equal(decode_alpha(code, alpha.shape), alpha)
    assert np.array_equal(decode_brush(code, alpha.shape), alpha >= 128)
    assert np.array_equal(stock().decode_rle(code), np.repeat(alpha.ravel(), 4))


@settings(deadline=None)
@given(arrays(np.uint8, 6 * 5 * 4) | arrays(np.uint8, 6 * 5 * 4, elements=st.sampled_from([0, 255])))
def test_literal_tokens_are_read_as_the_stock_decoder_reads_them(rgba):
    code = stock().encode_rle(rgba)
    assert np.array_equal(decode_alpha(code, (6, 5)), rgba.reshape(6, 5, 4)[..., 3])


@pytest.mark.parametrize(
    "mask",
    [
        np.zeros((1, 1), bool),
        np.ones((1, 1), bool),
        np.ones((128, 128), bool),  # 65,536 bytes: exactly one longest run
        np.ones((1, 16_385), bool),  # one pixel more
        np.zeros((256, 256), bool),
        blob_mask(250, 250),
        blob_mask(301, 479),
    ],
    ids=["off", "on", "longest-run", "longer-run", "empty", "ring", "odd-ring"],
)
def test_run_length_limits_and_real_shapes_equal_the_stock_encoder(mask):
    code = encode_brush(mask)
    assert code == stock().mask2rle(mask.astype(np.uint8) * 255)
    assert np.array_equal(stock().decode_rle(code).reshape(*mask.shape, 4)[..., 3] > 0, mask)
    assert np.array_equal(decode_brush(code, mask.shape), mask)


def test_half_covered_pixels_count_as_drawn():
    alpha = np.array([[0, 127, 128, 255]], np.uint8)
    code = stock().encode_rle(np.repeat(alpha.ravel(), 4))
    assert decode_brush(code, (1, 4)).tolist() == [[False, False, True, True]]


def test_a_region_that_nobody_touched_comes_back_identical():
    mask = blob_mask(260, 221)
    shown = encode_brush(mask)
    # The page decodes a region to pixels and encodes them anew on submit, as the stock functions do.
    submitted = stock().encode_rle(stock().decode_rle(shown))
    assert submitted == shown
    assert np.array_equal(decode_brush(submitted, mask.shape), mask)


def test_bits_after_the_last_pixel_are_never_looked_at():
    mask = blob_mask(30, 40)
    code = encode_brush(mask)
    for rest in ([0] * 9, [255] * 50, [0b10010010] * 50):
        assert np.array_equal(decode_brush([*code, *rest], mask.shape), mask)


def test_runs_of_three_bytes_and_a_literal_are_read_by_the_alpha_byte():
    # Colours of 200 with their own alpha: no token is a whole pixel.
    rgba = np.full((4, 6, 4), 200, np.uint8)
    rgba[..., 3] = np.arange(24).reshape(4, 6) * 11
    code = stock().encode_rle(rgba.ravel())
    assert np.array_equal(decode_alpha(code, (4, 6)), rgba[..., 3])
    assert np.array_equal(decode_brush(code, (4, 6)), rgba[..., 3] >= 128)


def fault_of(code, size_hw) -> Reason:
    with pytest.raises(ItemFault) as caught:
        decode_brush(code, size_hw)
    return caught.value.reason


def test_a_code_cut_anywhere_is_a_fault_and_never_a_crash():
    mask = blob_mask(30, 40)
    code = encode_brush(mask)
    # The last byte holds only padding or the end of the last token.
    for length in range(len(code) - 2):
        assert fault_of(code[:length], mask.shape) in (Reason.RLE_SUM, Reason.RLE_SIZE)


def test_a_code_of_another_size_is_refused_before_anything_is_allocated():
    bomb = [255, 255, 255, 255, *encode_brush(np.ones((2, 2), bool))[4:]]
    assert fault_of(bomb, (2, 2)) is Reason.RLE_SIZE


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ([256] * 20, Reason.RLE_VALUE),
        ([-1] * 20, Reason.RLE_VALUE),
        ([1.5] * 20, Reason.RLE_VALUE),
        (["a"] * 20, Reason.RLE_VALUE),
        ([None] * 20, Reason.RLE_VALUE),
        ([], Reason.RLE_SUM),
        ([0, 0, 0, 16, 0x79, 0x1B, 0xF8, 0, 0, 0], Reason.RLE_VALUE),  # 16-bit words
    ],
)
def test_values_that_are_no_bytes_are_refused(code, reason):
    assert fault_of(code, (2, 2)) is reason


def test_a_token_that_tells_more_than_the_picture_is_refused():
    longer = encode_brush(np.ones((4, 4), bool))
    assert fault_of([0, 0, 0, 16, *longer[4:]], (2, 2)) is Reason.RLE_SUM


@settings(deadline=None)
@given(st.binary(min_size=7, max_size=60))
def test_random_bytes_are_a_mask_or_a_fault(noise):
    code = [0, 0, 0, 64, 0x39, 0x1B, *noise]
    try:
        alpha = decode_alpha(code, (4, 4))
    except ItemFault as fault:
        assert fault.reason.value.startswith("rle_")
        assert fault_of(code, (4, 4)) is fault.reason
    else:
        assert np.array_equal(alpha, stock().decode_rle(code).reshape(4, 4, 4)[..., 3])
        assert np.array_equal(decode_brush(code, (4, 4)), alpha >= 128)
