"""Colour: sRGB, linear light, luminance, and CIE Lab (D65), where equal steps look equal."""

from __future__ import annotations

from functools import cache
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from dataset_tools.core.images import RgbImage

Floats = npt.NDArray[np.float64]
Floats32 = npt.NDArray[np.float32]

LUMINANCE = np.array([0.2126, 0.7152, 0.0722], dtype=np.float32)  # Rec. 709

# Linear sRGB to XYZ, IEC 61966-2-1; white is the sum of its columns.
_TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
_WHITE = _TO_XYZ.sum(axis=1)
# CIE 15: below this share of white a line takes the place of the cube root.
_LINE_BELOW = 216 / 24389
_LINE_SLOPE = 24389 / 27

_Number = TypeVar("_Number", np.float32, np.float64)


def srgb_to_linear(value_01: npt.ArrayLike) -> Floats32:
    """sRGB in [0, 1] to linear light in [0, 1] (IEC 61966-2-1), in single precision."""
    return _decoded(np.asarray(value_01, dtype=np.float32))


def exact_linear(rgb: npt.ArrayLike) -> Floats:
    """sRGB bytes (0-255) to linear light in [0, 1], in double precision."""
    return _decoded(np.asarray(rgb, dtype=np.float64) / 255)


def _decoded(value: npt.NDArray[_Number]) -> npt.NDArray[_Number]:
    number = value.dtype.type
    low = value / number(12.92)
    high = ((np.maximum(value, 0) + number(0.055)) / number(1.055)) ** number(2.4)
    return np.where(value <= 0.04045, low, high).astype(number)


def exact_srgb(linear: npt.ArrayLike) -> Floats:
    """Linear light in [0, 1] to sRGB in [0, 1] (IEC 61966-2-1), in double precision."""
    value = np.asarray(linear, dtype=np.float64)
    srgb: Floats = np.where(value <= 0.0031308, 12.92 * value, 1.055 * value ** (1 / 2.4) - 0.055)
    return srgb


@cache
def linear_of_byte() -> Floats32:
    """Linear light of the 256 sRGB bytes."""
    return srgb_to_linear(np.arange(256) / 255)


@cache
def byte_of_linear() -> npt.NDArray[np.uint8]:
    """sRGB byte of 65,536 even steps of linear light from 0 to 1."""
    codes: npt.NDArray[np.uint8] = np.rint(exact_srgb(np.arange(65536) / 65535) * 255).astype(np.uint8)
    return codes


def linear_to_srgb(linear: Floats32) -> RgbImage:
    """Linear light in [0, 1] (clipped) to sRGB bytes."""
    codes = np.clip(linear, 0.0, 1.0)
    codes *= 65535
    codes += 0.5
    return byte_of_linear().take(codes.astype(np.uint16))


def lab_of_linear(linear: npt.ArrayLike) -> Floats:
    """CIE L*, a*, b* of a (3,) colour in linear light, 1 being white."""
    ratio = _TO_XYZ @ np.asarray(linear, dtype=np.float64) / _WHITE
    f = np.where(ratio > _LINE_BELOW, np.cbrt(ratio), (_LINE_SLOPE * ratio + 16) / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def linear_of_lab(lab: npt.ArrayLike) -> Floats:
    """Linear light (3,) of CIE L*, a*, b*; outside [0, 1] where no screen can show the colour."""
    lightness, a, b = np.asarray(lab, dtype=np.float64)
    f = (lightness + 16) / 116 + np.array([a / 500, 0.0, -b / 200])
    ratio = np.where(f**3 > _LINE_BELOW, f**3, (116 * f - 16) / _LINE_SLOPE)
    linear: Floats = np.linalg.solve(_TO_XYZ, ratio * _WHITE)
    return linear
