"""Procedural cloth: colour and relief of a mask, on a regular grid of texels, from a few numbers.

All sizes are in millimetres on the cloth, so a fabric looks the same on a small and a large face; detail
finer than a texel fades out instead of turning into moiré.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from synth.geometry import MaskShape

Floats32 = npt.NDArray[np.float32]
Pattern = Literal["plain", "stripes", "checks", "dots"]
PATTERNS: tuple[Pattern, ...] = ("plain", "stripes", "checks", "dots")
Rgb = tuple[int, int, int]

_HEM_STEP_MM = 0.35
_STITCH_MM = 3.0
_FOLD_MM = 1.4  # width over which a pleat falls back


@dataclass(frozen=True)
class Fabric:
    """How a cloth looks.

    Attributes:
        pattern: what is printed or woven.
        ground, ink: the two colours, sRGB 0–255; `ink` draws the pattern.
        period_mm: pattern repeat.
        angle_deg: direction of the pattern.
        weave: contrast of threads or fibres, 0–1.
        wrinkle_mm: depth of the wrinkles.
        hem_mm: width of the hem along the edges.
        stitched: whether the hem shows a row of stitches.
        seed: of the noise in weave and wrinkles.
    """

    pattern: Pattern
    ground: Rgb
    ink: Rgb
    period_mm: float
    angle_deg: float
    weave: float
    wrinkle_mm: float
    hem_mm: float
    stitched: bool
    seed: int


def srgb_to_linear(value_01: npt.ArrayLike) -> Floats32:
    """sRGB in [0, 1] to linear light in [0, 1] (IEC 61966-2-1)."""
    value = np.asarray(value_01, dtype=np.float32)
    low = value / np.float32(12.92)
    high = ((np.maximum(value, 0) + np.float32(0.055)) / np.float32(1.055)) ** np.float32(2.4)
    return np.where(value <= 0.04045, low, high).astype(np.float32)


def cloth_axes(size_mm: tuple[float, float], texels_hw: tuple[int, int]) -> tuple[Floats32, Floats32]:
    """Cloth coordinates of the texels: x (1, W) from the middle, y (H, 1) from the top edge, millimetres."""
    height, width = texels_hw
    x = np.linspace(-size_mm[0] / 2, size_mm[0] / 2, width, dtype=np.float32)[None, :]
    y = np.linspace(0.0, size_mm[1], height, dtype=np.float32)[:, None]
    return x, y


def albedo(fabric: Fabric, size_mm: tuple[float, float], texels_hw: tuple[int, int]) -> Floats32:
    """Reflectance of every texel, (H, W, 3) linear light in [0, 1]."""
    x, y = cloth_axes(size_mm, texels_hw)
    texel_mm = size_mm[0] / texels_hw[1]
    ground = srgb_to_linear(np.array(fabric.ground) / 255)
    ink = srgb_to_linear(np.array(fabric.ink) / 255)
    amount = _ink_amount(fabric, x, y, texel_mm)[..., None]
    threads = 1.0 + fabric.weave * _threads(fabric, size_mm, texels_hw)[..., None]
    colour: Floats32 = np.clip((ground + amount * (ink - ground)) * threads, 0.0, 1.0).astype(np.float32)
    return colour


def _ink_amount(fabric: Fabric, x: Floats32, y: Floats32, texel_mm: float) -> Floats32:
    if fabric.pattern == "plain":
        return np.zeros(np.broadcast_shapes(x.shape, y.shape), dtype=np.float32)
    angle = np.radians(fabric.angle_deg)
    along = (np.cos(angle) * x + np.sin(angle) * y) / fabric.period_mm
    across = (np.cos(angle) * y - np.sin(angle) * x) / fabric.period_mm
    edge = max(texel_mm / fabric.period_mm, 0.03)
    if fabric.pattern == "stripes":
        return _band(along, 0.5, edge)
    if fabric.pattern == "checks":
        # Gingham: half-strength bands both ways, full where they cross.
        half: Floats32 = (_band(along, 0.5, edge) + _band(across, 0.5, edge)) / np.float32(2)
        return half
    shifted = along + 0.5 * (np.floor(across) % 2)
    radius = np.hypot(shifted - np.floor(shifted) - 0.5, across - np.floor(across) - 0.5)
    dots: Floats32 = np.clip((0.27 - radius) / edge + 0.5, 0.0, 1.0).astype(np.float32)
    return dots


def _band(phase: Floats32, share: float, edge: float) -> Floats32:
    # 1 inside a band of the repeat, with edges one texel soft.
    distance = np.abs(phase - np.floor(phase) - 0.5)
    band: Floats32 = np.clip((share / 2 - distance) / edge + 0.5, 0.0, 1.0).astype(np.float32)
    return band


def _threads(fabric: Fabric, size_mm: tuple[float, float], texels_hw: tuple[int, int]) -> Floats32:
    # Threads every 0.7 mm with uneven thickness; averaging to the texel size removes what cannot be seen.
    fine = _noise(fabric.seed, size_mm, texels_hw, cell_mm=0.7, blur_mm=(0.0, 0.0), amplitude=0.07)
    blotch = _noise(fabric.seed + 1, size_mm, texels_hw, cell_mm=3.0, blur_mm=(6.0, 6.0), amplitude=0.05)
    return fine + blotch


def _noise(
    seed: int,
    size_mm: tuple[float, float],
    texels_hw: tuple[int, int],
    *,
    cell_mm: float,
    blur_mm: tuple[float, float],
    amplitude: float,
) -> Floats32:
    import cv2

    columns = max(round(size_mm[0] / cell_mm), 4)
    rows = max(round(size_mm[1] / cell_mm), 4)
    field = np.random.default_rng(seed).standard_normal((rows, columns), dtype=np.float32)
    if blur_mm[0] > 0:
        field = cv2.GaussianBlur(field, (0, 0), blur_mm[0] / cell_mm, sigmaY=blur_mm[1] / cell_mm)
        field /= max(float(field.std()), 1e-6)
    shrinks = texels_hw[1] < columns
    how = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    resized = cv2.resize(field, (texels_hw[1], texels_hw[0]), interpolation=how)
    return np.asarray(resized, dtype=np.float32) * np.float32(amplitude)


def relief_mm(
    fabric: Fabric, shape: MaskShape, size_mm: tuple[float, float], texels_hw: tuple[int, int]
) -> Floats32:
    """Height of the cloth above its smooth surface, (H, W) millimetres: pleats, hem, wrinkles."""
    x, y = cloth_axes(size_mm, texels_hw)
    texel_mm = size_mm[0] / texels_hw[1]
    u = 2 * x / size_mm[0]
    v = y / size_mm[1]
    height = _pleats(shape, u, v, size_mm[1], texel_mm)
    height = height + _hem(fabric, x, y, size_mm, texel_mm)
    if fabric.wrinkle_mm > 0:
        away = np.clip((1 - np.abs(u)) * 4, 0.3, 1) * np.clip(np.minimum(v, 1 - v) * 6, 0.2, 1)
        wide = _noise(fabric.seed + 2, size_mm, texels_hw, cell_mm=2.0, blur_mm=(16.0, 4.0), amplitude=1.0)
        fine = _noise(fabric.seed + 3, size_mm, texels_hw, cell_mm=1.5, blur_mm=(5.0, 3.0), amplitude=0.35)
        height = height + fabric.wrinkle_mm * away * (wide + fine)
    return height.astype(np.float32)


def _pleats(shape: MaskShape, u: Floats32, v: Floats32, height_mm: float, texel_mm: float) -> Floats32:
    total = np.zeros(np.broadcast_shapes(u.shape, v.shape), dtype=np.float32)
    if shape.pleats == 0:
        return total
    fold = max(_FOLD_MM, 1.2 * texel_mm)
    open_in_the_middle = 0.55 + 0.45 * np.abs(u) ** 1.5
    for k in range(shape.pleats):
        line = (0.30 + 0.44 * k / max(shape.pleats - 1, 1)) * height_mm + 3.0 * (1 - u**2)
        below = v * height_mm - line
        # The cloth rises slowly towards the fold and falls back behind it.
        rise = np.clip(1 + below / (0.13 * height_mm), 0, 1) ** 2
        fall = np.clip(1 - below / fold, 0, 1)
        total += (shape.pleat_depth * open_in_the_middle * rise * fall).astype(np.float32)
    return total


def _hem(fabric: Fabric, x: Floats32, y: Floats32, size_mm: tuple[float, float], texel_mm: float) -> Floats32:
    to_edge = np.minimum(np.minimum(size_mm[0] / 2 - np.abs(x), y), size_mm[1] - y)
    soft = max(0.8, texel_mm)
    step = np.clip((fabric.hem_mm - to_edge) / soft + 0.5, 0, 1) * _HEM_STEP_MM
    rounded = -0.6 * np.clip(1 - to_edge / 1.2, 0, 1) ** 2
    hem = step + rounded
    if fabric.stitched and texel_mm < _STITCH_MM / 3:
        run = np.cos(2 * np.pi / _STITCH_MM * np.where(size_mm[0] / 2 - np.abs(x) < y, y, x))
        row = np.exp(-(((to_edge - 0.75 * fabric.hem_mm) / 0.6) ** 2))
        hem = hem - 0.22 * row * (0.6 + 0.4 * run)
    return np.asarray(hem, dtype=np.float32)
