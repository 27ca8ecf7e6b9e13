"""The masks people can wear: one entry of `DESIGNS` per kind. A new kind is one function and one entry.

A design draws a `Garment` from a random generator: plain numbers and names that render the same mask
again and are stored in the recipe as they are.
"""

from __future__ import annotations

import colorsys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np

from dataset_tools.core.errors import DataError, UnknownName
from synth.fabric import PATTERNS, Fabric, Rgb
from synth.geometry import MaskShape


@dataclass(frozen=True)
class Strap:
    """Ear loops: width in millimetres and sRGB colour."""

    width_mm: float
    colour: Rgb


@dataclass(frozen=True)
class Garment:
    """One mask as worn on one face; everything needed to draw it again.

    Attributes:
        design: "name@version" of the design it was drawn from.
        mask_type: one of `core.labels.MASK_TYPES`.
        state: one of `WEARING`, how it is worn.
        shape, fabric, strap: its parts; `shape` already is that of the wearing state.
    """

    design: str
    mask_type: str
    state: str
    shape: MaskShape
    fabric: Fabric
    strap: Strap


@dataclass(frozen=True)
class Design:
    """A kind of mask.

    Attributes:
        name, version: `version` changes whenever the same random numbers would draw another garment.
        mask_type: one of `core.labels.MASK_TYPES`.
        draw: shape worn correctly, fabric and strap from a random generator.
    """

    name: str
    version: int
    mask_type: str
    draw: Callable[[np.random.Generator], tuple[MaskShape, Fabric, Strap]]

    @property
    def full_name(self) -> str:
        """ "name@version", as stored in recipes and labels."""
        return f"{self.name}@{self.version}"


def _surgical(rng: np.random.Generator) -> tuple[MaskShape, Fabric, Strap]:
    shape = MaskShape(
        nose_y=_near(rng, 9.0, 3.5),
        corner_s=_near(rng, 88.0, 4.0),
        lower_corner_s=_near(rng, 86.0, 4.0),
        corner_y=_near(rng, 33.0, 3.5),
        lower_corner_y=_near(rng, 82.0, 3.0),
        chin_wrap=_near(rng, 15.0, 4.0),
        nose_arch=_near(rng, 2.2, 0.4),
        standoff=_near(rng, 2.2, 0.8),
        rim_gap=_near(rng, 1.2, 0.3),
        taut=_near(rng, 0.95, 0.05),
        cup=_near(rng, 1.5, 1.5),
        pleats=3,
        pleat_depth=_near(rng, 1.6, 0.5),
    )
    base = SURGICAL_COLOURS[rng.choice(len(SURGICAL_COLOURS), p=_SURGICAL_SHARES)]
    ground = _jitter(rng, base)
    fabric = Fabric(
        pattern="plain",
        ground=ground,
        ink=ground,
        period_mm=10.0,
        angle_deg=0.0,
        weave=float(rng.uniform(0.3, 0.7)),
        wrinkle_mm=float(rng.uniform(0.15, 0.5)),
        hem_mm=_near(rng, 4.5, 1.0),
        stitched=False,
        seed=_seed(rng),
    )
    colour = ground if max(base) < 80 else _jitter(rng, (238, 240, 242))
    return shape, fabric, Strap(_near(rng, 3.0, 0.6), colour)


def _cloth(rng: np.random.Generator) -> tuple[MaskShape, Fabric, Strap]:
    shape = MaskShape(
        nose_y=_near(rng, 11.0, 4.0),
        corner_s=_near(rng, 90.0, 5.0),
        lower_corner_s=_near(rng, 86.0, 5.0),
        corner_y=_near(rng, 36.0, 4.0),
        lower_corner_y=_near(rng, 74.0, 4.0),
        chin_wrap=_near(rng, 16.0, 5.0),
        nose_arch=_near(rng, 1.9, 0.4),
        standoff=_near(rng, 3.0, 1.0),
        rim_gap=_near(rng, 1.8, 0.5),
        taut=_near(rng, 0.9, 0.1),
        cup=_near(rng, 3.0, 1.5),
        seam=float(rng.choice([0.0, _near(rng, 2.5, 1.0)], p=[0.35, 0.65])),
    )
    ground = _cloth_colour(rng)
    pattern = PATTERNS[rng.choice(len(PATTERNS), p=[0.52, 0.16, 0.16, 0.16])]
    fabric = Fabric(
        pattern=pattern,
        ground=ground,
        ink=_contrasting(rng, ground),
        period_mm=float(rng.uniform(5.0, 16.0)),
        angle_deg=float(rng.choice([0.0, 90.0, 45.0, rng.uniform(0, 180)])),
        weave=float(rng.uniform(0.5, 1.0)),
        wrinkle_mm=float(rng.uniform(0.3, 0.9)),
        hem_mm=_near(rng, 6.0, 1.5),
        stitched=bool(rng.random() < 0.8),
        seed=_seed(rng),
    )
    loops = [(25, 25, 27), (240, 240, 238), ground]
    return shape, fabric, Strap(_near(rng, 4.0, 1.2), loops[rng.integers(len(loops))])


