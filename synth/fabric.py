"""Procedural cloth: the colour of a mask on a regular grid of texels, from a few numbers.

All sizes are in millimetres on the cloth, so a fabric looks the same on a small and a large face; detail
finer than a texel fades out instead of turning into moiré. What stands off the surface is in `relief.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

Floats32 = npt.NDArray[np.float32]
Rgb = tuple[int, int, int]
Pattern = Literal[
    "plain",
    "stripes",
    "checks",
    "dots",
    "plaid",
    "floral",
    "camouflage",
    "denim",
    "paisley",
    "blobs",
    "picture",
    "lettering",
    "logo",
    "photo",
]
PATTERNS: tuple[Pattern, ...] = get_args(Pattern)
Weave = Literal["woven", "fibre", "knit"]
Lines = Literal["none", "fold", "panels", "bill", "cup"]

MIN_REFLECTANCE = 0.010  # linear; no dye is blacker
_DIRT: Rgb = (104, 84, 62)
_BANK = 1024
_WEAVE_CELL_MM = 0.7
_BLOTCH_CELL_MM = 3.0


@dataclass(frozen=True)
class Window:
    """A clear pane in a mask, a rounded rectangle around its middle line.

    Attributes:
        middle_v: height of its middle on the cloth, 0 top – 1 bottom.
        half_width_mm, half_height_mm: its size.
        opacity: how much of what is behind it the pane hides, 0–1.
    """

    middle_v: float
    half_width_mm: float
    half_height_mm: float
    opacity: float


@dataclass(frozen=True)
class Fabric:
    """How a cloth looks.

    Attributes:
        pattern: what is printed or woven; "photo" takes the picture named by `texture`.
        ground, ink, accent: its colours, sRGB 0–255; `ink` and `accent` draw the pattern.
        trim: colour of the hem.
        weave: contrast of threads or fibres, 0–1.
        cloth: what it is made of.
        wrinkle_mm: depth of the wrinkles.
        hem_mm: width of the hem along the edges.
        stitched: whether the hem shows a row of stitches.
        seed: of the noise in weave and wrinkles, and of the pattern's motifs.
        period_mm: pattern repeat.
        angle_deg: direction of the pattern.
        sheen: strength of the gloss, 0–1: what makes black cloth look like cloth.
        dirt: how stained, 0–1.
        lines: welds and ribs of a respirator, drawn as relief.
        stamp: small lettering beside the middle.
        window: a clear pane, or None.
        texture: SHA-256 of a user's picture of the cloth ("" = none), see `synth.textures`.
    """

    pattern: Pattern
    ground: Rgb
    ink: Rgb
    accent: Rgb
    trim: Rgb
    weave: float
    cloth: Weave
    wrinkle_mm: float
    hem_mm: float
    stitched: bool
    seed: int
    period_mm: float = 10.0
    angle_deg: float = 0.0
    sheen: float = 0.05
    dirt: float = 0.0
    lines: Lines = "none"
    stamp: str = ""
    window: Window | None = None
    texture: str = ""


@dataclass(frozen=True)
class Dye:
    """Colour of every texel as layers over a ground, so that light is applied to a few colours only.

    Attributes:
        ground: (3,) linear reflectance, or (H, W, 3) for a picture.
        layers: coverage (H, W) in [0, 1] and (3,) linear reflectance of each, from below.
        threads: (H, W) factor of the uneven weave.
    """

    ground: Floats32
    layers: tuple[tuple[Floats32, Floats32], ...]
    threads: Floats32


def srgb_to_linear(value_01: npt.ArrayLike) -> Floats32:
    """sRGB in [0, 1] to linear light in [0, 1] (IEC 61966-2-1)."""
    value = np.asarray(value_01, dtype=np.float32)
    low = value / np.float32(12.92)
    high = ((np.maximum(value, 0) + np.float32(0.055)) / np.float32(1.055)) ** np.float32(2.4)
    return np.where(value <= 0.04045, low, high).astype(np.float32)


def reflectance_of(colour: Rgb) -> Floats32:
    """(3,) linear reflectance of an sRGB colour, at least `MIN_REFLECTANCE`."""
    return np.maximum(srgb_to_linear(np.array(colour) / 255), np.float32(MIN_REFLECTANCE))


def cloth_axes(size_mm: tuple[float, float], texels_hw: tuple[int, int]) -> tuple[Floats32, Floats32]:
    """Cloth coordinates of the texels: x (1, W) from the middle, y (H, 1) from the top edge, millimetres."""
    height, width = texels_hw
    x = np.linspace(-size_mm[0] / 2, size_mm[0] / 2, width, dtype=np.float32)[None, :]
    y = np.linspace(0.0, size_mm[1], height, dtype=np.float32)[:, None]
    return x, y


def dye(fabric: Fabric, size_mm: tuple[float, float], texels_hw: tuple[int, int]) -> Dye:
    """The colours of a cloth.

    Raises:
        DataError: a user's texture that is not loaded (`synth.textures`).
    """
    from synth.patterns import pattern_layers
    from synth.prints import picture_of, print_layers

    layers: list[tuple[Floats32, Floats32]] = []
    ground = reflectance_of(fabric.ground)
    picture = picture_of(fabric, size_mm, texels_hw)
    if picture is not None:
        ground = np.maximum(picture, np.float32(MIN_REFLECTANCE))
    for amount, colour in pattern_layers(fabric, size_mm, texels_hw):
        layers.append((amount, reflectance_of(colour)))
    for amount, colour in print_layers(fabric, size_mm, texels_hw):
        layers.append((amount, reflectance_of(colour)))
    if fabric.trim != fabric.ground and fabric.hem_mm > 0:
        layers.append((_hem_band(fabric, size_mm, texels_hw), reflectance_of(fabric.trim)))
    if fabric.dirt > 0:
        blotch = noise_field("blotch", fabric.seed + 7, size_mm, texels_hw)
        stain = np.clip(0.5 * blotch - 0.25, 0.0, 0.8) * np.float32(fabric.dirt)
        layers.append((stain, reflectance_of(_DIRT)))
    return Dye(ground, tuple(layers), _threads(fabric, size_mm, texels_hw))


def albedo(fabric: Fabric, size_mm: tuple[float, float], texels_hw: tuple[int, int]) -> Floats32:
    """Reflectance of every texel, (H, W, 3) linear light in [0, 1].

    Raises:
        DataError: a user's texture that is not loaded.
    """
    found = dye(fabric, size_mm, texels_hw)
    colour = np.broadcast_to(found.ground, (*texels_hw, 3))
    for amount, layer in found.layers:
        colour = colour + amount[..., None] * (layer - colour)
    return np.clip(colour * found.threads[..., None], 0.0, 1.0).astype(np.float32)


def _hem_band(fabric: Fabric, size_mm: tuple[float, float], texels_hw: tuple[int, int]) -> Floats32:
    x, y = cloth_axes(size_mm, texels_hw)
    soft = max(size_mm[0] / texels_hw[1], 0.3)
    beside = np.clip((fabric.hem_mm - (size_mm[0] / 2 - np.abs(x))) / soft + 0.5, 0.0, 1.0)
    above = np.clip((fabric.hem_mm - np.minimum(y, size_mm[1] - y)) / soft + 0.5, 0.0, 1.0)
    band: Floats32 = np.maximum(beside, above)
    return band


def _threads(fabric: Fabric, size_mm: tuple[float, float], texels_hw: tuple[int, int]) -> Floats32:
    # Threads of uneven thickness; averaging to the texel size removes what cannot be seen.
    fine = noise_field("weave", fabric.seed, size_mm, texels_hw)
    blotch = noise_field("blotch", fabric.seed + 1, size_mm, texels_hw)
    strength = fabric.weave * (1.6 if fabric.pattern == "denim" else 1.0)
    fine *= np.float32(0.07 * strength)
    fine += np.float32(0.05 * fabric.weave) * blotch
    fine += np.float32(1.0)
    return fine


# Cell size (mm), blur across and down (cells) of the kinds of noise.
_NOISES = {
    "weave": (_WEAVE_CELL_MM, 0.0, 0.0),
    "blotch": (_BLOTCH_CELL_MM, 2.0, 2.0),
    "wrinkles": (2.0, 7.0, 2.0),
    "creases": (1.5, 3.0, 1.8),
}


@cache
def _noise_bank(kind: str) -> Floats32:
    # One large field of unit variance per kind; a cloth is a window of it that its seed chooses.
    import cv2

    _, across, down = _NOISES[kind]
    rng = np.random.default_rng(sorted(_NOISES).index(kind))
    size = _BANK if kind == "weave" else _BANK // 2
    field = rng.standard_normal((size, size), dtype=np.float32)
    if across > 0:
        field = np.asarray(cv2.GaussianBlur(field, (0, 0), across, sigmaY=down), dtype=np.float32)
    return field / np.float32(field.std())


def noise_field(kind: str, seed: int, size_mm: tuple[float, float], texels_hw: tuple[int, int]) -> Floats32:
    """A field of noise on the cloth, (H, W), unit variance where a texel is no larger than a cell.

    Args:
        kind: "weave", "blotch", "wrinkles" or "creases".
        seed: chooses the part of the noise.
        size_mm: width and height of the cloth.
        texels_hw: rows and columns.
    """
    import cv2

    bank, cell_mm = _noise_bank(kind), _NOISES[kind][0]
    columns = int(np.clip(round(size_mm[0] / cell_mm), 4, len(bank) - 1))
    rows = int(np.clip(round(size_mm[1] / cell_mm), 4, len(bank) - 1))
    rng = np.random.default_rng(seed)
    x, y, flips = rng.integers((len(bank) - columns, len(bank) - rows, 2))
    window = bank[y : y + rows, x : x + columns]
    if flips:
        window = window[:, ::-1]
    how = cv2.INTER_AREA if texels_hw[1] < columns else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(window, (texels_hw[1], texels_hw[0]), interpolation=how), dtype=np.float32)
