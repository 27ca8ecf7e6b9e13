"""`build-dataset review assist` and `review retrain`: the model beside the page, and its successors."""

from __future__ import annotations

import logging
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dataset_tools.core.console import reports_errors
from dataset_tools.options import open_build, print_result, with_config, with_output

if TYPE_CHECKING:
    from fastapi import FastAPI

    from annotation.backend.assistant import Models
    from annotation.backend.prompts import Prompter
    from annotation.backend.retraining import Checkpoint
    from annotation.prelabel.stage import PrelabelStage
    from baselines.checkpoint import TrainingRecord
    from baselines.settings import TrainSettings
    from dataset_tools.core.manifest import Manifest
    from dataset_tools.pipeline import Pipeline

_log = logging.getLogger(__name__)

DEFAULT_PORT = 9090
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_SUCCESSORS = "assist-*"

_checkpoint = click.option(
    "--checkpoint",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of a trained baseline [default: the one that pre-labels].",
)
_device = click.option("--device", default="auto", show_default=True, help="Where networks run.")


@click.command("assist")
@with_config
@_checkpoint
@click.option("--sam", help="Let SAM 2 answer clicks and boxes: a folder, or a name on the Hugging Face Hub.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Others than this machine need a key.")
@click.option("--port", type=click.IntRange(1, 65535), default=DEFAULT_PORT, show_default=True)
@click.option("--train/--no-train", "trains", default=True, show_default=True, help="Offer retraining.")
@_device
@reports_errors
def assist_command(
    config: Path,
    checkpoint: Path | None,
    sam: str | None,
    host: str,
    port: int,
    trains: bool,
    device: str,
    **overrides: Any,
) -> None:
    """Run the model beside the review page, until Ctrl-C.

    It proposes, answers clicks and boxes, and trains a successor on what people have accepted so far when
    Label Studio's "Start Training" asks for it. The key, if there is to be one, is read from the environment
    variable MASKSET_BACKEND_KEY.
    """
    from annotation.backend.app import create_app
    from annotation.backend.assistant import Assistant, pictures_of
    from annotation.backend.connect import key_from_environment
    from annotation.backend.retraining import Retrainer

    key = key_from_environment() or None
    listening = _listen(host, port, key)
    build = open_build(config, quiet=True, as_json=False, **overrides)
    pictures = pictures_of(build.manifest("prelabel").samples())
    models = _ModelsAtHand(build, checkpoint, sam, device)
    first = models.newest()
    assistant = Assistant(pictures, build.workspace.images, models.load(first), models.settings)

    def take_newest() -> str:
        assistant.use(models.load(models.newest()))
        return assistant.models.version

    log_path = build.workspace.root / "models" / "retrain.log"
    retrainer = None
    if trains and first is not None:
        retrainer = Retrainer(
            lambda: _retrain_arguments(config, models.newest(), device, overrides), log_path, take_newest
        )
    click.echo(
        f"{assistant.models.version} answers for {len(pictures)} samples at http://{host}:{port}"
        f"{'' if key is None else ', with a key'}; Ctrl-C stops it"
    )
    try:
        _serve(create_app(assistant, key, retrainer), listening)
    finally:
        if retrainer is not None:
            retrainer.close()


@click.command("retrain")
@with_config
@with_output
@_checkpoint
@click.option("--steps", type=click.IntRange(1), help="Optimiser steps [default: as the checkpoint's].")
@_device
@reports_errors
def retrain_command(
    config: Path,
    checkpoint: Path | None,
    steps: int | None,
    device: str,
    quiet: bool,
    as_json: bool,
    **overrides: Any,
) -> None:
    """Train a successor of the model on all that is labelled by now, pulled verdicts included.

    It starts from the model's weights. Verdicts are pulled by `review close`.
    """
    from baselines.checkpoint import read_record
    from baselines.train import train
    from dataset_tools.core.errors import ConfigError
    from dataset_tools.core.files import digest_json
    from dataset_tools.core.workspace import Workspace

    build = open_build(config, quiet=quiet, as_json=as_json, **overrides)
    folder = checkpoint or _ModelsAtHand(build, None, None, device).newest()
    if folder is None:
        raise ConfigError("there is no trained baseline to go on from; name one with --checkpoint")
    record = read_record(folder)
    build.run("review")
    manifest = build.manifest("review")
    if record.dataset_digest == manifest.canonical_digest():
        _print_trained(folder, record, "nothing was accepted since it was trained", as_json)
        return
    settings = _successor_settings(record, folder, manifest, steps, device)
    made_of = {"train": settings.model_dump(mode="json", exclude={"start_from", "device"})}
    digest = digest_json(made_of | {"data": manifest.key})
    models = build.workspace.root / "models"
    # Its own lock, not the workspace's: people go on pulling verdicts while this trains.
    with Workspace(models).lock():
        out_dir = models / _SUCCESSORS.replace("*", digest[:12])
        result = train(settings, manifest, build.workspace.images, out_dir, build.progress)
    _print_trained(out_dir, result.record, f"trained on {result.record.samples} samples", as_json)


