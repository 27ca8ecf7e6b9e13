from __future__ import annotations

from dataclasses import replace

import numpy as np

from synth.assets import draw_garment
from synth.cloth.relief import relief_mm

SIZE_MM, TEXELS = (200.0, 140.0), (280, 400)  # 0.5 mm a texel


def creased(seed: int) -> np.ndarray:
    """The relief of a foam mask with wrinkles alone, away from its edges."""
    garment = draw_garment("foam", "correct", np.random.default_rng(seed))
    fabric = replace(garment.fabric, wrinkle_mm=1.0, hem_mm=0.0)
    return relief_mm(fabric, garment.shape, SIZE_MM, TEXELS)[60:-60, 60:-60]


def test_cloth_is_creased_in_few_places_and_smooth_between_them():
    kurtosis = []
    for seed in range(12):
        slope = np.diff(creased(seed).astype(np.float64), axis=0)
        kurtosis.append((slope**4).mean() / (slope**2).mean() ** 2)
    # 3 for wrinkles that are everywhere alike.
    assert np.median(kurtosis) > 4


def test_cloth_without_wrinkles_is_flat():
    garment = draw_garment("foam", "correct", np.random.default_rng(0))
    fabric = replace(garment.fabric, wrinkle_mm=0.0, hem_mm=0.0)
    flat = relief_mm(fabric, garment.shape, SIZE_MM, TEXELS)[60:-60, 60:-60]
    assert np.ptp(flat) == 0
