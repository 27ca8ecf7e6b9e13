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
    x0, y0, width, height = box
    rows, columns = height * scale, width * scale
    count = 0 if values is None else values.shape[1]
    corners = vertices[triangles]
    xy = (corners[..., :2] - (x0, y0)) * scale
    chosen: Ints = np.arange(len(triangles))
    if where is not None:
        counts = _counts(where)
        chosen = _touching(xy, counts, scale)
        xy, corners = xy[chosen], corners[chosen]
    spans = _spans(xy, rows, columns)
    if where is not None:
        spans = _spans_touching(spans, counts, scale)
    sample, span, step = _samples(spans, columns)
    if where is not None:
        pixel = ((spans.row // scale) * width)[span] + (spans.first[span] + step) // scale
        wanted = np.flatnonzero(where.ravel()[pixel])
        sample, span, step = sample[wanted], span[wanted], step[wanted]
    steps = step.astype(np.float32)
    z_start, z_slope = _along(spans, xy, corners[..., 2])
    z = z_start[span] + z_slope[span] * steps
    wins = _nearest(sample, z, rows * columns)
    if wins is not None:
        sample, span, steps, z = sample[wins], span[wins], steps[wins], z[wins]
    found = np.empty((len(sample), count), dtype=np.float32)
    for k in range(count):
        start, slope = _along(spans, xy, np.asarray(values)[triangles[chosen], k])
        found[:, k] = start[span] + slope[span] * steps
    return Hits((rows, columns), sample, z, chosen[spans.triangle[span]], found)


def coverage(vertices: Floats, triangles: Ints, box: Box) -> BoolMask:
    """Pixels whose centre any triangle covers, (height, width) bool; the rules of `rasterise`."""
    x0, y0, width, height = box
    spans = _spans(vertices[triangles][..., :2] - (x0, y0), height, width)
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


def _touching(xy: Floats, counts: npt.NDArray[np.int32], scale: int) -> Ints:
    # Triangles whose bounding box touches a pixel that matters.
    limit = (counts.shape[1] - 1, counts.shape[0] - 1)
    low = np.clip(np.floor(xy.min(axis=1) / scale), 0, limit).astype(np.int64)
    high = np.clip(np.floor(xy.max(axis=1) / scale) + 1, 0, limit).astype(np.int64)
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


def _spans(xy: Floats, rows: int, columns: int) -> _Spans:
    order = np.argsort(xy[..., 1], axis=1, kind="stable")
    x, y = (np.take_along_axis(xy[..., k], order, axis=1) for k in (0, 1))
    area = (x[:, 1] - x[:, 0]) * (y[:, 2] - y[:, 0]) - (x[:, 2] - x[:, 0]) * (y[:, 1] - y[:, 0])
    starts = np.clip(np.ceil(y - 0.5), 0, rows).astype(np.int64)
    starts[np.abs(area) <= _FLAT_AREA] = 0
    # Crossing of each edge with the middle of row r: at + slope * r. Both triangles of an edge must compute
    # the same: always from its upper end.
    edges = ((0, 2), (0, 1), (1, 2))
    slope = [(x[:, b] - x[:, a]) / np.where(y[:, b] > y[:, a], y[:, b] - y[:, a], 1.0) for a, b in edges]
    at = [x[:, a] + (0.5 - y[:, a]) * slope[k] for k, (a, _) in enumerate(edges)]
    # A triangle is two halves, above and below its middle corner; the long edge bounds both.
    half, step = _expand(np.concatenate([starts[:, 1] - starts[:, 0], starts[:, 2] - starts[:, 1]]))
    row = np.concatenate([starts[:, 0], starts[:, 1]])[half] + step
    long = np.tile(at[0], 2)[half] + np.tile(slope[0], 2)[half] * row
    short = np.concatenate(at[1:])[half] + np.concatenate(slope[1:])[half] * row
    first = np.clip(np.ceil(np.minimum(long, short) - 0.5), 0, columns)
    length = np.clip(np.ceil(np.maximum(long, short) - 0.5), 0, columns) - first
    keep = np.flatnonzero(length > 0)
    triangle = half[keep]
    triangle[triangle >= len(xy)] -= len(xy)
    return _Spans(triangle, row[keep], first[keep].astype(np.int64), length[keep].astype(np.int64))


def _expand(lengths: Ints) -> tuple[Ints, Ints]:
    # For lengths (2, 0, 3): owners (0, 0, 2, 2, 2) and positions (0, 1, 0, 1, 2).
    owner = np.repeat(np.arange(len(lengths)), lengths)
    starts = np.cumsum(lengths) - lengths
    return owner, np.arange(len(owner)) - starts[owner]


def _samples(spans: _Spans, columns: int) -> tuple[Ints, Ints, Ints]:
    span, step = _expand(spans.length)
    sample = (spans.row * columns + spans.first)[span] + step
    return sample, span, step


def _along(spans: _Spans, xy: Floats, corner_values: Floats) -> tuple[Floats32, Floats32]:
    # Value at the first sample of every span, and its change per column: a plane over the triangle.
    a, b, c = xy[:, 0], xy[:, 1], xy[:, 2]
    ab, ac = b - a, c - a
    area = ab[:, 0] * ac[:, 1] - ab[:, 1] * ac[:, 0]
    area = np.where(np.abs(area) > _FLAT_AREA, area, 1.0)
    by_b, by_c = corner_values[:, 1] - corner_values[:, 0], corner_values[:, 2] - corner_values[:, 0]
    slope_x = (by_b * ac[:, 1] - by_c * ab[:, 1]) / area
    slope_y = (by_c * ab[:, 0] - by_b * ac[:, 0]) / area
    origin = corner_values[:, 0] + slope_x * (0.5 - a[:, 0]) + slope_y * (0.5 - a[:, 1])
    owner = spans.triangle
    start = origin[owner] + slope_x[owner] * spans.first + slope_y[owner] * spans.row
    return start.astype(np.float32), slope_x.astype(np.float32)[owner]
