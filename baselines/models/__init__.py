"""All baselines, one file each; the only door to them. Importing this builds nothing and needs no torch."""

from __future__ import annotations

import importlib
import pkgutil

from baselines.registry import BaselineSpec, all_specs, build_network, find_spec

# Every file of this folder registers its rows; a new baseline is one file.
for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

__all__ = ["BaselineSpec", "all_specs", "build_network", "find_spec"]
