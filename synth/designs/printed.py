"""Designer mask: pictures, lettering and logos on a cloth mask."""

from __future__ import annotations

import numpy as np

from synth.cloth.fabric import Fabric, Pattern
from synth.designs.cloth import draw_loops, draw_shape
from synth.designs.colours import any_colour, contrasting, street_colour
from synth.designs.design import EAR_LOOP_STATES, Design, Strap, draw_seed, near, pick
from synth.geometry import MaskShape

_PATTERNS: dict[Pattern, float] = {
    "picture": 0.38,
    "lettering": 0.18,
    "logo": 0.16,
    "paisley": 0.07,
    "floral": 0.09,
    "blobs": 0.12,
}


def draw(rng: np.random.Generator) -> tuple[MaskShape, Fabric, Strap]:
    """Shape, fabric, strap: as `cloth.draw_shape`, then about 22 draws."""
    shape = draw_shape(rng)
    pattern = pick(rng, _PATTERNS)
    # Letters and logos are printed on ordinary cloth, the rest may have any ground.
    ground = street_colour(rng) if pattern in ("lettering", "logo") else any_colour(rng)
    fabric = Fabric(
        pattern=pattern,
        ground=ground,
        ink=contrasting(rng, ground),
        accent=contrasting(rng, ground),
        trim=ground,
        period_mm=float(rng.uniform(12.0, 30.0)),
        angle_deg=float(rng.uniform(-12, 12)),
        weave=float(rng.uniform(0.3, 0.7)),
        cloth="woven",
        wrinkle_mm=float(rng.uniform(0.3, 0.7)),
        hem_mm=near(rng, 5.5, 1.5),
        stitched=bool(rng.random() < 0.8),
        sheen=float(rng.uniform(0.03, 0.12)),
        seed=draw_seed(rng),
    )
    return shape, fabric, draw_loops(rng, ground)


DESIGN = Design("printed", 2, "printed", draw, EAR_LOOP_STATES)
