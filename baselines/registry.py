"""The one list of baselines: what each is, what its paper printed, and how to build it.

A baseline is one file in `baselines/models/` that registers a builder function, plus one import line in
that folder's `__init__`. Specs are plain values: listing them loads no model library.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from dataset_tools.core.errors import UnknownName

if TYPE_CHECKING:
    from torch import nn


class Fidelity(StrEnum):
    """How close a baseline is to what its paper describes (`baselines.md` section 0.1)."""

    CONFIRMED = "A"  # architecture confirmed against released code
    FROM_TEXT = "B"  # built from the paper's text, gaps filled
    STAND_IN = "C"  # no source exists; never called a reproduction


@dataclass(frozen=True, slots=True)
class Printed:
    """Figures a paper prints for a baseline, measured on the paper's own data.

    Attributes:
        table: where they stand, e.g. "ABANet, table 2, row Unet / ResNet-50".
        values: (metric name of `baselines.metrics`, value in [0, 1]) pairs.
        remark: what is known to be wrong with them; "" when nothing is.
    """

    table: str
    values: tuple[tuple[str, float], ...]
    remark: str = ""

    def value(self, metric: str) -> float | None:
        """The printed figure of that metric in [0, 1], or None."""
        return dict(self.values).get(metric)


@dataclass(frozen=True, slots=True)
class Recipe:
    """Training defaults of a baseline; `TrainSettings` may override each.

    Attributes:
        loss: name in `baselines.losses.LOSSES`.
        learning_rate: of Adam.
        batch: crops per step.
        epochs: passes over the training crops.
    """

    loss: str = "dice"
    learning_rate: float = 1e-4
    batch: int = 8
    epochs: int = 40


@dataclass(frozen=True, slots=True)
class BaselineSpec:
    """What the suite knows of a baseline without building it.

    Attributes:
        name: unique, snake case.
        title: for tables, e.g. "U-Net, ResNet-50".
        paper: short citation of the work that uses or describes it.
        paper_url: where to read it.
        fidelity: see `Fidelity`.
        code_licence: of the code that builds it.
        weights_licence: of the pretrained start, as its source states it.
        labels: names of the foreground labels the paper's version predicts, in channel order.
        input_hw: height and width the paper feeds it, pixels.
        recipe: training defaults.
        parameters: exact count with one output channel, where the specification states one.
        printed: the paper's figures, where it prints any.
    """

    name: str
    title: str
    paper: str
    paper_url: str
    fidelity: Fidelity
    code_licence: str
    weights_licence: str
    labels: tuple[str, ...] = ("face_mask",)
    input_hw: tuple[int, int] = (256, 256)
    recipe: Recipe = field(default=Recipe())
    parameters: int | None = None
    printed: Printed | None = None


class Builder(Protocol):
    """Builds a baseline's network."""

    def __call__(self, num_classes: int, *, pretrained: bool) -> nn.Module:
        """A network with `num_classes` output channels whose `forward` returns a `SegOutput`.

        Args:
            num_classes: 1 for one foreground label, else background plus the labels.
            pretrained: start the encoder from published weights.

        Raises:
            WeightsUnavailable: the published weights cannot be had.
        """
        ...


_specs: dict[str, BaselineSpec] = {}
_builders: dict[str, Builder] = {}


def register_baseline(spec: BaselineSpec) -> Callable[[Builder], Builder]:
    """Decorate a builder function so that `leaderboard` and the tests find it.

    Raises:
        ValueError: the name is taken; two files claim to be the same baseline.
    """

    def register(builder: Builder) -> Builder:
        if spec.name in _specs:
            raise ValueError(f"baseline {spec.name!r} is registered twice")
        _specs[spec.name] = spec
        _builders[spec.name] = builder
        return builder

    return register


def all_specs() -> tuple[BaselineSpec, ...]:
    """Every registered baseline, by name."""
    return tuple(_specs[name] for name in sorted(_specs))


def find_spec(name: str) -> BaselineSpec:
    """The spec of that baseline.

    Raises:
        UnknownName: not registered; lists the nearest names.
    """
    if name not in _specs:
        raise UnknownName("baseline", name, _specs)
    return _specs[name]


def build_network(name: str, num_classes: int, *, pretrained: bool) -> nn.Module:
    """Build a registered baseline; arguments and errors as `Builder`, and `UnknownName`."""
    find_spec(name)
    return _builders[name](num_classes, pretrained=pretrained)
