"""Masks from edges: Canny's lines part the picture into rooms (`baselines.md` section 3.6)."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from baselines.classical.components import closed, filled, largest
from baselines.classical.lower_face import BoolMask, RgbImage, grey

SPREAD = 0.33  # Canny's two levels lie this share below and above the median brightness
CLOSING_PX = 7


def canny_levels(brightness: npt.NDArray[np.uint8]) -> tuple[int, int]:
    """Canny's lower and upper level of a uint8 picture."""
    median = float(np.median(brightness))
    return int(max(0.0, (1 - SPREAD) * median)), int(min(255.0, (1 + SPREAD) * median))


def edge_mask(rgb: RgbImage, within: BoolMask) -> BoolMask:
    """The largest room inside a region, with all that lies inside it.

    Edges are closed by 7×7. The border of the region is a wall too: most masks reach the border of their
    crop, and edges that end there enclose nothing by themselves.

    Args:
        rgb: (H, W, 3) uint8.
        within: (H, W) bool, the lower face.

    Returns:
        (H, W) bool, False outside `within`; all of it for a picture without edges, nothing when edges
        cover all of it.
    """
    brightness = grey(rgb)
    walls = closed(cv2.Canny(brightness, *canny_levels(brightness)) > 0, CLOSING_PX)
    return filled(largest(within & ~walls))
