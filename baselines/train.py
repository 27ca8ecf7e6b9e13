"""`train` turns a manifest's labelled samples into a checkpoint of any baseline, network or fixed method.

Every random number follows from the run seed, the step and the sample ids; see `baselines.loop`.
"""

from __future__ import annotations

import importlib
import math
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from baselines.checkpoint import (
    RECORD_FILE,
    WEIGHTS_FILE,
    SeenSample,
    TrainingRecord,
    read_record,
    read_seen,
    write_record,
    write_seen,
    write_tensors,
)
from baselines.data import Crop, CropDataset, FreshSamples, StepBatches, list_crops
from baselines.loop import fit
from baselines.losses import find_loss
from baselines.metrics import summarise
from baselines.models import build_network, find_spec
from baselines.plan import Batch, Plan, Position, Validation
from baselines.predict import Predictor, load_network, network_asker
from baselines.registry import BaselineSpec, find_method
from baselines.scoring import score_crops
from baselines.segmenter import (
    InitialWeights,
    TrainsItself,
    choose_device,
    device_name,
    normalise_images,
)
from baselines.settings import TrainSettings
from dataset_tools.core.errors import ConfigError, DataError
from dataset_tools.core.files import digest_json, sha256_file
from dataset_tools.core.images import ImageStore
from dataset_tools.core.manifest import Manifest
from dataset_tools.core.progress import ProgressFactory, silent
from dataset_tools.core.record import Split

__all__ = ["TrainResult", "TrainSettings", "train"]

# Settings that may change between a run and its continuation: they decide no training step.
_FREE_TO_CHANGE = frozenset(
    ["steps", "epochs", "patience", "device", "num_workers", "kept_mib", "checkpoint_every_steps", "compiled"]
)
_MOST_WORKERS = 8
_STEPS_WORTH_COMPILING = 1000  # compiling takes a minute or two


