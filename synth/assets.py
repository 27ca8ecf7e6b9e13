"""Garments: one mask as worn on one face, drawn from a design and stored in the recipe as plain values.

The designs themselves are in `synth/designs/`, one file each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, get_args

import numpy as np

from dataset_tools.core.errors import ConfigError, DataError, UnknownName
from synth.cloth.fabric import PATTERNS, Fabric, Lines, Weave, Window
from synth.designs import DEFAULT_SHARES, DESIGNS
from synth.designs.design import STRAP_KINDS, Design, Strap
from synth.designs.wearing import WEARING
from synth.geometry import MaskShape

__all__ = [
    "DEFAULT_SHARES",
    "DESIGNS",
    "WEARING",
    "Design",
    "Garment",
    "Strap",
    "allowed_states",
    "draw_garment",
    "garment_from_json",
    "garment_to_json",
]


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


def allowed_states(design: str, designs: Mapping[str, Design] = DESIGNS) -> tuple[str, ...]:
    """The ways a design can be worn, words of `core.labels.WEARING_STATES`.

    Raises:
        UnknownName: no such design.
    """
    if design not in designs:
        raise UnknownName("mask design", design, designs)
    return designs[design].states


def draw_garment(
    design: str, state: str, rng: np.random.Generator, designs: Mapping[str, Design] = DESIGNS
) -> Garment:
    """A random mask of a design, worn in a state.

    Args:
        design: a name of `designs`.
        state: one of `allowed_states(design)`.
        rng: drawn from as the design says, then as the wearing state needs.
        designs: the masks there are, to which users may have added theirs.

    Raises:
        UnknownName: no such design or state.
        ConfigError: this design is not worn like that.
    """
    states = allowed_states(design, designs)
    if state not in WEARING:
        raise UnknownName("wearing state", state, WEARING)
    if state not in states:
        raise ConfigError(
            f"mask design {design!r} cannot be worn as {state!r}; it can as: {', '.join(states)}"
        )
    chosen = designs[design]
    shape, fabric, strap = chosen.draw(rng)
    worn = WEARING[state](shape, rng)
    return Garment(chosen.full_name, chosen.mask_type, state, worn, fabric, strap)


def garment_to_json(garment: Garment) -> dict[str, Any]:
    """A garment as plain JSON values."""
    return asdict(garment)


def garment_from_json(values: Mapping[str, Any]) -> Garment:
    """The inverse of `garment_to_json`, after a round trip through JSON text.

    Raises:
        DataError: keys are missing or unknown, or a word is not one this version knows.
    """
    try:
        fabric, strap, shape = dict(values["fabric"]), dict(values["strap"]), dict(values["shape"])
        for name in ("ground", "ink", "accent", "trim"):
            fabric[name] = tuple(fabric[name])
        if fabric["window"] is not None:
            fabric["window"] = Window(**fabric["window"])
        strap["colour"] = tuple(strap["colour"])
        shape["frame"] = tuple(tuple(point) for point in shape["frame"])
        _known("pattern", fabric["pattern"], PATTERNS)
        _known("cloth", fabric["cloth"], get_args(Weave))
        _known("lines", fabric["lines"], get_args(Lines))
        _known("strap", strap["kind"], STRAP_KINDS)
        parts = {"shape": MaskShape(**shape), "fabric": Fabric(**fabric), "strap": Strap(**strap)}
        return Garment(**{**values, **parts})
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"not a garment of this version: {error}") from error


def _known(what: str, word: object, words: tuple[str, ...]) -> None:
    if word not in words:
        raise ValueError(f"{what} {word!r}")
