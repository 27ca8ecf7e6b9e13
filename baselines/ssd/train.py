"""Training of the face-mask detector: from rendered samples to weights that OpenCV runs."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from baselines.ssd.finding import figures_of
from baselines.ssd.loss import Targets, detection_loss, targets_of
from baselines.ssd.network import SsdNetwork, folded
from baselines.ssd.photos import FacePhoto, load_photos, sources
from baselines.ssd.record import NAME, VERSION_DIGITS, DetectorRecord, save_detector
from baselines.ssd.scenes import REFINING, Scene, SceneMaker
from baselines.ssd.settings import CLASSES, DetectorTraining
from dataset_tools.core.errors import DataError
from dataset_tools.core.images import ImageStore
from dataset_tools.core.manifest import Manifest
from dataset_tools.core.progress import Progress, ProgressFactory, silent
from dataset_tools.core.seeds import derive_seed, generator

_WARM_UP = 0.03  # share of the steps over which the learning rate rises
_LARGEST_GRADIENT = 5.0
_SAVE_EVERY = 500
_NOTE_EVERY = 10
_SMOOTHING = 0.95

Snapshot = Callable[[int, SsdNetwork], None]


def train_detector(
    settings: DetectorTraining,
    manifest: Manifest,
    images: ImageStore,
    out_dir: Path,
    progress: ProgressFactory = silent,
) -> DetectorRecord:
    """Train the detector on a manifest of photos and their rendered children.

    Weights and record are written to `out_dir` when the last step is done, and unfinished weights every few
    minutes as `unfinished.safetensors`. What is interrupted begins anew.

    Args:
        settings: the run.
        manifest: of `synth` or of a stage behind it; faces with landmarks, children with face masks.
        images: pictures of the manifest.
        out_dir: gets `detector.safetensors` and `detector.json`.
        progress: opens the progress displays.

    Raises:
        DataError: a picture cannot be read, there are no bare or no masked faces, or training ran away.
    """
    begun = time.monotonic()
    learned, apart = load_photos(manifest, images, settings, progress)

    def keep(step: int, network: SsdNetwork) -> None:
        save_detector(folded(network), out_dir / "unfinished.safetensors")

    with progress("train", settings.steps) as bar:
        network = folded(fit(learned, settings, bar, keep))
    if settings.refine_steps:
        with progress("refine", settings.refine_steps) as bar:
            network = refine(network, learned, settings, bar, keep)
    return _finished(network, apart, settings, manifest, out_dir, len(learned), begun)


def _finished(
    network: SsdNetwork,
    apart: Sequence[FacePhoto],
    settings: DetectorTraining,
    manifest: Manifest,
    out_dir: Path,
    pictures: int,
    begun: float,
) -> DetectorRecord:
    """Measure a folded network on the photos kept apart, and write weights and record."""
    figures = figures_of(network, apart)
    weights = out_dir / "detector.safetensors"
    sha256 = save_detector(network, weights)
    (out_dir / "unfinished.safetensors").unlink(missing_ok=True)
    licences = sources(manifest.samples())
    record = DetectorRecord(
        name=NAME,
        version=sha256[:VERSION_DIGITS],
        sha256=sha256,
        classes=CLASSES,
        settings=settings,
        seconds=round(time.monotonic() - begun, 1),
        device="cpu, 1 thread" if torch.get_num_threads() == 1 else f"cpu, {torch.get_num_threads()} threads",
        data=manifest.title,
        data_digest=manifest.canonical_digest(),
        photos=sum(licences.values()),
        pictures=pictures,
        licences=licences,
        figures=figures,
    )
    record.write(weights.with_suffix(".json"))
    return record


def fit(
    photos: Sequence[FacePhoto], settings: DetectorTraining, bar: Progress, keep: Snapshot | None = None
) -> SsdNetwork:
    """The averaged weights after `settings.steps` steps, in evaluation mode.

    Args:
        photos: as `SceneMaker`.
        settings: the run.
        bar: told of every step.
        keep: called with the averaged weights every `_SAVE_EVERY` steps.

    Raises:
        DataError: the loss is no number any more.
    """
    torch.manual_seed(derive_seed(settings.seed, "detector weights") % 2**32)
    network = SsdNetwork(len(CLASSES)).to(memory_format=torch.channels_last)
    part = _Part("detector scenes", settings.steps, settings.learning_rate)
    return _learned(network, SceneMaker(photos), part, settings, bar, keep)


def refine(
    network: SsdNetwork,
    photos: Sequence[FacePhoto],
    settings: DetectorTraining,
    bar: Progress,
    keep: Snapshot | None = None,
) -> SsdNetwork:
    """A folded network after `settings.refine_steps` more steps on fewer covered faces and more cut ones.

    Covers over a mouth teach that not everything there is a mask, but many of them until the end teach that
    a mask unlike the rendered ones is none. The statistics of the norms stay as they are by now.

    Args:
        network: folded; changed.
        photos, settings, bar, keep, and errors: as `fit`.
    """
    part = _Part("detector refining", settings.refine_steps, settings.refine_rate)
    maker = SceneMaker(photos, REFINING)
    return _learned(network.to(memory_format=torch.channels_last), maker, part, settings, bar, keep)


@dataclass(frozen=True, slots=True)
class _Part:
    """A part of the run: what its scenes are seeded with, how many steps, and the highest learning rate."""

    purpose: str
    steps: int
    rate: float


def _learned(
    network: SsdNetwork,
    maker: SceneMaker,
    part: _Part,
    settings: DetectorTraining,
    bar: Progress,
    keep: Snapshot | None,
) -> SsdNetwork:
    average = copy.deepcopy(network).eval()
    optimiser = torch.optim.AdamW(_groups(network, settings.weight_decay), lr=part.rate)
    smooth = 0.0
    for step, (pictures, targets) in enumerate(_batches(maker, part, settings)):
        for group in optimiser.param_groups:
            group["lr"] = part.rate * _pace(step, part.steps)
        value = _step(network, optimiser, pictures, targets, settings)
        if not math.isfinite(value):
            raise DataError(f"training ran away at step {step}: the loss is no number; lower learning_rate")
        _follow(average, network, min(settings.average, (1 + step) / (10 + step)))
        smooth = value if step == 0 else _SMOOTHING * smooth + (1 - _SMOOTHING) * value
        bar.advance()
        if (step + 1) % _NOTE_EVERY == 0:
            bar.note(f"loss {smooth:.3f}")
        if keep is not None and (step + 1) % _SAVE_EVERY == 0:
            keep(step + 1, average)
    return average


@dataclass(frozen=True, slots=True)
class _Decay:
    """Parameters that shrink and those that do not: a norm's factors and all offsets are let alone."""

    shrinking: list[nn.Parameter]
    free: list[nn.Parameter]


