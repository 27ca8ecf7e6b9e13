"""Trains the attribute network on a user's own labels.

<folder>/weights.safetensors    the network
<folder>/trained_on.csv         digest and group of every picture it learned from or was chosen on
<folder>/training.json          written last: settings, facts, digests of the two files above
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from baselines.attributes.coding import OutputCoding
from baselines.attributes.losses import attribute_loss
from baselines.attributes.network import build_vgg_attributes
from baselines.attributes.settings import AttributeSettings
from baselines.attributes.statement import ABOUT_LABELS
from baselines.attributes.table import LabelledPicture, LabelTable
from baselines.checkpoint import (
    RECORD_FILE,
    TRAINED_ON_FILE,
    WEIGHTS_FILE,
    SeenSample,
    read_tensors,
    read_vouched,
    write_seen,
)
from baselines.crops import cut, image_window, resize_rgb
from baselines.data import StepBatches
from baselines.loop import fit
from baselines.plan import Batch, Plan, Validation
from baselines.segmenter import choose_device, device_name, normalise_images
from baselines.tasks import RunFacts
from dataset_tools.core.errors import DataError
from dataset_tools.core.files import digest_json, sha256_file, write_text
from dataset_tools.core.progress import ProgressFactory, silent
from dataset_tools.core.seeds import generator

_FREE_TO_CHANGE = {"steps", "epochs", "patience", "checkpoint_every_steps", "device", "num_workers"}
_FLIP_CHANCE = 0.5
_COLOUR_RANGE = (0.8, 1.2)  # contrast, brightness and each channel's gain; the paper names none
_PICTURES_AT_ONCE = 32


class AttributeRecord(BaseModel):
    """A finished attribute network; the content of `training.json`.

    Attributes:
        settings: of the run; `gender` is False when the table had none.
        facts: data, time and device.
        best_step, best_accuracy: of the chosen weights; None without pictures to choose on.
        about_labels: what such labels can and cannot mean.
        weights_sha256, trained_on_sha256: of the files beside this record.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    settings: AttributeSettings
    facts: RunFacts
    best_step: int
    best_accuracy: float | None
    about_labels: str
    weights_sha256: str
    trained_on_sha256: str

    @property
    def version(self) -> str:
        """First 12 hex digits of the weights' sha256."""
        return self.weights_sha256[:12]


def coding_of(settings: AttributeSettings) -> OutputCoding:
    """What the outputs of a network with those settings mean."""
    return OutputCoding(settings.top_value + 1, settings.coding)


def train_attributes(
    settings: AttributeSettings,
    learned: LabelTable,
    out_dir: Path,
    held_out: LabelTable | None = None,
    progress: ProgressFactory = silent,
) -> AttributeRecord:
    """Train the network, or go on with a training that was interrupted in `out_dir`.

    Args:
        settings: what to train and how. `gender` has no effect on a table without that column.
        learned: pictures and labels (`table.read_labels`).
        out_dir: folder of the checkpoint.
        held_out: pictures the best weights are chosen on; None: the last weights are taken.
        progress: opens the progress display.

    Raises:
        ConfigError: `out_dir` holds a training with other settings or data, or no such device.
        DataError: a picture changed since the table was read.
        WeightsUnavailable: published weights cannot be had.
        SuiteError: the loss is no longer a number, or out of memory.
    """
    device = choose_device(settings.device)
    on_gpu = device.type == "cuda"
    settings = settings.model_copy(
        update={
            "gender": settings.gender and learned.has_gender,
            "amp": on_gpu if settings.amp is None else settings.amp,
        }
    )
    digest = learned.digest()
    fingerprint = _fingerprint(settings, digest, held_out)
    job = _PictureJob(settings, learned.pictures, held_out.pictures if held_out else (), device)
    build = partial(_network, settings)
    fitted = fit(build, job, job.plan(), out_dir, fingerprint=fingerprint, progress=progress)
    position = fitted.position
    facts = RunFacts(
        data=learned.name,
        data_digest=digest,
        items=len(learned.pictures),
        steps=position.step,
        seconds=round(position.seconds, 3),
        device=device_name(device),
        initial_weights=position.start_name,
        seed=settings.seed,
        settings=settings.model_dump(mode="json"),
    )
    seen = [SeenSample(one.sha256[:32], "train", one.group, one.sha256, "") for one in learned.pictures]
    for one in held_out.pictures if held_out else ():
        seen.append(SeenSample(one.sha256[:32], "val", one.group, one.sha256, ""))
    record = AttributeRecord(
        settings=settings,
        facts=facts,
        best_step=position.best_step,
        best_accuracy=position.best_score,
        about_labels=ABOUT_LABELS,
        weights_sha256=sha256_file(out_dir / WEIGHTS_FILE),
        trained_on_sha256=write_seen(out_dir, seen),
    )
    if int(os.environ.get("RANK", "0")) == 0:
        write_text(out_dir / RECORD_FILE, record.model_dump_json(indent=2) + "\n")
    return record


