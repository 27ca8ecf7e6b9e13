"""The user's own pictures that recipes may name, found again by their content."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from synth.designs import DESIGNS
from synth.designs.design import Design
from synth.occluders.cutouts import OccluderLibrary


@dataclass(frozen=True)
class Resources:
    """What lies outside the recipe.

    Attributes:
        designs: our masks and the user's, by name.
        own_masks: digest of the user's designs; "" when there are none.
        cutouts: real objects to hold in front of faces; None when the build has no folder of them.
    """

    designs: Mapping[str, Design] = field(default_factory=lambda: dict(DESIGNS))
    own_masks: str = ""
    cutouts: OccluderLibrary | None = None


NOTHING = Resources()
