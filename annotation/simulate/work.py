"""What a piece of work costs a person: brush strokes, clicks and seconds. Pure; every figure is a parameter.

Strokes. A brush `BRUSH_WIDTH` wide has to travel at least area / width over a region to cover it, and at
least half of the region's outline along a region thinner than the brush. A stroke is `STROKE_LENGTH` of
travel. Each connected piece costs at least one stroke, so

    strokes = sum over pieces of ceil(max(area / width, outline / 2) / length).

Both lengths are shares of the diameter of the instance's equal-area disc, as people choose a brush that fits
what they paint: a whole instance of one piece always costs ceil((pi / 4) / BRUSH_WIDTH) = 8 strokes.
"""

from __future__ import annotations

import math

import numpy as np
from pydantic import Field

from annotation.simulate.shapes import outline_px, pieces
from dataset_tools.core.masks import BoolMask
from dataset_tools.core.settings import Settings

BRUSH_WIDTH = 0.1
STROKE_LENGTH = 1.0


class TimeModel(Settings):
    """Seconds of a person's work. Model seconds: no person has been timed here.

    The one published anchor: an outlined COCO instance took 79 s (22 worker hours per 1,000 instances; Lin
    et al., Microsoft COCO, ECCV 2014, section 4.3). One instance painted from nothing is 8 strokes, one look,
    one choice of the label and one click to submit: 5 + 8 * 8.9 + 2 * 1.4 = 79 s. How the 79 s divide is
    assumed. For scale: a box by extreme clicking takes 7 s (Papadopoulos et al., ICCV 2017), so nothing here
    is cheaper than looking.

    Attributes:
        look_s: to look a picture and its proposal over and decide; assumed.
        stroke_s: per brush stroke, aiming included; what is left of the anchor.
        click_s: per click: a label, a choice, a deletion, the submit button; assumed.
    """

    look_s: float = Field(default=5.0, ge=0.0)
    stroke_s: float = Field(default=8.9, ge=0.0)
    click_s: float = Field(default=1.4, ge=0.0)

    def seconds(self, *, looks: int, strokes: int, clicks: int) -> float:
        """Seconds of so much work."""
        return looks * self.look_s + strokes * self.stroke_s + clicks * self.click_s


def count_strokes(region: BoolMask, diameter: float) -> int:
    """Brush strokes that cover a region; see the module's docstring.

    Args:
        region: (H, W) bool.
        diameter: of the instance it belongs to, px (`shapes.diameter_px`).

    Returns:
        0 for an empty region.
    """
    width, length = max(BRUSH_WIDTH * diameter, 1.0), max(STROKE_LENGTH * diameter, 1.0)
    return sum(
        # Rounding of the last digits must not cost a stroke.
        max(math.ceil(max(np.count_nonzero(piece) / width, outline_px(piece) / 2) / length - 1e-9), 1)
        for piece in pieces(region)
    )
