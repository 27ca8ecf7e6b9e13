"""Skin tone as a photo shows it: the individual typology angle."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dataset_tools.core.images import RgbImage
from synth.geometry import FaceMesh
from synth.shading import read_skin

# Linear sRGB to CIE XYZ relative to the D65 white (IEC 61966-2-1).
_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
_WHITE = np.array([0.9505, 1.0, 1.089])


def skin_ita_deg(photo: RgbImage, face: FaceMesh) -> float | None:
    """Individual typology angle of a face's bare skin, degrees; > 55 is very light, < -30 dark.

    It describes the photo, not the person: light and exposure move it.

    Args:
        photo: (H, W, 3) sRGB.
        face: whose skin.

    Returns:
        None when no skin of the face lies in the photo.

    Source: Chardon et al. 1991: atan2(L* - 50, b*), of the median colour.
    """
    skin = read_skin(photo, face.skin_px, face.frame.px_per_mm)
    if not skin.inside.any():
        return None
    return ita_deg(np.median(skin.colours[skin.inside], axis=0))


def ita_deg(linear_rgb: npt.ArrayLike) -> float:
    """The angle of a colour, linear light in [0, 1]."""
    ratio = _XYZ @ np.asarray(linear_rgb, dtype=np.float64) / _WHITE
    root = np.where(ratio > (6 / 29) ** 3, np.cbrt(ratio), ratio / (3 * (6 / 29) ** 2) + 4 / 29)
    lightness, blue = 116 * root[1] - 16, 200 * (root[1] - root[2])
    return float(np.degrees(np.arctan2(lightness - 50, blue)))
