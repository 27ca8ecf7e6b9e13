"""Geometric-weighted connectivity: which candidate areas are masks (Xu & Zheng, equations 22 to 24).

The printed rule HQ = (Mi > P1) or (Po < P2) keeps elongated areas, against what the text says it is for
(`baselines.md` D-14). "corrected" keeps compact, even areas: Mi <= P1 and Po <= P2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from baselines.classical.components import Component, components
from baselines.classical.lower_face import BoolMask

FloatMap = npt.NDArray[np.float32]
Rule = Literal["corrected", "literal"]

VARIANCE_PX = 7
MOST_MI = 5.0  # P1: a filled square has 2, masks 2.2 to 3


@dataclass(frozen=True, slots=True)
class Candidate:
    """An area with its two figures.

    Attributes:
        pixels: (H, W) bool.
        area_px: number of its pixels.
        mi: K^2 / R, the squared diagonal of its bounding box over its area; 2 for a filled square.
        po: X_max / x_i * eps_i, its texture weighted by how small it is beside the largest area.
    """

    pixels: BoolMask
    area_px: int
    mi: float
    po: float


def local_variance(brightness: FloatMap) -> FloatMap:
    """Variance in the 7×7 window around each pixel, mirrored at the border.

    Args:
        brightness: (H, W) float32 in [0, 1].

    Returns:
        (H, W) float32 in [0, 0.25].
    """
    exact, size = brightness.astype(np.float64), (VARIANCE_PX, VARIANCE_PX)
    mean = cv2.blur(exact, size)
    square = cv2.blur(exact * exact, size)
    return np.asarray((square - mean * mean).clip(0, None), dtype=np.float32)


def aspect_index(component: Component) -> float:
    """Mi of equation 23."""
    return (component.width_px**2 + component.height_px**2) / component.area_px


def candidates(mask: BoolMask, brightness: FloatMap, *, least_px: float = 1) -> list[Candidate]:
    """The connected areas (8 neighbours) of at least that size, in reading order."""
    found = list(components(mask, least_px=least_px))
    if not found:
        return []
    variance = local_variance(brightness)
    most = max(one.area_px for one in found)
    return [
        Candidate(
            pixels=one.pixels,
            area_px=one.area_px,
            mi=aspect_index(one),
            po=most / one.area_px * float(variance[one.pixels].mean(dtype=np.float64)),
        )
        for one in found
    ]


def is_kept(candidate: Candidate, *, most_mi: float, most_po: float, rule: Rule) -> bool:
    """Equation 22 as corrected, or as printed."""
    if rule == "literal":
        return candidate.mi > most_mi or candidate.po < most_po
    return candidate.mi <= most_mi and candidate.po <= most_po
