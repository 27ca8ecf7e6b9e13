"""Neck gaiter: a tube of stretch cloth from the nose down to the collar."""

from __future__ import annotations

import numpy as np

from synth.cloth.fabric import Fabric
from synth.designs.cloth import PATTERN_SHARES, draw_dyes
from synth.designs.design import TUBE_STATES, Design, Strap, draw_seed, near, pick
from synth.geometry import MaskShape


def draw(rng: np.random.Generator) -> tuple[MaskShape, Fabric, Strap]:
    """Shape, fabric: 12 + about 15 draws, in this order."""
    shape = MaskShape(
        nose_y=near(rng, 14.0, 6.0),
        corner_s=near(rng, 196.0, 6.0),
        lower_corner_s=near(rng, 200.0, 6.0),
        corner_y=near(rng, 40.0, 6.0),
        lower_corner_y=near(rng, 158.0, 8.0),
        chin_wrap=near(rng, 62.0, 10.0),
        nose_arch=1.5,
        side_bow=0.0,
        standoff=2.0,
        rim_gap=1.2,
        taut=0.9,
        fall=1.0,
        collar_mm=near(rng, 56.0, 3.0),
        folds_mm=near(rng, 1.0, 0.6),
        fold_seed=draw_seed(rng),
        fold_turn=0.2,
        wraps=int(rng.integers(2, 5)),
        wrap_mm=near(rng, 2.4, 0.8),
        wrap_from=0.55,
    )
    pattern = pick(rng, PATTERN_SHARES)
    ground, ink, accent = draw_dyes(rng, pattern)
    fabric = Fabric(
        pattern=pattern,
        ground=ground,
        ink=ink,
        accent=accent,
        trim=ground,
        period_mm=float(rng.uniform(8.0, 24.0)),
        angle_deg=float(rng.uniform(0, 180)),
        weave=float(rng.uniform(0.3, 0.7)),
        cloth="woven",
        wrinkle_mm=float(rng.uniform(0.6, 1.4)),
        hem_mm=near(rng, 4.0, 1.0),
        stitched=bool(rng.random() < 0.5),
        sheen=float(rng.uniform(0.05, 0.15)),
        seed=draw_seed(rng),
    )
    return shape, fabric, Strap(0.0, ground, "none")


DESIGN = Design("gaiter", 2, "gaiter", draw, TUBE_STATES)