@dataclass(frozen=True, slots=True)
class TrainResult:
    """Where the checkpoint lies, what it is, and how fast this call trained (0 when nothing was left)."""

    checkpoint_dir: Path
    record: TrainingRecord
    crops_per_second: float


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
        ConfigError: `out_dir` holds a training with other settings or data, no such device, fresh masks
            are asked for and `fresh` is None, or `settings.start_from` is of another kind.
        DataError: nothing to learn from, or a picture cannot be read or drawn.
        WeightsUnavailable: published encoder weights cannot be had.
        SuiteError: loss or gradient is no longer a number (names the samples of that step), or out of memory.
    """
    device = choose_device(settings.device)
    spec = find_spec(settings.baseline)
    start, settings = _start(settings, spec)
    if spec.trained_by:
        module, _, function = spec.trained_by.partition(":")
        staged = getattr(importlib.import_module(module), function)
        result: TrainResult = staged(settings, manifest, images, out_dir, progress, fresh=fresh)
        return result
    settings = _resolved(settings, spec, device)
    if settings.loss:
        find_loss(settings.loss)
    digest = manifest.canonical_digest()
    fresh = _drawing(settings, fresh)
    finished = _finished(out_dir, settings, digest, fresh)
    if finished is not None:
        return TrainResult(out_dir, finished, 0.0)
    learned, held_out = _crops(settings, manifest)
    _check_drawable(learned, fresh)
    (out_dir / RECORD_FILE).unlink(missing_ok=True)
    if spec.is_trained:
        job = CropJob(settings, device, learned, held_out, images, fresh)
        fitted = fit(
            partial(_network, settings, start),
            job,
            job.plan(),
            out_dir,
            fingerprint=_fingerprint(settings, digest, fresh),
            progress=progress,
        )
        position, speed = fitted.position, fitted.items_per_second
    else:
        position, speed = _fit_method(settings, learned, images, out_dir), 0.0
    seen = [crop.seen for crop in [*learned, *held_out]] + _seen_before(start, settings)
    record = _record(settings, manifest, device, learned, held_out, seen, fresh, position, out_dir)
    if int(os.environ.get("RANK", "0")) == 0:
        write_record(out_dir, record)
    return TrainResult(out_dir, record, speed)


def _start(settings: TrainSettings, spec: BaselineSpec) -> tuple[Path | None, TrainSettings]:
    """The checkpoint to start from, and the settings with its digest in place of its folder."""
    folder, known = settings.start_from, settings.start_sha256
    if folder is None:
        if known:
            raise ConfigError("start_sha256 is set, but start_from names no checkpoint with these weights")
        return None, settings
    if spec.trained_by or not spec.is_trained:
        raise ConfigError(f"{spec.name} cannot start from a checkpoint: it is not trained in one go")
    record = read_record(folder)
    for name in ("baseline", "labels", "options"):
        wanted, found = getattr(settings, name), getattr(record.settings, name)
        if wanted != found:
            raise ConfigError(
                f"cannot start from {folder}: {name} there: {_said(found)}; wanted: {_said(wanted)}"
            )
    if known not in ("", record.weights_sha256):
        raise ConfigError(f"cannot start from {folder}: its weights are not those of start_sha256")
    return folder, settings.model_copy(update={"start_from": None, "start_sha256": record.weights_sha256})


def _seen_before(start: Path | None, settings: TrainSettings) -> list[SeenSample]:
    """What the start was trained with; what it learned from counts as learned from here too."""
    if start is None:
        return []
    before, now = read_record(start).settings.split.value, settings.split.value
    return [replace(one, split=now) if one.split == before else one for one in read_seen(start)]


def _said(value: Any) -> str:
    return ", ".join(value) if isinstance(value, tuple) else str(value)


def _network(settings: TrainSettings, start: Path | None, is_fresh: bool) -> nn.Module:
    if start is not None and is_fresh:
        network = load_network(start)
        name = f"{settings.baseline}@{settings.start_sha256[:12]}"
        network.initial_weights = InitialWeights(name, settings.start_sha256)  # type: ignore[assignment]
        return network
    pretrained = settings.pretrained and is_fresh
    return build_network(
        settings.baseline, settings.num_classes, pretrained=pretrained, **dict(settings.options)
    )


def _fingerprint(settings: TrainSettings, digest: str, fresh: FreshSamples | None) -> str:
    values = settings.model_dump(mode="json", exclude={"start_from"})
    if not settings.start_sha256:  # so that trainings begun before there was such a setting go on
        del values["start_sha256"]
    free = _FREE_TO_CHANGE if settings.schedule != "cosine" else _FREE_TO_CHANGE - {"steps", "epochs"}
    kept = {key: value for key, value in values.items() if key not in free}
    drawn_by = fresh.drawn_by if fresh is not None else ""
    return digest_json({"settings": kept, "dataset": digest, "fresh_masks": drawn_by})


def _resolved(settings: TrainSettings, spec: BaselineSpec, device: torch.device) -> TrainSettings:
    recipe = spec.recipe
    on_gpu = device.type == "cuda"
    spare = max((os.cpu_count() or 1) - 1, 0)
    values: dict[str, Any] = {
        "batch": settings.batch or recipe.batch,
        "amp": on_gpu if settings.amp is None else settings.amp,
    }
    for name in ("optimiser", "learning_rate", "weight_decay", "clip_value", "clip_norm", "schedule", "loss"):
        chosen = getattr(settings, name)
        values[name] = getattr(recipe, name) if chosen is None else chosen
    if settings.steps is None:
        values["epochs"] = settings.epochs or recipe.epochs
    if settings.num_workers is None:
        values["num_workers"] = min(spare, _MOST_WORKERS) if on_gpu else 0
    if settings.compiled is None:
        is_long = settings.steps is None or settings.steps >= _STEPS_WORTH_COMPILING
        values["compiled"] = on_gpu and is_long and not spec.uncompiled
    if not spec.is_trained:
        values |= {"epochs": None, "steps": None, "amp": False, "compiled": False}
    elif len(settings.labels) < spec.least_labels:
        raise ConfigError(
            f"{spec.name} needs at least {spec.least_labels} labels; give --label several times"
        )
    elif values["batch"] < spec.least_batch:
        raise ConfigError(
            f"{spec.name} needs batches of at least {spec.least_batch}, found {values['batch']}"
        )
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
        for crop in list_crops(
            manifest.samples(), settings.split, settings.crop, proposals_from=settings.proposals_from
        )
        if settings.samples == "all" or bool(crop.parent_id) == wants_synthetic
    ]
    if not learned:
        raise DataError(
            f"{manifest.directory} has no labelled sample to learn from (split {settings.split.value}, "
            f"samples {settings.samples})"
        )
    return learned, list_crops(manifest.samples(), Split.VAL, settings.crop)


class CropJob:
    """Crops of a manifest as the training loop wants them: batches, loss, and IoU on the held-out ones."""

    def __init__(
        self,
        settings: TrainSettings,
        device: torch.device,
        learned: list[Crop],
        held_out: list[Crop],
        images: ImageStore,
        fresh: FreshSamples | None,
    ) -> None:
        self._settings = settings
        self._device = device
        self._learned = learned
        self._held_out = held_out
        self._images = images
        self._fresh = fresh
        self._batch = settings.batch or 1
        self._loss = find_loss(settings.loss) if settings.loss else None

    def plan(self) -> Plan:
        """The loop's view of the settings."""
        settings = self._settings
        per_pass = math.ceil(len(self._learned) / self._batch)
        return Plan(
            title=settings.baseline,
            last_step=settings.steps or per_pass * (settings.epochs or 1),
            device=self._device,
            seed=settings.seed,
            optimiser=settings.optimiser or "adam",
            learning_rate=settings.learning_rate or 0.0,
            weight_decay=settings.weight_decay or 0.0,
            clip_value=settings.clip_value,
            clip_norm=settings.clip_norm,
            schedule=settings.schedule or "constant",
            val_every=settings.val_every_steps or per_pass,
            patience=settings.patience,
            checkpoint_every=settings.checkpoint_every_steps,
            amp=bool(settings.amp),
            compiled=bool(settings.compiled),
            deterministic=settings.deterministic,
        )

    def batches(self, steps: range, rank: int, world: int) -> Iterable[Batch]:
        """See `baselines.plan.Job`; "pictures" (B, 3, S, S) uint8, "classes" (B, S, S) uint8."""
        settings = self._settings
        dataset = CropDataset(
            self._learned,
            self._images,
            labels=settings.labels,
            input_px=settings.input_px,
            augment=settings.augment,
            augment_without=settings.augment_without,
            new_cloth=settings.new_cloth,
            seed=settings.seed,
            fresh=self._fresh,
            kept_mib=settings.kept_mib // max(settings.num_workers or 0, 1),
        )
        batches = StepBatches(
            len(self._learned), self._batch, steps=steps, seed=settings.seed, rank=rank, world=world
        )
        workers = settings.num_workers or 0
        loaded = DataLoader(
            dataset,
            batch_sampler=batches,
            num_workers=workers,
            pin_memory=self._device.type == "cuda",
            # A fork of a process that already runs threads may hang.
            multiprocessing_context="spawn" if workers else None,
        )
        for pictures, classes, indices in loaded:
            yield {"pictures": pictures, "classes": classes, "index": indices}

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """See `baselines.plan.Job`."""
        pictures = normalise_images(batch["pictures"])
        if self._loss is not None:
            return self._loss(network(pictures), batch["classes"])
        if not isinstance(network, TrainsItself):
            raise ConfigError(f"{self._settings.baseline} needs a loss")
        return network.training_loss(pictures, batch["classes"])

    def names(self, indices: Sequence[int]) -> list[str]:
        """Ids of the crops' samples."""
        return [self._learned[index].sample_id for index in indices]

    def validate(self, network: nn.Module) -> Validation | None:
        """Mean IoU over the labels on the held-out crops."""
        if not self._held_out:
            return None
        settings = self._settings
        predictor = Predictor(
            network_asker(network, self._device),
            name=settings.baseline,
            version="",
            labels=settings.labels,
            input_px=settings.input_px,
            crop=settings.crop,
        )
        found = []
        with silent("", None) as quiet:
            for label in settings.labels:
                scores = score_crops(predictor, self._held_out, self._images, label, quiet)
                found.append(summarise(scores)["iou"])
        return Validation(sum(found) / len(found))


