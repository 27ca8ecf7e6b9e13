"""What a mask is made of, as a few numbers, and the grid and noise that its picture is drawn from.

All sizes are in millimetres on the cloth, so a fabric looks the same on a small and a large face; detail
finer than a texel fades out instead of turning into moiré. Colours are in `dye.py`, what stands
off the surface in `relief.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from synth.colour import srgb_to_linear

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
        texture: SHA-256 of a user's picture of the cloth ("" = none), see `synth.cloth.textures`.
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


def reflectance_of(colour: Rgb) -> Floats32:
    """(3,) linear reflectance of an sRGB colour, at least `MIN_REFLECTANCE`."""
    return np.maximum(srgb_to_linear(np.array(colour) / 255), np.float32(MIN_REFLECTANCE))


def cloth_axes(size_mm: tuple[float, float], texels_hw: tuple[int, int]) -> tuple[Floats32, Floats32]:
    """Cloth coordinates of the texels: x (1, W) from the middle, y (H, 1) from the top edge, millimetres."""
    height, width = texels_hw
    x = np.linspace(-size_mm[0] / 2, size_mm[0] / 2, width, dtype=np.float32)[None, :]
    y = np.linspace(0.0, size_mm[1], height, dtype=np.float32)[:, None]
    return x, y


# Cell size (mm), blur across and down (cells) of the kinds of noise.
_NOISES = {
    "weave": (_WEAVE_CELL_MM, 0.0, 0.0),
    "blotch": (_BLOTCH_CELL_MM, 2.0, 2.0),
    "wrinkles": (2.0, 5.5, 2.0),
    "calm": (6.0, 2.5, 2.5),
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
        kind: "weave", "blotch", "wrinkles", "calm" or "creases".
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
