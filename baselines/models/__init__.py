"""All baselines, one file each; the only door to them. Importing this builds nothing and needs no torch."""

from __future__ import annotations

from baselines.models import unet_effb7, unet_effnet_lite0, unet_r50, unet_vgg19
from baselines.registry import BaselineSpec, all_specs, build_network, find_spec

__all__ = [
    "BaselineSpec",
    "all_specs",
    "build_network",
    "find_spec",
    "unet_effb7",
    "unet_effnet_lite0",
    "unet_r50",
    "unet_vgg19",
]
