"""Faster R-CNN: training, loading, and asking it for boxes (MISA's comparator, `baselines.md` 2.6)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from baselines.checkpoint import (
    RECORD_FILE,
    TRAINED_ON_FILE,
    WEIGHTS_FILE,
    read_tensors,
    read_vouched,
    write_seen,
)
from baselines.data import StepBatches
from baselines.detection import detection_figures
from baselines.detection.boxes import Detections, to_row
from baselines.detection.pictures import (
    CLASSES,
    BoxPicture,
    RgbImage,
    fitted,
    list_pictures,
    mirrored,
)
from baselines.detection.settings import DetectorSettings
from baselines.loop import Fitted, fit
from baselines.models._rcnn import faster_rcnn
from baselines.networks.rcnn import detect
from baselines.plan import Batch, Plan, Validation
from baselines.segmenter import choose_device, device_name, normalise_images
from baselines.tasks import RunFacts
from dataset_tools.core.errors import DataError, ItemFault
from dataset_tools.core.files import digest_json, sha256_file, write_text
from dataset_tools.core.images import ImageStore
from dataset_tools.core.manifest import Manifest
from dataset_tools.core.progress import ProgressFactory, silent
from dataset_tools.core.record import Split
from dataset_tools.core.seeds import generator

LEAST_SCORE = 0.05  # the library's own; curves need weak boxes too
_VAL_BATCH = 4
# Settings that decide no training step.
_FREE_TO_CHANGE = {"steps", "epochs", "patience", "checkpoint_every_steps", "device"}


class DetectorRecord(BaseModel):
    """A finished detector; the content of `training.json`.

    Attributes:
        settings: of the run.
        facts: data, time and device; its items are pictures.
        classes: names of the labels 1, 2, …
        parameters: of the network.
        best_step, best_val_ap50: of the weights; None without a val split.
        weights_sha256, trained_on_sha256: of the files beside this record.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    settings: DetectorSettings
    facts: RunFacts
    classes: tuple[str, ...]
    parameters: int
    best_step: int
    best_val_ap50: float | None
    weights_sha256: str
    trained_on_sha256: str

    @property
    def version(self) -> str:
        """First 12 hex digits of the weights' sha256."""
        return self.weights_sha256[:12]


class BoxDetector:
    """A network as a function from pictures to boxes in their own pixels.

    Attributes:
        classes: names of the labels 1, 2, …
        device: where the network lies.
    """

    def __init__(
        self, network: nn.Module, classes: tuple[str, ...], input_px: int, device: torch.device
    ) -> None:
        self.classes = classes
        self.device = device
        self._network: Any = network
        self._input_px = input_px

    def find(self, pictures: Sequence[RgbImage]) -> list[Detections]:
        """Boxes of (H, W, 3) uint8 pictures of any sizes, best first, from a score of 0.05 on."""
        squares, scales = zip(*(fitted(one, self._input_px) for one in pictures), strict=True)
        batch = torch.from_numpy(np.stack(squares)).permute(0, 3, 1, 2).to(self.device)
        self._network.eval()
        with torch.inference_mode():
            found = detect(self._network, normalise_images(batch))[0]
        return [
            self._detections(one, scale, (picture.shape[0], picture.shape[1]))
            for one, scale, picture in zip(found, scales, pictures, strict=True)
        ]

    def _detections(self, found: dict[str, Tensor], scale: float, size_hw: tuple[int, int]) -> Detections:
        height, width = size_hw
        boxes = found["boxes"].cpu().numpy().astype(np.float32) / np.float32(scale)
        boxes = boxes.clip(0, np.array((width, height, width, height), dtype=np.float32))
        names = tuple(self.classes[label - 1] for label in found["labels"].tolist())
        return Detections(boxes, found["scores"].cpu().numpy().astype(np.float32), names)


def _build(settings: DetectorSettings, is_fresh: bool) -> nn.Module:
    network, start = faster_rcnn(
        1 + len(CLASSES[settings.truth]),
        pretrained=settings.pretrained and is_fresh,
        body=settings.body,
        smallest_anchor_px=settings.smallest_anchor_px,
        frozen_norm=settings.frozen_norm,
    )
    network.initial_weights = start  # type: ignore[assignment]
    return network


