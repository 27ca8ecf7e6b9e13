"""Repeating patterns of cloth, from periodic tiles.

A pattern is a square tile of coverages, drawn once in a process per variant, shrunk to the size of
the texels (so fine patterns turn grey, not moiré) and laid over the cloth at its own scale, angle and place.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import numpy.typing as npt

from synth.cloth.fabric import Fabric, Rgb

Floats32 = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]
Tile = tuple[Floats32, ...]  # coverage of ink, accent, third colour

TILE = 256  # texels a side
_VARIANTS = 8  # different tiles of a random pattern
_SHIFT = 4  # fractional bits of OpenCV's drawing coordinates
_CAMOUFLAGE_BLACK: Rgb = (44, 46, 42)
_LEAF: Rgb = (74, 110, 66)


def pattern_layers(
    fabric: Fabric, size_mm: tuple[float, float], texels_hw: tuple[int, int]
) -> list[tuple[Floats32, Rgb]]:
    """Coverage and colour of each ink of a repeating pattern, from below; empty for any other pattern."""
    if fabric.pattern not in _TILES:
        return []
    draw, repeats = _TILES[fabric.pattern]
    tile = _tile(fabric.pattern, fabric.seed % _VARIANTS if draw in _RANDOM else 0)
    third = _CAMOUFLAGE_BLACK if fabric.pattern == "camouflage" else _LEAF
    if fabric.pattern == "denim":
        return [(_lay(tile[0], fabric, 1.6, size_mm, texels_hw), (178, 186, 198))]
    wide = fabric.period_mm * repeats
    inks = zip(tile, (fabric.ink, fabric.accent, third), strict=False)
    return [(_lay(part, fabric, wide, size_mm, texels_hw), colour) for part, colour in inks]


def _lay(
    tile: Bytes, fabric: Fabric, wide_mm: float, size_mm: tuple[float, float], texels_hw: tuple[int, int]
) -> Floats32:
    import cv2

    height, width = texels_hw
    texel_mm = size_mm[0] / width
    side = int(np.clip(round(wide_mm / texel_mm), 1, TILE))
    small = tile if side == TILE else cv2.resize(tile, (side, side), interpolation=cv2.INTER_AREA)
    angle = np.radians(60.0 if fabric.pattern == "denim" else fabric.angle_deg)
    turn = side / wide_mm * np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    turn = turn * np.array([size_mm[0] / max(width - 1, 1), size_mm[1] / max(height - 1, 1)])
    corners = np.array([[0, 0], [width, 0], [0, height], [width, height]]) @ turn.T
    place = np.random.default_rng(fabric.seed + 5).uniform(0, side, 2) + 1
    # Tiles laid out over all that the turned cloth needs: OpenCV's own wrapping is ten times slower.
    times = np.ceil((np.ptp(corners, axis=0) + side + 3) / side).astype(int)
    laid = np.tile(small, (times[1], times[0]))
    matrix = np.column_stack([turn, place - corners.min(axis=0)])
    how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    found = cv2.warpAffine(laid, matrix, (width, height), flags=how, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(found, dtype=np.float32) / np.float32(255)


@cache
def _tile(pattern: str, variant: int) -> tuple[Bytes, ...]:
    draw, _ = _TILES[pattern]
    return tuple(np.rint(255 * part).astype(np.uint8) for part in draw(np.random.default_rng(variant)))


def _phases() -> tuple[Floats32, Floats32]:
    at = (np.arange(TILE, dtype=np.float32) + np.float32(0.5)) / np.float32(TILE)
    return at[None, :], at[:, None]


def _full(row_or_column: npt.ArrayLike) -> Floats32:
    return np.ascontiguousarray(np.broadcast_to(row_or_column, (TILE, TILE)), dtype=np.float32)


def _stripe(at: Floats32, middle: float, width: float) -> Floats32:
    # 1 within a band of the repeat, one texel soft.
    off = np.abs(np.mod(at - np.float32(middle) + np.float32(0.5), np.float32(1.0)) - np.float32(0.5))
    stripe: Floats32 = np.clip((np.float32(width / 2) - off) * np.float32(TILE) + np.float32(0.5), 0.0, 1.0)
    return stripe


def _stripes(rng: np.random.Generator) -> Tile:
    x, _ = _phases()
    return (_full(_stripe(x, 0.5, 0.5)),)


def _checks(rng: np.random.Generator) -> Tile:
    # Gingham: half-strength bands both ways, full where they cross.
    x, y = _phases()
    return (_full(0.5 * (_stripe(x, 0.5, 0.5) + _stripe(y, 0.5, 0.5))),)


def _plaid(rng: np.random.Generator) -> Tile:
    x, y = _phases()
    middle, wide, second = rng.uniform(0.3, 0.5), rng.uniform(0.25, 0.4), rng.uniform(0.75, 0.95)
    broad = [0.55 * _stripe(at, middle, wide) + 0.45 * _stripe(at, second, 0.09) for at in (x, y)]
    fine = [_stripe(at, middle, 0.035) + 0.7 * _stripe(at, 0.5 * (middle + second), 0.02) for at in (x, y)]
    return tuple(
        _full(np.clip(at, 0.0, 1.0)) for at in (0.62 * (broad[0] + broad[1]), 0.75 * (fine[0] + fine[1]))
    )


def _dots(rng: np.random.Generator) -> Tile:
    # Two dots a repeat, staggered.
    x, y = _phases()
    total = np.zeros((TILE, TILE), dtype=np.float32)
    for at_x, at_y in ((0.25, 0.25), (0.75, 0.75)):
        away = [np.abs(np.mod(p - at + 0.5, 1.0) - 0.5) for p, at in ((x, at_x), (y, at_y))]
        total += np.clip((0.17 - np.hypot(*away)) * TILE + 0.5, 0.0, 1.0).astype(np.float32)
    return (total,)


def _twill(rng: np.random.Generator) -> Tile:
    # Denim: light weft shows between dark diagonal warp.
    x, y = _phases()
    phase = np.mod(2 * x + 0.25 * np.sin(2 * np.pi * y), 1.0)
    return (_full((0.42 * np.clip(1 - np.abs(phase - 0.5) * 4, 0, 1)).astype(np.float32)),)


def clouds(rng: np.random.Generator, roughness: float, finest: float) -> Floats32:
    """Periodic noise of unit variance on a tile, its spectrum falling by a power up to a frequency."""
    frequency = np.fft.fftfreq(TILE) * TILE
    radius = np.hypot(frequency[None, :], frequency[:, None])
    power = np.where((radius > 0.5) & (radius < finest), np.maximum(radius, 1.0) ** -roughness, 0.0)
    field = np.fft.ifft2(np.fft.fft2(rng.standard_normal((TILE, TILE))) * power).real
    return np.asarray(field / field.std(), dtype=np.float32)


def _camouflage(rng: np.random.Generator) -> Tile:
    parts = []
    for level in (0.25, 0.55, 0.95):
        field = clouds(rng, 1.6, 14.0)
        parts.append(np.clip((field - np.float32(level)) * 9, 0.0, 1.0))
    return tuple(parts)


def _blobs(rng: np.random.Generator) -> Tile:
    # Abstract print: level lines of smooth noise.
    field, other = clouds(rng, 1.8, 5.0), clouds(rng, 1.5, 4.0)
    bands = np.clip(np.sin(5.0 * field + 2.0 * other) * 6 + 0.5, 0.0, 1.0)
    spots = np.clip((other - np.float32(0.7)) * 12, 0.0, 1.0)
    return bands.astype(np.float32), spots.astype(np.float32)


def fill_everywhere(canvas: Bytes, points: npt.NDArray[np.float64]) -> None:
    """Fill a polygon (texels) on a tile; what leaves it at one side comes back at the other."""
    import cv2

    for dx in (-TILE, 0, TILE):
        for dy in (-TILE, 0, TILE):
            moved = np.rint((points + np.array([dx, dy])) * 2**_SHIFT).astype(np.int32)
            if (moved.max(axis=0) < 0).any() or (moved.min(axis=0) > TILE * 2**_SHIFT).any():
                continue
            cv2.fillPoly(canvas, [moved], 255, lineType=cv2.LINE_AA, shift=_SHIFT)


def ring(middle: npt.ArrayLike, wide: float, high: float, angle: float) -> npt.NDArray[np.float64]:
    """Corners of an ellipse, (20, 2): half axes and their turn in radians."""
    t = np.linspace(0, 2 * np.pi, 20, endpoint=False)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points: npt.NDArray[np.float64] = (
        np.asarray(middle) + np.stack([wide * np.cos(t), high * np.sin(t)], 1) @ turn.T
    )
    return points


def _shares(*canvases: Bytes) -> Tile:
    return tuple(canvas.astype(np.float32) / np.float32(255) for canvas in canvases)


def _scatter(rng: np.random.Generator, across: int) -> npt.NDArray[np.float64]:
    # Places on a staggered, shaken grid.
    cell = TILE / across
    rows, columns = np.divmod(np.arange(across * across), across)
    places = np.stack([(columns + 0.5 * (rows % 2)) * cell, (rows + 0.5) * cell], axis=1)
    return np.asarray(places + rng.uniform(-0.2, 0.2, places.shape) * cell)


def _floral(rng: np.random.Generator) -> Tile:
    petals, hearts, leaves = (np.zeros((TILE, TILE), dtype=np.uint8) for _ in range(3))
    count = int(rng.integers(5, 8))
    for place in _scatter(rng, 4):
        size, start = rng.uniform(9.0, 17.0), rng.uniform(0, 2 * np.pi)
        for angle in start + np.array([0.4, 2.5]):
            stalk = place + 1.5 * size * np.array([np.cos(angle), np.sin(angle)])
            fill_everywhere(leaves, ring(stalk, 0.7 * size, 0.28 * size, angle))
        for angle in start + 2 * np.pi * np.arange(count) / count:
            petal = place + 0.75 * size * np.array([np.cos(angle), np.sin(angle)])
            fill_everywhere(petals, ring(petal, 0.62 * size, 0.36 * size, angle))
        fill_everywhere(hearts, ring(place, 0.36 * size, 0.36 * size, 0.0))
    return _shares(petals, hearts, leaves)


def _paisley(rng: np.random.Generator) -> Tile:
    # Drops with a dark heart, and rows of dots between them.
    drops, hearts = (np.zeros((TILE, TILE), dtype=np.uint8) for _ in range(2))
    t = np.linspace(0, 2 * np.pi, 28, endpoint=False)
    for k, place in enumerate(_scatter(rng, 3)):
        size, angle = rng.uniform(26.0, 34.0), rng.uniform(0, 2 * np.pi)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        lean = 0.45 * (1 - np.cos(t)) ** 2 / 4 * (1 if k % 2 else -1)
        drop = np.stack([np.sin(t) * np.sin(t / 2) ** 1.5 + 2 * lean, 1.25 * np.cos(t)], axis=1) @ turn.T
        fill_everywhere(drops, place + size * 0.8 * drop)
        hole: Bytes = np.zeros_like(drops)
        fill_everywhere(hole, place + size * 0.58 * drop)
        np.copyto(drops, np.minimum(drops, 255 - hole))
        fill_everywhere(drops, place + size * 0.30 * drop)
        for a in np.arange(0, 2 * np.pi, np.pi / 7):
            fill_everywhere(
                drops, ring(place + size * 1.35 * np.array([np.cos(a), np.sin(a)]), 2.6, 2.6, 0.0)
            )
        fill_everywhere(hearts, ring(place + size * 0.1 * drop.mean(axis=0), 3.0, 3.0, 0.0))
    return _shares(drops, hearts)


_Draw = Callable[[np.random.Generator], Tile]
# How each repeating pattern draws its tile, and how many periods the tile spans.
_TILES: dict[str, tuple[_Draw, float]] = {
    "stripes": (_stripes, 1.0),
    "checks": (_checks, 1.0),
    "plaid": (_plaid, 2.0),
    "dots": (_dots, 1.0),
    "denim": (_twill, 1.0),
    "floral": (_floral, 4.0),
    "camouflage": (_camouflage, 6.0),
    "paisley": (_paisley, 3.0),
    "blobs": (_blobs, 4.0),
}
_RANDOM = (_plaid, _floral, _camouflage, _paisley, _blobs)
