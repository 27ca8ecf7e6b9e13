"""`leaderboard` commands of the tasks that are not one mask per picture; `baselines.cli` adds them.

Settings are given as `--set NAME=VALUE`; NAME may be dotted (`--set network.bn=true`), VALUE is YAML.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from baselines.given import SPLITS, name_and_value
from dataset_tools.core.console import choose_progress, reports_errors
from dataset_tools.core.errors import ConfigError

if TYPE_CHECKING:
    from baselines.tasks import TaskCard
    from dataset_tools.core.manifest import Manifest
    from dataset_tools.core.settings import Settings

_FOLDER = click.Path(path_type=Path, file_okay=False)
_PATH = click.Path(path_type=Path, exists=True)
_Command = TypeVar("_Command", bound=Callable[..., Any])
_ChosenSettings = TypeVar("_ChosenSettings", bound="Settings")


def _options(*options: Callable[[_Command], _Command]) -> Callable[[_Command], _Command]:
    def add(command: _Command) -> _Command:
        for option in reversed(options):
            command = option(command)
        return command

    return add


_set = click.option("--set", "given", multiple=True, help="A setting, NAME=VALUE; repeat for several.")
_out = click.option("--out", "out_dir", type=_FOLDER, required=True, help="Folder of the checkpoint.")
_board = click.option("--board", "board_dir", type=_FOLDER, required=True, help="Folder of score cards.")
_device = click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1, …")
_quiet = click.option("--quiet", is_flag=True, help="Print nothing but errors.")
_json = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
_split = click.option("--split", type=click.Choice(SPLITS), default="test", show_default=True)
_leaks = click.option("--mark-leaks", is_flag=True, help="Score even what training saw, and mark the row.")
_data = click.option(
    "--data", type=_FOLDER, required=True, help="A manifest, a workspace, or an exported dataset."
)


def parse_given(model: type[_ChosenSettings], given: tuple[str, ...], **fixed: Any) -> _ChosenSettings:
    """Settings from NAME=VALUE texts, under what the command itself fixes.

    Raises:
        ConfigError: no such form, no YAML, or a setting or value that does not exist.
    """
    from dataset_tools.core.settings import parse_settings

    values: dict[str, Any] = {}
    for text in given:
        name, value = name_and_value(text, "--set")
        *folders, last = name.split(".")
        place = values
        for folder in folders:
            inner = place.setdefault(folder, {})
            if not isinstance(inner, dict):
                raise ConfigError(f"--set {text}: {folder} was given a value already")
            place = inner
        place[last] = value
    return parse_settings(model, {**values, **fixed}, "command line")


def _say_trained(out_dir: Path, record: Any, quiet: bool, as_json: bool) -> None:
    if as_json:
        click.echo(
            json.dumps({"checkpoint": str(out_dir), "training": record.model_dump(mode="json")}, indent=2)
        )
    elif not quiet:
        click.echo(f"trained, see {out_dir / 'training.json'}")


def _say_card(card: TaskCard, quiet: bool, as_json: bool) -> None:
    if as_json:
        click.echo(card.model_dump_json(indent=2))
    elif not quiet:
        known = ((name, value) for name, value in card.metrics.items() if value is not None)
        click.echo(f"{card.title}@{card.version} on {card.items} items of {card.dataset}, split {card.split}")
        click.echo("  ".join(f"{name} {value:.4f}" for name, value in known))


def _manifest(data: Path, beside: Path) -> Manifest:
    from dataset_tools.opening import open_labelled

    return open_labelled(data, beside / "imported")


# -- detection ----------------------------------------------------------------------------------------


@click.group()
def detection() -> None:
    """Boxes: Faster R-CNN (MISA) and the depthwise-separable MTCNN (Xu and Zheng)."""


@detection.command("train")
@click.argument("detector", type=click.Choice(["faster_rcnn", "mtcnn"]))
@_options(_data, _out, _set, _device, _quiet, _json)
@reports_errors
def train_boxes(
    detector: str, data: Path, out_dir: Path, given: tuple[str, ...], device: str, quiet: bool, as_json: bool
) -> None:
    """Train a detector on the boxes of a dataset; run again to resume."""
    from dataset_tools.core.images import ImageStore

    progress = choose_progress(quiet=quiet, as_json=as_json)
    if detector == "mtcnn":
        from baselines.mtcnn.settings import MtcnnSettings
        from baselines.mtcnn.train import train_mtcnn

        cascade = parse_given(MtcnnSettings, given, device=device)
        manifest = _manifest(data, out_dir)
        _say_trained(
            out_dir,
            train_mtcnn(cascade, manifest, ImageStore(manifest.workspace), out_dir, progress),
            quiet,
            as_json,
        )
        return
    from baselines.detection.faster_rcnn import train_detector
    from baselines.detection.settings import DetectorSettings

    settings = parse_given(DetectorSettings, given, device=device)
    manifest = _manifest(data, out_dir)
    record = train_detector(settings, manifest, ImageStore(manifest.workspace), out_dir, progress)
    _say_trained(out_dir, record, quiet, as_json)


@detection.command("score")
@click.argument("checkpoint", type=_FOLDER)
@_options(_data, _board, _split, _leaks, _device, _quiet, _json)
@reports_errors
def score_boxes(
    checkpoint: Path,
    data: Path,
    board_dir: Path,
    split: str,
    mark_leaks: bool,
    device: str,
    quiet: bool,
    as_json: bool,
) -> None:
    """Score a detector, an MTCNN, or a Mask R-CNN that `leaderboard train` made: AP and presence ROC."""
    from baselines.detection.checkpoints import score_checkpoint
    from baselines.mtcnn.train import is_mtcnn
    from dataset_tools.core.images import ImageStore
    from dataset_tools.core.record import Split

    progress = choose_progress(quiet=quiet, as_json=as_json)
    manifest = _manifest(data, board_dir)
    images = ImageStore(manifest.workspace)
    if is_mtcnn(checkpoint):
        from baselines.mtcnn.score import score_mtcnn as score
    else:
        score = score_checkpoint
    card = score(
        checkpoint,
        manifest,
        images,
        Split(split),
        board_dir,
        allow_leaks=mark_leaks,
        device=device,
        progress=progress,
    )
    _say_card(card, quiet, as_json)


# -- face parsing -------------------------------------------------------------------------------------


@click.group()
def parsing() -> None:
    """18 face parts (Zhakyp et al.) from CelebAMask-HQ-like folders."""


@parsing.command("train")
@click.argument("faces", type=_PATH)
@_options(_out, _set, _device, _quiet, _json)
@reports_errors
def train_parts(
    faces: Path, out_dir: Path, given: tuple[str, ...], device: str, quiet: bool, as_json: bool
) -> None:
    """Train the 18-part network on the folder FACES; run again to resume."""
    from baselines.parsing.settings import ParsingSettings
    from baselines.parsing.train import train_parsing

    settings = parse_given(ParsingSettings, given, device=device)
    record = train_parsing(settings, faces, out_dir, choose_progress(quiet=quiet, as_json=as_json))
    _say_trained(out_dir, record, quiet, as_json)


@parsing.command("score")
@click.argument("checkpoint", type=_FOLDER)
@click.argument("faces", type=_PATH)
@click.option("--pictures", type=click.Choice(["val", "all"]), default="val", show_default=True)
@_options(_board, _device, _quiet, _json)
@reports_errors
def score_parts(
    checkpoint: Path, faces: Path, pictures: Any, board_dir: Path, device: str, quiet: bool, as_json: bool
) -> None:
    """Score a parser on the pictures of FACES it was not trained on, or on all of another folder."""
    from baselines.parsing.score import score_parsing
    from baselines.parsing.task import part_table

    progress = choose_progress(quiet=quiet, as_json=as_json)
    card = score_parsing(checkpoint, faces, board_dir, pictures=pictures, device=device, progress=progress)
    _say_card(card, quiet, as_json)
    if not quiet and not as_json:
        for part, figures in part_table(card):
            shown = (
                f"{name} {_share(ours)} (paper {_share(printed)})"
                for name, (ours, printed) in figures.items()
            )
            click.echo(f"{part:<11} {'  '.join(shown)}")


def _share(value: float | None) -> str:
    return f"{value:.3f}" if value is not None else "–"


@parsing.command("predict")
@click.argument("checkpoint", type=_FOLDER)
@click.argument("pictures", type=_PATH)
@_options(_out, _device, _quiet, _json)
@reports_errors
def predict_parts(
    checkpoint: Path, pictures: Path, out_dir: Path, device: str, quiet: bool, as_json: bool
) -> None:
    """Write the class picture of every picture of a folder."""
    from baselines.parsing.predict import predict_folder

    progress = choose_progress(quiet=quiet, as_json=as_json)
    count = predict_folder(checkpoint, pictures, out_dir, device=device, progress=progress)
    if as_json:
        click.echo(json.dumps({"out": str(out_dir), "written": count}))
    elif not quiet:
        click.echo(f"{count} class pictures in {out_dir}")


# -- attributes ---------------------------------------------------------------------------------------


_images = click.option(
    "--images", "images_dir", type=_FOLDER, required=True, help="Folder that paths start in."
)
_gender = click.option(
    "--with-gender", is_flag=True, help="Also use the column `gender`; off unless asked for."
)


@click.group()
def attributes() -> None:
    """A salient feature, and on request the stated gender, from a table of your own labels (Xu and Zheng)."""


@attributes.command("train")
@click.argument("labels", type=_PATH)
@click.option("--val", "val_csv", type=_PATH, help="Labels to choose weights on.")
@_options(_images, _gender, _out, _set, _device, _quiet, _json)
@reports_errors
def train_attribute_network(
    labels: Path,
    val_csv: Path | None,
    images_dir: Path,
    with_gender: bool,
    out_dir: Path,
    given: tuple[str, ...],
    device: str,
    quiet: bool,
    as_json: bool,
) -> None:
    """Train on the CSV file LABELS (image, feature[, gender][, group]); run again to resume."""
    from baselines.attributes.settings import AttributeSettings
    from baselines.attributes.table import read_labels
    from baselines.attributes.train import train_attributes

    settings = parse_given(AttributeSettings, given, gender=with_gender, device=device)
    learned, held_out = (
        read_labels(one, images_dir, top_value=settings.top_value, with_gender=with_gender) if one else None
        for one in (labels, val_csv)
    )
    assert learned is not None
    progress = choose_progress(quiet=quiet, as_json=as_json)
    _say_trained(out_dir, train_attributes(settings, learned, out_dir, held_out, progress), quiet, as_json)


@attributes.command("score")
@click.argument("checkpoint", type=_FOLDER)
@click.argument("labels", type=_PATH)
@_options(_images, _board, _leaks, _device, _quiet, _json)
@reports_errors
def score_attribute_network(
    checkpoint: Path,
    labels: Path,
    images_dir: Path,
    board_dir: Path,
    mark_leaks: bool,
    device: str,
    quiet: bool,
    as_json: bool,
) -> None:
    """Score on the CSV file LABELS."""
    from baselines.attributes.score import score_attributes
    from baselines.attributes.table import read_labels
    from baselines.attributes.train import read_attribute_record

    settings = read_attribute_record(checkpoint).settings
    table = read_labels(labels, images_dir, top_value=settings.top_value, with_gender=settings.gender)
    progress = choose_progress(quiet=quiet, as_json=as_json)
    card = score_attributes(
        checkpoint, table, board_dir, allow_leaks=mark_leaks, device=device, progress=progress
    )
    _say_card(card, quiet, as_json)


@attributes.command("table")
@click.argument("name", type=click.Choice(["table1", "table2", "ce-weights"]))
@click.argument("labels", type=_PATH)
@click.argument("scored", type=_PATH)
@_options(_images, _gender, _out, _board, _set, _device, _quiet, _json)
@reports_errors
def train_attribute_table(
    name: str,
    labels: Path,
    scored: Path,
    images_dir: Path,
    with_gender: bool,
    out_dir: Path,
    board_dir: Path,
    given: tuple[str, ...],
    device: str,
    quiet: bool,
    as_json: bool,
) -> None:
    """Train every row of a table of the paper on LABELS and score it on SCORED."""
    from baselines.attributes.ablations import ce_sweep, table_1, table_2
    from baselines.attributes.settings import AttributeSettings
    from baselines.attributes.suite import run_table
    from baselines.attributes.table import read_labels

    base = parse_given(AttributeSettings, given, gender=with_gender, device=device)
    rows = {"table1": table_1, "table2": table_2, "ce-weights": ce_sweep}[name](base)
    learned, judged = (
        read_labels(one, images_dir, top_value=base.top_value, with_gender=with_gender)
        for one in (labels, scored)
    )
    progress = choose_progress(quiet=quiet, as_json=as_json)
    result = run_table(rows, learned, judged, out_dir, board_dir, progress=progress)
    for card in result.cards:
        _say_card(card, quiet or as_json, as_json=False)
    for row, reason in result.failures:
        click.echo(f"{row} failed: {reason}", err=True)
    if as_json:
        click.echo(json.dumps({"cards": len(result.cards), "failed": dict(result.failures)}))


# -- verification -------------------------------------------------------------------------------------


@click.group()
def verification() -> None:
    """Are two pictures of one person, with parts hidden (MSML)."""


@verification.command("train")
@click.argument("identities", type=_PATH)
@click.option("--variant", help="A variant of the paper, e.g. msml_v3; `--set` changes it further.")
@click.option("--landmarks", type=_PATH, help="CSV of five points for pictures that are not aligned.")
@click.option("--cutouts", "cutouts_dir", type=_FOLDER, help="Folder of RGBA cut-outs to hide faces with.")
@_options(_out, _set, _device, _quiet, _json)
@reports_errors
def train_identities(
    identities: Path,
    variant: str | None,
    landmarks: Path | None,
    cutouts_dir: Path | None,
    out_dir: Path,
    given: tuple[str, ...],
    device: str,
    quiet: bool,
    as_json: bool,
) -> None:
    """Train on IDENTITIES: a folder for each person, or a CSV file (image, identity)."""
    from baselines.verification.ablations import find_ablation
    from baselines.verification.cutouts import Cutouts
    from baselines.verification.identities import read_identities
    from baselines.verification.settings import VerificationSettings
    from baselines.verification.training import train_verification

    if variant is not None:
        base = find_ablation(variant).settings.model_dump(exclude_unset=True, mode="json")
        given = (*(f"{name}={json.dumps(value)}" for name, value in base.items()), *given)
    settings = parse_given(VerificationSettings, given, device=device)
    record = train_verification(
        settings,
        read_identities(identities, landmarks),
        out_dir,
        cutouts=Cutouts(cutouts_dir) if cutouts_dir is not None else None,
        progress=choose_progress(quiet=quiet, as_json=as_json),
    )
    _say_trained(out_dir, record, quiet, as_json)


@verification.command("score")
@click.argument("checkpoint", type=_FOLDER)
@click.argument("pairs", type=_PATH)
@click.option("--images", "images_dir", type=_FOLDER, help="Folder that the pairs' paths start in.")
@click.option("--landmarks", type=_PATH, help="CSV of five points for pictures that are not aligned.")
@_options(_board, _set, _device, _quiet, _json)
@reports_errors
def score_identities(
    checkpoint: Path,
    pairs: Path,
    images_dir: Path | None,
    landmarks: Path | None,
    board_dir: Path,
    given: tuple[str, ...],
    device: str,
    quiet: bool,
    as_json: bool,
) -> None:
    """Score on the CSV file PAIRS, clean and with black squares of 10 to 100 % (LFW_block)."""
    from baselines.verification.identities import read_pairs
    from baselines.verification.scoring import score_verification
    from baselines.verification.settings import ScoreSettings

    settings = parse_given(ScoreSettings, given, device=device)
    found = read_pairs(pairs, images_dir, landmarks)
    progress = choose_progress(quiet=quiet, as_json=as_json)
    _say_card(score_verification(checkpoint, found, board_dir, settings, progress=progress), quiet, as_json)


TASKS = (detection, parsing, attributes, verification)