def read_attribute_record(folder: Path) -> AttributeRecord:
    """The record of a finished network, after checking the files it vouches for.

    Raises:
        DataError: no finished training there, or a file is damaged.
    """
    return read_vouched(
        folder / RECORD_FILE,
        AttributeRecord,
        "attribute network",
        lambda record: {WEIGHTS_FILE: record.weights_sha256, TRAINED_ON_FILE: record.trained_on_sha256},
    )


def load_attributes(folder: Path, device: torch.device) -> tuple[nn.Module, AttributeRecord]:
    """The network of a finished training, and its record.

    Raises:
        DataError: as `read_attribute_record`, or the weights are of another network.
    """
    record = read_attribute_record(folder)
    network = _network(record.settings, False)
    try:
        network.load_state_dict(read_tensors(folder / WEIGHTS_FILE))
    except RuntimeError as error:
        raise DataError(f"{folder}: weights do not fit: {str(error).splitlines()[0]}") from None
    return network.to(device), record


def predict_attributes(
    network: nn.Module, settings: AttributeSettings, pictures: Sequence[npt.NDArray[np.uint8]]
) -> tuple[list[int], list[int]]:
    """The most probable feature value and gender of pictures.

    Args:
        network: trained with those settings.
        settings: of the training.
        pictures: (H, W, 3) uint8 each, any size.

    Returns:
        Feature values, and places in `coding.GENDERS` (empty when gender was not learned).
    """
    coding = coding_of(settings)
    device = next(network.parameters()).device
    network.eval()
    features: list[int] = []
    genders: list[int] = []
    for start in range(0, len(pictures), _PICTURES_AT_ONCE):
        squares = [_square(rgb, settings.input_px) for rgb in pictures[start : start + _PICTURES_AT_ONCE]]
        batch = torch.from_numpy(np.stack(squares)).permute(0, 3, 1, 2).to(device)
        with torch.inference_mode():
            logits = network(normalise_images(batch))
            features.extend(coding.feature_log_probabilities(logits).argmax(dim=1).tolist())
            if coding.has_gender:
                genders.extend(coding.gender_log_probabilities(logits).argmax(dim=1).tolist())
    return features, genders


def _network(settings: AttributeSettings, is_fresh: bool) -> nn.Module:
    pretrained = settings.pretrained and is_fresh
    return build_vgg_attributes(coding_of(settings).outputs, settings.network, pretrained=pretrained)


def _fingerprint(settings: AttributeSettings, digest: str, held_out: LabelTable | None) -> str:
    kept = {
        key: value for key, value in settings.model_dump(mode="json").items() if key not in _FREE_TO_CHANGE
    }
    chosen_on = held_out.digest() if held_out else ""
    return digest_json({"settings": kept, "learned": digest, "held_out": chosen_on})


def _square(rgb: npt.NDArray[np.uint8], side: int) -> npt.NDArray[np.uint8]:
    return resize_rgb(cut(rgb, image_window((rgb.shape[0], rgb.shape[1]))), side)


