"""KF94: three panels folded across, a boat-shaped middle panel in front of the mouth, pointed sides."""

from __future__ import annotations

import numpy as np

from synth.cloth.fabric import Fabric
from synth.designs.colours import jitter
from synth.designs.design import EAR_LOOP_STATES, Design, Strap, near, pick
from synth.designs.kn95 import COLOURS, stiff_fabric
from synth.geometry import MaskShape


def draw(rng: np.random.Generator) -> tuple[MaskShape, Fabric, Strap]:
    """Shape, fabric, strap: 12 + 9 draws, in this order."""
    reach = near(rng, 1.0, 0.15)
    shape = MaskShape(
        nose_y=near(rng, 6.0, 3.0),
        corner_s=near(rng, 88.0, 4.0),
        lower_corner_s=near(rng, 87.0, 4.0),
        corner_y=near(rng, 42.0, 3.0),
        lower_corner_y=near(rng, 66.0, 3.0),
        chin_wrap=near(rng, 13.0, 4.0),
        nose_arch=near(rng, 1.7, 0.2),
        chin_arch=near(rng, 1.7, 0.2),
        side_bow=0.0,
        standoff=near(rng, 2.0, 0.6),
        rim_gap=near(rng, 1.0, 0.3),
        rim_mm=13.0,
        soft=0.4,
        frame=(
            (0.0, 44.0, 24.0 * reach),
            (22.0, 45.0, 22.0 * reach),
            (0.0, 82.0, 26.0 * reach),
            (21.0, 80.0, 25.0 * reach),
        ),
        wire_mm=88.0,
        hang_mm=85.0,
    )
    base = pick(rng, COLOURS)
    ground = jitter(rng, base)
    fabric = stiff_fabric(rng, ground, "panels")
    colour = ground if max(base) < 80 else jitter(rng, (238, 240, 242))
    return shape, fabric, Strap(near(rng, 4.5, 1.0), colour)


DESIGN = Design("kf94", 1, "kn95", draw, EAR_LOOP_STATES)