def _fit_method(settings: TrainSettings, learned: list[Crop], images: ImageStore, out_dir: Path) -> Position:
    """What a method without gradient steps learns from the training crops, written as its weights."""
    begun = time.monotonic()
    _, fit_arrays = find_method(settings.baseline, **dict(settings.options))
    arrays = {}
    if fit_arrays is not None:
        dataset = CropDataset(
            learned,
            images,
            labels=settings.labels,
            input_px=settings.input_px,
            augment=False,
            seed=settings.seed,
        )
        examples = (dataset[0, index] for index in range(len(learned)))
        pairs = ((rgb.permute(1, 2, 0).numpy(), (classes == 1).numpy()) for rgb, classes, _ in examples)
        arrays = fit_arrays(pairs)
    tensors = {name: torch.from_numpy(np.ascontiguousarray(one)) for name, one in arrays.items()}
    write_tensors(out_dir / WEIGHTS_FILE, tensors)
    return Position(start_name="none", seconds=time.monotonic() - begun)


def _record(
    settings: TrainSettings,
    manifest: Manifest,
    device: torch.device,
    learned: list[Crop],
    held_out: list[Crop],
    seen: list[SeenSample],
    fresh: FreshSamples | None,
    position: Position,
    out_dir: Path,
) -> TrainingRecord:
    return TrainingRecord(
        baseline=settings.baseline,
        settings=settings,
        dataset_name=manifest.title,
        dataset_key=manifest.key,
        dataset_digest=manifest.canonical_digest(),
        samples=len({crop.sample_id for crop in learned}),
        crops=len(learned),
        synthetic_crops=sum(1 for crop in learned if crop.parent_id),
        proposed_crops=sum(1 for crop in learned if crop.is_proposed),
        fresh_masks=fresh.drawn_by if fresh is not None else "",
        val_crops=len(held_out),
        steps=position.step,
        seconds=round(position.seconds, 3),
        device=device_name(device),
        torch_version=torch.__version__,
        initial_weights=position.start_name,
        initial_weights_sha256=position.start_sha256,
        best_step=position.best_step,
        best_val_iou=position.best_score,
        history=tuple(position.history),
        processes=int(os.environ.get("WORLD_SIZE", "1")),
        micro_batches=position.parts,
        rollbacks=position.rollbacks,
        waiting_share=round(position.waiting_s / position.seconds, 4) if position.seconds > 0 else 0.0,
        peak_memory_mib=round(position.peak_memory_mib, 1),
        weights_sha256=sha256_file(out_dir / WEIGHTS_FILE),
        trained_on_sha256=write_seen(out_dir, seen),
    )
