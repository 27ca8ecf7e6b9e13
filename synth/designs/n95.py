"""N95 cup: a moulded shell that seals around nose and chin, held by two bands around the head."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from synth.cloth.fabric import Fabric, Rgb
from synth.designs.colours import BLACK, WHITE, jitter
from synth.designs.design import HEAD_BAND_STATES, Design, Strap, draw_seed, near, pick
from synth.geometry import MaskShape

_SHELLS: dict[Rgb, float] = {WHITE: 0.72, (150, 190, 200): 0.08, BLACK: 0.1, (168, 172, 178): 0.1}
_BANDS: dict[Rgb, float] = {(226, 196, 96): 0.4, (236, 236, 234): 0.35, (60, 92, 160): 0.12, BLACK: 0.13}


def draw(rng: np.random.Generator) -> tuple[MaskShape, Fabric, Strap]:
    """Shape, fabric, strap: 9 + 10 draws, in this order."""
    shape = MaskShape(
        nose_y=near(rng, 7.0, 3.0),
        corner_s=near(rng, 55.0, 3.0),
        lower_corner_s=near(rng, 54.0, 3.0),
        corner_y=near(rng, 47.0, 3.0),
        lower_corner_y=near(rng, 77.0, 3.0),
        chin_wrap=near(rng, 7.0, 3.0),
        nose_arch=1.5,
        chin_arch=2.2,
        side_bow=-7.0,
        standoff=3.0,
        rim_gap=near(rng, 1.2, 0.3),
        rim_mm=9.0,
        soft=0.6,
        cup=near(rng, 20.0, 3.0),
        wire_mm=84.0,
    )
    ground = jitter(rng, pick(rng, _SHELLS))
    fabric = Fabric(
        pattern="plain",
        ground=ground,
        ink=(70, 76, 90) if sum(ground) > 300 else (200, 200, 200),
        accent=(168, 170, 172),
        trim=ground,
        weave=float(rng.uniform(0.5, 0.9)),
        cloth="fibre",
        wrinkle_mm=0.0,
        hem_mm=near(rng, 6.0, 1.0),
        stitched=False,
        sheen=0.04,
        lines="cup",
        stamp="N95",
        seed=draw_seed(rng),
    )
    return shape, fabric, Strap(near(rng, 5.0, 0.8), jitter(rng, pick(rng, _BANDS)), "head")


def _draw_with_valve(rng: np.random.Generator) -> tuple[MaskShape, Fabric, Strap]:
    # As without, then two draws for the valve.
    shape, fabric, strap = draw(rng)
    shape = replace(shape, valve_mm=near(rng, 31.0, 4.0), valve_v=near(rng, 0.6, 0.05))
    return shape, replace(fabric, stamp=""), strap


DESIGN = Design("n95", 1, "n95", draw, HEAD_BAND_STATES)
WITH_VALVE = Design("n95_valve", 1, "n95", _draw_with_valve, HEAD_BAND_STATES)
