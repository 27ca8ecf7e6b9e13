"""`leaderboard`: list the baselines, train one, score it, show the table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import click

from baselines.models import all_specs, find_spec
from dataset_tools.core.console import choose_progress, reports_errors
from dataset_tools.core.errors import ConfigError
from dataset_tools.core.labels import Label

# Written out, and all else imported by the command that needs it: `--help` must not wait for NumPy.
_SPLITS = ["unassigned", "train", "val", "test"]
_FOLDER = click.Path(path_type=Path, file_okay=False)
_quiet = click.option("--quiet", is_flag=True, help="Print nothing but errors.")
_json = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
_manifest = click.option(
    "--manifest", "manifest_dir", type=_FOLDER, required=True, help="Manifest folder inside a workspace."
)
_device = click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1, …")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="maskset")
def main() -> None:
    """Train segmentation baselines on a dataset, score them, and rank them beside the papers' figures."""


@main.command("list")
@_json
@reports_errors
def list_baselines(as_json: bool) -> None:
    """List the baselines."""
    specs = all_specs()
    if as_json:
        rows = [
            {
                "name": spec.name,
                "title": spec.title,
                "fidelity": spec.fidelity.value,
                "paper": spec.paper,
                "paper_url": spec.paper_url,
                "code_licence": spec.code_licence,
                "weights_licence": spec.weights_licence,
                "parameters": spec.parameters,
                "printed": dict(spec.printed.values) if spec.printed else None,
                "printed_table": spec.printed.table if spec.printed else None,
            }
            for spec in specs
        ]
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    width = max(len(spec.name) for spec in specs)
    for spec in specs:
        printed = f"; printed: {spec.printed.table}" if spec.printed else ""
        click.echo(f"{spec.name:<{width}}  {spec.fidelity.value}  {spec.title} ({spec.paper}{printed})")


@main.command("train")
@click.argument("baseline", default="unet_effnet_lite0")
@_manifest
@click.option(
    "--out", "out_dir", type=_FOLDER, help="Checkpoint folder [default: <workspace>/models/<baseline>]."
)
@click.option("--steps", type=int, help="Optimiser steps [default: the recipe's epochs].")
@click.option("--batch", type=int, help="Crops per step [default: the recipe's].")
@click.option("--learning-rate", type=float, help="Of Adam [default: the recipe's].")
@click.option("--loss", help="bce, dice, bce_dice, focal or iou [default: the recipe's].")
@click.option("--input-px", type=int, default=256, show_default=True, help="Side of the network's input.")
@click.option("--split", type=click.Choice(_SPLITS), default="train", show_default=True)
@click.option("--samples", type=click.Choice(["all", "synthetic", "real"]), default="all", show_default=True)
@click.option("--crop", type=click.Choice(["face", "image"]), default="face", show_default=True)
@click.option(
    "--label",
    "labels",
    multiple=True,
    type=click.Choice([one.value for one in Label]),
    help="Label to learn; repeat for several [default: face_mask].",
)
@click.option("--random-init", is_flag=True, help="Do not start from published encoder weights.")
@click.option("--seed", type=int, default=0, show_default=True)
@_device
@_quiet
@_json
@reports_errors
def train_baseline(
    baseline: str,
    manifest_dir: Path,
    out_dir: Path | None,
    random_init: bool,
    crop: str,
    labels: tuple[str, ...],
    quiet: bool,
    as_json: bool,
    **choices: Any,
) -> None:
    """Train BASELINE on the labelled samples of a split; run again to resume."""
    from baselines.settings import TrainSettings
    from dataset_tools.core.settings import parse_settings

    find_spec(baseline)
    values = {"baseline": baseline, "pretrained": not random_init, "crop": {"kind": crop}}
    if labels:
        values["labels"] = labels
    settings = parse_settings(TrainSettings, values | choices, "command line")
    from baselines.train import train
    from dataset_tools.core.images import ImageStore
    from dataset_tools.core.manifest import Manifest

    manifest = Manifest(manifest_dir.resolve())
    result = train(
        settings,
        manifest,
        ImageStore(manifest.workspace),
        out_dir or manifest.workspace / "models" / baseline,
        choose_progress(quiet=quiet, as_json=as_json),
    )
    record = result.record
    if as_json:
        values = {"checkpoint": str(result.checkpoint_dir), "crops_per_second": result.crops_per_second}
        click.echo(json.dumps(values | {"training": record.model_dump(mode="json")}, indent=2))
    elif not quiet:
        best = f", val IoU {record.best_val_iou:.4f}" if record.best_val_iou is not None else ", no val split"
        click.echo(
            f"{baseline}@{record.version}: {record.steps} steps on {record.crops} crops "
            f"({record.synthetic_crops} synthetic), weights of step {record.best_step}{best}, "
            f"{result.crops_per_second:.1f} crops/s on {record.device}\n{result.checkpoint_dir}"
        )


