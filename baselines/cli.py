"""`leaderboard`: list the baselines, train one, score it, show the table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import click

from baselines.given import SPLITS, chosen_settings, training_options
from baselines.models import all_specs, find_spec
from baselines.registry import option_names
from baselines.task_cli import TASKS
from dataset_tools.core.console import choose_progress, reports_errors
from dataset_tools.core.errors import ConfigError
from dataset_tools.core.labels import Label

if TYPE_CHECKING:
    from baselines.cards import ScoreCard
    from baselines.runs import Failure
    from dataset_tools.core.manifest import Manifest
    from dataset_tools.core.progress import ProgressFactory

# Written out, and all else imported by the command that needs it: `--help` must not wait for NumPy.
_FOLDER = click.Path(path_type=Path, file_okay=False)
_quiet = click.option("--quiet", is_flag=True, help="Print nothing but errors.")
_json = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
_data = click.option(
    "--data",
    "--manifest",
    "data",
    type=_FOLDER,
    required=True,
    help="A manifest, a workspace, an exported dataset, or a folder with image/ and mask/.",
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
                "is_trained": spec.is_trained,
                "options": list(option_names(spec.name)),
            }
            for spec in specs
        ]
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    width = max(len(spec.name) for spec in specs)
    for spec in specs:
        printed = f"; printed: {spec.printed.table}" if spec.printed else ""
        click.echo(f"{spec.name:<{width}}  {spec.fidelity.value}  {spec.title} ({spec.paper}{printed})")


@main.command("suites")
@_json
@reports_errors
def list_suites(as_json: bool) -> None:
    """List the suites: the papers' tables and ablations, row by row."""
    from baselines.suites import all_suites

    suites = all_suites()
    if as_json:
        rows = [
            {
                "name": suite.name,
                "title": suite.title,
                "rows": [
                    {"key": row.key, "title": row.title, "baseline": row.baseline} for row in suite.rows
                ],
            }
            for suite in suites
        ]
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    for suite in suites:
        click.echo(f"{suite.name}: {suite.title}")
        click.echo("    " + ", ".join(row.key for row in suite.rows))


@main.command("train")
@click.argument("baseline", required=False)
@click.option("--suite", "suite_name", help="Train and score every row of a suite (`leaderboard suites`).")
@click.option("--row", "rows", multiple=True, help="Only this row of the suite; repeat for several.")
@click.option("--trials", type=click.IntRange(min=1), default=1, show_default=True, help="Of a suite's rows.")
@click.option(
    "--score-split", type=click.Choice(SPLITS), default="test", show_default=True, help="Scored in a suite."
)
@click.option(
    "--score-crop",
    type=click.Choice(["face", "image"]),
    help="How a suite's scored crops are cut [default: as learned].",
)
@click.option("--no-cost", is_flag=True, help="Do not measure speed and memory of a suite's rows.")
@_data
@click.option(
    "--out", "out_dir", type=_FOLDER, help="Results [default: <workspace>/models/<baseline or suite>]."
)
@training_options
@_device
@_quiet
@_json
@reports_errors
def train_baseline(
    baseline: str | None,
    suite_name: str | None,
    rows: tuple[str, ...],
    trials: int,
    score_split: str,
    score_crop: Literal["face", "image"] | None,
    no_cost: bool,
    data: Path,
    out_dir: Path | None,
    quiet: bool,
    as_json: bool,
    seed: int,
    **choices: Any,
) -> None:
    """Train BASELINE, or all rows of a suite, on labelled samples; run again to resume."""
    if (baseline is None) == (suite_name is None):
        raise ConfigError("name one baseline or --suite, not both and not neither")
    chosen = chosen_settings(**choices)
    progress = choose_progress(quiet=quiet, as_json=as_json)
    if suite_name is None:
        _train_one(baseline or "", {**chosen, "seed": seed}, data, out_dir, progress, quiet, as_json)
        return
    from baselines.runs import BOARD, Order, rows_of, run_suite
    from baselines.settings import CropSettings
    from baselines.suites import find_suite
    from dataset_tools.core.images import ImageStore
    from dataset_tools.core.record import Split

    order = Order(
        find_suite(suite_name),
        chosen,
        trials=trials,
        seed=seed,
        split=Split(score_split),
        crop=CropSettings(kind=score_crop) if score_crop else None,
        rows=rows,
        measure=not no_cost,
    )
    rows_of(order)
    manifest = _open(data, out_dir, progress)
    folder = out_dir or manifest.workspace / "models" / suite_name
    done, failed = run_suite(
        order,
        manifest,
        ImageStore(manifest.workspace),
        folder,
        progress=progress,
        report=lambda one: _say_row(one, quiet or as_json),
    )
    if as_json:
        click.echo(json.dumps({"board": str(folder / BOARD), "cards": done, "failed": failed}))
    elif not quiet:
        click.echo(f"{done} cards, {failed} failed; leaderboard show --board {folder / BOARD}")


