"""Foam mask ("Pitta"): two pieces of sponge with a middle seam, the ear loops cut from the same sheet."""

from __future__ import annotations

import numpy as np

from synth.cloth.fabric import Fabric, Rgb
from synth.designs.colours import BLACK, GREY, NAVY, WHITE, any_colour, jitter
from synth.designs.design import EAR_LOOP_STATES, Design, Strap, draw_seed, near, pick
from synth.geometry import MaskShape

COLOURS: dict[Rgb, float] = {BLACK: 0.62, GREY: 0.18, WHITE: 0.1, NAVY: 0.1}
_DYED = 0.12  # any other colour


def draw(rng: np.random.Generator) -> tuple[MaskShape, Fabric, Strap]:
    """Shape, fabric, strap: 12 + about 12 draws, in this order."""
    shape = MaskShape(
        nose_y=near(rng, 11.0, 4.0),
        corner_s=near(rng, 86.0, 6.0),
        lower_corner_s=near(rng, 84.0, 6.0),
        corner_y=near(rng, 35.0, 4.0),
        lower_corner_y=near(rng, 72.0, 5.0),
        chin_wrap=near(rng, 13.0, 5.0),
        nose_arch=near(rng, 1.8, 0.4),
        side_bow=near(rng, 9.0, 4.0),
        standoff=near(rng, 2.6, 0.8),
        rim_gap=near(rng, 1.2, 0.4),
        taut=0.95,
        soft=0.6,
        cup=near(rng, 2.5, 1.2),
        seam=near(rng, 3.6, 1.2),
        hang_mm=100.0,
    )
    base = pick(rng, COLOURS)
    ground = any_colour(rng) if rng.random() < _DYED else jitter(rng, base)
    fabric = Fabric(
        pattern="plain",
        ground=ground,
        ink=ground,
        accent=ground,
        trim=ground,
        weave=float(rng.uniform(0.1, 0.35)),
        cloth="fibre",
        wrinkle_mm=float(rng.uniform(0.1, 0.5)),
        hem_mm=0.0,
        stitched=False,
        sheen=float(rng.uniform(0.01, 0.05)),
        seed=draw_seed(rng),
    )
    return shape, fabric, Strap(near(rng, 10.0, 3.0), ground, of_cloth=True)


DESIGN = Design("foam", 1, "cloth", draw, EAR_LOOP_STATES)
