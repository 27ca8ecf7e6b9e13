"""Optimisers by name, with the library's own defaults."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from baselines.registry import Optimiser

SGD_MOMENTUM = 0.9  # without it SGD does not train these networks (`baselines.md` 1.10, table 8)


@dataclass(frozen=True, slots=True)
class ParameterGroup:
    """Parameters that learn at their own pace: `rate` times the run's learning rate."""

    parameters: Sequence[nn.Parameter]
    rate: float = 1.0


_CLASSES: MappingProxyType[Optimiser, tuple[Callable[..., Optimizer], dict[str, Any]]] = MappingProxyType(
    {
        "adam": (torch.optim.Adam, {}),
        "adamw": (torch.optim.AdamW, {}),
        "adamax": (torch.optim.Adamax, {}),
        "rmsprop": (torch.optim.RMSprop, {}),
        "sgd": (torch.optim.SGD, {"momentum": SGD_MOMENTUM}),
    }
)


def make_optimiser(
    name: Optimiser, groups: Iterable[ParameterGroup], learning_rate: float, weight_decay: float
) -> Optimizer:
    """The optimiser of that name; each group keeps its own pace under the key "pace"."""
    build, options = _CLASSES[name]
    values = [
        {"params": list(one.parameters), "lr": learning_rate * one.rate, "pace": one.rate} for one in groups
    ]
    return build(values, lr=learning_rate, weight_decay=weight_decay, **options)


def set_rate(optimiser: Optimizer, learning_rate: float) -> None:
    """Give every group its share of a new learning rate."""
    for group in optimiser.param_groups:
        group["lr"] = learning_rate * group["pace"]