def _say_row(result: ScoreCard | Failure, is_silent: bool) -> None:
    from baselines.cards import ScoreCard

    if is_silent:
        return
    if isinstance(result, ScoreCard):
        click.echo(
            f"{result.title}: IoU {result.metrics['iou']:.4f} on {result.crops} crops ({result.version})"
        )
    else:
        click.echo(f"{result.title}, trial {result.trial}, failed: {result.reason}", err=True)


def _open(data: Path, out_dir: Path | None, progress: ProgressFactory) -> Manifest:
    from dataset_tools.opening import open_labelled

    return open_labelled(data, (out_dir or data) / "imported", progress)


def _train_one(
    baseline: str,
    chosen: dict[str, Any],
    data: Path,
    out_dir: Path | None,
    progress: ProgressFactory,
    quiet: bool,
    as_json: bool,
) -> None:
    from baselines.settings import TrainSettings
    from dataset_tools.core.settings import parse_settings

    find_spec(baseline)
    settings = parse_settings(TrainSettings, {**chosen, "baseline": baseline}, "command line")
    from baselines.train import train
    from dataset_tools.core.images import ImageStore

    manifest = _open(data, out_dir, progress)
    folder = out_dir or manifest.workspace / "models" / baseline
    result = train(settings, manifest, ImageStore(manifest.workspace), folder, progress)
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
@click.option("--checkpoint", "checkpoint_dir", type=_FOLDER, help="Folder `train` wrote.")
@click.option(
    "--predictions",
    "predictions_dir",
    type=_FOLDER,
    help="Folder of anybody's PNG masks, named as the pictures.",
)
@click.option("--name", default="predictions", show_default=True, help="What to call handed-in predictions.")
@_data
@click.option("--split", type=click.Choice(SPLITS), default="test", show_default=True)
@click.option("--board", "board_dir", type=_FOLDER, required=True, help="Folder of score cards.")
@click.option("--crop", type=click.Choice(["face", "image"]), help="How to cut [default: as in training].")
@click.option("--margin", type=float, help="Around a face box, share of its side [default: .25].")
@click.option(
    "--label", type=click.Choice([one.value for one in Label]), default="face_mask", show_default=True
)
@click.option("--mark-leaks", is_flag=True, help="Score even what training saw, and mark the row.")
@_device
@_quiet
@_json
@reports_errors
def score(
    checkpoint_dir: Path | None,
    predictions_dir: Path | None,
    name: str,
    data: Path,
    split: str,
    board_dir: Path,
    crop: str | None,
    margin: float | None,
    label: str,
    mark_leaks: bool,
    device: str,
    quiet: bool,
    as_json: bool,
) -> None:
    """Score a checkpoint, or a folder of predictions, on one split and add the card to a board."""
    if (checkpoint_dir is None) == (predictions_dir is None):
        raise ConfigError("name --checkpoint or --predictions, not both and not neither")
    from baselines.evaluate import evaluate, evaluate_handed_in
    from baselines.settings import CropSettings
    from dataset_tools.core.images import ImageStore
    from dataset_tools.core.record import Split
    from dataset_tools.core.settings import parse_settings

    progress = choose_progress(quiet=quiet, as_json=as_json)
    given = {key: value for key, value in (("kind", crop), ("margin", margin)) if value is not None}
    cutting = parse_settings(CropSettings, given, "command line") if given else None
    manifest = _open(data, board_dir, progress)
    if predictions_dir is not None:
        chosen = cutting or CropSettings(kind="image")
        card = evaluate_handed_in(
            predictions_dir, name, manifest, Split(split), board_dir, crop=chosen, label=Label(label)
        )
    elif checkpoint_dir is not None:
        card = evaluate(
            checkpoint_dir,
            manifest,
            ImageStore(manifest.workspace),
            Split(split),
            board_dir,
            crop=cutting,
            label=Label(label),
            allow_leaks=mark_leaks,
            device=device,
            progress=progress,
        )
    if as_json:
        click.echo(card.model_dump_json(indent=2))
    elif not quiet:
        figures = "  ".join(f"{key} {value:.4f}" for key, value in card.metrics.items() if value is not None)
        click.echo(f"{card.baseline}@{card.version} on {card.crops} crops of split {split}\n{figures}")
        click.echo(str(board_dir / f"{card.stem}.json"))


