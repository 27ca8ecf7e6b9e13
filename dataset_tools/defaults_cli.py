"""`build-dataset defaults`: the models that come with the suite, and how to make one's own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dataset_tools.core.console import choose_progress, reports_errors
from dataset_tools.options import print_result, with_output

if TYPE_CHECKING:
    from dataset_tools.defaults.about import About

_FOLDER = click.Path(path_type=Path, file_okay=False)
_PATH = click.Path(path_type=Path)


@click.group("defaults")
def defaults_group() -> None:
    """The models that come with the suite: what they are, and how to make them anew."""


@defaults_group.command("train")
@click.argument("kind", type=click.Choice(["proposer", "detector"]))
@click.option("--photos", "given", multiple=True, required=True, help="FOLDER=LICENCE of bare faces; repeat.")
@click.option(
    "--origin", "origins", multiple=True, help="NAME=WORDS: where the photos of that folder are from."
)
@click.option("--out", type=_FOLDER, required=True, help="Folder of the finished model; it is replaced.")
@click.option("--workspace", type=_FOLDER, help="Of the build, kept [default: OUT-work].")
@click.option("--occluders", "things", help="FOLDER=LICENCE of cut-outs [default: drawn shapes alone].")
@click.option(
    "--trained", type=_FOLDER, multiple=True, help="Of trainings elsewhere with these photos, in their order."
)
@click.option("--steps", type=click.IntRange(1), help="Of the training [default: the recipe's].")
@click.option("--seed", type=click.IntRange(0), default=7, show_default=True)
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True, help="Processes.")
@click.option("--device", default="auto", show_default=True, help="Where the proposer is trained.")
@click.option(
    "--calibrate-on", type=_PATH, help="Labelled pictures [default: rendered ones kept from training]."
)
@click.option(
    "--score-on", "scored", type=_PATH, multiple=True, help="Labelled pictures, never learned from."
)
@click.option(
    "--card", type=click.Path(path_type=Path, dir_okay=False), help="Write the model card here, too."
)
@with_output
@reports_errors
def train_command(
    kind: str,
    given: tuple[str, ...],
    origins: tuple[str, ...],
    out: Path,
    workspace: Path | None,
    things: str | None,
    trained: tuple[Path, ...],
    steps: int | None,
    seed: int,
    workers: int,
    device: str,
    calibrate_on: Path | None,
    scored: tuple[Path, ...],
    card: Path | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Make a default model from your own photos of bare faces: find them, render masks, train, pack.

    No label is drawn by hand. State the licence of each folder: the model card names them and says what the
    weights may be used for accordingly. Kill it and run it again: finished work stays. To use the result, say
    in a configuration prelabel: {checkpoint: OUT}, or filter: {detector: default, detector_weights:
    OUT/detector.safetensors}.
    """
    from dataset_tools.core.files import write_text
    from dataset_tools.defaults.card import model_card
    from dataset_tools.defaults.making import Order, make_detector, make_proposer
    from dataset_tools.defaults.photos import parse_photos
    from dataset_tools.defaults.recipe import DETECTOR_RECIPE, PROPOSER_RECIPE

    own = parse_photos([*given, *([things] if things else [])], origins)
    order = Order(
        photos=own[: len(given)],
        occluders=own[-1] if things else None,
        out=out,
        workspace=workspace or out.with_name(f"{out.name}-work"),
        trained=trained,
        steps=steps,
        seed=seed,
        workers=workers,
        device=device,
        calibrate_on=calibrate_on,
        score_on=scored,
        progress=choose_progress(quiet=quiet, as_json=as_json),
        say=(lambda line: None) if as_json else click.echo,
    )
    if kind == "proposer":
        about = make_proposer(order, PROPOSER_RECIPE)
    else:
        about = make_detector(order, DETECTOR_RECIPE)
    if card is not None:
        write_text(card, model_card(about))
    values = {"folder": str(out), "about": about.model_dump(mode="json")}
    print_result(values, ["", *_lines(about), f"folder    {out}"], as_json)


@defaults_group.command("show")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON value.")
@reports_errors
def show_command(as_json: bool) -> None:
    """Say which models are shipped, what they were made of, what they may be used for, and their figures."""
    from dataset_tools.core.errors import DataError
    from dataset_tools.defaults.about import allowed_use, read_about
    from dataset_tools.weights.shipped import shipped_detector, shipped_proposer

    values: dict[str, Any] = {}
    lines: list[str] = []
    for folder in (shipped_proposer(), shipped_detector()):
        try:
            about = read_about(folder)
        except DataError as error:
            lines.append(f"{folder.name:<9} nothing is known of it: {error}")
            continue
        values[about.kind] = about.model_dump(mode="json") | {"use": list(allowed_use(about))}
        lines += [*([""] if lines else []), *_lines(about)]
    print_result(values, lines, as_json)


def _lines(about: About) -> list[str]:
    from dataset_tools.core.text import printable
    from dataset_tools.defaults.about import allowed_use
    from dataset_tools.export.markdown import counted

    lines = [
        f"{about.kind:<9} {about.name}: {', '.join(about.tells)}; {about.weights_bytes / 1e6:.2f} MB",
        f"weights   sha256 {about.weights_sha256}",
        f"data      {about.samples} samples, digest {about.data_digest}",
    ]
    lines += [
        f"source    {printable(one.name)}: {counted(one.photos, 'photo')}, {printable(one.licence)}"
        for one in about.sources
    ]
    lines += [f"use       {printable(one)}" for one in allowed_use(about)]
    for one in about.measures:
        bounds = f" ({one.low:.4f} to {one.high:.4f})" if one.low is not None and one.high is not None else ""
        lines.append(f"measured  {one.value:.4f}{bounds} {one.what}; {one.items} of {printable(one.data)}")
    return lines
