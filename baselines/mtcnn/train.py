"""Trains the three networks one after the other, each on what the ones before it let pass.

<folder>/p/, r/, o/           one training each (`baselines.loop`): state, weights.safetensors, stage.json
<folder>/trained_on.csv       every sample whose faces were learned
<folder>/training.json        written last: settings, facts, digests of the files above
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor, nn

from baselines.checkpoint import (
    RECORD_FILE,
    TRAINED_ON_FILE,
    WEIGHTS_FILE,
    SeenSample,
    read_tensors,
    read_vouched,
    write_seen,
)
from baselines.data import StepBatches
from baselines.loop import fit
from baselines.mtcnn.cascade import Cascade
from baselines.mtcnn.examples import Records, batch_of, read_examples, write_examples
from baselines.mtcnn.losses import Targets, stage_loss
from baselines.mtcnn.networks import STAGE_SIDE_PX, build_stage, scaled_pixels
from baselines.mtcnn.pictures import FacePicture, list_face_pictures
from baselines.mtcnn.settings import STAGES, MtcnnSettings, StageName
from baselines.plan import Batch, Plan, Validation
from baselines.segmenter import RANDOM_WEIGHTS, choose_device, device_name
from baselines.tasks import RunFacts
from dataset_tools.core.errors import ConfigError, DataError
from dataset_tools.core.files import digest_json, sha256_file, write_text
from dataset_tools.core.images import ImageStore
from dataset_tools.core.manifest import Manifest
from dataset_tools.core.progress import ProgressFactory, silent
from dataset_tools.core.seeds import generator

_STAGE_FILE = "stage.json"
# Settings that decide no training step.
_FREE_TO_CHANGE = {"steps", "epochs", "checkpoint_every_steps", "device"}


class StageRecord(BaseModel):
    """One finished network; the content of `stage.json`.

    Attributes:
        fingerprint: of all that decided it.
        windows: it learned from.
        steps, seconds: optimiser steps and their wall time.
        last_loss: mean training loss at the end.
        weights_sha256: of its weights file.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    fingerprint: str
    windows: int
    steps: int
    seconds: float
    last_loss: float
    weights_sha256: str


class MtcnnRecord(BaseModel):
    """A finished cascade; the content of `training.json`.

    Attributes:
        settings: of the run.
        facts: data, time and device; its items are faces.
        stages: the three networks.
        trained_on_sha256: of `trained_on.csv`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    settings: MtcnnSettings
    facts: RunFacts
    stages: Mapping[StageName, StageRecord]
    trained_on_sha256: str

    @property
    def version(self) -> str:
        """First 12 hex digits of a digest over the three networks' weights."""
        return digest_json({name: stage.weights_sha256 for name, stage in self.stages.items()})[:12]


