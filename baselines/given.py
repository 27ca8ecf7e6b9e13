"""What the command line says about a training, as fields of `TrainSettings`; importing this is light."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from dataset_tools.core.errors import ConfigError
from dataset_tools.core.labels import Label

SPLITS = ["unassigned", "train", "val", "test"]  # written out: `--help` must not wait for NumPy


def name_and_value(text: str, flag: str) -> tuple[str, Any]:
    """The two sides of NAME=VALUE; VALUE is YAML.

    Args:
        text: as given.
        flag: the option it was given to, for messages.

    Raises:
        ConfigError: no such form, or no YAML.
    """
    import yaml

    name, equals, value = text.partition("=")
    if not equals or not name:
        raise ConfigError(f"{flag} {text}: write NAME=VALUE")
    try:
        return name, yaml.safe_load(value)
    except yaml.YAMLError:
        raise ConfigError(f"{flag} {text}: the value is no YAML") from None


def training_options(command: Callable[..., None]) -> Callable[..., None]:
    """Decorate a command with everything a user may choose about a training; see `chosen_settings`."""
    labels = [one.value for one in Label]
    for option in reversed(
        (
            click.option("--steps", type=int, help="Optimiser steps [default: the recipe's epochs]."),
            click.option("--epochs", type=int, help="Passes over the training crops."),
            click.option("--batch", type=int, help="Crops per step [default: the recipe's]."),
            click.option("--optimiser", help="adam, adamw, adamax, rmsprop or sgd [default: the recipe's]."),
            click.option("--learning-rate", type=float, help="Of the optimiser [default: the recipe's]."),
            click.option("--loss", help="A registered loss [default: the recipe's]."),
            click.option("--input-px", type=int, help="Side of the network's input [default: 256]."),
            click.option("--split", type=click.Choice(SPLITS), help="To learn from [default: train]."),
            click.option(
                "--samples",
                type=click.Choice(["all", "synthetic", "real"]),
                help="To learn from [default: all].",
            ),
            click.option("--crop", type=click.Choice(["face", "image"]), help="What is cut [default: face]."),
            click.option("--margin", type=float, help="Around a face box, share of its side [default: .25]."),
            click.option(
                "--label",
                "labels",
                multiple=True,
                type=click.Choice(labels),
                help="To learn [default: face_mask].",
            ),
            click.option("--option", "options", multiple=True, help="A switch of the baseline, NAME=VALUE."),
            click.option(
                "--val-every-steps", type=int, help="Steps between validations [default: one pass]."
            ),
            click.option(
                "--patience", type=int, help="Validations without gain before stopping [default: 15]."
            ),
            click.option("--no-augment", is_flag=True, help="Learn the crops as they are."),
            click.option("--random-init", is_flag=True, help="Do not start from published encoder weights."),
            click.option("--num-workers", type=int, help="Processes that prepare crops."),
            click.option(
                "--deterministic", is_flag=True, help="Refuse GPU kernels that vary from run to run."
            ),
            click.option("--seed", type=int, default=0, show_default=True),
        )
    ):
        command = option(command)
    return command


def chosen_settings(
    crop: str | None,
    margin: float | None,
    labels: tuple[str, ...],
    options: tuple[str, ...],
    random_init: bool,
    no_augment: bool,
    deterministic: bool,
    **given: Any,
) -> dict[str, Any]:
    """Fields of `TrainSettings` that the command line names; what it leaves out stays out.

    Raises:
        ConfigError: an option that is not of the form NAME=VALUE.
    """
    chosen = {name: value for name, value in given.items() if value is not None}
    cutting = {key: value for key, value in (("kind", crop), ("margin", margin)) if value is not None}
    if cutting:
        chosen["crop"] = cutting
    if labels:
        chosen["labels"] = labels
    if options:
        chosen["options"] = dict(name_and_value(one, "--option") for one in options)
    if random_init:
        chosen["pretrained"] = False
    if no_augment:
        chosen["augment"] = False
    if deterministic:
        chosen["deterministic"] = True
    return chosen
