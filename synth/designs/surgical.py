"""Surgical mask: three pleats, nose wire, white or coloured binding, thin round ear loops."""

from __future__ import annotations

import numpy as np

from synth.cloth.fabric import Fabric, Rgb
from synth.designs.colours import jitter
from synth.designs.design import EAR_LOOP_STATES, Design, Strap, draw_seed, near, pick
from synth.geometry import MaskShape

COLOURS: dict[Rgb, float] = {
    (170, 212, 238): 0.28,  # pale blue
    (118, 184, 226): 0.18,  # blue
    (240, 242, 244): 0.22,  # white
    (136, 206, 194): 0.06,  # green
    (242, 202, 213): 0.06,  # pink
    (29, 30, 32): 0.20,  # black
}


def draw(rng: np.random.Generator) -> tuple[MaskShape, Fabric, Strap]:
    """Shape, fabric, strap: 13 + 11 draws, in this order."""
    shape = MaskShape(
        nose_y=near(rng, 9.0, 3.5),
        corner_s=near(rng, 84.0, 5.0),
        lower_corner_s=near(rng, 82.0, 5.0),
        corner_y=near(rng, 32.0, 3.5),
        lower_corner_y=near(rng, 82.0, 3.0),
        chin_wrap=near(rng, 15.0, 4.0),
        nose_arch=near(rng, 2.2, 0.4),
        standoff=near(rng, 2.2, 0.8),
        rim_gap=near(rng, 1.2, 0.3),
        side_gap=near(rng, 5.0, 4.0),
        taut=near(rng, 0.95, 0.05),
        cup=near(rng, 2.0, 1.5),
        pleats=3,
        pleat_depth=near(rng, 2.2, 0.8),
        wire_mm=100.0,
        hang_mm=92.0,
    )
    base = pick(rng, COLOURS)
    ground = jitter(rng, base)
    bound = rng.random() < 0.3
    fabric = Fabric(
        pattern="plain",
        ground=ground,
        ink=ground,
        accent=ground,
        trim=jitter(rng, (240, 242, 243)) if bound else ground,
        weave=float(rng.uniform(0.3, 0.7)),
        cloth="fibre",
        wrinkle_mm=float(rng.uniform(0.25, 0.9)),
        hem_mm=near(rng, 4.5, 1.0),
        stitched=True,
        sheen=0.06,
        seed=draw_seed(rng),
    )
    colour = ground if max(base) < 80 else jitter(rng, (238, 240, 242))
    return shape, fabric, Strap(near(rng, 3.0, 0.6), colour)


DESIGN = Design("surgical", 3, "surgical", draw, EAR_LOOP_STATES)
