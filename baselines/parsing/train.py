"""Trains the 18-part network: a folder of pictures with part masks becomes a checkpoint.

<folder>/weights.safetensors     of the lowest validation loss
<folder>/trained_on.csv          every picture that training or validation saw
<folder>/parsing.json            written last: settings, facts, digests of the files above
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from baselines.checkpoint import TRAINED_ON_FILE, WEIGHTS_FILE, SeenSample, read_vouched, write_seen
from baselines.data import StepBatches
from baselines.loop import fit
from baselines.models import build_network
from baselines.parsing.data import FaceSet, ParsedFace, PartMasks, RgbImage, read_faces, split_names
from baselines.parsing.loss import multilabel_dice_loss
from baselines.parsing.parts import MIRROR_ORDER, PAPER_BATCH, PARTS
from baselines.parsing.settings import ParsingSettings
from baselines.plan import Batch, Plan, Position, Validation
from baselines.segmenter import SegOutput, choose_device, normalise_images
from baselines.tasks import RunFacts
from dataset_tools.core.files import digest_json, sha256_file, write_text
from dataset_tools.core.progress import ProgressFactory, silent
from dataset_tools.core.record import Split

BASELINE = "dlv3p_se18"
PARSING_FILE = "parsing.json"
# Settings that decide no training step.
_FREE_TO_CHANGE = {"steps", "epochs", "patience", "checkpoint_every_steps", "device"}


class ParsingRecord(BaseModel):
    """A finished training; the content of `parsing.json`.

    Attributes:
        settings: of the run, as resolved.
        facts: data, time and device; its items are training pictures, mirror images not counted.
        crossed_sides: pictures whose left and right parts look changed over (`data.has_crossed_sides`).
        best_step: the step whose weights these are.
        least_val_loss: their loss on the held-out pictures.
        history: (step, mean training loss since the last entry, minus validation loss) at each validation.
        weights_sha256, trained_on_sha256: of the files beside this record.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    settings: ParsingSettings
    facts: RunFacts
    crossed_sides: int
    best_step: int
    least_val_loss: float
    history: tuple[tuple[int, float, float | None], ...]
    weights_sha256: str
    trained_on_sha256: str

    @property
    def version(self) -> str:
        """First 12 hex digits of the weights' sha256."""
        return self.weights_sha256[:12]


def train_parsing(
    settings: ParsingSettings, data: Path, out_dir: Path, progress: ProgressFactory = silent
) -> ParsingRecord:
    """Train the network, or go on with a training that was interrupted in `out_dir`.

    Args:
        settings: what to train and how.
        data: folder of pictures and masks (`parsing.data`).
        out_dir: folder of the checkpoint.
        progress: opens the progress displays.

    Raises:
        ConfigError: `out_dir` holds a training with other settings or data, or no such device.
        DataError: the folder is not of a known form, or one of its files is bad.
        WeightsUnavailable: published trunk weights cannot be had.
        SuiteError: loss or gradient is no longer a number, or out of memory.
    """
    device = choose_device(settings.device)
    settings = settings.resolved(on_gpu=device.type == "cuda")
    faces = read_faces(data, settings.input_px, progress)
    finished = _finished(out_dir, settings, faces)
    if finished is not None:
        return finished
    learned, held_out = split_names(faces, settings.val_share, settings.seed)
    (out_dir / PARSING_FILE).unlink(missing_ok=True)
    job = _ParsingJob(settings, device, learned, held_out)
    fitted = fit(
        partial(_network, settings),
        job,
        job.plan(),
        out_dir,
        fingerprint=_fingerprint(settings, faces.digest),
        progress=progress,
    )
    record = _record(settings, faces, learned, held_out, device, fitted.position, out_dir)
    if int(os.environ.get("RANK", "0")) == 0:
        write_text(out_dir / PARSING_FILE, record.model_dump_json(indent=2) + "\n")
    return record


def read_parsing_record(folder: Path) -> ParsingRecord:
    """The record of a finished training, after checking the files it vouches for.

    Raises:
        DataError: no finished training there, or a file is damaged.
    """
    return read_vouched(
        folder / PARSING_FILE,
        ParsingRecord,
        "parsing",
        lambda record: {WEIGHTS_FILE: record.weights_sha256, TRAINED_ON_FILE: record.trained_on_sha256},
    )


def build_parser(settings: ParsingSettings, *, pretrained: bool) -> nn.Module:
    """The 18-channel network those settings ask for."""
    return build_network(
        BASELINE, len(PARTS), pretrained=pretrained, se_at=settings.se_at, norm=settings.norm
    )


def _network(settings: ParsingSettings, is_fresh: bool) -> nn.Module:
    return build_parser(settings, pretrained=settings.pretrained and is_fresh)


def mirrored(rgb: RgbImage, masks: PartMasks, *, swap_sides: bool) -> tuple[RgbImage, PartMasks]:
    """The mirror image of a picture (S, S, 3) and its parts (18, S, S).

    Args:
        rgb, masks: the picture.
        swap_sides: give the person's left parts the names of the right ones and the other way round.
    """
    order = list(MIRROR_ORDER) if swap_sides else list(range(len(PARTS)))
    return np.ascontiguousarray(rgb[:, ::-1]), np.ascontiguousarray(masks[order, :, ::-1])


