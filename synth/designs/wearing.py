"""What each wearing state does to a mask's shape; keys are words of `core.labels.WEARING_STATES`.

Heights are places of the face layout: nose tip 34, base of the nose 48, upper lip 61, lower lip 80, chin 118.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType

import numpy as np

from synth.geometry import MaskShape
from synth.topology import CHIN_Y_MM, JAW, canonical_face

Wear = Callable[[MaskShape, np.random.Generator], MaskShape]


def _correct(shape: MaskShape, rng: np.random.Generator) -> MaskShape:
    return shape


def _nose_out(shape: MaskShape, rng: np.random.Generator) -> MaskShape:
    # Slipped down until the top edge lies between nose and lip; the bottom gathers under the chin.
    lowered = replace(
        shape,
        nose_y=rng.uniform(45.0, 55.0),
        corner_y=min(shape.corner_y + rng.uniform(10.0, 18.0), 68.0),
        lower_corner_y=shape.lower_corner_y + 6.0,
        chin_wrap=shape.chin_wrap + rng.uniform(4.0, 12.0),
        nose_arch=1.2,
        cup=0.6 * shape.cup,
        seam=0.4 * shape.seam,
        valve_v=max(shape.valve_v, 0.5),
    )
    return _reframed(shape, lowered, 0.7)


def _mouth_out(shape: MaskShape, rng: np.random.Generator) -> MaskShape:
    # Pulled down to the chin: the top edge lies below the lower lip.
    corner = max(shape.corner_y + 24.0, rng.uniform(58.0, 70.0))
    return replace(
        shape,
        nose_y=rng.uniform(86.0, 93.0),
        corner_y=corner,
        lower_corner_y=max(shape.lower_corner_y + 10.0, corner + 20.0),
        corner_s=0.96 * shape.corner_s,
        chin_wrap=shape.chin_wrap + rng.uniform(14.0, 24.0),
        nose_arch=1.3,
        chin_arch=2.0,
        cup=0.3 * shape.cup,
        seam=0.0,
        fall=max(shape.fall, 0.6),
        folds_mm=shape.folds_mm + 1.2,
        fold_seed=_fold_seed(rng),
        frame=(),
        valve_v=0.5,
    )


def _under_chin(shape: MaskShape, rng: np.random.Generator) -> MaskShape:
    # Worn around the throat: mouth and nose free, the top edge runs along the jaw.
    tube = shape.corner_s > 110.0
    corner_s = shape.corner_s if tube else min(0.92 * shape.corner_s, 100.0)
    corner = _jaw_height(corner_s) - rng.uniform(5.0, 13.0)
    stiff = shape.cup > 10.0
    return replace(
        shape,
        nose_y=CHIN_Y_MM + rng.uniform(-7.0, 3.0),
        corner_y=corner,
        lower_corner_y=max(shape.lower_corner_y, corner + rng.uniform(22.0, 30.0) + (18.0 if stiff else 0.0)),
        corner_s=corner_s,
        lower_corner_s=shape.lower_corner_s if tube else min(0.95 * shape.lower_corner_s, 100.0),
        chin_wrap=max(rng.uniform(36.0, 54.0), 0.9 * shape.chin_wrap),
        nose_arch=1.5,
        chin_arch=2.0,
        standoff=shape.standoff + 1.0,
        cup=(0.75 if stiff else 0.4) * shape.cup,
        seam=0.0,
        fall=max(shape.fall, 0.85),
        folds_mm=shape.folds_mm + (0.0 if stiff else 1.8),
        fold_seed=_fold_seed(rng),
        frame=(),
        valve_v=0.45,
    )


def _hanging(shape: MaskShape, rng: np.random.Generator) -> MaskShape:
    return replace(
        shape,
        hangs=int(rng.choice([-1, 1])),
        fold_seed=_fold_seed(rng),
        hang_mm=shape.hang_mm * rng.uniform(0.85, 1.0),
    )


WEARING: Mapping[str, Wear] = MappingProxyType(
    {
        "correct": _correct,
        "nose_out": _nose_out,
        "mouth_out": _mouth_out,
        "under_chin": _under_chin,
        "hanging": _hanging,
    }
)


def _jaw_height(s: float) -> float:
    # Layout height of the jaw line at a distance from the midline.
    jaw = canonical_face().layout_mm[list(JAW)]
    return float(np.interp(s, jaw[:, 0], jaw[:, 1]))


def _fold_seed(rng: np.random.Generator) -> int:
    return int(rng.integers(2**31))


def _reframed(before: MaskShape, after: MaskShape, stiff: float) -> MaskShape:
    # The stiff folds go with the cloth, as far down as its middle line went.
    low, high = before.nose_y, CHIN_Y_MM + before.chin_wrap
    stretch = (CHIN_Y_MM + after.chin_wrap - after.nose_y) / (high - low)
    points = tuple((s, after.nose_y + (y - low) * stretch, stiff * out) for s, y, out in before.frame)
    return replace(after, frame=points)
