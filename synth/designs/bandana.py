"""Bandana: a square folded to a triangle, tied behind the head, its point on the chest."""

from __future__ import annotations

import numpy as np

from synth.cloth.fabric import Fabric, Pattern, Rgb
from synth.designs.cloth import draw_dyes
from synth.designs.colours import jitter
from synth.designs.design import TUBE_STATES, Design, Strap, draw_seed, near, pick
from synth.geometry import MaskShape

_COLOURS: dict[Rgb, float] = {
    (150, 28, 36): 0.3,  # red
    (34, 46, 92): 0.2,  # navy
    (30, 30, 32): 0.28,  # black
    (232, 232, 228): 0.07,  # white
    (60, 92, 62): 0.07,  # green
    (196, 104, 40): 0.08,  # orange
}
_PATTERNS: dict[Pattern, float] = {
    "paisley": 0.62,
    "plain": 0.14,
    "dots": 0.1,
    "plaid": 0.07,
    "camouflage": 0.07,
}


def draw(rng: np.random.Generator) -> tuple[MaskShape, Fabric, Strap]:
    """Shape, fabric: 9 + 11 draws, in this order."""
    shape = MaskShape(
        nose_y=near(rng, 12.0, 5.0),
        corner_s=near(rng, 160.0, 5.0),
        lower_corner_s=near(rng, 146.0, 6.0),
        corner_y=near(rng, 34.0, 6.0),
        lower_corner_y=near(rng, 56.0, 6.0),
        chin_wrap=near(rng, 88.0, 18.0),
        nose_arch=1.4,
        chin_arch=near(rng, 0.72, 0.08),
        side_bow=0.0,
        standoff=3.0,
        rim_gap=1.5,
        taut=0.95,
        fall=1.0,
        collar_mm=80.0,
        folds_mm=near(rng, 2.2, 1.0),
        fold_seed=draw_seed(rng),
        fold_turn=0.6,
    )
    base = pick(rng, _COLOURS)
    pattern = pick(rng, _PATTERNS)
    ground = jitter(rng, base)
    ink = jitter(rng, (236, 234, 228) if sum(base) < 500 else (36, 40, 80))
    accent = jitter(rng, (30, 30, 34))
    if pattern == "camouflage":
        ground, ink, accent = draw_dyes(rng, pattern)
    fabric = Fabric(
        pattern=pattern,
        ground=ground,
        ink=ink,
        accent=accent,
        trim=ground,
        period_mm=near(rng, 24.0, 8.0),
        angle_deg=45.0,
        weave=float(rng.uniform(0.4, 0.8)),
        cloth="woven",
        wrinkle_mm=float(rng.uniform(0.7, 1.4)),
        hem_mm=3.0,
        stitched=True,
        sheen=0.05,
        seed=draw_seed(rng),
    )
    return shape, fabric, Strap(0.0, base, "none")


DESIGN = Design("bandana", 2, "gaiter", draw, TUBE_STATES)