class BoxJob:
    """Pictures with boxes as the training loop wants them."""

    def __init__(
        self,
        settings: DetectorSettings,
        learned: Sequence[BoxPicture],
        held_out: Sequence[BoxPicture],
        images: ImageStore,
        device: torch.device,
    ) -> None:
        self._settings = settings
        self._learned = learned
        self._held_out = held_out
        self._images = images
        self._device = device
        self._classes = CLASSES[settings.truth]

    def plan(self) -> Plan:
        """The loop's view of the settings."""
        settings = self._settings
        per_pass = math.ceil(len(self._learned) / settings.batch)
        return Plan(
            title="Faster R-CNN",
            last_step=settings.steps or per_pass * settings.epochs,
            device=self._device,
            seed=settings.seed,
            learning_rate=settings.learning_rate,
            weight_decay=settings.weight_decay,
            val_every=settings.val_every_steps or per_pass,
            patience=settings.patience,
            checkpoint_every=settings.checkpoint_every_steps,
            amp=self._device.type == "cuda" if settings.amp is None else settings.amp,
        )

    def batches(self, steps: range, rank: int, world: int) -> Iterable[Batch]:
        """See `baselines.plan.Job`; "pictures" (B, 3, S, S) uint8, "boxes" and "labels" lists of tensors."""
        settings = self._settings
        chosen = StepBatches(
            len(self._learned), settings.batch, steps=steps, seed=settings.seed, rank=rank, world=world
        )
        for keys in chosen:
            squares, boxes, labels = zip(*(self._example(*key) for key in keys), strict=True)
            yield {
                "pictures": torch.from_numpy(np.stack(squares)).permute(0, 3, 1, 2),
                "boxes": list(boxes),
                "labels": list(labels),
                "index": torch.tensor([index for _, index in keys]),
            }

    def _example(self, epoch: int, index: int) -> tuple[RgbImage, Tensor, Tensor]:
        picture = self._learned[index]
        square, scale = fitted(_read(self._images, picture), self._settings.input_px)
        boxes = picture.truth.boxes * np.float32(scale)
        rng = generator(self._settings.seed, picture.sample_id, str(epoch), "mirror")
        if self._settings.mirror and rng.random() < 0.5:
            square, boxes = mirrored(square, boxes)
        labels = [self._classes.index(name) + 1 for name in picture.truth.labels]
        return square, torch.from_numpy(boxes), torch.tensor(labels, dtype=torch.int64)

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """Sum of the losses of proposals, classes and boxes."""
        targets = [
            {"boxes": boxes, "labels": labels}
            for boxes, labels in zip(batch["boxes"], batch["labels"], strict=True)
        ]
        losses = detect(network, normalise_images(batch["pictures"]), targets)[1]
        return torch.stack(list(losses.values())).sum()

    def names(self, indices: Sequence[int]) -> list[str]:
        """Ids of the samples."""
        return [self._learned[index].sample_id for index in indices]

    def validate(self, network: nn.Module) -> Validation | None:
        """AP at IoU 0.5 on the held-out pictures."""
        if not self._held_out:
            return None
        detector = BoxDetector(network, self._classes, self._settings.input_px, self._device)
        rows = []
        for start in range(0, len(self._held_out), _VAL_BATCH):
            part = self._held_out[start : start + _VAL_BATCH]
            found = detector.find([_read(self._images, one) for one in part])
            rows += [to_row(one.sample_id, boxes, one.truth) for one, boxes in zip(part, found, strict=True)]
        ap50 = detection_figures(rows)["ap50"]
        return None if math.isnan(ap50) else Validation(ap50)


def _read(images: ImageStore, picture: BoxPicture) -> RgbImage:
    try:
        return images.read(picture.image)
    except ItemFault as fault:
        raise DataError(f"sample {picture.sample_id}: {fault}") from fault


