"""What a mask design is, and the random draws that several designs share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np

from synth.cloth.fabric import Fabric, Rgb
from synth.geometry import MaskShape

T = TypeVar("T")
StrapKind = Literal["ear_loops", "head", "none"]
STRAP_KINDS: tuple[StrapKind, ...] = ("ear_loops", "head", "none")


@dataclass(frozen=True)
class Strap:
    """What holds a mask: width in millimetres, sRGB colour, and where it runs.

    Attributes:
        width_mm, colour: of the strap.
        kind: "ear_loops" to both ears, "head" for two bands around the back of the head, "none".
        of_cloth: cut from the mask's own sheet, so that they are labelled as mask and not as straps.
    """

    width_mm: float
    colour: Rgb
    kind: StrapKind = "ear_loops"
    of_cloth: bool = False


Draw = Callable[[np.random.Generator], tuple[MaskShape, Fabric, Strap]]


@dataclass(frozen=True)
class Design:
    """A kind of mask.

    Attributes:
        name, version: `version` changes whenever the same random numbers would draw another garment.
        mask_type: one of `core.labels.MASK_TYPES`.
        draw: shape worn correctly, fabric and strap from a random generator.
        states: the ways it can be worn, words of `core.labels.WEARING_STATES`.
    """

    name: str
    version: int
    mask_type: str
    draw: Draw
    states: tuple[str, ...]

    @property
    def full_name(self) -> str:
        """ "name@version", as stored in recipes and labels."""
        return f"{self.name}@{self.version}"


# A mask with ear loops can be worn in every way; one with bands around the head cannot hang from an ear.
EAR_LOOP_STATES = ("correct", "nose_out", "mouth_out", "under_chin", "hanging")
HEAD_BAND_STATES = ("correct", "nose_out", "under_chin")
TUBE_STATES = ("correct", "nose_out", "mouth_out", "under_chin")


def near(rng: np.random.Generator, middle: float, reach: float) -> float:
    """A value within `reach` of `middle`, more often near it. One draw."""
    return float(rng.triangular(middle - reach, middle, middle + reach))


def draw_seed(rng: np.random.Generator) -> int:
    """A seed below 2^31. One draw."""
    return int(rng.integers(2**31))


def pick(rng: np.random.Generator, options: dict[T, float]) -> T:
    """One of the keys, by their shares. One draw."""
    shares = np.array(list(options.values()))
    return list(options)[int(rng.choice(len(shares), p=shares / shares.sum()))]
