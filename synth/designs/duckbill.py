"""Duckbill: a flat pouch whose front edge stands out level in front of the mouth; two bands."""

from __future__ import annotations

import numpy as np

from synth.cloth.fabric import Fabric, Rgb
from synth.designs.colours import WHITE, jitter
from synth.designs.design import HEAD_BAND_STATES, Design, Strap, near, pick
from synth.designs.kn95 import stiff_fabric
from synth.geometry import MaskShape

_COLOURS: dict[Rgb, float] = {WHITE: 0.6, (244, 190, 120): 0.2, (150, 190, 220): 0.2}


def draw(rng: np.random.Generator) -> tuple[MaskShape, Fabric, Strap]:
    """Shape, fabric, strap: 9 + 10 draws, in this order."""
    bill = near(rng, 50.0, 5.0)
    shape = MaskShape(
        nose_y=near(rng, 7.0, 3.0),
        corner_s=near(rng, 62.0, 3.0),
        lower_corner_s=near(rng, 61.0, 3.0),
        corner_y=near(rng, 52.0, 3.0),
        lower_corner_y=near(rng, 74.0, 3.0),
        chin_wrap=near(rng, 8.0, 3.0),
        nose_arch=1.5,
        chin_arch=1.8,
        side_bow=-3.0,
        standoff=2.0,
        rim_gap=near(rng, 1.2, 0.3),
        rim_mm=9.0,
        soft=0.35,
        frame=((0.0, 66.0, bill - 6.0), (14.0, 66.0, bill - 3.0), (28.0, 66.0, bill)),
        wire_mm=88.0,
    )
    ground = jitter(rng, pick(rng, _COLOURS))
    fabric = stiff_fabric(rng, ground, "bill")
    return shape, fabric, Strap(near(rng, 5.5, 1.0), jitter(rng, (238, 240, 242)), "head")


DESIGN = Design("duckbill", 1, "duckbill", draw, HEAD_BAND_STATES)
