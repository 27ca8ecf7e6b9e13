"""Colours of masks: what is sold, and variation around it in CIE Lab, where equal steps look equal."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from synth.cloth.fabric import Rgb
from synth.colour import exact_linear, exact_srgb, lab_of_linear, linear_of_lab

Floats = npt.NDArray[np.float64]

BLACK: Rgb = (29, 30, 32)
WHITE: Rgb = (238, 240, 242)
GREY: Rgb = (128, 130, 134)
NAVY: Rgb = (38, 48, 84)

_DARKEST = 9.0  # L* of the blackest cloth: it still reflects about 1 % of the light


def lab_of(colour: Rgb) -> Floats:
    """CIE L*, a*, b* (D65) of an sRGB colour."""
    return lab_of_linear(exact_linear(colour))


def rgb_of(lab: npt.ArrayLike) -> Rgb:
    """sRGB of CIE L*, a*, b*, clipped to what a screen can show."""
    srgb = exact_srgb(np.clip(linear_of_lab(lab), 0.0, 1.0))
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
    """What people wear: much black, then white, navy and grey; three in ten any hue. Five draws at most."""
    kind = rng.random()
    if kind < 0.38:
        return jitter(rng, BLACK)
    if kind < 0.45:
        return jitter(rng, GREY, 12.0)
    if kind < 0.61:
        return jitter(rng, WHITE)
    if kind < 0.70:
        return jitter(rng, NAVY, 5.0)
    return any_colour(rng)


def contrasting(rng: np.random.Generator, ground: Rgb) -> Rgb:
    """An ink that shows on a ground: at least 30 L* away, of any hue. Three draws."""
    ink = lab_of(any_colour(rng))
    lightness = lab_of(ground)[0]
    if abs(ink[0] - lightness) < 30:
        ink[0] = lightness + (38 if lightness < 55 else -38)
    return rgb_of(ink)