def train_mtcnn(
    settings: MtcnnSettings,
    manifest: Manifest,
    images: ImageStore,
    out_dir: Path,
    progress: ProgressFactory = silent,
) -> MtcnnRecord:
    """Train the cascade, or go on with a training that was interrupted in `out_dir`.

    Args:
        settings: what to train and how.
        manifest: the faces of `settings.split` are learned, with their landmarks where there are any.
        images: picture store of the manifest's workspace.
        out_dir: folder of the checkpoint.
        progress: opens the progress displays.

    Raises:
        ConfigError: `out_dir` holds a training with other settings or data, no such device, or several
            processes were started (the networks are too small to share out).
        DataError: no face to learn, or a picture cannot be read.
        SuiteError: the loss is no longer a number.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ConfigError("the cascade is trained by one process; start it without torchrun")
    device = choose_device(settings.device)
    pictures = list_face_pictures(manifest.samples(), settings.split)
    if not pictures:
        raise DataError(f"{manifest.directory} has no sample with a face in split {settings.split.value}")
    digest = manifest.canonical_digest()
    networks: dict[StageName, nn.Module] = {}
    stages: dict[StageName, StageRecord] = {}
    for stage in STAGES:
        before = [one.weights_sha256 for one in stages.values()]
        run = _StageRun(
            stage, settings, device, out_dir / stage, _fingerprint(settings, digest, stage, before)
        )
        stages[stage] = run.finished() or run.train(pictures, images, networks, progress)
        networks[stage] = run.network()
    facts = RunFacts(
        data=manifest.title,
        data_digest=digest,
        items=sum(len(one.boxes) for one in pictures),
        steps=sum(one.steps for one in stages.values()),
        seconds=round(sum(one.seconds for one in stages.values()), 3),
        device=device_name(device),
        initial_weights=RANDOM_WEIGHTS.name,
        seed=settings.seed,
        settings=settings.model_dump(mode="json"),
    )
    seen = (
        SeenSample(one.sample_id, one.split.value, one.group, one.image.sha256, one.parent_id)
        for one in pictures
    )
    record = MtcnnRecord(
        settings=settings, facts=facts, stages=stages, trained_on_sha256=write_seen(out_dir, seen)
    )
    write_text(out_dir / RECORD_FILE, record.model_dump_json(indent=2) + "\n")
    return record


def is_mtcnn(folder: Path) -> bool:
    """Whether a checkpoint folder is a cascade's: it holds the first network's."""
    return (folder / STAGES[0] / _STAGE_FILE).is_file()


def read_mtcnn_record(folder: Path) -> MtcnnRecord:
    """The record of a finished cascade, after checking the files it vouches for.

    Raises:
        DataError: no finished cascade there, or a file is damaged.
    """
    return read_vouched(
        folder / RECORD_FILE,
        MtcnnRecord,
        "cascade",
        lambda record: {
            **{f"{stage}/{WEIGHTS_FILE}": record.stages[stage].weights_sha256 for stage in STAGES},
            TRAINED_ON_FILE: record.trained_on_sha256,
        },
    )


def load_cascade(folder: Path, device: str = "auto") -> Cascade:
    """The cascade of a finished training.

    Raises:
        DataError: as `read_mtcnn_record`, or the weights are of another network.
        ConfigError: no such device.
    """
    record = read_mtcnn_record(folder)
    chosen = choose_device(device)
    networks: dict[StageName, nn.Module] = {}
    for stage in STAGES:
        networks[stage] = _read_network(stage, record.settings, folder / stage, chosen)
    return Cascade(networks, record.settings.cascade, chosen)


def count_parameters(settings: MtcnnSettings) -> int:
    """Learned values of the three networks together."""
    with torch.device("meta"):
        networks = [_build(stage, settings) for stage in STAGES]
    return sum(one.numel() for network in networks for one in network.parameters())


def _fingerprint(settings: MtcnnSettings, digest: str, stage: StageName, before: Sequence[str]) -> str:
    kept = {
        key: value for key, value in settings.model_dump(mode="json").items() if key not in _FREE_TO_CHANGE
    }
    return digest_json({"settings": kept, "dataset": digest, "stage": stage, "before": list(before)})


def _build(stage: StageName, settings: MtcnnSettings, is_fresh: bool = True) -> nn.Module:
    with_landmarks = stage == "o" or settings.landmarks_in == "all"
    return build_stage(stage, settings.convolutions, with_landmarks=with_landmarks)


def _read_network(stage: StageName, settings: MtcnnSettings, folder: Path, device: torch.device) -> nn.Module:
    network = _build(stage, settings)
    try:
        network.load_state_dict(read_tensors(folder / WEIGHTS_FILE))
    except RuntimeError as error:
        raise DataError(f"{folder}: weights do not fit: {str(error).splitlines()[0]}") from None
    return network.to(device)


class _StageRun:
    """The training of one network, its windows included."""

    def __init__(
        self,
        stage: StageName,
        settings: MtcnnSettings,
        device: torch.device,
        folder: Path,
        fingerprint: str,
    ) -> None:
        self.stage = stage
        self.settings = settings
        self.device = device
        self.folder = folder
        self.fingerprint = fingerprint

    def finished(self) -> StageRecord | None:
        """The record of an earlier call that came to its end with at least these steps."""
        path = self.folder / _STAGE_FILE
        if not path.exists() or not (self.folder / WEIGHTS_FILE).exists():
            return None
        try:
            record = StageRecord.model_validate_json(path.read_bytes())
        except ValidationError:
            return None
        is_same = (
            record.fingerprint == self.fingerprint
            and record.steps == self._last_step(record.windows)
            and record.weights_sha256 == sha256_file(self.folder / WEIGHTS_FILE)
        )
        return record if is_same else None

    def network(self) -> nn.Module:
        """The trained network."""
        return _read_network(self.stage, self.settings, self.folder, self.device)

    def train(
        self,
        pictures: Sequence[FacePicture],
        images: ImageStore,
        earlier: Mapping[StageName, nn.Module],
        progress: ProgressFactory,
    ) -> StageRecord:
        settings, side = self.settings, STAGE_SIDE_PX[self.stage]
        file = self.folder / f"windows-{self.fingerprint[:12]}.bin"
        if not file.exists():
            proposer = Cascade(earlier, settings.cascade, self.device).windows if earlier else None
            with progress(f"windows {self.stage}", len(pictures)) as bar:
                write_examples(file, pictures, images, side, settings.examples, settings.seed, bar, proposer)
        records = read_examples(file, side)
        job = _WindowJob(self.stage, settings, records)
        last_step = self._last_step(len(records))
        plan = Plan(
            title=f"mtcnn {self.stage}-net",
            last_step=last_step,
            device=self.device,
            seed=settings.seed,
            optimiser="adam",
            learning_rate=settings.learning_rate,
            val_every=max(math.ceil(len(records) / settings.batch), 1),
            checkpoint_every=settings.checkpoint_every_steps,
            amp=self.device.type == "cuda" if settings.amp is None else settings.amp,
        )
        build = partial(_build, self.stage, settings)
        fitted = fit(build, job, plan, self.folder, fingerprint=self.fingerprint, progress=progress)
        record = StageRecord(
            fingerprint=self.fingerprint,
            windows=len(records),
            steps=fitted.position.step,
            seconds=fitted.position.seconds,
            last_loss=fitted.position.history[-1][1],
            weights_sha256=sha256_file(self.folder / WEIGHTS_FILE),
        )
        write_text(self.folder / _STAGE_FILE, record.model_dump_json(indent=2) + "\n")
        file.unlink()
        return record

    def _last_step(self, windows: int) -> int:
        per_pass = math.ceil(windows / self.settings.batch)
        return self.settings.steps or per_pass * self.settings.epochs


class _WindowJob:
    """Windows of one file as the training loop wants them."""

    def __init__(self, stage: StageName, settings: MtcnnSettings, records: Records) -> None:
        self._stage = stage
        self._settings = settings
        self._records = records

    def batches(self, steps: range, rank: int, world: int) -> Iterable[Batch]:
        """See `baselines.plan.Job`; "windows" (B, 3, side, side) uint8 and the fields of `Targets`."""
        settings = self._settings
        chosen = StepBatches(
            len(self._records), settings.batch, steps=steps, seed=settings.seed, rank=rank, world=world
        )
        for step, keys in zip(steps, chosen, strict=True):
            indices = np.array([index for _, index in keys])
            mirrored = generator(settings.seed, str(step), str(rank), "mirror").random(len(keys)) < 0.5
            windows, targets = batch_of(self._records[indices], mirrored & settings.mirror)
            yield {"windows": windows, **targets._asdict(), "index": torch.tensor(indices)}

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """See `baselines.plan.Job`."""
        targets = Targets(batch["kind"], batch["box"], batch["landmarks"], batch["has_landmarks"])
        output = network(scaled_pixels(batch["windows"]))
        return stage_loss(output, targets, self._stage, self._settings.mined_share)

    def names(self, indices: Sequence[int]) -> list[str]:
        """Places in the file of windows."""
        return [f"window {index}" for index in indices]

    def validate(self, network: nn.Module) -> Validation | None:
        """Nothing to judge on: the last weights are taken, as in the published recipe."""
        return None
