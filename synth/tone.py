"""Skin tone as a photo shows it: the individual typology angle."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dataset_tools.core.images import RgbImage
from synth.colour import lab_of_linear
from synth.geometry import FaceMesh
from synth.shading import read_skin


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
    lightness, _, blue = lab_of_linear(linear_rgb)
    return float(np.degrees(np.arctan2(lightness - 50, blue)))
