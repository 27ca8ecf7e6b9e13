"""Classes of skin tone by individual typology angle (ITA)."""

from __future__ import annotations

import math

# Lower edges in degrees (Chardon 1991; Del Bino and Bernerd 2013).
ITA_CLASSES = (
    (55.0, "very light"),
    (41.0, "light"),
    (28.0, "intermediate"),
    (10.0, "tan"),
    (-30.0, "brown"),
    (-180.0, "dark"),
)


def ita_class(degrees: float) -> str:
    """Class of an individual typology angle in degrees."""
    return next(name for low, name in ITA_CLASSES if degrees > low or low == -180.0)


def noted_class(note: str) -> str:
    """Class of an angle as an attribute holds it; "" when it holds no number."""
    try:
        degrees = float(note)
    except ValueError:
        return ""
    return ita_class(degrees) if math.isfinite(degrees) else ""
