"""KN95: folded down the middle, a stiff ridge from the nose to under the chin, welded edges, ear loops."""

from __future__ import annotations

import numpy as np

from synth.cloth.fabric import Fabric, Lines, Rgb
from synth.designs.colours import BLACK, any_colour, jitter
from synth.designs.design import EAR_LOOP_STATES, Design, Strap, draw_seed, near, pick
from synth.geometry import MaskShape

COLOURS: dict[Rgb, float] = {(240, 241, 243): 0.62, BLACK: 0.22, (150, 154, 160): 0.06, (176, 204, 226): 0.1}


def draw(rng: np.random.Generator) -> tuple[MaskShape, Fabric, Strap]:
    """Shape, fabric, strap: 13 + about 11 draws, in this order."""
    point = near(rng, 30.0, 4.0)
    shape = MaskShape(
        nose_y=near(rng, 7.0, 3.0),
        corner_s=near(rng, 77.0, 5.0),
        lower_corner_s=near(rng, 74.0, 5.0),
        corner_y=near(rng, 37.0, 3.0),
        lower_corner_y=near(rng, 73.0, 4.0),
        chin_wrap=near(rng, 12.0, 4.0),
        nose_arch=near(rng, 1.5, 0.2),
        chin_arch=near(rng, 1.35, 0.15),
        side_bow=1.0,
        standoff=near(rng, 2.0, 0.6),
        rim_gap=near(rng, 1.0, 0.3),
        side_gap=near(rng, 2.0, 2.0),
        rim_mm=12.0,
        soft=0.3,
        frame=((0.0, 34.0, 0.38 * point), (0.0, 50.0, point), (0.0, 62.0, point), (0.0, 82.0, 0.75 * point)),
        wire_mm=86.0,
        hang_mm=112.0,
    )
    base = pick(rng, COLOURS)
    ground = jitter(rng, any_colour(rng) if rng.random() < 0.06 else base)
    fabric = stiff_fabric(rng, ground, "fold")
    colour = ground if max(base) < 80 else jitter(rng, (238, 240, 242))
    return shape, fabric, Strap(near(rng, 4.5, 1.0), colour)


def stiff_fabric(rng: np.random.Generator, ground: Rgb, lines: Lines) -> Fabric:
    """Non-woven cloth of a folded respirator with its welds. Four draws."""
    return Fabric(
        pattern="plain",
        ground=ground,
        ink=(96, 100, 106) if sum(ground) > 300 else (190, 192, 195),
        accent=ground,
        trim=ground,
        weave=float(rng.uniform(0.2, 0.5)),
        cloth="fibre",
        wrinkle_mm=float(rng.uniform(0.1, 0.3)),
        hem_mm=near(rng, 5.0, 1.0),
        stitched=True,
        sheen=0.06,
        lines=lines,
        stamp="KN95" if lines == "fold" else "",
        seed=draw_seed(rng),
    )


DESIGN = Design("kn95", 1, "kn95", draw, EAR_LOOP_STATES)