class _ParsingJob:
    """Pictures and parts as the training loop wants them."""

    def __init__(
        self,
        settings: ParsingSettings,
        device: torch.device,
        learned: Sequence[ParsedFace],
        held_out: Sequence[ParsedFace],
    ) -> None:
        self._settings = settings
        self._device = device
        self._learned = learned
        self._held_out = held_out
        # As the paper did it: the mirror images are further pictures, not chance changes of the same ones.
        self._count = len(learned) * (1 if settings.flips == "none" else 2)

    def plan(self) -> Plan:
        """The loop's view of the settings."""
        settings = self._settings
        per_pass = math.ceil(self._count / settings.batch)
        return Plan(
            title="parsing",
            last_step=settings.steps or per_pass * settings.epochs,
            device=self._device,
            seed=settings.seed,
            learning_rate=settings.learning_rate,
            schedule="plateau",
            val_every=per_pass,
            patience=settings.patience or 1,
            checkpoint_every=settings.checkpoint_every_steps,
            amp=bool(settings.amp),
        )

    def batches(self, steps: range, rank: int, world: int) -> Iterator[Batch]:
        """See `baselines.plan.Job`; "pictures" (B, 3, S, S) uint8, "parts" (B, 18, S, S) bool."""
        settings = self._settings
        for keys in StepBatches(
            self._count, settings.batch, steps=steps, seed=settings.seed, rank=rank, world=world
        ):
            indices = [index for _, index in keys]
            shown = [self._shown(index) for index in indices]
            yield {
                "pictures": _pictures([rgb for rgb, _ in shown]),
                "parts": torch.from_numpy(np.stack([masks for _, masks in shown])),
                "index": torch.tensor(indices),
            }

    def _shown(self, index: int) -> tuple[RgbImage, PartMasks]:
        is_mirrored, place = divmod(index, len(self._learned))
        face = self._learned[place]
        if not is_mirrored:
            return face.rgb, face.masks()
        return mirrored(face.rgb, face.masks(), swap_sides=self._settings.flips == "swapped")

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """See `baselines.plan.Job`."""
        output: SegOutput = network(normalise_images(batch["pictures"]))
        return multilabel_dice_loss(output.logits, batch["parts"], reduce=self._settings.dice_reduce)

    def names(self, indices: Sequence[int]) -> list[str]:
        """Names of the pictures."""
        return [self._learned[index % len(self._learned)].name for index in indices]

    def validate(self, network: nn.Module) -> Validation:
        """Mean loss over batches of the held-out pictures, as the paper's library takes it."""
        network.eval()
        losses = []
        with torch.inference_mode():
            for start in range(0, len(self._held_out), PAPER_BATCH):
                group = self._held_out[start : start + PAPER_BATCH]
                pictures = _pictures([one.rgb for one in group]).to(self._device)
                parts = torch.from_numpy(np.stack([one.masks() for one in group])).to(self._device)
                with torch.autocast(self._device.type, torch.bfloat16, enabled=bool(self._settings.amp)):
                    losses.append(float(self.loss(network, {"pictures": pictures, "parts": parts})))
        loss = math.fsum(losses) / len(losses)
        return Validation(score=-loss, loss=loss)


def _pictures(squares: Sequence[RgbImage]) -> Tensor:
    return torch.from_numpy(np.stack(squares)).permute(0, 3, 1, 2)


def _fingerprint(settings: ParsingSettings, data_digest: str) -> str:
    kept = {
        key: value for key, value in settings.model_dump(mode="json").items() if key not in _FREE_TO_CHANGE
    }
    return digest_json({"settings": kept, "data": data_digest})


def _finished(out_dir: Path, settings: ParsingSettings, faces: FaceSet) -> ParsingRecord | None:
    if not (out_dir / PARSING_FILE).exists():
        return None
    record = read_parsing_record(out_dir)
    is_same = record.settings == settings and record.facts.data_digest == faces.digest
    return record if is_same else None


def _record(
    settings: ParsingSettings,
    faces: FaceSet,
    learned: Sequence[ParsedFace],
    held_out: Sequence[ParsedFace],
    device: torch.device,
    position: Position,
    out_dir: Path,
) -> ParsingRecord:
    seen = [
        SeenSample(one.name, split.value, one.name, one.sha256, "")
        for split, group in ((Split.TRAIN, learned), (Split.VAL, held_out))
        for one in group
    ]
    facts = RunFacts(
        data=faces.title,
        data_digest=faces.digest,
        items=len(learned),
        steps=position.step,
        seconds=round(position.seconds, 3),
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        initial_weights=position.start_name,
        seed=settings.seed,
        settings=settings.model_dump(mode="json"),
    )
    return ParsingRecord(
        settings=settings,
        facts=facts,
        crossed_sides=len(faces.crossed),
        best_step=position.best_step,
        least_val_loss=-(position.best_score or 0.0),
        history=tuple(position.history),
        weights_sha256=sha256_file(out_dir / WEIGHTS_FILE),
        trained_on_sha256=write_seen(out_dir, seen),
    )
