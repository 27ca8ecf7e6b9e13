"""Losses by name: every module of this folder registers its own; a new loss is one file."""

from __future__ import annotations

import importlib
import pkgutil

from baselines.losses.naming import (
    OutputLoss,
    PixelLoss,
    find_loss,
    loss_names,
    one_vs_rest,
    register_loss,
    register_pixel_loss,
    supervised_loss,
    target_of,
)

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

__all__ = [
    "OutputLoss",
    "PixelLoss",
    "find_loss",
    "loss_names",
    "one_vs_rest",
    "register_loss",
    "register_pixel_loss",
    "supervised_loss",
    "target_of",
]
