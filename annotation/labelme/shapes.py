"""LabelMe's shapes as pixels, as its own `shape_to_mask` fills them, from checked numbers. Pure.

LabelMe itself is not needed: it draws with Pillow, and so does this.
"""

from __future__ import annotations

import base64
import binascii
import io
import math
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from dataset_tools.core.errors import ItemFault
from dataset_tools.core.images import DEFAULT_LIMITS, encode_png
from dataset_tools.core.masks import BoolMask
from dataset_tools.core.reasons import Reason

MASK = "mask"
RECTANGLE = "rectangle"

MAX_POINTS = 10_000

_PointsXy = list[tuple[float, float]]

# How many points a shape has; None: three or more.
_POINT_COUNTS = {MASK: 2, RECTANGLE: 2, "circle": 2, "oriented_rectangle": 4, "polygon": None}
_WITHOUT_AREA = ("line", "linestrip", "point", "points")

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_ONE_CHANNEL_MODES = ("1", "L", "P")


def encode_mask_png(mask: BoolMask) -> str:
    """A mask as the base64 text of a grey PNG of 0 and 1, as LabelMe writes it.

    Args:
        mask: (H, W) bool.
    """
    return base64.b64encode(encode_png(mask.astype(np.uint8))).decode("ascii")


def shape_pixels(shape: Mapping[str, Any], size_hw: tuple[int, int]) -> BoolMask:
    """The pixels that an untrusted shape covers.

    Args:
        shape: an entry of a file's `shapes`.
        size_hw: of the picture; what lies outside of it is cut off.

    Returns:
        (H, W) bool.

    Raises:
        ItemFault: `no_area`, lines and points; `mask_size`, a mask that is not as large as its box says;
            `corrupt` or `truncated`, a mask that is no PNG; otherwise as `shape_points`.
    """
    kind = shape.get("shape_type")
    points = shape_points(shape, size_hw)
    if kind == MASK:
        return _pasted(_mask_png(shape.get("mask"), _mask_size(points), size_hw), points[0], size_hw)
    image = Image.new("L", (size_hw[1], size_hw[0]))
    draw = ImageDraw.Draw(image)
    if kind == "circle":
        (x, y), (edge_x, edge_y) = points
        radius = math.sqrt((x - edge_x) ** 2 + (y - edge_y) ** 2)
        draw.ellipse(((x - radius, y - radius), (x + radius, y + radius)), outline=1, fill=1)
    elif kind == RECTANGLE:
        x0, y0, x1, y1 = corners(points)
        draw.rectangle(((x0, y0), (x1, y1)), outline=1, fill=1)
    else:
        draw.polygon(points, outline=1, fill=1)
    return np.array(image, dtype=np.bool_)


def corners(points: _PointsXy) -> tuple[float, float, float, float]:
    """Left, upper, right and lower edge of a rectangle, whichever corner its first point is."""
    (x0, y0), (x1, y1) = points
    return min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)


def shape_points(shape: Mapping[str, Any], size_hw: tuple[int, int]) -> _PointsXy:
    """The points of an untrusted shape, x right, y down, in pixels.

    Raises:
        ItemFault: `no_area`, a line or a point; `schema`, an unknown kind of shape, points that are no pairs
            of numbers, or more than 10,000; `not_finite`; `out_of_bounds`, outside [-1, 2] times the
            picture; `degenerate`, too few.
    """
    kind, found = shape.get("shape_type"), shape.get("points")
    if kind in _WITHOUT_AREA:
        raise ItemFault(Reason.NO_AREA, f"a shape of type {kind!r} covers nothing")
    if not isinstance(kind, str) or kind not in _POINT_COUNTS:
        raise ItemFault(Reason.SCHEMA, f"shape of type {str(kind)[:80]!r}")
    if not isinstance(found, list) or len(found) > MAX_POINTS:
        raise ItemFault(Reason.SCHEMA, f"a shape needs a list of at most {MAX_POINTS} points")
    expected = _POINT_COUNTS[kind]
    points = [_point(entry, size_hw) for entry in found]
    if expected is None and len(points) < 3:
        raise ItemFault(Reason.DEGENERATE, f"a polygon of {len(points)} points")
    if expected is not None and len(points) != expected:
        raise ItemFault(Reason.SCHEMA, f"a {kind} of {len(points)} points, expected {expected}")
    return points


