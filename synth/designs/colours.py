"""Colours of masks: what is sold, and variation around it in CIE Lab, where equal steps look equal."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from synth.cloth.fabric import Rgb

Floats = npt.NDArray[np.float64]

BLACK: Rgb = (29, 30, 32)
WHITE: Rgb = (238, 240, 242)
GREY: Rgb = (128, 130, 134)
NAVY: Rgb = (38, 48, 84)

# sRGB (D65) to XYZ and back, IEC 61966-2-1.
_TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
_WHITE_POINT = _TO_XYZ.sum(axis=1)
_DARKEST = 9.0  # L* of the blackest cloth: it still reflects about 1 % of the light


def lab_of(colour: Rgb) -> Floats:
    """CIE L*, a*, b* (D65) of an sRGB colour."""
    value = np.array(colour) / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    ratio = _TO_XYZ @ linear / _WHITE_POINT
    f = np.where(ratio > 216 / 24389, np.cbrt(ratio), (24389 / 27 * ratio + 16) / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def rgb_of(lab: npt.ArrayLike) -> Rgb:
    """sRGB of CIE L*, a*, b*, clipped to what a screen can show."""
    lightness, a, b = np.asarray(lab, dtype=np.float64)
    f = (lightness + 16) / 116 + np.array([a / 500, 0.0, -b / 200])
    ratio = np.where(f**3 > 216 / 24389, f**3, (116 * f - 16) / (24389 / 27))
    linear = np.clip(np.linalg.solve(_TO_XYZ, ratio * _WHITE_POINT), 0.0, 1.0)
    srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    red, green, blue = (int(value) for value in np.rint(255 * srgb))
    return red, green, blue


def jitter(rng: np.random.Generator, colour: Rgb, spread: float = 3.5) -> Rgb:
    """A colour near another: normal steps of `spread` in L*, and 0.7 of it in a* and b*. Three draws."""
    step = rng.normal(0.0, (spread, 0.7 * spread, 0.7 * spread))
    lab = lab_of(colour) + step
    return rgb_of([np.clip(lab[0], _DARKEST, 97.0), lab[1], lab[2]])


def any_colour(rng: np.random.Generator) -> Rgb:
    """A dye of any hue: L* 25–80, chroma 12–60. Three draws."""
    lightness, chroma, hue = rng.uniform(25, 80), rng.uniform(12, 60), rng.uniform(0, 2 * np.pi)
    return rgb_of([lightness, chroma * np.cos(hue), chroma * np.sin(hue)])


def street_colour(rng: np.random.Generator) -> Rgb:
    """What people wear: a third black, some greys, whites and navy, the rest any hue. Five draws at most."""
    kind = rng.random()
    if kind < 0.33:
        return jitter(rng, BLACK)
    if kind < 0.45:
        return jitter(rng, GREY, 12.0)
    if kind < 0.55:
        return jitter(rng, WHITE)
    if kind < 0.63:
        return jitter(rng, NAVY, 5.0)
    return any_colour(rng)


def contrasting(rng: np.random.Generator, ground: Rgb) -> Rgb:
    """An ink that shows on a ground: at least 30 L* away, of any hue. Three draws."""
    ink = lab_of(any_colour(rng))
    lightness = lab_of(ground)[0]
    if abs(ink[0] - lightness) < 30:
        ink[0] = lightness + (38 if lightness < 55 else -38)
    return rgb_of(ink)
