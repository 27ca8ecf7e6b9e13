"""A small exact rasteriser: triangles to samples with a z-buffer, all triangles at once in NumPy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Floats32 = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
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
    vertices: Floats, triangles: Ints, box: Box, *, scale: int = 1, values: Floats | None = None
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
    """
    x0, y0, width, height = box
    rows, columns = height * scale, width * scale
    count = 0 if values is None else values.shape[1]
    corners = vertices[triangles]
    xy = (corners[..., :2] - (x0, y0)) * scale
    spans = _spans(xy, rows, columns)
    sample, span, step = _samples(spans, columns)
    z_start, z_slope = _along(spans, xy, corners[..., 2])
    z = z_start[span] + z_slope[span] * step
    nearest = np.full(rows * columns, np.inf, dtype=np.float32)
    np.minimum.at(nearest, sample, z)
    wins = z == nearest[sample]
    if not wins.all():
        sample, span, step, z = sample[wins], span[wins], step[wins], z[wins]
    found = np.empty((len(sample), count), dtype=np.float32)
    for k in range(count):
        start, slope = _along(spans, xy, np.asarray(values)[triangles, k])
        found[:, k] = start[span] + slope[span] * step
    return Hits((rows, columns), sample, z, spans.triangle[span], found)


def _spans(xy: Floats, rows: int, columns: int) -> _Spans:
    a, b, c = xy[:, 0], xy[:, 1], xy[:, 2]
    area = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])
    low = np.clip(np.ceil(xy[..., 1].min(axis=1) - 0.5), 0, rows).astype(np.int64)
    high = np.clip(np.ceil(xy[..., 1].max(axis=1) - 0.5), 0, rows).astype(np.int64)
    high = np.where(np.abs(area) > _FLAT_AREA, high, low)
    triangle, step = _expand(high - low)
    row = low[triangle] + step
    middle = row + 0.5
    left: Floats = np.full(len(row), np.inf)
    right: Floats = np.full(len(row), -np.inf)
    for start, end in ((0, 1), (1, 2), (2, 0)):
        # Both triangles of an edge must compute the same crossing: always from its upper end.
        swap = xy[:, start, 1] > xy[:, end, 1]
        upper = np.where(swap[:, None], xy[:, end], xy[:, start])
        lower = np.where(swap[:, None], xy[:, start], xy[:, end])
        rise = lower[:, 1] - upper[:, 1]
        slope = (lower[:, 0] - upper[:, 0]) / np.where(rise > 0, rise, 1.0)
        top = upper[triangle, 1]
        crossing = upper[triangle, 0] + (middle - top) * slope[triangle]
        crosses = (top <= middle) & (middle < lower[triangle, 1])
        left = np.where(crosses, np.minimum(left, crossing), left)
        right = np.where(crosses, np.maximum(right, crossing), right)
    first = np.clip(np.ceil(left - 0.5), 0, columns)
    length = np.clip(np.ceil(right - 0.5), 0, columns) - first
    keep = np.flatnonzero(length > 0)
    return _Spans(triangle[keep], row[keep], first[keep].astype(np.int64), length[keep].astype(np.int64))


def _expand(lengths: Ints) -> tuple[Ints, Ints]:
    # For lengths (2, 0, 3): owners (0, 0, 2, 2, 2) and positions (0, 1, 0, 1, 2).
    owner = np.repeat(np.arange(len(lengths)), lengths)
    starts = np.cumsum(lengths) - lengths
    return owner, np.arange(len(owner)) - starts[owner]


def _samples(spans: _Spans, columns: int) -> tuple[Ints, Ints, Floats32]:
    span, step = _expand(spans.length)
    sample = (spans.row * columns + spans.first)[span] + step
    return sample, span, step.astype(np.float32)


def _along(spans: _Spans, xy: Floats, corner_values: Floats) -> tuple[Floats32, Floats32]:
    # Value at the first sample of every span, and its change per column: a plane over the triangle.
    a, b, c = xy[:, 0], xy[:, 1], xy[:, 2]
    ab, ac = b - a, c - a
    area = ab[:, 0] * ac[:, 1] - ab[:, 1] * ac[:, 0]
    area = np.where(np.abs(area) > _FLAT_AREA, area, 1.0)
    by_b, by_c = corner_values[:, 1] - corner_values[:, 0], corner_values[:, 2] - corner_values[:, 0]
    slope_x = (by_b * ac[:, 1] - by_c * ab[:, 1]) / area
    slope_y = (by_c * ab[:, 0] - by_b * ac[:, 0]) / area
    owner = spans.triangle
    start = (
        corner_values[owner, 0]
        + slope_x[owner] * (spans.first + 0.5 - a[owner, 0])
        + slope_y[owner] * (spans.row + 0.5 - a[owner, 1])
    )
    return start.astype(np.float32), slope_x[owner].astype(np.float32)