def recoloured(rgb: npt.NDArray[np.uint8], rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """A picture with contrast, brightness and colour balance changed by at most a fifth, (H, W, 3) uint8."""
    contrast, brightness, *tint = rng.uniform(*_COLOUR_RANGE, 5)
    values = rgb.astype(np.float32)
    mean = float(values.mean())
    changed = ((values - mean) * contrast + mean * brightness) * np.asarray(tint, dtype=np.float32)
    result: npt.NDArray[np.uint8] = changed.clip(0, 255).astype(np.uint8)
    return result


class _Pictures(Dataset[tuple[Tensor, int, int, int]]):
    """By (epoch, index): RGB (3, S, S) uint8, feature, gender, index."""

    def __init__(self, pictures: Sequence[LabelledPicture], settings: AttributeSettings) -> None:
        self._pictures = pictures
        self._settings = settings

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, int, int, int]:
        epoch, index = key
        one, settings = self._pictures[index], self._settings
        rgb = _square(one.read(), settings.input_px)
        if settings.augment:
            rng = generator(settings.seed, one.sha256, str(epoch), "augment")
            rgb = recoloured(rgb[:, ::-1] if rng.random() < _FLIP_CHANCE else rgb, rng)
        return torch.tensor(np.ascontiguousarray(rgb)).permute(2, 0, 1), one.feature, one.gender, index


class _PictureJob:
    """Labelled pictures as the training loop wants them."""

    def __init__(
        self,
        settings: AttributeSettings,
        learned: Sequence[LabelledPicture],
        held_out: Sequence[LabelledPicture],
        device: torch.device,
    ) -> None:
        self._settings = settings
        self._learned = learned
        self._held_out = held_out
        self._device = device
        self._coding = coding_of(settings)

    def plan(self) -> Plan:
        """The loop's view of the settings."""
        settings = self._settings
        per_pass = math.ceil(len(self._learned) / settings.batch)
        return Plan(
            title="vgg11_multiattr",
            last_step=settings.steps or per_pass * settings.epochs,
            device=self._device,
            seed=settings.seed,
            optimiser="adam",
            learning_rate=settings.learning_rate,
            val_every=per_pass,
            patience=settings.patience,
            checkpoint_every=settings.checkpoint_every_steps,
            amp=bool(settings.amp),
        )

    def batches(self, steps: range, rank: int, world: int) -> Iterable[Batch]:
        """See `baselines.plan.Job`; "pictures" (B, 3, S, S) uint8, "feature" and "gender" (B,) int64."""
        settings = self._settings
        chosen = StepBatches(
            len(self._learned), settings.batch, steps=steps, seed=settings.seed, rank=rank, world=world
        )
        loaded = DataLoader(
            _Pictures(self._learned, settings),
            batch_sampler=chosen,
            num_workers=settings.num_workers,
            pin_memory=self._device.type == "cuda",
            # A fork of a process that already runs threads may hang.
            multiprocessing_context="spawn" if settings.num_workers else None,
        )
        for pictures, feature, gender, index in loaded:
            yield {"pictures": pictures, "feature": feature, "gender": gender, "index": index}

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """See `baselines.plan.Job`."""
        logits = network(normalise_images(batch["pictures"]))
        return attribute_loss(logits, batch["feature"], batch["gender"], self._coding, self._settings.loss)

    def names(self, indices: Sequence[int]) -> list[str]:
        """Digests of the pictures."""
        return [self._learned[index].sha256[:32] for index in indices]

    def validate(self, network: nn.Module) -> Validation | None:
        """Feature accuracy on the held-out pictures."""
        if not self._held_out:
            return None
        right = 0
        for start in range(0, len(self._held_out), _PICTURES_AT_ONCE):
            part = self._held_out[start : start + _PICTURES_AT_ONCE]
            features, _ = predict_attributes(network, self._settings, [one.read() for one in part])
            right += sum(said == one.feature for said, one in zip(features, part, strict=True))
        return Validation(right / len(self._held_out))
