"""What a picture looks like at and around the rim of a mask, in a dozen numbers."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dataset_tools.core.images import RgbImage

Floats = npt.NDArray[np.float64]
Floats32 = npt.NDArray[np.float32]
BoolMask = npt.NDArray[np.bool_]

STATISTICS = (
    "contrast across the rim",
    "slope at the rim",
    "dark line outside",
    "dark line inside",
    "level of the mask",
    "spread in the mask, coarse",
    "spread in the mask, middle",
    "spread in the mask, fine",
    "noise in the mask",
    "noise outside",
    "colour of the mask",
    "mask darker downwards",
)


def rim_statistics(crop: RgbImage, mask: BoolMask) -> Floats:
    """What a crop looks like at and around the mask's rim: one number for each name in `STATISTICS`.

    Args:
        crop: (H, W, 3) sRGB.
        mask: (H, W) bool; must hold both kinds of pixel.
    """
    import cv2

    grey = cv2.cvtColor(np.ascontiguousarray(crop), cv2.COLOR_RGB2GRAY).astype(np.float32)
    inside, outside = (
        cv2.distanceTransform(np.ascontiguousarray(side).view(np.uint8), cv2.DIST_L2, 5)
        for side in (mask, ~mask)
    )
    soft, softer = (cv2.GaussianBlur(grey, (0, 0), sigma) for sigma in (1.0, 4.0))
    slope = np.hypot(cv2.Sobel(soft, cv2.CV_32F, 1, 0), cv2.Sobel(soft, cv2.CV_32F, 0, 1)) / 8
    curve = np.abs(cv2.Laplacian(grey, cv2.CV_32F))
    deep, near_in = inside > 4, (inside > 0) & (inside <= 2)
    far, near_out = (outside > 5) & (outside <= 10), (outside > 0) & (outside <= 2)

    def mean(layer: Floats32, where: BoolMask) -> float:
        return float(layer[where].mean()) if where.any() else 0.0

    def spread(layer: Floats32) -> float:
        return float(layer[deep].std()) if deep.any() else 0.0

    level, beyond = mean(grey, deep), mean(grey, far)
    high, low = crop[deep].max(axis=-1, initial=0), crop[deep].min(axis=-1, initial=255)
    rows = np.flatnonzero(deep.any(axis=1))
    middle = int(rows.mean()) if rows.size else 0
    upper = deep.copy()
    upper[middle:] = False
    return np.array(
        [
            abs(level - beyond),
            mean(slope, (inside <= 2) & (outside <= 2)),
            mean(grey, near_out) - beyond,
            mean(grey, near_in) - level,
            level,
            spread(softer),
            spread(soft - softer),
            spread(grey - soft),
            float(np.median(curve[deep])) if deep.any() else 0.0,
            float(np.median(curve[far])) if far.any() else 0.0,
            float((high.astype(np.float32) - low).mean()) if len(high) else 0.0,
            mean(grey, upper) - mean(grey, deep & ~upper),
        ]
    )
