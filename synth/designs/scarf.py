"""Scarf: thick knitted or woven cloth wound around neck, mouth and nose in deep folds."""

from __future__ import annotations

import numpy as np

from synth.cloth.fabric import Fabric, Pattern
from synth.designs.cloth import draw_dyes
from synth.designs.design import TUBE_STATES, Design, Strap, draw_seed, near, pick
from synth.geometry import MaskShape

_PATTERNS: dict[Pattern, float] = {"plain": 0.5, "plaid": 0.26, "stripes": 0.16, "checks": 0.08}


def draw(rng: np.random.Generator) -> tuple[MaskShape, Fabric, Strap]:
    """Shape, fabric: 14 + about 15 draws, in this order."""
    shape = MaskShape(
        nose_y=near(rng, 20.0, 8.0),
        corner_s=near(rng, 196.0, 6.0),
        lower_corner_s=near(rng, 200.0, 6.0),
        corner_y=near(rng, 50.0, 8.0),
        lower_corner_y=near(rng, 140.0, 10.0),
        chin_wrap=near(rng, 64.0, 12.0),
        nose_arch=near(rng, 1.25, 0.2),
        side_bow=0.0,
        standoff=near(rng, 9.0, 2.0),
        rim_gap=near(rng, 4.0, 1.0),
        taut=0.95,
        fall=1.0,
        collar_mm=near(rng, 68.0, 5.0),
        folds_mm=near(rng, 2.5, 1.0),
        fold_seed=draw_seed(rng),
        fold_turn=0.25,
        wraps=int(rng.integers(3, 6)),
        wrap_mm=near(rng, 6.0, 1.5),
    )
    pattern = pick(rng, _PATTERNS)
    ground, ink, accent = draw_dyes(rng, pattern)
    knitted = rng.random() < 0.6
    fabric = Fabric(
        pattern=pattern,
        ground=ground,
        ink=ink,
        accent=accent,
        trim=ground,
        period_mm=float(rng.uniform(14.0, 40.0)),
        angle_deg=float(rng.choice([0.0, 90.0])),
        weave=float(rng.uniform(0.7, 1.0)),
        cloth="knit" if knitted else "woven",
        wrinkle_mm=float(rng.uniform(0.6, 1.2)),
        hem_mm=3.0,
        stitched=False,
        sheen=0.02,
        seed=draw_seed(rng),
    )
    return shape, fabric, Strap(0.0, ground, "none")


DESIGN = Design("scarf", 2, "scarf", draw, TUBE_STATES)
