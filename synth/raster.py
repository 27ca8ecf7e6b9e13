"""A small exact rasteriser: triangles to samples with a z-buffer, all triangles at once in NumPy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Floats32 = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
BoolMask = npt.NDArray[np.bool_]
Reals = npt.NDArray[np.float32] | npt.NDArray[np.int64]
Box = tuple[int, int, int, int]  # x0, y0, width, height in pixels

_FLAT_AREA = 1e-9
_DEPTH_ROUNDING_PX = 0.01  # more than single precision loses of a depth
_EDGES = ((0, 2), (0, 1), (1, 2))  # of a triangle whose corners are sorted downwards


@dataclass(frozen=True)
class Surface:
    """Triangles, and all that does not depend on the window they are looked at through; made by `prepare`.

    Attributes:
        low, high: (3, T) corners of each triangle's bounding box, image space.
        corner_y: (3, T) heights of the corners, downwards; all the first one's for a flat triangle.
        side_x, side_slope: (2, 2, T) lines that bound each triangle, x = side_x + side_slope * y: on the left
            and on the right, above and below the middle corner.
        plane: (1 + K, 3, T) depth and values over each triangle: p0 + p1 * x + p2 * y.
    """

    low: Floats
    high: Floats
    corner_y: Floats
    side_x: Floats
    side_slope: Floats
    plane: Floats


@dataclass(frozen=True)
class _Spans:
    # Runs of samples: one triangle, one row, columns first..first+length-1.
    triangle: Ints
    row: Ints
    first: Ints
    length: Ints


@dataclass(frozen=True)
class _Lines:
    # Spans of a surface in a window, and what runs along them.
    surface: Surface
    spans: _Spans
    box: Box
    scale: int

    def pixel(self, span: Ints, step: Reals) -> Ints:
        column = self.spans.first.take(span)
        column += step.astype(np.int64, copy=False)
        column //= self.scale
        column += (self.spans.row // self.scale * self.box[2]).take(span)
        return column

    @cached_property
    def middle_xy(self) -> tuple[Floats, Floats]:
        # Of the first sample of each span.
        x = self.box[0] + (self.spans.first + 0.5) / self.scale
        y = self.box[1] + (self.spans.row + 0.5) / self.scale
        return x, y

    def along(self, number: int, span: Ints, step: Floats32) -> Floats32:
        plane, triangle = self.surface.plane[number], self.spans.triangle
        x, y = self.middle_xy
        few = len(span) < len(triangle)
        if few:
            triangle, x, y = triangle.take(span), x.take(span), y.take(span)
        start = plane[0].take(triangle)
        start += plane[1].take(triangle) * x
        start += plane[2].take(triangle) * y
        slope = (plane[1] / self.scale).astype(np.float32).take(triangle)
        found: Floats32 = slope if few else slope.take(span)
        found *= step
        found += start.astype(np.float32) if few else start.astype(np.float32).take(span)
        return found


@dataclass(frozen=True)
class Hits:
    """The nearest triangle at every sample of a window that any triangle covers.

    Depth and values are worked out when they are asked for: of most samples nobody wants the depth.

    Attributes:
        samples_hw: samples of the window, rows and columns.
        sample: (N,) flat index of each covered sample, in no special order.
    """

    samples_hw: tuple[int, int]
    sample: Ints
    _lines: _Lines
    _span: Ints
    _step: Floats32

    @cached_property
    def depth(self) -> Floats32:
        """(N,) float32 image-space z."""
        return self._lines.along(0, self._span, self._step)

    @property
    def triangle(self) -> Ints:
        """(N,) index of the triangle."""
        return self._lines.spans.triangle.take(self._span)

    @cached_property
    def pixel(self) -> Ints:
        """(N,) flat index of the pixel of the window that each sample lies in."""
        return self._lines.pixel(self._span, self._step) if self._lines.scale > 1 else self.sample

    @property
    def kinds(self) -> int:
        """K, the number of values at a vertex."""
        return len(self._lines.surface.plane) - 1

    @property
    def values(self) -> Floats32:
        """(N, K) float32 interpolated vertex values."""
        found = np.empty((len(self.sample), self.kinds), dtype=np.float32)
        for kind in range(self.kinds):
            found[:, kind] = self.value(kind)
        return found

    def value(self, kind: int, at: Ints | None = None) -> Floats32:
        """(N,) float32 of one kind of value; of the entries `at` only when they are given."""
        return self._along(kind + 1, at)

    def depth_at(self, at: Ints) -> Floats32:
        """The depth of some entries."""
        return self._along(0, at)

    def _along(self, number: int, at: Ints | None) -> Floats32:
        if at is None:
            return self._lines.along(number, self._span, self._step)
        return self._lines.along(number, self._span.take(at), self._step.take(at))

    def depth_map(self) -> Floats32:
        """(rows, columns) float32 depth; +inf where nothing is hit."""
        dense = np.full(self.samples_hw[0] * self.samples_hw[1], np.inf, dtype=np.float32)
        dense[self.sample] = self.depth
        return dense.reshape(self.samples_hw)

    def triangle_map(self) -> Ints:
        """(rows, columns) triangle index; -1 where nothing is hit."""
        dense = np.full(self.samples_hw[0] * self.samples_hw[1], -1, dtype=np.int64)
        dense[self.sample] = self.triangle
        return dense.reshape(self.samples_hw)


def prepare(vertices: Floats, triangles: Ints, values: Floats | None = None) -> Surface:
    """A surface that is to be scanned more than once; arguments as in `rasterise`."""
    corner = triangles.T
    xyz = [np.ascontiguousarray(vertices[:, k]).take(corner) for k in range(3)]
    x, y = _downwards(*xyz[:2])
    slopes, lines = np.empty((2, 3, len(triangles)))
    for k, (upper, lower) in enumerate(_EDGES):
        # Both triangles of an edge must compute the same line: always from its upper end.
        rise = y[lower] - y[upper]
        slopes[k] = (x[lower] - x[upper]) / np.where(rise > 0, rise, 1.0)
        lines[k] = x[upper] - slopes[k] * y[upper]
    area = (x[1] - x[0]) * (y[2] - y[0]) - (x[2] - x[0]) * (y[1] - y[0])
    # The long edge is the left side of both halves where the middle corner lies to the right of it.
    is_left = area > 0
    side_x, side_slope = (
        np.stack([np.where(is_left, one[0], one[1:]), np.where(is_left, one[1:], one[0])])
        for one in (lines, slopes)
    )
    heights = np.where(np.abs(area) > _FLAT_AREA, y, y[0])
    numbers = [xyz[2]]
    if values is not None:
        numbers += [np.ascontiguousarray(values[:, k]).take(corner) for k in range(values.shape[1])]
    low, high = (
        np.stack([reduced(x), y[row], reduced(xyz[2])]) for reduced, row in ((_least, 0), (_most, 2))
    )
    return Surface(low, high, heights, side_x, side_slope, _planes(xyz[0], xyz[1], np.stack(numbers)))


def nearer_part(vertices: Floats, triangles: Ints, other: Surface, slack: float) -> Ints:
    """Those of a surface's triangles that may hide a part of another surface.

    Args:
        vertices: (N, 3) of what may hide, image space.
        triangles: (T, 3) vertex indices.
        other: what may be hidden.
        slack: only what lies this much farther away counts as hidden, pixels.

    Returns:
        All triangles that hide something, and few that do not: bounding boxes are compared, on cells that
        are as large as the largest triangle of the other surface.
    """
    if len(triangles) == 0 or other.low.shape[1] == 0:
        return triangles[:0]
    corners = [np.ascontiguousarray(vertices[:, k]).take(triangles.T) for k in range(3)]
    origin = other.low[:2].min(axis=1)
    cell = max(float((other.high[:2] - other.low[:2]).max()), 1.0)
    x0, y0, x1, y1 = ((bound(corners[k]) - origin[k]) // cell for bound in (_least, _most) for k in (0, 1))
    farthest = _farthest(other, origin, cell)
    rows, columns = farthest.shape
    near = np.flatnonzero((x1 >= 0) & (y1 >= 0) & (x0 < columns) & (y0 < rows))
    left, right = (_clipped(side.take(near), columns - 1) for side in (x0, x1))
    top, bottom = (_clipped(side.take(near), rows - 1) for side in (y0, y1))
    across = right - left + 1
    owner, step = _expand(across * (bottom - top + 1))
    down = step // across.take(owner)
    step -= down * across.take(owner)
    behind = np.full(len(near), -np.inf)
    np.maximum.at(behind, owner, farthest[top.take(owner) + down, left.take(owner) + step])
    return triangles[near[behind > _least(corners[2]).take(near) + (slack - _DEPTH_ROUNDING_PX)]]


def _farthest(surface: Surface, origin: Floats, cell: float) -> Floats:
    # (rows, columns) the greatest depth of the triangles whose bounding boxes touch a cell. No box is larger
    # than a cell, so its corners lie in all cells that it touches.
    first, last = (
        ((corner[:2].T - origin) // cell).astype(np.int64) for corner in (surface.low, surface.high)
    )
    columns, rows = last.max(axis=0) + 1
    farthest = np.full((rows, columns), -np.inf)
    for x in (first[:, 0], last[:, 0]):
        for y in (first[:, 1], last[:, 1]):
            np.maximum.at(farthest.reshape(-1), y * columns + x, surface.high[2])
    return farthest


def _least(corners: Floats) -> Floats:
    least: Floats = np.minimum(np.minimum(corners[0], corners[1]), corners[2])
    return least


def _most(corners: Floats) -> Floats:
    most: Floats = np.maximum(np.maximum(corners[0], corners[1]), corners[2])
    return most


def _downwards(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    # (3, T) corners from the highest to the lowest.
    xs, ys = list(x), list(y)
    for one, other in ((0, 1), (1, 2), (0, 1)):
        turn = ys[one] > ys[other]
        for values in (xs, ys):
            values[one], values[other] = (
                np.where(turn, values[other], values[one]),
                np.where(turn, values[one], values[other]),
            )
    return np.stack(xs), np.stack(ys)


def _planes(x: Floats, y: Floats, numbers: Floats) -> Floats:
    # numbers is (1 + K, 3, T), one at each corner.
    by_x, by_y = x[1:] - x[0], y[1:] - y[0]
    area = by_x[0] * by_y[1] - by_y[0] * by_x[1]
    area = np.where(np.abs(area) > _FLAT_AREA, area, 1.0)
    by_b, by_c = numbers[:, 1] - numbers[:, 0], numbers[:, 2] - numbers[:, 0]
    planes = np.empty_like(numbers)
    planes[:, 1] = (by_b * by_y[1] - by_c * by_y[0]) / area
    planes[:, 2] = (by_c * by_x[0] - by_b * by_x[1]) / area
    planes[:, 0] = numbers[:, 0] - planes[:, 1] * x[0] - planes[:, 2] * y[0]
    return planes


def rasterise(
    vertices: Floats,
    triangles: Ints,
    box: Box,
    *,
    scale: int = 1,
    values: Floats | None = None,
    where: BoolMask | None = None,
) -> Hits:
    """Nearest surface at the centre of every sample; both faces of a triangle count.

    Neighbouring triangles neither overlap nor leave gaps: a shared edge is computed from the same numbers
    on both sides and a sample exactly on it belongs to the right or lower one.

    Args:
        vertices: (N, 3) x, y, z in pixels; pixel centres lie at half-integers, smaller z is nearer.
        triangles: (T, 3) vertex indices.
        box: window in pixels.
        scale: samples per pixel side, >= 1.
        values: (N, K) numbers to interpolate linearly, or None.
        where: (height, width) pixels of the window that matter, or None for all; nothing is hit elsewhere.
    """
    return scan(prepare(vertices, triangles, values), box, scale=scale, where=where)


def scan(surface: Surface, box: Box, *, scale: int = 1, where: BoolMask | None = None) -> Hits:
    """`rasterise` of a prepared surface."""
    rows, columns = box[3] * scale, box[2] * scale
    if where is None:
        spans = _spans(surface, box, scale, None)
    else:
        counts = _counts(where)
        spans = _spans(surface, box, scale, _touching(surface, box, counts))
        spans = _spans_touching(spans, counts, scale)
    lines = _Lines(surface, spans, box, scale)
    span, step = _expand(spans.length)
    sample = (spans.row * columns + spans.first).take(span)
    sample += step
    if where is not None:
        wanted = np.flatnonzero(where.take(lines.pixel(span, step) if scale > 1 else sample))
        sample, span, step = sample.take(wanted), span.take(wanted), step.take(wanted)
    steps = step.astype(np.float32)
    wins = _nearest(sample, lambda at: lines.along(0, span.take(at), steps.take(at)), rows * columns)
    if wins is not None:
        sample, span, steps = sample.take(wins), span.take(wins), steps.take(wins)
    return Hits((rows, columns), sample, lines, span, steps)


def coverage(vertices: Floats, triangles: Ints, box: Box) -> BoolMask:
    """Pixels whose centre any triangle covers, (height, width) bool; the rules of `rasterise`."""
    _, _, width, height = box
    spans = _spans(prepare(vertices, triangles), box, 1, None)
    # One column more than the window, so that a span's end never starts the next row.
    start = spans.row * (width + 1) + spans.first
    size = height * (width + 1) + 1
    change = np.bincount(start, minlength=size) - np.bincount(start + spans.length, minlength=size)
    covered: BoolMask = np.cumsum(change, out=change)[:-1].reshape(height, width + 1)[:, :width] > 0
    return covered


def _counts(where: BoolMask) -> npt.NDArray[np.int32]:
    # Entry (r, c): how many pixels above row r and left of column c matter.
    import cv2

    return np.asarray(cv2.integral(where.view(np.uint8)), dtype=np.int32)


def _touching(surface: Surface, box: Box, counts: npt.NDArray[np.int32]) -> Ints:
    # Triangles whose bounding box touches a pixel that matters.
    rows, columns = counts.shape
    bounds = []
    for corner, beyond in ((surface.low, 0.0), (surface.high, 1.0)):
        for k, limit in ((0, columns - 1), (1, rows - 1)):
            bounds.append(_clipped(np.floor(corner[k] - (box[k] - beyond)), limit))
    left, top, right, bottom = bounds
    flat, top, bottom = counts.ravel(), top * columns, bottom * columns
    inside = flat.take(bottom + right) - flat.take(top + right)
    inside -= flat.take(bottom + left) - flat.take(top + left)
    return np.flatnonzero(inside > 0)


def _clipped(value: Floats, limit: int) -> Ints:
    # Whole numbers between 0 and the limit; the argument is used up.
    np.maximum(value, 0, out=value)
    np.minimum(value, limit, out=value)
    return value.astype(np.int64)


def _spans_touching(spans: _Spans, counts: npt.NDArray[np.int32], scale: int) -> _Spans:
    # Spans that hold a sample of a pixel that matters.
    columns = counts.shape[1]
    top = spans.row // scale * columns
    low, high = spans.first // scale + top, (spans.first + spans.length - 1) // scale + (top + 1)
    flat = counts.ravel()
    inside = flat.take(high + columns) - flat.take(high)
    inside -= flat.take(low + columns) - flat.take(low)
    keep = np.flatnonzero(inside > 0)
    return _Spans(*(part.take(keep) for part in (spans.triangle, spans.row, spans.first, spans.length)))


def _nearest(sample: Ints, depth: Callable[[Ints], Floats32], size: int) -> Ints | None:
    # Entries that are the nearest at their sample; None when each sample has one entry only.
    last = np.empty(size, dtype=np.int32)
    entry = np.arange(len(sample), dtype=np.int32)
    last[sample] = entry
    lost = np.flatnonzero(last.take(sample) != entry)
    if lost.size == 0:
        return None
    # Compare depths only where several met, which is rare.
    is_shared = np.zeros(size, dtype=np.bool_)
    is_shared[sample.take(lost)] = True
    met = np.flatnonzero(is_shared.take(sample))
    z, at = depth(met), sample.take(met)
    nearest = np.empty(size, dtype=np.float32)
    nearest[at] = np.inf
    np.minimum.at(nearest, at, z)
    wins = np.ones(len(sample), dtype=np.bool_)
    wins[met] = nearest.take(at) == z
    return np.flatnonzero(wins)


def _spans(surface: Surface, box: Box, scale: int, chosen: Ints | None) -> _Spans:
    x0, y0, width, height = box
    heights, lines, slopes = surface.corner_y, surface.side_x, surface.side_slope
    if chosen is not None:
        heights, lines, slopes = (one.take(chosen, axis=-1) for one in (heights, lines, slopes))
    count = heights.shape[1]
    starts = _clipped(np.ceil((heights - y0) * scale - 0.5), height * scale)
    # A triangle is two halves, above and below its middle corner.
    half, row = _expand((starts[1:] - starts[:-1]).ravel())
    row += starts[:-1].ravel().take(half)
    y = (row + 0.5) / scale
    y += y0
    # The first sample whose middle lies at or right of a crossing.
    left, right = (_crossings(lines[k], slopes[k], half, y, scale, x0) for k in (0, 1))
    first, after = _clipped(left, width * scale), _clipped(right, width * scale)
    keep = np.flatnonzero(after > first)
    triangle = half.take(keep)
    triangle -= count * (triangle >= count)
    first = first.take(keep)
    return _Spans(
        triangle if chosen is None else chosen.take(triangle), row.take(keep), first, after.take(keep) - first
    )


def _crossings(lines: Floats, slopes: Floats, half: Ints, y: Floats, scale: int, x0: int) -> Floats:
    x = slopes.ravel().take(half)
    x *= y
    x += lines.ravel().take(half)
    if scale != 1:
        x *= scale
    x -= x0 * scale + 0.5
    return np.ceil(x, out=x)


def _expand(lengths: Ints) -> tuple[Ints, Ints]:
    # For lengths (2, 0, 3): owners (0, 0, 2, 2, 2) and positions (0, 1, 0, 1, 2).
    owner = np.repeat(np.arange(len(lengths)), lengths)
    starts = np.cumsum(lengths) - lengths
    step = np.arange(len(owner))
    step -= starts.take(owner)
    return owner, step
