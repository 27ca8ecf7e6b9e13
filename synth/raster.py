"""A small exact rasteriser: triangles to samples with a z-buffer, all triangles at once in NumPy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Floats32 = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
BoolMask = npt.NDArray[np.bool_]
Box = tuple[int, int, int, int]  # x0, y0, width, height in pixels

_FLAT_AREA = 1e-9
_EDGES = ((0, 2), (0, 1), (1, 2))  # of a triangle whose corners are sorted downwards


@dataclass(frozen=True)
class Hits:
    """The nearest triangle at every sample of a window that any triangle covers.

    Attributes:
        samples_hw: samples of the window, rows and columns.
        sample: (N,) flat index of each covered sample, in no special order.
        depth: (N,) float32 image-space z.
        triangle: (N,) index of the triangle.
        values: (N, K) float32 interpolated vertex values.
    """

    samples_hw: tuple[int, int]
    sample: Ints
    depth: Floats32
    triangle: Ints
    values: Floats32

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


@dataclass(frozen=True)
class Surface:
    """Triangles, and all that does not depend on the window they are looked at through; made by `prepare`.

    Attributes:
        low, high: (T, 2) corners of each triangle's bounding box, x and y in pixels.
        corner_y: (T, 3) heights of the corners, downwards; all the first one's for a flat triangle.
        edge_x, edge_slope: (3, T) the line of each edge: x = edge_x + edge_slope * y.
        plane: (1 + K, 3, T) depth and values over each triangle: p0 + p1 * x + p2 * y.
    """

    low: Floats
    high: Floats
    corner_y: Floats
    edge_x: Floats
    edge_slope: Floats
    plane: Floats


def prepare(vertices: Floats, triangles: Ints, values: Floats | None = None) -> Surface:
    """A surface that is to be scanned more than once; arguments as in `rasterise`."""
    corners = vertices[triangles].transpose(2, 1, 0)  # (x y z, corner, triangle)
    first, second, third = (corners[:2, k] for k in range(3))
    low, high = (pick(pick(first, second), third).T for pick in (np.minimum, np.maximum))
    order = np.argsort(corners[1], axis=0, kind="stable")
    x, y = (np.take_along_axis(corners[k], order, axis=0) for k in (0, 1))
    slopes, lines = np.empty((2, 3, len(triangles)))
    for k, (upper, lower) in enumerate(_EDGES):
        # Both triangles of an edge must compute the same line: always from its upper end.
        rise = y[lower] - y[upper]
        slopes[k] = (x[lower] - x[upper]) / np.where(rise > 0, rise, 1.0)
        lines[k] = x[upper] - slopes[k] * y[upper]
    area = (x[1] - x[0]) * (y[2] - y[0]) - (x[2] - x[0]) * (y[1] - y[0])
    heights = np.where(np.abs(area) > _FLAT_AREA, y, y[0])
    numbers = [corners[2]] if values is None else [corners[2], *values[triangles].transpose(2, 1, 0)]
    return Surface(low, high, heights.T, lines, slopes, _planes(corners[:2], np.stack(numbers)))


def _planes(xy: Floats, numbers: Floats) -> Floats:
    ab, ac = xy[:, 1] - xy[:, 0], xy[:, 2] - xy[:, 0]
    area = ab[0] * ac[1] - ab[1] * ac[0]
    area = np.where(np.abs(area) > _FLAT_AREA, area, 1.0)
    by_b, by_c = numbers[:, 1] - numbers[:, 0], numbers[:, 2] - numbers[:, 0]
    along_x = (by_b * ac[1] - by_c * ab[1]) / area
    along_y = (by_c * ab[0] - by_b * ac[0]) / area
    return np.stack([numbers[:, 0] - along_x * xy[0, 0] - along_y * xy[1, 0], along_x, along_y], axis=1)


@dataclass(frozen=True)
class _Spans:
    # Runs of samples: one triangle, one row, columns first..first+length-1.
    triangle: Ints
    row: Ints
    first: Ints
    length: Ints


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
    x0, y0, width, height = box
    rows, columns = height * scale, width * scale
    if where is None:
        spans = _spans(surface, box, scale, None)
    else:
        counts = _counts(where)
        spans = _spans(surface, box, scale, _touching(surface, box, counts))
        spans = _spans_touching(spans, counts, scale)
    span, step = _expand(spans.length)
    sample = (spans.row * columns + spans.first)[span] + step
    if where is not None:
        pixel = ((spans.row // scale) * width)[span] + (spans.first[span] + step) // scale
        wanted = np.flatnonzero(where.ravel()[pixel])
        sample, span, step = sample[wanted], span[wanted], step[wanted]
    steps = step.astype(np.float32)
    # Middle of the first sample of each span.
    x, y = x0 + (spans.first + 0.5) / scale, y0 + (spans.row + 0.5) / scale

    def along(plane: Floats) -> Floats32:
        start = (
            plane[0, spans.triangle] + plane[1, spans.triangle] * x + plane[2, spans.triangle] * y
        ).astype(np.float32)
        slope = (plane[1] / scale).astype(np.float32)[spans.triangle]
        found: Floats32 = start[span] + slope[span] * steps
        return found

    z = along(surface.plane[0])
    wins = _nearest(sample, z, rows * columns)
    if wins is not None:
        sample, span, steps, z = sample[wins], span[wins], steps[wins], z[wins]
    found = np.empty((len(sample), len(surface.plane) - 1), dtype=np.float32)
    for k in range(found.shape[1]):
        found[:, k] = along(surface.plane[k + 1])
    return Hits((rows, columns), sample, z, spans.triangle[span], found)


def coverage(vertices: Floats, triangles: Ints, box: Box) -> BoolMask:
    """Pixels whose centre any triangle covers, (height, width) bool; the rules of `rasterise`."""
    _, _, width, height = box
    spans = _spans(prepare(vertices, triangles), box, 1, None)
    # One column more than the window, so that a span's end never starts the next row.
    start = spans.row * (width + 1) + spans.first
    size = height * (width + 1)
    change = np.bincount(start, minlength=size) - np.bincount(start + spans.length, minlength=size)
    covered: BoolMask = np.cumsum(change).reshape(height, width + 1)[:, :width] > 0
    return covered


def _counts(where: BoolMask) -> npt.NDArray[np.int32]:
    # Entry (r, c): how many pixels above row r and left of column c matter.
    import cv2

    return np.asarray(cv2.integral(where.view(np.uint8)), dtype=np.int32)


def _touching(surface: Surface, box: Box, counts: npt.NDArray[np.int32]) -> Ints:
    # Triangles whose bounding box touches a pixel that matters.
    limit = (counts.shape[1] - 1, counts.shape[0] - 1)
    low = np.clip(np.floor(surface.low - box[:2]), 0, limit).astype(np.int64)
    high = np.clip(np.floor(surface.high - box[:2]) + 1, 0, limit).astype(np.int64)
    inside = counts[high[:, 1], high[:, 0]] - counts[low[:, 1], high[:, 0]]
    inside -= counts[high[:, 1], low[:, 0]] - counts[low[:, 1], low[:, 0]]
    return np.flatnonzero(inside > 0)


def _spans_touching(spans: _Spans, counts: npt.NDArray[np.int32], scale: int) -> _Spans:
    # Spans that hold a sample of a pixel that matters.
    top = spans.row // scale
    low, high = spans.first // scale, (spans.first + spans.length - 1) // scale + 1
    inside = counts[top + 1, high] - counts[top, high] - counts[top + 1, low] + counts[top, low]
    keep = np.flatnonzero(inside > 0)
    return _Spans(spans.triangle[keep], spans.row[keep], spans.first[keep], spans.length[keep])


def _nearest(sample: Ints, z: Floats32, size: int) -> npt.NDArray[np.bool_] | None:
    # Which entries are the nearest at their sample; None when each sample has one entry only.
    nearest = np.full(size, np.inf, dtype=np.float32)
    nearest[sample] = z
    kept = nearest[sample]
    lost = np.flatnonzero(kept != z)
    if lost.size == 0:
        return None
    # Of several entries one was kept by chance; compare only where that happened.
    np.minimum.at(nearest, sample[lost], z[lost])
    wins: npt.NDArray[np.bool_] = nearest[sample] == z
    return wins


def _spans(surface: Surface, box: Box, scale: int, chosen: Ints | None) -> _Spans:
    x0, y0, width, height = box
    heights, lines, slopes = surface.corner_y, surface.edge_x, surface.edge_slope
    if chosen is not None:
        heights, lines, slopes = heights[chosen], lines[:, chosen], slopes[:, chosen]
    count = len(heights)
    starts = np.clip(np.ceil((heights - y0) * scale - 0.5), 0, height * scale).astype(np.int64)
    # A triangle is two halves, above and below its middle corner; the long edge bounds both.
    half, step = _expand((starts[:, 1:] - starts[:, :-1]).T.ravel())
    row = starts[:, :-1].T.ravel()[half] + step
    triangle = np.where(half >= count, half - count, half)
    y = y0 + (row + 0.5) / scale
    long = lines[0][triangle] + slopes[0][triangle] * y
    short = lines[1:].ravel()[half] + slopes[1:].ravel()[half] * y
    # The first sample whose middle lies at or right of a crossing.
    shift = x0 * scale + 0.5
    first = np.clip(np.ceil(np.minimum(long, short) * scale - shift), 0, width * scale)
    length = np.clip(np.ceil(np.maximum(long, short) * scale - shift), 0, width * scale) - first
    keep = np.flatnonzero(length > 0)
    triangle = triangle[keep] if chosen is None else chosen[triangle[keep]]
    return _Spans(triangle, row[keep], first[keep].astype(np.int64), length[keep].astype(np.int64))


def _expand(lengths: Ints) -> tuple[Ints, Ints]:
    # For lengths (2, 0, 3): owners (0, 0, 2, 2, 2) and positions (0, 1, 0, 1, 2).
    owner = np.repeat(np.arange(len(lengths)), lengths)
    starts = np.cumsum(lengths) - lengths
    return owner, np.arange(len(owner)) - starts[owner]
