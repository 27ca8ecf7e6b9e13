"""Cloth mask: shaped over the nose with a middle seam, or pleated; any dye, and prints."""

from __future__ import annotations

import numpy as np

from synth.cloth.fabric import Fabric, Pattern, Rgb
from synth.designs.colours import contrasting, jitter, street_colour
from synth.designs.design import EAR_LOOP_STATES, Design, Strap, draw_seed, near, pick
from synth.geometry import MaskShape

PATTERN_SHARES: dict[Pattern, float] = {
    "plain": 0.52,
    "stripes": 0.06,
    "checks": 0.07,
    "plaid": 0.07,
    "dots": 0.06,
    "floral": 0.08,
    "camouflage": 0.04,
    "denim": 0.04,
    "blobs": 0.06,
}


def draw(rng: np.random.Generator) -> tuple[MaskShape, Fabric, Strap]:
    """Shape, fabric, strap: 15 + about 20 draws, in this order."""
    shape = draw_shape(rng)
    pattern = pick(rng, PATTERN_SHARES)
    ground, ink, accent = draw_dyes(rng, pattern)
    fabric = Fabric(
        pattern=pattern,
        ground=ground,
        ink=ink,
        accent=accent,
        trim=ground,
        period_mm=float(rng.uniform(5.0, 18.0)),
        angle_deg=float(rng.choice([0.0, 90.0, 45.0, rng.uniform(0, 180)])),
        weave=float(rng.uniform(0.5, 1.0)),
        cloth="woven",
        wrinkle_mm=float(rng.uniform(0.4, 1.5)),
        hem_mm=near(rng, 6.0, 1.5),
        stitched=bool(rng.random() < 0.8),
        sheen=float(rng.uniform(0.02, 0.10)),
        dirt=float(rng.choice([0.0, rng.uniform(0.1, 0.7)], p=[0.85, 0.15])),
        seed=draw_seed(rng),
    )
    return shape, fabric, draw_loops(rng, ground)


def draw_dyes(rng: np.random.Generator, pattern: Pattern) -> tuple[Rgb, Rgb, Rgb]:
    """Ground, ink and accent: what suits the pattern, else street colours. Nine to twelve draws."""
    if pattern == "camouflage":
        kinds: dict[tuple[Rgb, Rgb, Rgb], float] = {
            ((128, 122, 88), (84, 92, 58), (92, 74, 54)): 0.5,  # woodland
            ((196, 176, 138), (150, 126, 92), (118, 104, 78)): 0.3,  # desert
            ((150, 154, 158), (92, 96, 102), (196, 200, 204)): 0.2,  # town
        }
        ground, ink, accent = (jitter(rng, colour, 4.0) for colour in pick(rng, kinds))
        return ground, ink, accent
    ground = jitter(rng, (58, 76, 112), 6.0) if pattern == "denim" else street_colour(rng)
    return ground, contrasting(rng, ground), contrasting(rng, ground)


def draw_shape(rng: np.random.Generator) -> MaskShape:
    """The shape of a cloth mask: 60 % with a middle seam, 20 % pleated, 20 % plain. 15 draws."""
    cut = rng.random()
    return MaskShape(
        nose_y=near(rng, 11.0, 4.0),
        corner_s=near(rng, 82.0, 7.0),
        lower_corner_s=near(rng, 79.0, 7.0),
        corner_y=near(rng, 36.0, 4.0),
        lower_corner_y=near(rng, 76.0, 5.0),
        chin_wrap=near(rng, 16.0, 5.0),
        nose_arch=near(rng, 1.9, 0.4),
        standoff=near(rng, 3.0, 1.0),
        rim_gap=near(rng, 1.6, 0.5),
        side_gap=near(rng, 3.0, 3.0),
        taut=near(rng, 0.9, 0.1),
        cup=near(rng, 3.0, 1.5),
        seam=near(rng, 3.0, 1.2) if cut < 0.6 else 0.0,
        soft=0.7,
        pleats=3 if 0.6 <= cut < 0.8 else 0,
        pleat_depth=near(rng, 2.2, 0.6),
        hang_mm=110.0,
    )


def draw_loops(rng: np.random.Generator, ground: Rgb) -> Strap:
    """Ear loops: black, white or of the cloth. Two draws."""
    loops: dict[Rgb, float] = {(25, 25, 27): 0.4, (240, 240, 238): 0.3, ground: 0.3}
    return Strap(near(rng, 4.2, 1.4), pick(rng, loops))


DESIGN = Design("cloth", 3, "cloth", draw, EAR_LOOP_STATES)