def train_detector(
    settings: DetectorSettings,
    manifest: Manifest,
    images: ImageStore,
    out_dir: Path,
    progress: ProgressFactory = silent,
) -> DetectorRecord:
    """Train a Faster R-CNN, or go on with a training that was interrupted in `out_dir`.

    Args:
        settings: what to train and how.
        manifest: pictures with true boxes; the best weights are chosen on split val.
        images: picture store of the manifest's workspace.
        out_dir: folder of the checkpoint.
        progress: opens the progress display.

    Raises:
        DataError: no picture with true boxes, or one cannot be read.
        ConfigError: `out_dir` holds another training, or no such device.
        UnknownName: no such body.
        WeightsUnavailable: the body's values cannot be had.
        SuiteError: the loss is no longer a number.
    """
    device = choose_device(settings.device)
    digest = manifest.canonical_digest()
    if (out_dir / RECORD_FILE).exists():
        record = read_detector_record(out_dir)
        if record.settings == settings and record.facts.data_digest == digest:
            return record
    learned = list_pictures(manifest.samples(), settings.split, settings.truth)
    held_out = list_pictures(manifest.samples(), Split.VAL, settings.truth)
    if not any(one.truth.labels for one in learned):
        raise DataError(
            f"{manifest.directory} has no true box ({settings.truth}) in split {settings.split.value}"
        )
    job = BoxJob(settings, learned, held_out, images, device)
    kept = {
        key: value for key, value in settings.model_dump(mode="json").items() if key not in _FREE_TO_CHANGE
    }
    (out_dir / RECORD_FILE).unlink(missing_ok=True)
    done = fit(
        partial(_build, settings),
        job,
        job.plan(),
        out_dir,
        fingerprint=digest_json({"settings": kept, "dataset": digest}),
        progress=progress,
    )
    record = _record(settings, manifest, digest, learned, held_out, done, device, out_dir)
    write_text(out_dir / RECORD_FILE, record.model_dump_json(indent=2) + "\n")
    return record


def _record(
    settings: DetectorSettings,
    manifest: Manifest,
    digest: str,
    learned: Sequence[BoxPicture],
    held_out: Sequence[BoxPicture],
    done: Fitted,
    device: torch.device,
    out_dir: Path,
) -> DetectorRecord:
    facts = RunFacts(
        data=manifest.title,
        data_digest=digest,
        items=len(learned),
        steps=done.position.step,
        seconds=round(done.position.seconds, 3),
        device=device_name(device),
        initial_weights=done.position.start_name,
        seed=settings.seed,
        settings=settings.model_dump(mode="json"),
    )
    return DetectorRecord(
        settings=settings,
        facts=facts,
        classes=CLASSES[settings.truth],
        parameters=sum(one.numel() for one in done.network.parameters()),
        best_step=done.position.best_step,
        best_val_ap50=done.position.best_score,
        weights_sha256=sha256_file(out_dir / WEIGHTS_FILE),
        trained_on_sha256=write_seen(out_dir, (one.seen for one in [*learned, *held_out])),
    )


def read_detector_record(folder: Path) -> DetectorRecord:
    """The record of a finished detector, after checking the files it vouches for.

    Raises:
        DataError: no finished detector there, or a file is damaged.
    """
    return read_vouched(
        folder / RECORD_FILE,
        DetectorRecord,
        "detector",
        lambda record: {WEIGHTS_FILE: record.weights_sha256, TRAINED_ON_FILE: record.trained_on_sha256},
    )


def load_detector(folder: Path, device: str = "auto") -> BoxDetector:
    """The detector of a finished training.

    Raises:
        DataError: as `read_detector_record`, or weights of another network.
        ConfigError: no such device.
    """
    record = read_detector_record(folder)
    chosen = choose_device(device)
    network = _build(record.settings, False)
    try:
        network.load_state_dict(read_tensors(folder / WEIGHTS_FILE))
    except RuntimeError as error:
        raise DataError(f"{folder}: weights do not fit: {str(error).splitlines()[0]}") from None
    network = network.to(memory_format=torch.channels_last).to(chosen)
    return BoxDetector(network, record.classes, record.settings.input_px, chosen)
