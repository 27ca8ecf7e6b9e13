"""Shapes in the picture plane: simply connected outlines from a kind and a seed, and their exact coverage.

Source: MSML, "Face preprocessing": a real occlusion is most often simply connected.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Floats32 = npt.NDArray[np.float32]

_ROUND_POINTS = 96
_SUB_ROWS = 8  # samples per pixel down; across, coverage is exact
_CROSSING_BUDGET = 4_000_000  # edge crossings held at once
_HARMONICS = 6
_WALK_CELLS = 96
_WALK_STEPS = (5, 14)
_HALF = np.float32(32768 / 65535)  # the least 16-bit alpha that counts as covered


def turn_xy(angle_deg: float) -> Floats:
    """(2, 2) rotation of column vectors x, y; clockwise as the viewer sees it, since y runs down."""
    cosine, sine = np.cos(np.radians(angle_deg)), np.sin(np.radians(angle_deg))
    return np.array([[cosine, -sine], [sine, cosine]])


def polygon_area(outline: Floats) -> float:
    """Area that a closed curve without crossings encloses, from its (N, 2) corners."""
    x, y = outline.T
    return float(abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2)


def shape_outline(kind: str, seed: int) -> Floats:
    """Corners of one closed curve, (N, 2), x right, y down, filling the square from -0.5 to 0.5.

    Args:
        kind: one of `OUTLINES`.
        seed: the same seed gives the same curve.
    """
    points = OUTLINES[kind](np.random.default_rng(seed))
    low, high = points.min(axis=0), points.max(axis=0)
    unit: Floats = (points - (low + high) / 2) / (high - low)
    return unit


def _rectangle(rng: np.random.Generator) -> Floats:
    return np.array([(-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)])


def _ellipse(rng: np.random.Generator) -> Floats:
    return _star(np.ones(_ROUND_POINTS))


def _polygon(rng: np.random.Generator) -> Floats:
    # 4–10 outer corners; after each, every other time, one that is pulled in. Angles go round once, so
    # sides never cross.
    outer = int(rng.integers(4, 11))
    radii: list[float] = []
    for _ in range(outer):
        radius = float(rng.uniform(1.0, 1.3))
        radii.append(radius)
        if rng.random() < 0.5:
            radii.append(radius / float(rng.uniform(1.3, 2.6)))
    steps = rng.uniform(0.7, 1.3, len(radii))
    angles = 2 * np.pi * np.cumsum(steps) / steps.sum()
    corners: Floats = np.array(radii)[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return corners


def _blob(rng: np.random.Generator) -> Floats:
    # A circle with a few low harmonics, kept away from its own centre.
    angles = 2 * np.pi * np.arange(_ROUND_POINTS) / _ROUND_POINTS
    radius = np.ones(_ROUND_POINTS)
    for k in range(1, _HARMONICS + 1):
        strength = float(rng.uniform(0.0, 0.55)) / k**0.8
        radius += strength * np.cos(k * angles + float(rng.uniform(0, 2 * np.pi)))
    return _star(np.maximum(radius, 0.0) * 0.75 + 0.25)


def _walk(rng: np.random.Generator) -> Floats:
    # Discs dropped along a random walk; holes filled, then the outer contour of the smoothed heap.
    from scipy import ndimage
    from skimage.measure import find_contours

    steps = int(rng.integers(_WALK_STEPS[0], _WALK_STEPS[1] + 1))
    heading = np.cumsum(rng.normal(0.0, 0.9, steps)) + float(rng.uniform(0, 2 * np.pi))
    path = np.cumsum(np.stack([np.cos(heading), np.sin(heading)], axis=1), axis=0)
    radii = rng.uniform(0.7, 1.4, steps)
    low, high = (path - 1.4).min(axis=0), (path + 1.4).max(axis=0)
    cell = float((high - low).max()) / _WALK_CELLS
    y, x = (np.mgrid[-4 : _WALK_CELLS + 5, -4 : _WALK_CELLS + 5] + 0.5) * cell
    heap = np.zeros(x.shape, dtype=np.bool_)
    for (cx, cy), radius in zip(path - low, radii, strict=True):
        heap |= (x - cx) ** 2 + (y - cy) ** 2 <= radius**2
    soft = ndimage.gaussian_filter(ndimage.binary_fill_holes(heap).astype(np.float64), 2.0)
    longest = max(find_contours(soft, 0.5), key=len)
    return np.asarray(longest[:-1, ::-1], dtype=np.float64)


def _star(radius: Floats) -> Floats:
    angles = 2 * np.pi * np.arange(len(radius)) / len(radius)
    corners: Floats = radius[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return corners


OUTLINES: Mapping[str, Callable[[np.random.Generator], Floats]] = MappingProxyType(
    {"rectangle": _rectangle, "ellipse": _ellipse, "polygon": _polygon, "blob": _blob, "walk": _walk}
)


def polygon_coverage(points: Floats, size_hw: tuple[int, int]) -> Floats32:
    """How much of each pixel a closed polygon covers, (H, W) float32 in [0, 1], even-odd rule.

    Args:
        points: (N, 2) corners in pixels, pixel centres at half-integers; may lie outside the window.
        size_hw: the window.
    """
    height, width = size_hw
    out = np.zeros((height, width), dtype=np.float32)
    if height == 0 or width == 0:
        return out
    rows = max(1, _CROSSING_BUDGET // (_SUB_ROWS * len(points)))
    for top in range(0, height, rows):
        count = min(rows, height - top)
        out[top : top + count] = _band(points - (0.0, top), count, width)
    return out


def _band(points: Floats, height: int, width: int) -> Floats32:
    ahead = np.roll(points, -1, axis=0)
    upper = np.where((points[:, 1] <= ahead[:, 1])[:, None], points, ahead)
    lower = np.where((points[:, 1] <= ahead[:, 1])[:, None], ahead, points)
    level = (np.arange(height * _SUB_ROWS) + 0.5) / _SUB_ROWS
    crosses = (upper[:, 1] <= level[:, None]) & (level[:, None] < lower[:, 1])
    row, edge = np.nonzero(crosses)
    slope = (lower[edge, 0] - upper[edge, 0]) / (lower[edge, 1] - upper[edge, 1])
    x = np.clip(upper[edge, 0] + (level[row] - upper[edge, 1]) * slope, 0.0, width)
    order = np.lexsort((x, row))
    row, x = row[order] // _SUB_ROWS, x[order]
    # Along a row the polygon begins and ends in turn: from each crossing on, one more or one less.
    sign = np.where(np.arange(len(x)) % 2 == 0, 1.0, -1.0) / _SUB_ROWS
    column = np.floor(x).astype(np.int64)
    inside = x - column
    flat = row * (width + 2) + column
    cells = height * (width + 2)
    change = np.bincount(flat, sign * (1.0 - inside), cells) + np.bincount(flat + 1, sign * inside, cells)
    covered = np.cumsum(change.reshape(height, width + 2), axis=1)[:, :width]
    return np.clip(covered, 0.0, 1.0).astype(np.float32)


def in_one_piece(alpha: Floats32) -> Floats32:
    """Alpha whose hard mask (>= 0.5) is one piece without holes.

    Rounding to pixels may cut off a thin tip or leave a pinhole, which a simply connected shape has not.
    """
    from scipy import ndimage

    solid = alpha >= 0.5
    pieces, count = ndimage.label(solid)
    if count == 0:
        return alpha
    largest = 1 + int(np.argmax(np.bincount(pieces.ravel())[1:]))
    whole = ndimage.binary_fill_holes(pieces == largest, structure=np.ones((3, 3)))
    filled = np.where(whole, np.maximum(alpha, _HALF), alpha)
    mended: Floats32 = np.where(solid & ~whole, np.float32(0), filled).astype(np.float32)
    return mended
