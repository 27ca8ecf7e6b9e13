"""What stands off a mask's smooth surface: pleats, hem, stitches, nose wire, valve, welds, wrinkles."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from synth.cloth.fabric import Fabric, cloth_axes, noise_field
from synth.geometry import MaskShape

Floats32 = npt.NDArray[np.float32]
Reals = npt.NDArray[np.floating[Any]]

_STEP_MM = 0.05  # of the tables that profiles are looked up in
_HEM_STEP_MM = 0.35
_STITCH_MM = 3.0
_FOLD_MM = 1.4  # width over which a pleat falls back
_WIRE_FROM_TOP_MM = 7.0
_WIRE_HALF_MM = 2.4
_WIRE_HIGH_MM = 0.7
_KNIT_MM = 5.0  # one stitch
_UNEVEN = 0.8  # how much the depth of wrinkles varies over a cloth: standard deviation of its logarithm


def relief_mm(
    fabric: Fabric, shape: MaskShape, size_mm: tuple[float, float], texels_hw: tuple[int, int]
) -> Floats32:
    """Height of the cloth above its smooth surface, (H, W) millimetres."""
    x, y = cloth_axes(size_mm, texels_hw)
    texel_mm = size_mm[0] / texels_hw[1]
    height = _wrinkles(fabric, size_mm, texels_hw)
    if shape.pleats:
        height += _pleats(shape, x, y, size_mm, texel_mm)
    if shape.wraps:
        height += _wraps(shape, x, y, size_mm)
    if fabric.cloth == "knit":
        height += _knit(x, y, texel_mm)
    if fabric.lines != "none":
        height += _lines(fabric, x, y, size_mm, texel_mm)
    _add_hem(height, fabric, x, y, size_mm, texel_mm)
    if shape.wire_mm > 0:
        _add_wire(height, shape, x, y, texel_mm)
    if shape.valve_mm > 0:
        _add_valve(height, shape, x, y, size_mm, texel_mm)
    if fabric.window is not None:
        height = _flatten_window(height, fabric, x, y, size_mm)
    return height


def _wrinkles(fabric: Fabric, size_mm: tuple[float, float], texels_hw: tuple[int, int]) -> Floats32:
    if fabric.wrinkle_mm <= 0:
        return np.zeros(texels_hw, dtype=np.float32)
    u = np.linspace(-1, 1, texels_hw[1], dtype=np.float32)[None, :]
    v = np.linspace(0, 1, texels_hw[0], dtype=np.float32)[:, None]
    height = noise_field("wrinkles", fabric.seed + 2, size_mm, texels_hw)
    height += np.float32(0.35) * noise_field("creases", fabric.seed + 3, size_mm, texels_hw)
    height *= _creased(fabric, size_mm, texels_hw)
    height *= np.clip((1 - np.abs(u)) * 4, 0.3, 1)
    height *= np.float32(fabric.wrinkle_mm) * np.clip(np.minimum(v, 1 - v) * 6, 0.2, 1)
    return height


def _creased(fabric: Fabric, size_mm: tuple[float, float], texels_hw: tuple[int, int]) -> Floats32:
    # Cloth is creased in few places and smooth between them. It changes slowly: a coarse field will do.
    import cv2

    coarse = (max(texels_hw[0] // 4, 1), max(texels_hw[1] // 4, 1))
    calm = noise_field("calm", fabric.seed + 8, size_mm, coarse)
    depth = np.exp(np.float32(_UNEVEN) * np.minimum(calm, 1.8) - np.float32(_UNEVEN**2 / 2))
    return np.asarray(cv2.resize(depth, texels_hw[::-1], interpolation=cv2.INTER_LINEAR), dtype=np.float32)


def _pleats(
    shape: MaskShape, x: Floats32, y: Floats32, size_mm: tuple[float, float], texel_mm: float
) -> Floats32:
    u = 2 * x / size_mm[0]
    high = size_mm[1]
    fold = max(_FOLD_MM, 1.2 * texel_mm)
    at = np.arange(-8.0, high + 8.0, _STEP_MM)
    profile = np.zeros(len(at))
    for k in range(shape.pleats):
        below = at - (0.30 + 0.44 * k / max(shape.pleats - 1, 1)) * high
        # The cloth rises slowly towards the fold and falls back behind it.
        rise = np.clip(1 + below / (0.13 * high), 0, 1) ** 2
        profile += shape.pleat_depth * rise * np.clip(1 - below / fold, 0, 1)
    # The folds sag towards the middle, where the cloth opens them.
    lines = y - 3.0 * (1 - u**2)
    open_in_the_middle = (0.55 + 0.45 * np.abs(u) ** 1.5).astype(np.float32)
    pleats: Floats32 = _look_up(profile, lines, -8.0) * open_in_the_middle
    return pleats


def _wraps(shape: MaskShape, x: Floats32, y: Floats32, size_mm: tuple[float, float]) -> Floats32:
    # Layers wound over each other: each rises to its lower edge and drops, rounded, onto the next.
    rng = np.random.default_rng(shape.fold_seed + 2)
    u = (2 / size_mm[0] * x).astype(np.float32)
    first = shape.wrap_from
    step = (1.0 - first) / (shape.wraps + 0.5)
    total = np.zeros((len(y), x.shape[1]), dtype=np.float32)
    for k in range(shape.wraps):
        middle = first + step * (k + 1 + rng.uniform(-0.2, 0.2))
        lean, sag = rng.uniform(-0.45, 0.45) * step, rng.uniform(-0.2, 0.5) * step
        wander = 0.12 * step * np.sin(rng.uniform(2.0, 5.0) * u + rng.uniform(0, 6.3))
        edge = np.float32(size_mm[1]) * (middle + lean * u + sag * (1 - u**2) + wander).astype(np.float32)
        reach, fall = 0.8 * step * size_mm[1], 1.0 + 0.6 * shape.wrap_mm
        high = np.float32(shape.wrap_mm * rng.uniform(0.7, 1.1))
        first_row, last_row = np.searchsorted(y[:, 0], [edge.min() - reach, edge.max() + fall])
        below = y[first_row:last_row] - edge
        rise = np.clip(1 + below * np.float32(1 / reach), 0, 1)
        drop = np.clip(1 - below * np.float32(1 / fall), 0, 1)
        total[first_row:last_row] += high * rise * rise * np.sqrt(drop)
    return total


def _look_up(profile: npt.NDArray[np.float64], at: Floats32, first: float) -> Floats32:
    index = ((at - np.float32(first)) * np.float32(1 / _STEP_MM)).astype(np.int32)
    return profile.astype(np.float32).take(index, mode="clip")


def _knit(x: Floats32, y: Floats32, texel_mm: float) -> Floats32:
    # Columns of V-shaped stitches; too fine to see, they fade.
    across = x / _KNIT_MM
    ribs = np.abs(across - np.floor(across) - 0.5)
    slant = y / (0.8 * _KNIT_MM) + 1.6 * ribs
    bumps = np.abs(np.sin(np.pi * slant)) * np.sin(np.pi * np.clip(2 * ribs, 0.02, 0.98))
    fade = np.clip(_KNIT_MM / (3.0 * texel_mm) - 0.6, 0.0, 1.0)
    return np.asarray(np.float32(0.9 * fade) * bumps, dtype=np.float32)


def _bar(distance: Reals, half_mm: float, soft_mm: float) -> Floats32:
    # 1 within `half_mm`, 0 beyond, soft in between.
    bar: Floats32 = np.clip((half_mm - np.abs(distance)) / np.float32(soft_mm) + np.float32(0.5), 0.0, 1.0)
    return bar


def _lines(
    fabric: Fabric, x: Floats32, y: Floats32, size_mm: tuple[float, float], texel_mm: float
) -> Floats32:
    soft = max(0.9, texel_mm)
    wide, high = size_mm
    if fabric.lines == "fold":
        weld = _bar(np.abs(x), 1.6, soft) * 0.7  # the middle weld
        side = 0.25 * _bar(np.abs(x) - 0.36 * wide, 1.0, soft)
        return np.broadcast_to(weld - side, (len(y), x.shape[1])).astype(np.float32)
    if fabric.lines == "panels":
        sag: Reals = 5.0 * (1 - (2 * x / wide) ** 2)
        upper = _bar(y - 0.30 * high - 0.5 * sag + 3.0, 1.2, soft)
        lower = _bar(y - 0.70 * high + 0.5 * sag - 3.0, 1.2, soft)
        return (0.8 * (upper + lower)).astype(np.float32)
    if fabric.lines == "bill":
        front = 1.0 * _bar(y - 0.5 * high, 1.8, soft) * _bar(x, 0.30 * wide, 6.0)
        return (front - 0.3 * _bar(np.abs(x) - 0.42 * wide, 1.0, soft)).astype(np.float32)
    # A moulded cup: a flange, and ribs pressed across it.
    ring: Reals = np.hypot(2 * x / wide, 2 * y / high - 1)
    flange = 0.9 * np.clip((0.86 - ring) * 14, 0.0, 1.0)
    rib = _bar(ring - 0.66, 0.022, 0.03) + 0.7 * _bar(y - 0.36 * high, 1.6, soft) * _bar(x, 0.26 * wide, 8.0)
    return (flange + 0.8 * rib).astype(np.float32)


def _add_hem(
    height: Floats32,
    fabric: Fabric,
    x: Floats32,
    y: Floats32,
    size_mm: tuple[float, float],
    texel_mm: float,
) -> None:
    # In place, on four strips: the hem is far from most of the cloth.
    beside = size_mm[0] / 2 - np.abs(x)
    above = np.minimum(y, size_mm[1] - y)
    rows, columns = height.shape
    deep = min(int(np.ceil((fabric.hem_mm + 2.0) / texel_mm)) + 1, rows // 2, columns // 2)
    everything, middle = slice(None), slice(deep, rows - deep)
    strips = (
        (slice(0, deep), everything),
        (slice(rows - deep, rows), everything),
        (middle, slice(0, deep)),
        (middle, slice(columns - deep, columns)),
    )
    soft = max(0.8, texel_mm)
    for part in strips:
        down, across = above[part[0]], beside[:, part[1]]
        to_edge = np.minimum(across, down)
        hem = np.clip((fabric.hem_mm - to_edge) / soft + 0.5, 0, 1) * _HEM_STEP_MM
        hem -= 0.6 * np.clip(1 - to_edge / 1.2, 0, 1) ** 2
        if fabric.stitched and texel_mm < _STITCH_MM / 3:
            run = np.cos(2 * np.pi / _STITCH_MM * np.where(across < down, y[part[0]], x[:, part[1]]))
            row = np.exp(-(((to_edge - 0.75 * fabric.hem_mm) / 0.6) ** 2))
            hem -= 0.22 * row * (0.6 + 0.4 * run)
        height[part] += hem


def _add_wire(height: Floats32, shape: MaskShape, x: Floats32, y: Floats32, texel_mm: float) -> None:
    # A flat wire under the cloth: a low ridge along the top edge.
    rows = int(np.searchsorted(y[:, 0], _WIRE_FROM_TOP_MM + 6.0))
    soft = max(1.0, texel_mm)
    along = _bar(x, 0.5 * shape.wire_mm, 3.0)
    down = _bar(y[:rows] - _WIRE_FROM_TOP_MM, _WIRE_HALF_MM, soft)
    height[:rows] += np.float32(_WIRE_HIGH_MM) * along * down


def valve_distance(
    shape: MaskShape, x: Floats32, y: Floats32, size_mm: tuple[float, float]
) -> tuple[slice, slice, Floats32, Floats32]:
    """Rows and columns around the valve, and distance across and down from its middle there, millimetres."""
    away_x = x[0] - shape.valve_u * size_mm[0] / 2
    away_y = y[:, 0] - shape.valve_v * size_mm[1]
    reach = 0.5 * shape.valve_mm + 4.0
    columns, rows = np.flatnonzero(np.abs(away_x) < reach), np.flatnonzero(np.abs(away_y) < reach)
    if not len(columns) or not len(rows):
        return slice(0, 0), slice(0, 0), away_x[:0], away_y[:0, None]
    part_y, part_x = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    return part_y, part_x, away_x[part_x][None, :], away_y[part_y][:, None]


def _add_valve(
    height: Floats32,
    shape: MaskShape,
    x: Floats32,
    y: Floats32,
    size_mm: tuple[float, float],
    texel_mm: float,
) -> None:
    # A rounded box with a raised rim and slots; the mesh carries its height, this its edges.
    rows, columns, across, down = valve_distance(shape, x, y, size_mm)
    soft = max(0.8, texel_mm)
    radius = 0.5 * shape.valve_mm
    square = (np.abs(across) ** 4 + np.abs(down) ** 4) ** 0.25
    body = np.clip((radius - square) / np.float32(2.0), 0, 1) * 1.6
    rim = 0.8 * _bar(square - 0.72 * radius, 0.9, soft)
    slots = np.cos(2 * np.pi * down / 5.0) * _bar(square, 0.58 * radius, soft)
    fade = np.clip(2.2 - texel_mm, 0.0, 1.0)
    height[rows, columns] = body + rim - 0.7 * fade * slots


def window_inside(
    fabric: Fabric, x: Floats32, y: Floats32, size_mm: tuple[float, float]
) -> tuple[Floats32, float]:
    """How far inside the pane each texel is, and the number of millimetres that 1 stands for.

    Returns:
        (H, W), 1 in the middle, 0 on its edge, < 0 outside; and the scale.
    """
    pane = fabric.window
    assert pane is not None
    across = (np.abs(x) / np.float32(pane.half_width_mm)) ** 4
    down = (np.abs(y - np.float32(pane.middle_v * size_mm[1])) / np.float32(pane.half_height_mm)) ** 4
    return (1.0 - (across + down) ** np.float32(0.25)).astype(np.float32), min(
        pane.half_width_mm, pane.half_height_mm
    )


def _flatten_window(
    height: Floats32, fabric: Fabric, x: Floats32, y: Floats32, size_mm: tuple[float, float]
) -> Floats32:
    # The pane is smooth and set into a sewn frame.
    inside, scale = window_inside(fabric, x, y, size_mm)
    to_edge = inside * np.float32(scale)
    outside = np.clip(0.5 - to_edge, 0.0, 1.0)
    frame = np.float32(0.7) * _bar(to_edge + 2.5, 2.2, 1.0)
    flat: Floats32 = height * outside + frame
    return flat
