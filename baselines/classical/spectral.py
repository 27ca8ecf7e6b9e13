"""Colour indices in which a mask differs from skin (Xu & Zheng, equations 16 and 17)."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from baselines.classical.lower_face import RgbImage

FloatMap = npt.NDArray[np.float32]

EPS = 1e-6


def nbri(rgb: RgbImage) -> FloatMap:
    """Normalised blue-red index (B - R) / (B + R): (H, W, 3) uint8 to (H, W) float32 in [-1, 1]."""
    red, _, blue = _unit_channels(rgb)
    return np.asarray((blue - red) / (blue + red + EPS), dtype=np.float32)


def saturation_and_intensity(rgb: RgbImage) -> tuple[FloatMap, FloatMap]:
    """S and I of the HSI colour space, (H, W) float32 in [0, 1] each.

    I is the mean of the channels and S = 1 - min / I; black has saturation 1.
    """
    red, green, blue = _unit_channels(rgb)
    intensity = (red + green + blue) / 3
    darkest = np.minimum(np.minimum(red, green), blue)
    saturation = (1 - darkest / (intensity + EPS)).clip(0, 1)
    return np.asarray(saturation, dtype=np.float32), np.asarray(intensity, dtype=np.float32)


def nmri(rgb: RgbImage) -> FloatMap:
    """Normalised mask region index (S - I) / (S + I): (H, W, 3) uint8 to (H, W) float32 in [-1, 1]."""
    saturation, intensity = saturation_and_intensity(rgb)
    return np.asarray((saturation - intensity) / (saturation + intensity + EPS), dtype=np.float32)


def chroma(rgb: RgbImage) -> tuple[FloatMap, FloatMap]:
    """a* and b* of CIELAB (D65), (H, W) float32 each, about -127 to 127."""
    lab = cv2.cvtColor(rgb.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    return lab[..., 1], lab[..., 2]


def _unit_channels(rgb: RgbImage) -> tuple[FloatMap, FloatMap, FloatMap]:
    unit = np.asarray(rgb / np.float32(255), dtype=np.float32)
    return unit[..., 0], unit[..., 1], unit[..., 2]
