"""`build-dataset split`: one split or all its draws, frozen where it shall last, and what crosses it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dataset_tools.core.console import choose_progress, reports_errors
from dataset_tools.core.errors import EXIT_TOO_MANY_REJECTS, ConfigError
from dataset_tools.core.text import printable
from dataset_tools.options import open_build, print_result, with_config, with_output

if TYPE_CHECKING:
    from dataset_tools.config import BuildConfig
    from dataset_tools.core.manifest import Manifest
    from dataset_tools.pipeline import Pipeline
    from dataset_tools.split import SplitSettings
    from dataset_tools.split_leaks import Crossing

_MOST_LINES = 50


@click.command("split")
@with_config
@click.option("--trial", type=click.IntRange(0), help="Another draw of the same shares, 0 to 4.")
@click.option("--fold", type=click.IntRange(0), help="The fold that is the test split; needs split.folds.")
@click.option("--all", "all_draws", is_flag=True, help="Every trial, or every fold where split.folds is set.")
@click.option(
    "--freeze",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write down who is where; named as split.frozen, the file keeps them there while the dataset grows.",
)
@click.option("--report", is_flag=True, help="Say what crosses the splits; exit code 3 for what must not.")
@with_output
@reports_errors
def split_command(
    config: Path,
    trial: int | None,
    fold: int | None,
    all_draws: bool,
    freeze: Path | None,
    report: bool,
    quiet: bool,
    as_json: bool,
    **overrides: Any,
) -> None:
    """Assign train, val and test so that no person or photo is on two sides.

    Each draw is a manifest of its own; commands that take a dataset take its folder.
    """
    if all_draws and (trial is not None or fold is not None or freeze is not None):
        raise ConfigError("--all makes every draw; --trial, --fold and --freeze go with one")
    build = open_build(config, quiet=quiet, as_json=as_json, **overrides)
    draws = all_of(build.config.split) if all_draws else [_drawn(build.config.split, trial, fold)]
    values, lines, is_clean = [], [], True
    for settings in draws:
        one = _with_split(build, settings, choose_progress(quiet=quiet, as_json=as_json))
        value, text = _run_draw(one, is_many=all_draws)
        if freeze is not None:
            frozen, said = _freeze(one, freeze)
            # Where that is the file the split rests on, it is another split now, with the same rows.
            value, text = _run_draw(one, is_many=False)
            value["frozen"] = frozen
            text.append(said)
        if report:
            found = _crossings(one.manifest("split"), one.config)
            value["crossings"], said_lines, is_fine = describe_crossings(found)
            text += said_lines
            is_clean = is_clean and is_fine
        values.append(value)
        lines += text
    print_result(values if all_draws else values[0], lines, as_json)
    if not is_clean:
        raise SystemExit(EXIT_TOO_MANY_REJECTS)


def all_of(settings: SplitSettings) -> list[SplitSettings]:
    """The settings of every fold, or of every trial where there are no folds.

    Raises:
        ConfigError: a frozen split has only one.
    """
    from dataset_tools.split.settings import TRIALS

    if settings.folds is not None:
        return [_drawn(settings, None, fold) for fold in range(settings.folds)]
    return [_drawn(settings, trial, None) for trial in range(TRIALS)]


def _drawn(settings: SplitSettings, trial: int | None, fold: int | None) -> SplitSettings:
    from dataset_tools.core.settings import parse_settings
    from dataset_tools.split import SplitSettings

    given = {"trial": trial, "fold": fold}
    changes = {key: value for key, value in given.items() if value is not None}
    # Not `model_copy`: the changed settings must fit together, too.
    return parse_settings(SplitSettings, settings.model_dump() | changes, "split") if changes else settings


def _with_split(build: Pipeline, settings: SplitSettings, progress: Any) -> Pipeline:
    from dataset_tools.pipeline import Pipeline

    if settings == build.config.split:
        return build
    return Pipeline(build.config.model_copy(update={"split": settings}), progress)


def _run_draw(build: Pipeline, *, is_many: bool) -> tuple[dict[str, Any], list[str]]:
    from dataset_tools.core.stage import describe_report, report_values
    from dataset_tools.split.figures import split_figures

    settings = build.config.split
    report = build.run("split")
    manifest = build.manifest("split")
    figures = split_figures(manifest.samples(), settings)
    stratum, worst = figures.worst
    summed = ", ".join(f"{split.value} {count}" for split, count in figures.counts["all"].items())
    draw = f"fold {settings.fold} of {settings.folds}" if settings.folds else f"trial {settings.trial}"
    said = f"{summed}; largest deviation {figures.deviation:.1%} ({stratum} in {worst.value})"
    if is_many:
        lines = [f"{draw:<12} {said}  {manifest.directory}"]
    else:
        lines = [describe_report(report), *figures.table(), said, f"manifest  {manifest.directory}"]
    value = {"draw": draw, "manifest": str(manifest.directory), **report_values(report), **figures.as_json()}
    return value, lines


def _freeze(build: Pipeline, path: Path) -> tuple[dict[str, Any], str]:
    from dataset_tools.split.frozen import read_frozen, write_frozen

    before = build.config.split.frozen
    known = read_frozen(before).samples if before is not None else {}
    is_basis = before is not None and before.resolve() == path.resolve()
    now = write_frozen(path, build.manifest("split").samples(), is_basis=is_basis).samples
    moved = sorted(name for name, split in now.items() if known.get(name, split) is not split)
    fresh = len(now.keys() - known.keys())
    value = {"path": str(path), "samples": len(now), "new": fresh, "moved": moved}
    return value, f"frozen    {len(now)} samples, {fresh} of them new, {len(moved)} moved; {path}"


def _crossings(manifest: Manifest, config: BuildConfig) -> list[Crossing]:
    from dataset_tools.split_leaks import find_crossings

    return find_crossings(
        manifest,
        max_distance=config.filter.group_distance,
        face_distance=config.filter.face_distance,
    )


def describe_crossings(found: list[Crossing]) -> tuple[dict[str, Any], list[str], bool]:
    """Crossings as JSON values and as lines for people, and whether nothing is among them that must not."""
    from dataset_tools.split_leaks import FORBIDDEN, crossing_counts, is_clean

    counts = crossing_counts(found)
    pairs = list(next(iter(counts.values())))
    lines = [f"{'crossing':<10}" + "".join(f"{pair:>12}" for pair in pairs)]
    for kind, row in counts.items():
        mark = "  must be 0" if kind in FORBIDDEN else ""
        lines.append(f"{kind:<10}" + "".join(f"{row[pair]:>12}" for pair in pairs) + mark)
    for one in found[:_MOST_LINES]:
        bits = f", {one.distance} bits" if one.distance >= 0 else ""
        sides = f"{one.splits[0]} {printable(one.first)}  {one.splits[1]} {printable(one.second)}"
        lines.append(f"  {one.kind:<9} {sides}  ({one.count} pictures{bits})")
    if len(found) > _MOST_LINES:
        lines.append(f"  … and {len(found) - _MOST_LINES} more; --json names all")
    values = {"counts": counts, "found": [dataclasses.asdict(one) for one in found]}
    return values, lines, is_clean(found)