@main.command("predict")
@click.argument("checkpoint", type=_FOLDER)
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False, exists=True))
@click.option("--out", "out_dir", type=_FOLDER, required=True, help="Where the masks go.")
@click.option(
    "--form",
    type=click.Choice(["soft", "hard"]),
    default="soft",
    show_default=True,
    help="Grey values, or 0 and 255.",
)
@click.option("--label", type=click.Choice([one.value for one in Label]), help="[default: the first learned]")
@_device
@_quiet
@_json
@reports_errors
def predict_folder(
    checkpoint: Path,
    folder: Path,
    out_dir: Path,
    form: Any,
    label: str | None,
    device: str,
    quiet: bool,
    as_json: bool,
) -> None:
    """Write a lossless mask for every picture of FOLDER, named like it; exit code 1 when one was unread."""
    from baselines.folders import predict_pictures
    from baselines.predict import Predictor

    predictor = Predictor.load(checkpoint, device)
    chosen = Label(label) if label is not None else predictor.labels[0]
    progress = choose_progress(quiet=quiet, as_json=as_json)
    written, unread = predict_pictures(predictor, folder, out_dir, chosen, form, progress)
    for name, reason in unread:
        click.echo(f"{name}: {reason}", err=True)
    if as_json:
        click.echo(json.dumps({"out": str(out_dir), "written": written, "unread": dict(unread)}, indent=2))
    elif not quiet:
        click.echo(f"{written} masks in {out_dir}, {len(unread)} pictures unread")
    click.get_current_context().exit(1 if unread else 0)


@main.command("show")
@click.option("--board", "board_dir", type=_FOLDER, required=True, help="Folder of score cards.")
@click.option("--format", "form", default="table", show_default=True, help="table, md, csv, json or html.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write there instead.")
@click.option(
    "--data", "data", type=_FOLDER, help="The scored data: the page then shows worst and best pictures."
)
@_json
@click.pass_context
@reports_errors
def show_board(
    context: click.Context, board_dir: Path, form: str, out: Path | None, data: Path | None, as_json: bool
) -> None:
    """Show the board; every row is recomputed first. Exit code 1 when a card was refused."""
    from baselines.board_forms import Form, as_csv, as_json_text, as_markdown, as_text
    from baselines.board_page import as_html
    from baselines.leaderboard import read_board
    from dataset_tools.core.files import write_text

    if form not in get_args(Form):
        raise ConfigError(f"--format {form}: choose one of {', '.join(get_args(Form))}")
    board = read_board(board_dir)
    if form == "html" and not as_json:
        manifest = _open(data, board_dir, choose_progress(quiet=True)) if data is not None else None
        text = as_html(board, board_dir, manifest)
    else:
        forms = {"table": as_text, "md": as_markdown, "csv": as_csv, "json": as_json_text}
        text = forms["json" if as_json else form](board)
    if out is not None:
        write_text(out, text)
    else:
        click.echo(text, nl=False)
    for refusal in board.refused:
        click.echo(f"refused: {refusal.reason}", err=True)
    context.exit(1 if board.refused else 0)


@main.command("audit")
@click.argument("suite")
@click.option(
    "--labels",
    type=_FOLDER,
    help="Folder with mask/ and, for the published rule, mask_published_rule/ and published_scores.csv.",
)
@click.option("--board", "board_dir", type=_FOLDER, help="Score our own rows of the suite by both rules.")
@click.option("--data", "data", type=_FOLDER, help="The data the board was scored on.")
@click.option("--format", "form", default="table", show_default=True, help="table, md or json.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write there instead.")
@reports_errors
def audit_table(
    suite: str, labels: Path | None, board_dir: Path | None, data: Path | None, form: str, out: Path | None
) -> None:
    """Check a paper's printed table: impossible rows, repeated rows, what its scoring rule gives."""
    from dataclasses import replace

    from baselines.audit import audit_suite
    from baselines.audit.board import board_rows
    from baselines.audit.report import render
    from dataset_tools.core.files import write_text

    if (board_dir is None) != (data is None):
        raise ConfigError("--board and --data go together: predictions are scored against the data's labels")
    found = audit_suite(suite, labels)
    if board_dir is not None and data is not None:
        manifest = _open(data, board_dir, choose_progress(quiet=True))
        found = replace(found, rows=(*found.rows, *board_rows(board_dir, suite, manifest)))
    text = render(found, form)
    if out is not None:
        write_text(out, text)
    else:
        click.echo(text, nl=False)


for _task in TASKS:
    main.add_command(_task)

if __name__ == "__main__":
    main()
