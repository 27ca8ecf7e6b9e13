"""One training loop for every baseline: `train` turns a manifest's labelled samples into a checkpoint.

Every random number follows from the run seed, the step and the sample ids, so a run that was killed and
resumed gives, on a CPU, the same weights bit for bit as one that was not.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from baselines.checkpoint import (
    BEST_FILE,
    RECORD_FILE,
    WEIGHTS_FILE,
    TrainingRecord,
    read_record,
    read_state,
    read_tensors,
    write_record,
    write_seen,
    write_state,
    write_tensors,
)
from baselines.data import Crop, CropDataset, FreshSamples, StepBatches, list_crops
from baselines.losses import OutputLoss, find_loss
from baselines.metrics import summarise
from baselines.models import build_network, find_spec
from baselines.predict import Predictor
from baselines.scoring import score_crops
from baselines.segmenter import InitialWeights, choose_device, initial_weights, normalise_images
from baselines.settings import TrainSettings
from dataset_tools.core.errors import ConfigError, DataError, SuiteError
from dataset_tools.core.files import digest_json, sha256_file
from dataset_tools.core.images import ImageStore
from dataset_tools.core.manifest import Manifest
from dataset_tools.core.progress import ProgressFactory, silent
from dataset_tools.core.record import Split
from dataset_tools.core.seeds import derive_seed

__all__ = ["TrainResult", "TrainSettings", "train"]

# Settings that may change between a run and its continuation: they decide no training step.
_FREE_TO_CHANGE = {"steps", "epochs", "patience", "device", "num_workers", "checkpoint_every_steps"}
_MOST_WORKERS = 8


@dataclass(frozen=True, slots=True)
class TrainResult:
    """Where the checkpoint lies, what it is, and how fast this call trained (0 when nothing was left)."""

    checkpoint_dir: Path
    record: TrainingRecord
    crops_per_second: float


@dataclass(slots=True)
class _Position:
    """How far a training is; everything in a state besides tensors."""

    step: int = 0
    seconds: float = 0.0
    best_step: int = 0
    best_val_iou: float | None = None
    stale: int = 0  # validations since the best
    loss_sum: float = 0.0  # since the last entry of history
    loss_count: int = 0
    history: list[tuple[int, float, float | None]] = field(default_factory=list)
    start_name: str = ""
    start_sha256: str = ""


def train(
    settings: TrainSettings,
    manifest: Manifest,
    images: ImageStore,
    out_dir: Path,
    progress: ProgressFactory = silent,
    *,
    fresh: FreshSamples | None = None,
) -> TrainResult:
    """Train a baseline, or go on with a training that was interrupted in `out_dir`.

    Args:
        settings: what to train and how.
        manifest: labelled samples of `settings.split` are learned; the best weights are chosen on split
            val, or are the last ones when there is no val split.
        images: picture store of the manifest's workspace.
        out_dir: folder of the checkpoint (`baselines.checkpoint`).
        progress: opens the progress display.
        fresh: draws rendered samples anew; used when `settings.fresh_masks` asks for it.

    Raises:
        UnknownName: no such baseline or loss.
        ConfigError: `out_dir` holds a training with other settings or data, no such device, or fresh masks
            are asked for and `fresh` is None.
        DataError: nothing to learn from, or a picture cannot be read or drawn.
        WeightsUnavailable: published encoder weights cannot be had.
        SuiteError: loss or gradient is no longer a number; names the samples of that step.
    """
    device = choose_device(settings.device)
    settings = _resolved(settings, device)
    loss = find_loss(settings.loss or "")
    digest = manifest.canonical_digest()
    fresh = _drawing(settings, fresh)
    finished = _finished(out_dir, settings, digest, fresh)
    if finished is not None:
        return TrainResult(out_dir, finished, 0.0)
    learned, held_out = _crops(settings, manifest)
    _check_drawable(learned, fresh)
    cuda = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda), _deterministic(settings.deterministic):
        run = _Run(settings, device, loss, learned, held_out, images, out_dir, digest, fresh)
        speed = run.go_on(progress)
        record = run.finish(manifest)
    return TrainResult(out_dir, record, speed)


def _resolved(settings: TrainSettings, device: torch.device) -> TrainSettings:
    recipe = find_spec(settings.baseline).recipe
    on_gpu = device.type == "cuda"
    spare = max((os.cpu_count() or 1) - 1, 0)
    values: dict[str, Any] = {
        "batch": settings.batch or recipe.batch,
        "learning_rate": settings.learning_rate or recipe.learning_rate,
        "loss": settings.loss or recipe.loss,
        "amp": on_gpu if settings.amp is None else settings.amp,
        "num_workers": settings.num_workers,
    }
    if settings.steps is None:
        values["epochs"] = settings.epochs or recipe.epochs
    if settings.num_workers is None:
        values["num_workers"] = min(spare, _MOST_WORKERS) if on_gpu else 0
    return settings.model_copy(update=values)


def _drawing(settings: TrainSettings, fresh: FreshSamples | None) -> FreshSamples | None:
    if not settings.fresh_masks:
        return None
    if fresh is None:
        raise ConfigError("fresh_masks is set, but this command cannot draw; use `build-dataset train`")
    return fresh


def _check_drawable(learned: list[Crop], fresh: FreshSamples | None) -> None:
    if fresh is None:
        return
    rendered = {crop.sample_id for crop in learned if crop.parent_id}
    missing = sorted(rendered - set(fresh.sample_ids))
    if missing:
        raise DataError(
            f"{len(missing)} of {len(rendered)} rendered samples cannot be drawn anew, {missing[0]} first: "
            "their photos or landmarks are not in the manifest; train with fresh_masks: false"
        )


def _finished(
    out_dir: Path, settings: TrainSettings, digest: str, fresh: FreshSamples | None
) -> TrainingRecord | None:
    if not (out_dir / RECORD_FILE).exists():
        return None
    record = read_record(out_dir)
    drawn_by = fresh.drawn_by if fresh is not None else ""
    is_same = record.settings == settings and record.dataset_digest == digest
    return record if is_same and record.fresh_masks == drawn_by else None


def _crops(settings: TrainSettings, manifest: Manifest) -> tuple[list[Crop], list[Crop]]:
    wants_synthetic = settings.samples == "synthetic"
    learned = [
        crop
        for crop in list_crops(manifest.samples(), settings.split, settings.crop)
        if settings.samples == "all" or bool(crop.parent_id) == wants_synthetic
    ]
    if not learned:
        raise DataError(
            f"{manifest.directory} has no labelled sample to learn from (split {settings.split.value}, "
            f"samples {settings.samples})"
        )
    return learned, list_crops(manifest.samples(), Split.VAL, settings.crop)


@contextmanager
def _deterministic(wanted: bool) -> Iterator[None]:
    before = torch.are_deterministic_algorithms_enabled()
    if wanted:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS repeats itself only with it
    torch.use_deterministic_algorithms(wanted or before)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


class _Run:
    """A training between two calls of `train`."""

    def __init__(
        self,
        settings: TrainSettings,
        device: torch.device,
        loss: OutputLoss,
        learned: list[Crop],
        held_out: list[Crop],
        images: ImageStore,
        out_dir: Path,
        dataset_digest: str,
        fresh: FreshSamples | None,
    ) -> None:
        self.settings = settings
        self.device = device
        self.loss = loss
        self.learned = learned
        self.held_out = held_out
        self.images = images
        self.out_dir = out_dir
        self.dataset_digest = dataset_digest
        self.fresh = fresh
        self.drawn_by = fresh.drawn_by if fresh is not None else ""
        self.batch = settings.batch or 1
        per_pass = math.ceil(len(learned) / self.batch)
        self.last_step = settings.steps or per_pass * (settings.epochs or 1)
        self.val_every = settings.val_every_steps or per_pass
        kept = {key: value for key, value in self._choices() if key not in _FREE_TO_CHANGE}
        self.fingerprint = digest_json(
            {"settings": kept, "dataset": dataset_digest, "fresh_masks": self.drawn_by}
        )
        self._start()

    def _choices(self) -> Iterable[tuple[str, Any]]:
        return self.settings.model_dump(mode="json").items()

    def _start(self) -> None:
        """Build the network, fresh or from the last state."""
        settings = self.settings
        state = read_state(self.out_dir)
        torch.manual_seed(derive_seed(settings.seed, settings.baseline, "start"))
        # A resumed run takes all values from its state, so it needs no published weights.
        network = build_network(
            settings.baseline, settings.num_classes, pretrained=settings.pretrained and state is None
        )
        start: InitialWeights = initial_weights(network)
        self.position = _Position(start_name=start.name, start_sha256=start.sha256)
        # Channels last: 1.4 times as fast on a CPU for the small U-Net, and what tensor cores want.
        self.network: nn.Module = network.to(memory_format=torch.channels_last).to(self.device)
        self.optimiser = torch.optim.Adam(self.network.parameters(), lr=settings.learning_rate or 0.0)
        if state is not None:
            self._restore(*state)

    def _restore(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        if values.pop("fingerprint") != self.fingerprint:
            raise ConfigError(
                f"{self.out_dir} holds a training with other settings or data; choose another folder"
            )
        self.position = _Position(**{**values, "history": [tuple(one) for one in values["history"]]})
        network = {name[6:]: tensor for name, tensor in tensors.items() if name.startswith("model.")}
        self.network.load_state_dict(network)
        moments: dict[int, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            if name.startswith("optimiser."):
                _, index, key = name.split(".")
                moments.setdefault(int(index), {})[key] = tensor
        groups = self.optimiser.state_dict()["param_groups"]
        self.optimiser.load_state_dict({"state": moments, "param_groups": groups})

    def go_on(self, progress: ProgressFactory) -> float:
        """Train until the last step or until validation stops improving; returns crops per second."""
        position = self.position
        first, training_s, mark = position.step, 0.0, time.monotonic()
        with progress("train", 0 if self._is_stale() else self.last_step - first) as bar:
            for pictures, classes, indices in self._batches():
                value = self._step(pictures, classes, indices)
                step_s = time.monotonic() - mark
                training_s, position.seconds = training_s + step_s, position.seconds + step_s
                bar.advance()
                bar.note(f"loss {value:.3f}")
                if self._is_checkpoint():
                    self._validate_and_save()
                mark = time.monotonic()
                if self._is_stale():
                    break
        return (position.step - first) * self.batch / training_s if position.step > first else 0.0

    def _batches(self) -> Iterable[tuple[Tensor, Tensor, Tensor]]:
        settings = self.settings
        dataset = CropDataset(
            self.learned,
            self.images,
            labels=settings.labels,
            input_px=settings.input_px,
            augment=settings.augment,
            seed=settings.seed,
            fresh=self.fresh,
        )
        last = self.position.step if self._is_stale() else self.last_step
        batches = StepBatches(
            len(self.learned), self.batch, first_step=self.position.step, last_step=last, seed=settings.seed
        )
        workers = settings.num_workers or 0
        return DataLoader(
            dataset,
            batch_sampler=batches,
            num_workers=workers,
            pin_memory=self.device.type == "cuda",
            # A fork of a process that already runs threads may hang.
            multiprocessing_context="spawn" if workers else None,
        )

    def _step(self, pictures: Tensor, classes: Tensor, indices: Tensor) -> float:
        position = self.position
        torch.manual_seed(derive_seed(self.settings.seed, str(position.step), "step"))
        self.network.train()
        pictures = pictures.to(self.device, non_blocking=True, memory_format=torch.channels_last)
        classes = classes.to(self.device, non_blocking=True)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=bool(self.settings.amp)):
            output = self.network(normalise_images(pictures))
        loss = self.loss(output, classes)
        self.optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        gradients = [one.grad for one in self.network.parameters() if one.grad is not None]
        value, norm = float(loss.detach()), float(torch.nn.utils.get_total_norm(gradients))
        if not (math.isfinite(value) and math.isfinite(norm)):
            names = ", ".join(sorted({self.learned[index].sample_id for index in indices.tolist()}))
            raise SuiteError(
                f"training {self.settings.baseline} broke down at step {position.step + 1}: loss {value}, "
                f"gradient {norm}; nothing of this step was kept; samples: {names}; try a lower "
                "learning rate"
            )
        self.optimiser.step()
        position.step += 1
        position.loss_sum += value
        position.loss_count += 1
        return value

    def _is_validation(self) -> bool:
        return self.position.step % self.val_every == 0 or self.position.step == self.last_step

    def _is_checkpoint(self) -> bool:
        return self._is_validation() or self.position.step % self.settings.checkpoint_every_steps == 0

    def _is_stale(self) -> bool:
        return self.position.stale >= self.settings.patience

    def _validate_and_save(self) -> None:
        if self._is_validation():
            self._validate()
        tensors = {f"model.{name}": tensor for name, tensor in self.network.state_dict().items()}
        for index, moments in self.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{index}.{key}": tensor for key, tensor in moments.items()}
        write_state(self.out_dir, tensors, {**asdict(self.position), "fingerprint": self.fingerprint})

    def _validate(self) -> None:
        position = self.position
        val_iou = self._val_iou() if self.held_out else None
        position.history.append((position.step, position.loss_sum / max(position.loss_count, 1), val_iou))
        position.loss_sum, position.loss_count = 0.0, 0
        if val_iou is None:
            position.best_step = position.step
        elif position.best_val_iou is None or val_iou > position.best_val_iou:
            position.best_step, position.best_val_iou, position.stale = position.step, val_iou, 0
            write_tensors(self.out_dir / BEST_FILE, self.network.state_dict())
        else:
            position.stale += 1

    def _val_iou(self) -> float:
        settings = self.settings
        predictor = Predictor(
            self.network,
            name=settings.baseline,
            version="",
            labels=settings.labels,
            input_px=settings.input_px,
            crop=settings.crop,
            device=self.device,
        )
        found = []
        with silent("", None) as quiet:
            for label in settings.labels:
                scored = score_crops(predictor, self.held_out, self.images, label, quiet)
                found.append(summarise(scored.scores)["iou"])
        return sum(found) / len(found)

    def finish(self, manifest: Manifest) -> TrainingRecord:
        """Write weights, sample list and record; the record last."""
        position = self.position
        (self.out_dir / RECORD_FILE).unlink(missing_ok=True)
        has_best = position.best_val_iou is not None
        weights = read_tensors(self.out_dir / BEST_FILE) if has_best else self.network.state_dict()
        write_tensors(self.out_dir / WEIGHTS_FILE, weights)
        record = TrainingRecord(
            baseline=self.settings.baseline,
            settings=self.settings,
            dataset_name=manifest.title,
            dataset_key=manifest.key,
            dataset_digest=self.dataset_digest,
            samples=len({crop.sample_id for crop in self.learned}),
            crops=len(self.learned),
            synthetic_crops=sum(1 for crop in self.learned if crop.parent_id),
            fresh_masks=self.drawn_by,
            val_crops=len(self.held_out),
            steps=position.step,
            seconds=round(position.seconds, 3),
            device=_device_name(self.device),
            torch_version=torch.__version__,
            initial_weights=position.start_name,
            initial_weights_sha256=position.start_sha256,
            best_step=position.best_step,
            best_val_iou=position.best_val_iou,
            history=tuple(position.history),
            weights_sha256=sha256_file(self.out_dir / WEIGHTS_FILE),
            trained_on_sha256=write_seen(
                self.out_dir, (crop.seen for crop in [*self.learned, *self.held_out])
            ),
        )
        write_record(self.out_dir, record)
        return record


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
