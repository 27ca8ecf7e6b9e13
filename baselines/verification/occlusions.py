"""Drawn occlusions with their exact pixels: rectangles, ellipses, polygons, pasted cut-outs, black squares.

Pure functions of an array and a NumPy generator. Sizes are the paper's for 112-pixel faces and grow with the
face (`baselines.md` 5.8 and 5.9). A pixel is occluded where the drawn thing is not fully transparent.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from baselines.verification.cutouts import Cutouts
from baselines.verification.settings import OcclusionSettings

RgbImage = npt.NDArray[np.uint8]
BoolMask = npt.NDArray[np.bool_]

_PAPER_PX = 112
_MOST_RECTANGLE_PERCENT = 35
_LEAST_SEMI_AXIS_PX = 20.0
_ELLIPSE_SHARE = (0.2, 0.4)  # of the face's area
_OUTER_POINTS = (4, 10)
_OUTER_RADIUS = (1 / 5, 1.3 / 5)  # of the face's side
_INNER_CHANCE = 0.5
_INNER_DIVISOR = (1.3, 2.6)
_ANGLE_JITTER = (0.7, 1.3)
_MIDDLE = (0.2, 0.8)  # where centres may lie, shares of the side
_LIGHT_SIGMA_PX = 128.0
_LIGHT_GAIN = (0.7, 1.4)


class OccludedFace(NamedTuple):
    """A face and what hides it.

    Attributes:
        rgb: (S, S, 3) uint8.
        occluded: (S, S) bool.
    """

    rgb: RgbImage
    occluded: BoolMask


Drawer = Callable[[RgbImage, np.random.Generator], OccludedFace]


class MaskRenderer(Protocol):
    """Puts a rendered face mask on a square face. It goes to worker processes, so it must be picklable."""

    @property
    def drawn_by(self) -> str:
        """Name, version and settings digest of what draws; another one would draw other masks."""
        ...

    def draw(self, rgb: RgbImage, seed: int) -> OccludedFace | None:
        """A masked face, or None where it cannot be masked (no landmarks found, say)."""
        ...


def untouched(rgb: RgbImage, rng: np.random.Generator) -> OccludedFace:
    """The face as it is."""
    return OccludedFace(rgb, np.zeros(rgb.shape[:2], dtype=bool))


def with_rectangle(rgb: RgbImage, rng: np.random.Generator) -> OccludedFace:
    """A rectangle of 0 to 35 % of the area, of any shape that fits, in one random colour."""
    height, width = rgb.shape[:2]
    share = int(rng.integers(0, _MOST_RECTANGLE_PERCENT + 1)) / 100
    columns = int(rng.integers(int(share * width) + 1, width + 1))
    rows = min(int(share * width * height / columns), height)
    top, left = int(rng.integers(0, height - rows + 1)), int(rng.integers(0, width - columns + 1))
    occluded = np.zeros((height, width), dtype=bool)
    occluded[top : top + rows, left : left + columns] = True
    return _painted(rgb, occluded, rng)


def with_ellipse(rgb: RgbImage, rng: np.random.Generator) -> OccludedFace:
    """An upright ellipse of 20 to 40 % of the area (less where the edge cuts it) in one random colour."""
    side = rgb.shape[0]
    y, x = rng.uniform(*_MIDDLE, 2) * side
    tallest = min(y, side - y)
    semi_y = rng.uniform(min(_LEAST_SEMI_AXIS_PX * side / _PAPER_PX, tallest), tallest)
    semi_x = rng.uniform(*_ELLIPSE_SHARE) * side * side / (math.pi * semi_y)
    rows, columns = np.mgrid[:side, :side] + 0.5
    return _painted(rgb, ((rows - y) / semi_y) ** 2 + ((columns - x) / semi_x) ** 2 <= 1, rng)


def with_polygon(rgb: RgbImage, rng: np.random.Generator) -> OccludedFace:
    """A connected star-like polygon around a point of the middle, in one random colour.

    4 to 10 outer corners, each followed by an inner one half of the time; angles between them vary.
    """
    side = rgb.shape[0]
    count = int(rng.integers(_OUTER_POINTS[0], _OUTER_POINTS[1] + 1))
    radii: list[float] = []
    for _ in range(count):
        radii.append(rng.uniform(*_OUTER_RADIUS) * side)
        if rng.random() < _INNER_CHANCE:
            radii.append(radii[-1] / rng.uniform(*_INNER_DIVISOR))
    steps = rng.uniform(*_ANGLE_JITTER, len(radii))
    # Scaled to one full turn: a star around its centre never crosses itself, so it is connected.
    angles = rng.uniform(0, 2 * math.pi) + np.cumsum(steps / steps.sum()) * 2 * math.pi
    centre = rng.uniform(*_MIDDLE, 2) * side
    corners = centre + np.array(radii)[:, None] * np.stack((np.cos(angles), np.sin(angles)), axis=1)
    layer = np.zeros(rgb.shape[:2], dtype=np.uint8)
    cv2.fillPoly(layer, [np.rint(corners).astype(np.int32)], 1)
    return _painted(rgb, layer.astype(bool), rng)


def _painted(rgb: RgbImage, occluded: BoolMask, rng: np.random.Generator) -> OccludedFace:
    painted = rgb.copy()
    painted[occluded] = rng.integers(0, 256, 3, dtype=np.uint8)
    return OccludedFace(painted, occluded)


def with_square(rgb: RgbImage, share: float, rng: np.random.Generator) -> OccludedFace:
    """LFW_block: one black square of that share of the area, anywhere inside (`baselines.md` 5.9).

    Args:
        rgb: (S, S, 3) uint8.
        share: of the area, in [0, 1]; the square's side is rounded down to whole pixels.
        rng: decides where.
    """
    side = rgb.shape[0]
    cut = math.isqrt(math.floor(share * side * side))
    top, left = (int(rng.integers(0, side - cut + 1)) for _ in range(2))
    occluded = np.zeros(rgb.shape[:2], dtype=bool)
    occluded[top : top + cut, left : left + cut] = True
    blackened = rgb.copy()
    blackened[occluded] = 0
    return OccludedFace(blackened, occluded)


def with_light(rgb: RgbImage, rng: np.random.Generator) -> RgbImage:
    """The face under a spot of light: times a Gaussian of 128 pixels around a random point, gain 0.7 to 1.4.

    What then exceeds 255 is brought back by scaling the whole face, so that nothing is clipped (how the
    paper's "rescaled by max" is read here).
    """
    height, width = rgb.shape[:2]
    sigma = _LIGHT_SIGMA_PX * height / _PAPER_PX
    y, x = rng.uniform(0, height), rng.uniform(0, width)
    down = np.exp(-((np.arange(height) - y) ** 2) / (2 * sigma**2))
    across = np.exp(-((np.arange(width) - x) ** 2) / (2 * sigma**2))
    lit = rgb * (rng.uniform(*_LIGHT_GAIN) * np.outer(down, across))[..., None]
    brightest = float(lit.max(initial=0.0))
    if brightest > 255:
        lit *= 255 / brightest
    return np.rint(lit).astype(np.uint8)


_DRAWERS: tuple[Drawer, ...] = (untouched, with_rectangle, with_ellipse, with_polygon)


class Occluder:
    """Draws one of the training occlusions at random.

    A rendered face mask with probability `settings.mask_share` where a renderer is given; otherwise nothing,
    a rectangle, an ellipse, a polygon or a cut-out, all kinds that are at hand alike.

    Attributes:
        settings: what is drawn.
        cutouts: things to paste, or None.
        masks: the renderer, or None.
    """

    def __init__(
        self, settings: OcclusionSettings, cutouts: Cutouts | None = None, masks: MaskRenderer | None = None
    ) -> None:
        self.settings = settings
        self.cutouts = cutouts
        self.masks = masks

    def draw(self, rgb: RgbImage, rng: np.random.Generator) -> OccludedFace:
        """One face occluded and lit, or untouched when the settings say so."""
        if not self.settings.enabled:
            return untouched(rgb, rng)
        found = self._rendered(rgb, rng)
        if found is None:
            found = self._drawn(rgb, rng)
        if self.settings.light:
            found = OccludedFace(with_light(found.rgb, rng), found.occluded)
        return found

    def _drawn(self, rgb: RgbImage, rng: np.random.Generator) -> OccludedFace:
        kinds = self.cutouts.kinds if self.cutouts is not None else ()
        chosen = int(rng.integers(len(_DRAWERS) + len(kinds)))
        if self.cutouts is None or chosen < len(_DRAWERS):
            return _DRAWERS[chosen](rgb, rng)
        return OccludedFace(*self.cutouts.pasted(rgb, kinds[chosen - len(_DRAWERS)], rng))

    def _rendered(self, rgb: RgbImage, rng: np.random.Generator) -> OccludedFace | None:
        if self.masks is None or rng.random() >= self.settings.mask_share:
            return None
        return self.masks.draw(rgb, int(rng.integers(2**63)))
