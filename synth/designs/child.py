"""Child sizes: the surgical and the cloth mask made smaller, often in children's prints."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

from synth.cloth.fabric import Fabric
from synth.designs.cloth import draw as draw_cloth
from synth.designs.design import EAR_LOOP_STATES, Design, Draw, Strap
from synth.designs.surgical import draw as draw_surgical
from synth.geometry import MaskShape

_SMALLEST, _LARGEST = 0.76, 0.88
_MIDDLE_Y_MM = 62.0  # it sits around the mouth


def draw_smaller(rng: np.random.Generator, adult: Draw) -> tuple[MaskShape, Fabric, Strap]:
    """Shape, fabric, strap: as the adult's, then one draw for the size."""
    shape, fabric, strap = adult(rng)
    factor = float(rng.uniform(_SMALLEST, _LARGEST))
    upright = 0.6 + 0.4 * factor  # heights shrink less: it must still span nose and chin
    small = replace(
        shape,
        nose_y=_MIDDLE_Y_MM + (shape.nose_y - _MIDDLE_Y_MM) * upright,
        corner_y=_MIDDLE_Y_MM + (shape.corner_y - _MIDDLE_Y_MM) * factor,
        lower_corner_y=_MIDDLE_Y_MM + (shape.lower_corner_y - _MIDDLE_Y_MM) * factor,
        corner_s=shape.corner_s * factor,
        lower_corner_s=shape.lower_corner_s * factor,
        chin_wrap=max(shape.chin_wrap - 45.0 * (1.0 - factor), 2.0),
        wire_mm=shape.wire_mm * factor,
        hang_mm=shape.hang_mm * factor,
    )
    return small, fabric, strap


SURGICAL = Design(
    "child_surgical", 2, "surgical", partial(draw_smaller, adult=draw_surgical), EAR_LOOP_STATES
)
CLOTH = Design("child_cloth", 2, "cloth", partial(draw_smaller, adult=draw_cloth), EAR_LOOP_STATES)
