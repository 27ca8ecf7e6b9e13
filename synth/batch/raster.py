"""The rasteriser of `raster.py` for many windows at once, in torch: same samples, same rules, same z-buffer.

The samples of all windows lie one after the other in one flat buffer, so windows of any size and any number
of samples per pixel go through together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from synth.raster import Box

# (N, 3) vertices in photo pixels, (T, 3) triangles, (N, K) values
Mesh = tuple[npt.NDArray[np.float64], npt.NDArray[np.int64], npt.NDArray[np.float64]]

_FLAT_AREA = 1e-9


@dataclass(frozen=True)
class Windows:
    """Windows that are drawn together.

    Attributes:
        size_hw: rows and columns of the pixel grid that every window fits into.
        scale: (B,) samples per pixel side.
        rows, columns: (B,) samples of each window.
        start: (B,) where each window's samples begin in the flat buffer.
        samples: length of that buffer.
    """

    size_hw: tuple[int, int]
    scale: Tensor
    rows: Tensor
    columns: Tensor
    start: Tensor
    samples: int

    @property
    def pixels(self) -> int:
        """Length of a flat buffer of all pixels, (B * H * W)."""
        return len(self.scale) * self.size_hw[0] * self.size_hw[1]


@dataclass(frozen=True)
class Triangles:
    """Triangles of all windows.

    Attributes:
        xy: (T, 3, 2) float64 corners in samples of their window.
        z: (T, 3) float64.
        values: (T, 3, K) float64.
        window: (T,) which window each belongs to.
    """

    xy: Tensor
    z: Tensor
    values: Tensor
    window: Tensor


@dataclass(frozen=True)
class BatchHits:
    """The nearest triangle at every covered sample, see `raster.Hits`.

    Attributes:
        sample: (N,) index in the flat sample buffer.
        pixel: (N,) index in the flat pixel buffer.
        depth: (N,) float32.
        values: (N, K) float32.
    """

    sample: Tensor
    pixel: Tensor
    depth: Tensor
    values: Tensor


def make_windows(boxes: Sequence[Box], scales: Sequence[int], device: torch.device) -> Windows:
    """Windows of the given boxes, in photo pixels, with that many samples per pixel side."""
    rows = np.array([box[3] * scale for box, scale in zip(boxes, scales, strict=True)])
    columns = np.array([box[2] * scale for box, scale in zip(boxes, scales, strict=True)])
    counts = rows * columns
    size_hw = (max(box[3] for box in boxes), max(box[2] for box in boxes))
    scale, rows_, columns_, start = (
        torch.as_tensor(one, device=device)
        for one in (np.array(scales), rows, columns, np.cumsum(counts) - counts)
    )
    return Windows(size_hw, scale, rows_, columns_, start, int(counts.sum()))


def pack_triangles(
    meshes: Sequence[Mesh],
    boxes: Sequence[Box],
    scales: Sequence[int],
    device: torch.device,
) -> Triangles:
    """Triangles of one mesh per window.

    Args:
        meshes: of each window.
        boxes, scales: of the windows.
        device: where to put them.
    """
    xy, z, values = [], [], []
    for (vertices, triangles, numbers), box, scale in zip(meshes, boxes, scales, strict=True):
        corners = vertices[triangles]
        xy.append((corners[..., :2] - box[:2]) * scale)
        z.append(corners[..., 2])
        values.append(numbers[triangles])
    window = np.repeat(np.arange(len(meshes)), [len(one) for one in z])
    parts = [torch.as_tensor(np.concatenate(one), device=device) for one in (xy, z, values)]
    return Triangles(parts[0], parts[1], parts[2], torch.as_tensor(window, device=device))


@dataclass(frozen=True)
class _Spans:
    # Runs of samples: triangle, row, columns first..first+length-1.
    triangle: Tensor
    row: Tensor
    first: Tensor
    length: Tensor


def rasterise_batch(triangles: Triangles, windows: Windows) -> BatchHits:
    """Nearest surface at the centre of every sample of every window, see `raster.rasterise`."""
    spans = _spans(triangles, windows)
    span, step = _expand(spans.length)
    window = triangles.window[spans.triangle]
    column = spans.first[span] + step
    sample = (windows.start[window] + spans.row * windows.columns[window])[span] + column
    z_start, z_slope = _along(spans, triangles, triangles.z)
    depth = z_start[span] + z_slope[span] * step
    nearest = nearest_depth(sample, depth, windows)
    wins = torch.nonzero(depth == nearest[sample])[:, 0]
    sample, span, step, depth, column = (one[wins] for one in (sample, span, step, depth, column))
    height, width = windows.size_hw
    row_pixel = window * (height * width) + (spans.row // windows.scale[window]) * width
    pixel = row_pixel[span] + column // windows.scale[window][span]
    kinds = triangles.values.shape[2]
    values = torch.empty((len(sample), kinds), dtype=torch.float32, device=sample.device)
    for k in range(kinds):
        start, slope = _along(spans, triangles, triangles.values[..., k])
        values[:, k] = start[span] + slope[span] * step
    return BatchHits(sample, pixel, depth, values)


def nearest_depth(sample: Tensor, depth: Tensor, windows: Windows) -> Tensor:
    """(samples,) float32 smallest depth at every sample; +inf where there is none."""
    nearest = torch.full((windows.samples,), torch.inf, dtype=torch.float32, device=sample.device)
    return nearest.scatter_reduce_(0, sample, depth, "amin")


def _spans(triangles: Triangles, windows: Windows) -> _Spans:
    order = torch.argsort(triangles.xy[..., 1], dim=1, stable=True)
    x, y = (torch.gather(triangles.xy[..., k], 1, order) for k in (0, 1))
    area = (x[:, 1] - x[:, 0]) * (y[:, 2] - y[:, 0]) - (x[:, 2] - x[:, 0]) * (y[:, 1] - y[:, 0])
    rows, columns = windows.rows[triangles.window], windows.columns[triangles.window]
    starts = _clamped(y, rows[:, None])
    starts = torch.where(area.abs()[:, None] > _FLAT_AREA, starts, 0)
    edges = ((0, 2), (0, 1), (1, 2))
    slope = [(x[:, b] - x[:, a]) / torch.where(y[:, b] > y[:, a], y[:, b] - y[:, a], 1.0) for a, b in edges]
    at = [x[:, a] + (0.5 - y[:, a]) * slope[k] for k, (a, _) in enumerate(edges)]
    # A triangle is two halves, above and below its middle corner; the long edge bounds both.
    half, step = _expand(torch.cat([starts[:, 1] - starts[:, 0], starts[:, 2] - starts[:, 1]]))
    row = torch.cat([starts[:, 0], starts[:, 1]])[half] + step
    triangle = half % max(len(rows), 1)
    long = at[0][triangle] + slope[0][triangle] * row
    short = torch.cat(at[1:])[half] + torch.cat(slope[1:])[half] * row
    limit = columns[triangle]
    first = _clamped(torch.minimum(long, short), limit)
    length = _clamped(torch.maximum(long, short), limit) - first
    keep = torch.nonzero(length > 0)[:, 0]
    return _Spans(triangle[keep], row[keep], first[keep], length[keep])


def _clamped(position: Tensor, limit: Tensor) -> Tensor:
    # First sample whose centre lies at or after a position, within 0..limit.
    return torch.minimum(torch.ceil(position - 0.5).clamp(min=0), limit).long()


def _expand(lengths: Tensor) -> tuple[Tensor, Tensor]:
    owner = torch.repeat_interleave(lengths)
    starts = torch.cumsum(lengths, 0) - lengths
    return owner, torch.arange(len(owner), device=lengths.device) - starts[owner]


def _along(spans: _Spans, triangles: Triangles, corner_values: Tensor) -> tuple[Tensor, Tensor]:
    # Value at the first sample of every span, and its change per column: a plane over the triangle.
    a, b, c = triangles.xy.unbind(1)
    ab, ac = b - a, c - a
    area = ab[:, 0] * ac[:, 1] - ab[:, 1] * ac[:, 0]
    area = torch.where(area.abs() > _FLAT_AREA, area, 1.0)
    by_b, by_c = corner_values[:, 1] - corner_values[:, 0], corner_values[:, 2] - corner_values[:, 0]
    slope_x = (by_b * ac[:, 1] - by_c * ab[:, 1]) / area
    slope_y = (by_c * ab[:, 0] - by_b * ac[:, 0]) / area
    origin = corner_values[:, 0] + slope_x * (0.5 - a[:, 0]) + slope_y * (0.5 - a[:, 1])
    owner = spans.triangle
    start = origin[owner] + slope_x[owner] * spans.first + slope_y[owner] * spans.row
    return start.float(), slope_x[owner].float()
