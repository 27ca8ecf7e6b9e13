"""Mask with a clear window over the mouth, as worn for lip reading."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from synth.cloth.fabric import Fabric, Window
from synth.designs.cloth import draw_loops, draw_shape
from synth.designs.colours import BLACK, WHITE, any_colour, jitter
from synth.designs.design import EAR_LOOP_STATES, Design, Strap, draw_seed, near, pick
from synth.geometry import MaskShape


def draw(rng: np.random.Generator) -> tuple[MaskShape, Fabric, Strap]:
    """Shape, fabric, strap: as `cloth.draw_shape`, then about 16 draws."""
    shape = draw_shape(rng)
    # The window is a stiff sheet: no pleats or seam under it, and it stands off the lips.
    shape = replace(shape, pleats=0, seam=0.0, cup=near(rng, 6.0, 2.0), soft=0.9)
    surgical_blue = (150, 196, 224)
    base = pick(rng, {WHITE: 0.3, BLACK: 0.3, surgical_blue: 0.25, any_colour(rng): 0.15})
    ground = jitter(rng, base)
    fabric = Fabric(
        pattern="plain",
        ground=ground,
        ink=ground,
        accent=ground,
        trim=ground,
        weave=float(rng.uniform(0.4, 0.8)),
        cloth="woven",
        wrinkle_mm=float(rng.uniform(0.2, 0.5)),
        hem_mm=near(rng, 6.0, 1.5),
        stitched=True,
        sheen=0.05,
        window=Window(
            middle_v=near(rng, 0.5, 0.03),
            half_width_mm=near(rng, 42.0, 7.0),
            half_height_mm=near(rng, 26.0, 6.0),
            opacity=near(rng, 0.16, 0.08),
        ),
        seed=draw_seed(rng),
    )
    return shape, fabric, draw_loops(rng, ground)


DESIGN = Design("transparent", 1, "transparent", draw, EAR_LOOP_STATES)