def _groups(network: SsdNetwork, weight_decay: float) -> list[dict[str, object]]:
    parts = _Decay([], [])
    for values in network.parameters():
        (parts.shrinking if values.ndim > 1 else parts.free).append(values)
    return [
        {"params": parts.shrinking, "weight_decay": weight_decay},
        {"params": parts.free, "weight_decay": 0.0},
    ]


def _pace(step: int, steps: int) -> float:
    warm = max(int(steps * _WARM_UP), 1)
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(steps - warm, 1)))


def _step(
    network: SsdNetwork,
    optimiser: torch.optim.Optimizer,
    pictures: torch.Tensor,
    targets: Targets,
    settings: DetectorTraining,
) -> float:
    network.train()
    with torch.autocast("cpu", torch.bfloat16, enabled=settings.amp):
        offsets, logits = network(pictures)
    class_error, box_error = detection_loss(offsets.float(), logits.float(), targets)
    loss = class_error + box_error
    optimiser.zero_grad()
    torch.autograd.backward(loss)
    nn.utils.clip_grad_norm_(network.parameters(), _LARGEST_GRADIENT)
    optimiser.step()
    network.keep_rising()
    return float(loss.detach())


def _batches(
    maker: SceneMaker, part: _Part, settings: DetectorTraining
) -> Iterator[tuple[torch.Tensor, Targets]]:
    for step in range(part.steps):
        random = generator(settings.seed, part.purpose, str(step))
        scenes = [maker.scene(random) for _ in range(settings.batch)]
        yield pictures_of(scenes), targets_of([(one.boxes, one.classes) for one in scenes])


def pictures_of(scenes: Sequence[Scene]) -> torch.Tensor:
    """(B, 3, 260, 260) float32 in [0, 1], channels last in memory."""
    stacked = torch.from_numpy(np.stack([one.rgb for one in scenes]))
    return stacked.permute(0, 3, 1, 2).float() / 255.0


@torch.no_grad()
def _follow(average: SsdNetwork, network: SsdNetwork, kept: float) -> None:
    """Move the average towards the network, running statistics of the norms included."""
    for mine, other in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
        if mine.is_floating_point():
            mine.lerp_(other, 1 - kept)
        else:
            mine.copy_(other)