@main.command("score")
@click.option("--checkpoint", "checkpoint_dir", type=_FOLDER, required=True, help="Folder `train` wrote.")
@_manifest
@click.option("--split", type=click.Choice(_SPLITS), default="test", show_default=True)
@click.option("--board", "board_dir", type=_FOLDER, required=True, help="Folder of score cards.")
@click.option("--crop", type=click.Choice(["face", "image"]), help="How to cut [default: as in training].")
@click.option(
    "--label", type=click.Choice([one.value for one in Label]), default="face_mask", show_default=True
)
@click.option("--mark-leaks", is_flag=True, help="Score even what training saw, and mark the row.")
@_device
@_quiet
@_json
@reports_errors
def score_checkpoint(
    checkpoint_dir: Path,
    manifest_dir: Path,
    split: str,
    board_dir: Path,
    crop: str | None,
    label: str,
    mark_leaks: bool,
    device: str,
    quiet: bool,
    as_json: bool,
) -> None:
    """Score a checkpoint on one split and add the card to a board."""
    from baselines.evaluate import evaluate
    from baselines.settings import CropSettings
    from dataset_tools.core.images import ImageStore
    from dataset_tools.core.manifest import Manifest
    from dataset_tools.core.record import Split
    from dataset_tools.core.settings import parse_settings

    manifest = Manifest(manifest_dir.resolve())
    card = evaluate(
        checkpoint_dir,
        manifest,
        ImageStore(manifest.workspace),
        Split(split),
        board_dir,
        crop=parse_settings(CropSettings, {"kind": crop}, "command line") if crop else None,
        label=Label(label),
        allow_leaks=mark_leaks,
        device=device,
        progress=choose_progress(quiet=quiet, as_json=as_json),
    )
    if as_json:
        click.echo(card.model_dump_json(indent=2))
    elif not quiet:
        figures = "  ".join(f"{name} {value:.4f}" for name, value in card.metrics.items())
        click.echo(f"{card.baseline}@{card.version} on {card.crops} crops of split {split}\n{figures}")
        click.echo(str(board_dir / f"{card.stem}.json"))


@main.command("show")
@click.option("--board", "board_dir", type=_FOLDER, required=True, help="Folder of score cards.")
@click.option("--format", "form", default="table", show_default=True, help="table, md, json or html.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write there instead.")
@_json
@click.pass_context
@reports_errors
def show_board(context: click.Context, board_dir: Path, form: str, out: Path | None, as_json: bool) -> None:
    """Show the board; every row is recomputed first. Exit code 1 when a card was refused."""
    from baselines.leaderboard import Format, read_board, render
    from dataset_tools.core.files import write_text

    if form not in get_args(Format):
        raise ConfigError(f"--format {form}: choose one of {', '.join(get_args(Format))}")
    board = read_board(board_dir)
    text = render(board, "json" if as_json else form)  # type: ignore[arg-type]
    if out is not None:
        write_text(out, text)
    else:
        click.echo(text, nl=False)
    for refusal in board.refused:
        click.echo(f"refused: {refusal.reason}", err=True)
    context.exit(1 if board.refused else 0)


if __name__ == "__main__":
    main()
