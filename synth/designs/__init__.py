"""The masks people can wear: one file per design, one line here for each."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from synth.designs import (
    bandana,
    child,
    cloth,
    duckbill,
    foam,
    gaiter,
    kf94,
    kn95,
    n95,
    printed,
    scarf,
    surgical,
    transparent,
)
from synth.designs.design import Design

DESIGNS: Mapping[str, Design] = MappingProxyType(
    {
        design.name: design
        for design in (
            surgical.DESIGN,
            cloth.DESIGN,
            foam.DESIGN,
            kn95.DESIGN,
            kf94.DESIGN,
            n95.DESIGN,
            n95.WITH_VALVE,
            duckbill.DESIGN,
            gaiter.DESIGN,
            bandana.DESIGN,
            scarf.DESIGN,
            transparent.DESIGN,
            printed.DESIGN,
            child.SURGICAL,
            child.CLOTH,
        )
    }
)

# How often each is worn. ABANet figure 4 names cloth as the largest share of street photos, then surgical,
# N95 and "others, including unique designer masks"; it prints no numbers, so these are our reading of it.
DEFAULT_SHARES: Mapping[str, float] = MappingProxyType(
    {
        "cloth": 0.28,
        "foam": 0.08,
        "surgical": 0.25,
        "kn95": 0.07,
        "printed": 0.07,
        "kf94": 0.03,
        "n95": 0.04,
        "n95_valve": 0.03,
        "gaiter": 0.03,
        "bandana": 0.03,
        "scarf": 0.02,
        "duckbill": 0.02,
        "transparent": 0.02,
        "child_surgical": 0.015,
        "child_cloth": 0.015,
    }
)
