"""The one list of baselines: what each is, what its paper printed, and how to build it.

A baseline is one file in `baselines/models/` that registers a builder function, plus one import line in
that folder's `__init__`. Specs are plain values: listing them loads no model library.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from dataset_tools.core.errors import ConfigError, UnknownName

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from torch import nn

    FloatMap = npt.NDArray[np.float32]
    FloatArray = npt.NDArray[np.float32]


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


Optimiser = Literal["adam", "adamw", "adamax", "rmsprop", "sgd"]
Schedule = Literal["constant", "plateau", "steps", "cosine"]


@dataclass(frozen=True, slots=True)
class Recipe:
    """Training defaults of a baseline; `TrainSettings` may override each.

    The defaults are recipe R2 (`baselines.md` section 0.4).

    Attributes:
        loss: a name of `baselines.losses`; "" for a network that computes its own (`TrainsItself`).
        optimiser: betas, momentum and the like as the library has them; SGD with momentum 0.9.
        learning_rate: of the optimiser.
        weight_decay: of the optimiser.
        clip_value: gradients are cut to [-clip_value, clip_value]; None: not at all.
        clip_norm: gradients are scaled down to this norm; None: not at all.
        schedule: "plateau" divides the rate by 10 after 5 validations without a better validation loss;
            "cosine" rises for the first steps and falls to nothing at the last (Loshchilov and Hutter 2017).
        batch: crops per step.
        epochs: passes over the training crops.
    """

    loss: str = "dice"
    optimiser: Optimiser = "adam"
    learning_rate: float = 1e-4
    weight_decay: float = 0.0
    clip_value: float | None = None
    clip_norm: float | None = None
    schedule: Schedule = "constant"
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
        is_trained: False for a method without gradient steps (`register_method`).
        trained_by: "module:function" of a training in stages, with the arguments of `baselines.train.train`;
            "" for the plain one.
        least_labels: fewest foreground labels it makes sense for.
        least_batch: smallest training batch its normalisation layers take.
        min_px: smallest input side it takes.
        uncompiled: why `torch.compile` is not used on it; "" when it is.
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
    is_trained: bool = True
    trained_by: str = ""
    least_labels: int = 1
    least_batch: int = 1
    min_px: int = 32
    uncompiled: str = ""


Builder = Callable[..., "nn.Module"]
Method = Callable[..., "FloatMap"]
Fit = Callable[..., dict[str, "FloatArray"]]

_specs: dict[str, BaselineSpec] = {}
_builders: dict[str, Builder] = {}
_methods: dict[str, tuple[Method, Fit | None]] = {}


def register_baseline(spec: BaselineSpec) -> Callable[[Builder], Builder]:
    """Decorate a builder function so that `leaderboard` and the tests find it.

    The function has the form `builder(num_classes, *, pretrained, **options)` and returns a network whose
    `forward` maps (B, 3, H, W) float images (`segmenter.normalise_images`) to a `SegOutput`:

        num_classes: output channels: 1 for one foreground label, else background plus the labels.
        pretrained: start the encoder from published weights; it raises `WeightsUnavailable` without them.
        options: the baseline's own switches, keyword-only, each with a default. An ablation is a baseline
            with other options.

    Raises:
        ValueError: the name is taken; two files claim to be the same baseline.
    """

    def register(builder: Builder) -> Builder:
        _add(spec)
        _builders[spec.name] = builder
        return builder

    return register


def register_method(spec: BaselineSpec, *, fit: Fit | None = None) -> Callable[[Method], Method]:
    """Decorate a method without gradient steps (classical methods, floors); `spec.is_trained` is False.

    The function has the form `method(square, fitted, *, **options)`; its answer is the same each time:

        square: (S, S, 3) uint8 RGB crop of a face.
        fitted: the float32 arrays `fit` found on the training crops, by name; empty without one.
        options: the method's own switches, keyword-only, each with a default.
        answer: (S, S) float32 in [0, 1], how surely each pixel is mask; 0 and 1 alone when it decides hard.

    Args:
        spec: what the suite knows of it.
        fit: `fit(examples)` goes once over (crop, label) pairs, (S, S, 3) uint8 and (S, S) bool, and
            returns the arrays.

    Raises:
        ValueError: the name is taken, or the spec says that it is trained.
    """

    def register(method: Method) -> Method:
        if spec.is_trained:
            raise ValueError(f"method {spec.name!r} must say is_trained=False")
        _add(spec)
        _methods[spec.name] = (method, fit)
        return method

    return register


def _add(spec: BaselineSpec) -> None:
    if spec.name in _specs:
        raise ValueError(f"baseline {spec.name!r} is registered twice")
    _specs[spec.name] = spec


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


def build_network(name: str, num_classes: int, *, pretrained: bool, **options: Any) -> nn.Module:
    """Build a registered trained baseline; arguments and errors as `Builder`.

    Raises:
        UnknownName: not registered, or it has no such option.
        ConfigError: it is a method without a network, or an option has a value it does not know.
    """
    spec = find_spec(name)
    if not spec.is_trained:
        raise ConfigError(f"{name} is a method without a network")
    builder = _builders[name]
    _check_options(name, builder, options)
    try:
        return builder(num_classes, pretrained=pretrained, **options)
    except (TypeError, ValueError) as error:
        if not options:
            raise
        raise ConfigError(f"{name} with {dict(options)}: {error}") from error


def find_method(name: str, **options: Any) -> tuple[Method, Fit | None]:
    """A registered method and what fits it, both with the options filled in.

    Raises:
        UnknownName: not registered, or it has no such option.
        ConfigError: it is trained by gradient steps.
    """
    spec = find_spec(name)
    if spec.is_trained:
        raise ConfigError(f"{name} is a trained network, not a fixed method")
    method, fit = _methods[name]
    _check_options(name, method, options)
    return partial(method, **options), fit


def option_names(name: str) -> tuple[str, ...]:
    """Names of a baseline's own switches, sorted.

    Raises:
        UnknownName: not registered.
    """
    spec = find_spec(name)
    return _options_of(_builders[name] if spec.is_trained else _methods[name][0])


def _options_of(function: Callable[..., object]) -> tuple[str, ...]:
    keywords = inspect.signature(function).parameters.values()
    return tuple(
        sorted(one.name for one in keywords if one.kind is one.KEYWORD_ONLY and one.name != "pretrained")
    )


def _check_options(name: str, function: Callable[..., object], options: Mapping[str, Any]) -> None:
    known = _options_of(function)
    for option in options:
        if option not in known:
            raise UnknownName(f"option of {name}", option, known)