def _point(entry: Any, size_hw: tuple[int, int]) -> tuple[float, float]:
    if (
        not isinstance(entry, list)
        or len(entry) != 2
        or not all(type(value) in (int, float) for value in entry)
    ):
        raise ItemFault(Reason.SCHEMA, f"point {str(entry)[:80]} is no pair of numbers")
    for value, side in zip(entry, reversed(size_hw), strict=True):
        if isinstance(value, float) and not math.isfinite(value):
            raise ItemFault(Reason.NOT_FINITE, f"coordinate {value}")
        if not -side <= value <= 2 * side:
            raise ItemFault(
                Reason.OUT_OF_BOUNDS,
                f"coordinate {str(value)[:40]} far outside of {size_hw[1]}x{size_hw[0]}",
            )
    return float(entry[0]), float(entry[1])


def _mask_size(points: _PointsXy) -> tuple[int, int]:
    # Both points are pixels that belong to the mask.
    (x0, y0), (x1, y1) = points
    return round(y1 - y0) + 1, round(x1 - x0) + 1


def _pasted(mask: BoolMask, corner_xy: tuple[float, float], size_hw: tuple[int, int]) -> BoolMask:
    left, top = (math.floor(value) for value in corner_xy)
    full = np.zeros(size_hw, dtype=np.bool_)
    part = mask[max(-top, 0) : max(size_hw[0] - top, 0), max(-left, 0) : max(size_hw[1] - left, 0)]
    y, x = max(top, 0), max(left, 0)
    full[y : y + part.shape[0], x : x + part.shape[1]] = part
    return full


def _mask_png(text: Any, said_hw: tuple[int, int], size_hw: tuple[int, int]) -> BoolMask:
    if not isinstance(text, str) or len(text) > DEFAULT_LIMITS.max_bytes:
        raise ItemFault(Reason.SCHEMA, "a mask needs a PNG in base64 of at most 32 MiB")
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ItemFault(Reason.SCHEMA, f"a mask is not in base64: {error}") from None
    if not data.startswith(_PNG_SIGNATURE) or data[12:16] != b"IHDR":
        raise ItemFault(Reason.CORRUPT, "a mask is no PNG")
    if b"IEND" not in data[-64:]:  # Pillow would fill the missing rows with black
        raise ItemFault(Reason.TRUNCATED, "a mask's PNG ends early")
    # Checked before anything is decoded: a small PNG can tell any number of pixels.
    found_hw = int.from_bytes(data[20:24], "big"), int.from_bytes(data[16:20], "big")
    if found_hw != said_hw or found_hw[0] > size_hw[0] or found_hw[1] > size_hw[1] or 0 in found_hw:
        raise ItemFault(
            Reason.MASK_SIZE,
            f"a mask of {found_hw[0]}x{found_hw[1]} in a box of {said_hw[0]}x{said_hw[1]}; picture is "
            f"{size_hw[0]}x{size_hw[1]}",
        )
    return _decoded(data)


def _decoded(data: bytes) -> BoolMask:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(io.BytesIO(data), formats=["PNG"]) as opened:
                mode, values = opened.mode, np.asarray(opened)
        except Exception as error:  # format plugins raise anything on hostile bytes
            raise ItemFault(Reason.CORRUPT, f"a mask's PNG cannot be read: {error}") from error
    if mode not in _ONE_CHANNEL_MODES:
        raise ItemFault(
            Reason.SCHEMA, f"a mask of mode {mode}, expected one of {', '.join(_ONE_CHANNEL_MODES)}"
        )
    return np.asarray(values != 0, dtype=np.bool_)
