from __future__ import annotations

import base64
import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from annotation.labelme.shapes import encode_mask_png, shape_pixels
from dataset_tools.core.errors import ItemFault
from dataset_tools.core.reasons import Reason

SIZE_HW = (40, 60)
NUMBERS = st.floats(-20, 80, allow_nan=False, width=32) | st.integers(-20, 80)
POINTS = st.tuples(NUMBERS, NUMBERS).map(list)


def shape(kind: str, points: list, mask: str | None = None) -> dict:
    return {"shape_type": kind, "points": points, "mask": mask}


def fault_of(entry: dict, size_hw: tuple[int, int] = SIZE_HW) -> Reason:
    with pytest.raises(ItemFault) as caught:
        shape_pixels(entry, size_hw)
    return caught.value.reason


@settings(deadline=None)
@given(
    st.tuples(st.just("polygon"), st.lists(POINTS, min_size=3, max_size=9))
    | st.tuples(st.just("oriented_rectangle"), st.lists(POINTS, min_size=4, max_size=4))
    | st.tuples(st.sampled_from(["rectangle", "circle"]), st.lists(POINTS, min_size=2, max_size=2))
)
def test_drawn_shapes_cover_what_labelme_says_they_cover(labelme, drawn):
    kind, points = drawn
    expected = labelme.shape_to_mask(SIZE_HW, points, kind)
    assert np.array_equal(shape_pixels(shape(kind, points), SIZE_HW), expected)


@settings(deadline=None)
@given(
    arrays(np.bool_, st.tuples(st.integers(1, 12), st.integers(1, 12))),
    st.integers(0, 28),
    st.integers(0, 48),
)
def test_masks_lie_where_labelme_lays_them(labelme, mask, top, left):
    height, width = mask.shape
    entry = shape("mask", [[left, top], [left + width - 1.0, top + height - 1.0]], encode_mask_png(mask))
    theirs = {"label": "x", "group_id": 1, "shape_type": "mask", "points": entry["points"], "mask": mask}
    expected, _ = labelme.shapes_to_label(SIZE_HW, [theirs], {"x": 1})
    assert np.array_equal(shape_pixels(entry, SIZE_HW), expected == 1)


def test_a_mask_moved_over_the_edge_is_cut_off():
    mask = np.ones((4, 6), bool)
    for left, top in ((-2, -1), (57, 38), (-30, 5), (10, 70)):
        entry = shape("mask", [[left, top], [left + 5, top + 3]], encode_mask_png(mask))
        expected = np.zeros((200, 200), bool)
        expected[top + 60 : top + 64, left + 60 : left + 66] = True
        assert np.array_equal(shape_pixels(entry, SIZE_HW), expected[60:100, 60:120])


@pytest.mark.parametrize(
    ("kind", "points", "reason"),
    [
        ("polygon", [[0, 0], [1, 1]], Reason.DEGENERATE),
        ("polygon", [[0, 0], [1, 1], [float("nan"), 2]], Reason.NOT_FINITE),
        ("polygon", [[0, 0], [1, 1], [float("inf"), 2]], Reason.NOT_FINITE),
        ("polygon", [[0, 0], [1, 1], [2e9, 2]], Reason.OUT_OF_BOUNDS),
        ("polygon", [[0, 0], [1, 1], [10**400, 2]], Reason.OUT_OF_BOUNDS),
        ("polygon", [[0, 0], [1, 1], [1, -41]], Reason.OUT_OF_BOUNDS),
        ("polygon", [[0, 0]] * 10_001, Reason.SCHEMA),
        ("polygon", [[0, 0], [1, 1], [True, 2]], Reason.SCHEMA),
        ("polygon", [[0, 0], [1, 1], ["1", 2]], Reason.SCHEMA),
        ("polygon", [[0, 0], [1, 1], [1, 2, 3]], Reason.SCHEMA),
        ("polygon", [0, 0, 1, 1, 2, 2], Reason.SCHEMA),
        ("polygon", None, Reason.SCHEMA),
        ("rectangle", [[0, 0]], Reason.SCHEMA),
        ("circle", [[0, 0]] * 3, Reason.SCHEMA),
        ("oriented_rectangle", [[0, 0]] * 3, Reason.SCHEMA),
        ("linestrip", [[0, 0], [1, 1]], Reason.NO_AREA),
        ("point", [[0, 0]], Reason.NO_AREA),
        ("spline", [[0, 0]], Reason.SCHEMA),
        (None, [[0, 0]] * 3, Reason.SCHEMA),
        (["polygon"], [[0, 0]] * 3, Reason.SCHEMA),
        ("mask", [[0, 0], [1, 1]], Reason.SCHEMA),
    ],
)
def test_shapes_that_are_none_are_refused(kind, points, reason):
    assert fault_of(shape(kind, points)) is reason


def test_a_polygon_of_10000_points_is_read():
    angles = np.linspace(0, 2 * np.pi, 10_000)
    points = np.stack([30 + 10 * np.cos(angles), 20 + 10 * np.sin(angles)], axis=1).tolist()
    assert shape_pixels(shape("polygon", points), SIZE_HW).sum() > 300


def png_header(width: int, height: int) -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")


def saved(mode: str, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, (3, 2)).save(buffer, kind)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (png_header(60_000, 60_000), Reason.MASK_SIZE),
        (png_header(2, 2), Reason.MASK_SIZE),
        (png_header(0, 0), Reason.MASK_SIZE),
        (saved("RGB"), Reason.SCHEMA),
        (saved("L", "JPEG"), Reason.CORRUPT),
        (b"", Reason.CORRUPT),
        (saved("L")[:-12], Reason.TRUNCATED),
        (saved("L").replace(b"IDAT", b"IDOT"), Reason.CORRUPT),
    ],
    ids=["bomb", "smaller", "nothing", "colours", "jpeg", "empty", "cut", "without-pixels"],
)
def test_masks_that_are_no_such_png_are_refused(data, reason):
    text = base64.b64encode(data).decode()
    assert fault_of(shape("mask", [[5, 5], [7, 6]], text)) is reason


def test_a_mask_as_large_as_it_says_but_larger_than_the_picture_is_refused():
    text = base64.b64encode(png_header(61, 40)).decode()
    assert fault_of(shape("mask", [[0, 0], [60, 39]], text)) is Reason.MASK_SIZE


@pytest.mark.parametrize("text", [None, 7, "not base64!", "äöü", "AAA"])
def test_masks_that_are_no_base64_are_refused(text):
    assert fault_of(shape("mask", [[5, 5], [7, 6]], text)) is Reason.SCHEMA