SURGICAL_COLOURS: tuple[Rgb, ...] = (
    (167, 205, 232),  # pale blue
    (130, 180, 214),  # blue
    (238, 241, 243),  # white
    (150, 205, 192),  # green
    (240, 196, 208),  # pink
    (36, 37, 40),  # black
)
_SURGICAL_SHARES = (0.34, 0.22, 0.18, 0.08, 0.06, 0.12)

DESIGNS: Mapping[str, Design] = MappingProxyType(
    {
        design.name: design
        for design in (Design("surgical", 1, "surgical", _surgical), Design("cloth", 1, "cloth", _cloth))
    }
)


def _worn_correctly(shape: MaskShape) -> MaskShape:
    return shape


def _worn_below_nose(shape: MaskShape) -> MaskShape:
    # Slipped down until the top edge lies between nose and lip; the bottom gathers under the chin.
    return replace(
        shape,
        nose_y=shape.nose_y + 39.0,
        corner_y=shape.corner_y + 14.0,
        lower_corner_y=shape.lower_corner_y + 6.0,
        chin_wrap=shape.chin_wrap + 8.0,
        nose_arch=1.2,
        cup=0.5 * shape.cup,
        seam=0.4 * shape.seam,
    )


# What each wearing state does to a shape; keys are words of `core.labels.WEARING_STATES`.
WEARING: Mapping[str, Callable[[MaskShape], MaskShape]] = MappingProxyType(
    {"correct": _worn_correctly, "nose_out": _worn_below_nose}
)


def draw_garment(design: str, state: str, rng: np.random.Generator) -> Garment:
    """A random mask of a design, worn in a state.

    Raises:
        UnknownName: no such design or state.
    """
    if design not in DESIGNS:
        raise UnknownName("mask design", design, DESIGNS)
    if state not in WEARING:
        raise UnknownName("wearing state", state, WEARING)
    chosen = DESIGNS[design]
    shape, fabric, strap = chosen.draw(rng)
    return Garment(chosen.full_name, chosen.mask_type, state, WEARING[state](shape), fabric, strap)


def garment_to_json(garment: Garment) -> dict[str, Any]:
    """A garment as plain JSON values."""
    return asdict(garment)


def garment_from_json(values: Mapping[str, Any]) -> Garment:
    """The inverse of `garment_to_json`, after a round trip through JSON text.

    Raises:
        DataError: keys are missing or unknown.
    """
    try:
        fabric, strap = dict(values["fabric"]), dict(values["strap"])
        fabric["ground"], fabric["ink"] = tuple(fabric["ground"]), tuple(fabric["ink"])
        strap["colour"] = tuple(strap["colour"])
        parts = {"shape": MaskShape(**values["shape"]), "fabric": Fabric(**fabric), "strap": Strap(**strap)}
        return Garment(**{**values, **parts})
    except (KeyError, TypeError) as error:
        raise DataError(f"not a garment of this version: {error}") from error


def _near(rng: np.random.Generator, middle: float, reach: float) -> float:
    """A value within `reach` of `middle`, more often near it."""
    return float(rng.triangular(middle - reach, middle, middle + reach))


def _seed(rng: np.random.Generator) -> int:
    return int(rng.integers(2**31))


def _jitter(rng: np.random.Generator, colour: Rgb) -> Rgb:
    shifted = np.array(colour) * rng.uniform(0.94, 1.04) + rng.normal(0, 4, size=3)
    return _rgb(shifted)


def _rgb(values: np.typing.ArrayLike) -> Rgb:
    red, green, blue = (int(value) for value in np.clip(np.rint(values), 8, 250))
    return red, green, blue


def _cloth_colour(rng: np.random.Generator) -> Rgb:
    # Black, greys and whites are common in the street; the rest is any hue, rather muted.
    if rng.random() < 0.45:
        level = float(rng.choice([rng.uniform(20, 50), rng.uniform(70, 160), rng.uniform(215, 245)]))
        return _rgb(level + rng.normal(0, 4, size=3))
    hue, saturation, value = rng.random(), rng.uniform(0.25, 0.85), rng.uniform(0.25, 0.9)
    return _rgb(255 * np.array(colorsys.hsv_to_rgb(hue, saturation, value)))


def _contrasting(rng: np.random.Generator, ground: Rgb) -> Rgb:
    target = 235.0 if sum(ground) < 360 else 40.0
    mixed = 0.75 * target + 0.25 * np.array(_cloth_colour(rng))
    return _rgb(mixed)
