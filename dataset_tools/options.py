"""Options that the commands share, and how they open a build."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dataset_tools.core.console import choose_progress

if TYPE_CHECKING:
    from dataset_tools.pipeline import Pipeline

Command = Callable[..., Any]


def with_output(command: Command) -> Command:
    """Add `--quiet` and `--json` (parameter `as_json`)."""
    command = click.option("--json", "as_json", is_flag=True, help="Print one JSON value; no progress.")(
        command
    )
    return click.option("--quiet", is_flag=True, help="No progress, only results and errors.")(command)


def with_config(command: Command) -> Command:
    """Add the CONFIG argument and the options that override the file."""
    command = click.option("--workers", type=click.IntRange(1), help="Overrides the file.")(command)
    command = click.option("--engine", type=click.Choice(["local", "ray"]), help="Overrides the file.")(
        command
    )
    command = click.option("--seed", type=click.IntRange(0), help="Overrides the file.")(command)
    command = click.option(
        "--workspace", type=click.Path(path_type=Path, file_okay=False), help="Overrides the file."
    )(command)
    return click.argument(
        "config", type=click.Path(path_type=Path, dir_okay=False), default=Path("config.yaml")
    )(command)


def open_build(
    config: Path,
    *,
    quiet: bool,
    as_json: bool,
    workspace: Path | None,
    seed: int | None,
    workers: int | None,
    engine: str | None = None,
) -> Pipeline:
    """The build that a configuration file and the overriding options describe.

    Raises:
        ConfigError: the file cannot be used.
    """
    from dataset_tools.config import read_config
    from dataset_tools.pipeline import Pipeline

    given = {
        "workspace": workspace and workspace.resolve(),
        "seed": seed,
        "workers": workers,
        "engine": engine,
    }
    changes = {key: value for key, value in given.items() if value is not None}
    build = read_config(config).model_copy(update=changes)
    return Pipeline(build, choose_progress(quiet=quiet, as_json=as_json))


def print_result(values: Any, lines: list[str], as_json: bool) -> None:
    """Print the JSON value, or the lines for people."""
    if as_json:
        click.echo(json.dumps(values, indent=2, sort_keys=True, default=str, ensure_ascii=False))
    else:
        click.echo("\n".join(lines))