def _print_trained(folder: Path, record: TrainingRecord, what: str, as_json: bool) -> None:
    version = f"{record.baseline}@{record.version}"
    values = {"checkpoint": str(folder), "version": version, "samples": record.samples, "said": what}
    print_result(values, [f"{version}: {what}", str(folder)], as_json)


def _successor_settings(
    record: TrainingRecord, folder: Path, manifest: Manifest, steps: int | None, device: str
) -> TrainSettings:
    """The checkpoint's own settings, on everything labelled, from its weights."""
    from dataset_tools.core.record import Split

    changes: dict[str, Any] = {
        "start_from": folder.resolve(),
        "start_sha256": record.weights_sha256,
        "split": Split.UNASSIGNED,
        "samples": "all",
        "fresh_masks": False,
        "device": device,
        # These were resolved for the machine that trained the checkpoint.
        "amp": None,
        "num_workers": None,
        "compiled": None,
    }
    if steps is not None:
        changes["steps"] = steps
    return record.settings.model_copy(update=changes)


class _ModelsAtHand:
    """The model that assists, its successors in this workspace, and how they are loaded."""

    def __init__(self, build: Pipeline, checkpoint: Path | None, sam: str | None, device: str) -> None:
        from annotation.prelabel.stage import PrelabelStage

        self._build = build
        self._sam = sam
        self._device = device
        self._stage: PrelabelStage | None = None
        self.settings = build.config.prelabel
        if checkpoint is not None:
            self.settings = self.settings.model_copy(update={"checkpoint": checkpoint})
        else:
            stage = build.stage("prelabel")
            assert isinstance(stage, PrelabelStage)
            self._stage, self.settings = stage, stage.settings

    def newest(self) -> Path | None:
        """The checkpoint at the end of the line of successors; None when there is no trained baseline."""
        from annotation.backend.retraining import newest
        from annotation.prelabel.from_baseline import checkpoint_folder
        from baselines.checkpoint import read_record

        first = checkpoint_folder(self.settings)
        if first is None:
            return None
        record = read_record(first)
        found = newest(record.weights_sha256, self._successors())
        return first if found is None else found.folder

    def _successors(self) -> list[Checkpoint]:
        from annotation.backend.retraining import Checkpoint
        from baselines.checkpoint import RECORD_FILE, read_record
        from dataset_tools.core.errors import DataError

        found = []
        for path in sorted((self._build.workspace.root / "models").glob(f"{_SUCCESSORS}/{RECORD_FILE}")):
            try:
                record = read_record(path.parent)
            except DataError as error:
                _log.warning("%s; it is left out", error)
                continue
            found.append(
                Checkpoint(path.parent, record.weights_sha256, record.settings.start_sha256, record.crops)
            )
        return found

    def load(self, checkpoint: Path | None) -> Models:
        """The models that answer; weights are read on first use.

        Raises:
            ConfigError: there is no model at all.
            DataError: a model is damaged.
        """
        from annotation.backend.assistant import Models
        from annotation.prelabel.calibrate import NO_CALIBRATION
        from annotation.prelabel.stage import PrelabelStage
        from dataset_tools.core.errors import ConfigError

        prompter: Prompter | None = None
        if self._sam is not None:
            from annotation.prelabel.sam import Sam2Proposer

            prompter = sam = Sam2Proposer(self._sam, device=self._device)
            if checkpoint is None:
                return Models(sam, sam)
        if checkpoint is None:
            raise ConfigError("there is no model to assist with; name one with --checkpoint or --sam")
        settings = self.settings.model_copy(update={"checkpoint": checkpoint, "device": self._device})
        stage = PrelabelStage(settings, self._build.config.seed)
        assert stage.proposer is not None
        # A calibration holds for the weights it was made with, not for their successors.
        known = self._stage
        is_same = known is not None and known.config.get("model") == stage.config["model"]
        calibration = (known.rating if known is not None and is_same else stage.rating) or NO_CALIBRATION
        return Models(stage.proposer, prompter, calibration)


def _retrain_arguments(
    config: Path, checkpoint: Path | None, device: str, overrides: dict[str, Any]
) -> list[str]:
    arguments = [sys.executable, "-m", "dataset_tools.cli", "review", "retrain", str(config.resolve())]
    chosen = {"checkpoint": checkpoint, "device": device, **overrides}
    for name, value in chosen.items():
        if value is not None:
            arguments += [f"--{name}", str(value)]
    return [*arguments, "--quiet"]


def _listen(host: str, port: int, key: str | None) -> socket.socket:
    """A bound socket, so that a port in use is told before anything is loaded."""
    from annotation.backend.connect import KEY_VARIABLE
    from dataset_tools.core.errors import ConfigError

    if host not in _LOOPBACK and key is None:
        raise ConfigError(f"{host} can be reached by others: set {KEY_VARIABLE} to a key of your choice")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise ConfigError(f"cannot listen on {host}, port {port}: {error.strerror}") from None
    return listening


def _serve(app: FastAPI, listening: socket.socket) -> None:
    """Answer until Ctrl-C or SIGTERM."""
    import uvicorn

    settings = uvicorn.Config(app, log_level="warning", access_log=False, ws="none", lifespan="off")
    server: Callable[..., None] = uvicorn.Server(settings).run
    with listening:
        server(sockets=[listening])
