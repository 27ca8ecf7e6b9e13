"""Level sets (scikit-image's morphological snakes) started from where a mask should be."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from skimage.segmentation import (
    inverse_gaussian_gradient,
    morphological_chan_vese,
    morphological_geodesic_active_contour,
)

from baselines.classical.lower_face import BoolMask, Box, RgbImage, grey
from dataset_tools.core.errors import ConfigError

Kind = Literal["chan_vese", "geodesic"]

ITERATIONS = 100
SMOOTHING = 2
WALL_ALPHA, WALL_SIGMA = 100.0, 2.0  # steepness and scale of the edge map
BALLOON = 1  # the contour grows until an edge stops it


def level_set_mask(rgb: RgbImage, start: BoolMask, kind: Kind = "chan_vese") -> BoolMask:
    """The area a contour encloses after 100 iterations.

    Args:
        rgb: (H, W, 3) uint8; only its brightness is looked at.
        start: (H, W) bool, inside the first contour.
        kind: "chan_vese" parts two even brightnesses; "geodesic" stops at edges.

    Returns:
        (H, W) bool.

    Raises:
        ConfigError: another kind.

    Source: Márquez-Neila et al., A morphological approach to curvature-based evolution, TPAMI 2014,
        https://doi.org/10.1109/TPAMI.2013.106
    """
    if kind not in get_args(Kind):
        raise ConfigError(f"kind is {kind!r}, expected one of {', '.join(get_args(Kind))}")
    brightness = grey(rgb) / 255.0
    if kind == "chan_vese":
        inside = morphological_chan_vese(brightness, ITERATIONS, init_level_set=start, smoothing=SMOOTHING)
    else:
        walls = inverse_gaussian_gradient(brightness, alpha=WALL_ALPHA, sigma=WALL_SIGMA)
        inside = morphological_geodesic_active_contour(
            walls, ITERATIONS, init_level_set=start, smoothing=SMOOTHING, balloon=BALLOON
        )
    return np.asarray(inside > 0, dtype=np.bool_)


def chan_vese_within(rgb: RgbImage, place: Box) -> BoolMask:
    """Chan–Vese on the pixels of a box alone, started from its ellipse; the side with more pixels.

    Hair and background elsewhere would otherwise decide what the two brightnesses are. Which of them ends up
    inside the contour is chance, but a mask fills most of its place.

    Args:
        rgb: (S, S, 3) uint8.
        place: at least one pixel.

    Returns:
        (S, S) bool, False outside the box.
    """
    rows, columns = slice(place.y0, place.y1), slice(place.x0, place.x1)
    inside = np.zeros(rgb.shape[:2], dtype=np.bool_)
    start = place.ellipse(len(rgb))[rows, columns]
    side = level_set_mask(np.ascontiguousarray(rgb[rows, columns]), start)
    inside[rows, columns] = side if np.count_nonzero(side) * 2 >= side.size else ~side
    return inside
