"""MISA's occlusion classifier, learned from pairs, and the whole of MISA as one checkpoint."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.checkpoint import (
    RECORD_FILE,
    WEIGHTS_FILE,
    TrainingRecord,
    read_record,
    read_seen,
    read_tensors,
    write_record,
    write_seen,
    write_tensors,
)
from baselines.data import FreshSamples
from baselines.loop import fit
from baselines.models import build_network
from baselines.models.misa_edge import coarse_options
from baselines.networks.rpdsn import (
    EdgeSegmenter,
    OcclusionHead,
    cell_centres,
    patch_features,
    patches_around,
)
from baselines.plan import Batch, Plan, Position, Validation
from baselines.rpdsn.pairs import FacePair, judged_places, list_pairs, read_pair
from baselines.rpdsn.settings import ClassifierSettings
from baselines.segmenter import choose_device, normalise_images
from baselines.settings import TrainSettings
from baselines.train import TrainResult, train
from dataset_tools.core.errors import ConfigError, DataError, ItemFault
from dataset_tools.core.files import canonical_json, digest_json, sha256_file, write_text
from dataset_tools.core.images import ImageStore
from dataset_tools.core.labels import Label
from dataset_tools.core.manifest import Manifest
from dataset_tools.core.progress import ProgressFactory, silent
from dataset_tools.core.record import Split
from dataset_tools.core.seeds import generator

COARSE = "misa"
WHOLE = "misa_edge"
COARSE_DIR = "coarse"
CLASSIFIER_DIR = "classifier"
_MADE_OF_FILE = "made_of.json"  # which coarse weights and which classifier the whole consists of
_EDGE_LABELS = (Label.FACE_MASK, Label.FACE)
# Light of the bare picture's second showing: factor and summand, of pixel values in [0, 255].
_CONTRAST = (0.75, 1.25)
_BRIGHTNESS = (-24.0, 24.0)
_VAL_PAIRS = 64


@dataclass(frozen=True, slots=True)
class _Patches:
    """What a pair teaches: patches, the same places of the bare face, and whether they are mask."""

    seen: Tensor
    bare: Tensor
    is_mask: Tensor


class PairJob:
    """Pairs as the training loop wants them. The network is the classifier's head; the body stands still."""

    def __init__(
        self,
        body: nn.ModuleDict,
        learned: Sequence[FacePair],
        held_out: Sequence[FacePair],
        images: ImageStore,
        settings: ClassifierSettings,
        *,
        input_px: int,
        device: torch.device,
        seed: int,
    ) -> None:
        self._body = body
        self._learned = learned
        self._held_out = held_out[:_VAL_PAIRS]
        self._images = images
        self._settings = settings
        self._input_px = input_px
        self._device = device
        self._seed = seed

    def batches(self, steps: range, rank: int, world: int) -> Iterable[Batch]:
        """See `baselines.plan.Job`; "seen" and "bare" (B, 3, 64, 64) normalised, "is_mask" (B,) float."""
        for step in steps:
            rng = generator(self._seed, str(step), "pairs")
            drawn = rng.integers(len(self._learned), size=self._settings.pairs).tolist()
            found, owners = [], []
            for place, index in list(enumerate(drawn))[rank::world]:
                own = generator(self._seed, str(step), str(place), "blocks")
                one = self._patches(self._learned[index], own)
                found.append(one)
                owners.extend([index] * len(one.is_mask))
            yield {
                "seen": torch.cat([one.seen for one in found]),
                "bare": torch.cat([one.bare for one in found]),
                "is_mask": torch.cat([one.is_mask for one in found]),
                "index": torch.tensor(owners),
            }

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """Binary cross entropy."""
        return F.binary_cross_entropy_with_logits(self._logits(network, batch), batch["is_mask"])

    def names(self, indices: Sequence[int]) -> list[str]:
        """Ids of the rendered samples."""
        return [self._learned[index].sample_id for index in indices]

    def validate(self, network: nn.Module) -> Validation | None:
        """Share of held-out blocks judged rightly, and their loss."""
        if not self._held_out:
            return None
        right, losses, count = 0, 0.0, 0
        network.eval()
        with torch.inference_mode():
            for pair in self._held_out:
                found = self._patches(pair, generator(self._seed, pair.sample_id, "validation"))
                is_mask = found.is_mask.to(self._device)
                logits = self._logits(
                    network, {"seen": found.seen.to(self._device), "bare": found.bare.to(self._device)}
                )
                right += int(((logits > 0) == (is_mask > 0.5)).sum())
                losses += float(F.binary_cross_entropy_with_logits(logits, is_mask, reduction="sum"))
                count += len(is_mask)
        return Validation(right / max(count, 1), losses / max(count, 1))

    def _logits(self, network: nn.Module, batch: Batch) -> Tensor:
        head = cast(OcclusionHead, network)
        with torch.no_grad(), torch.autocast(self._device.type, enabled=False):
            self._body.eval()
            seen, bare = (patch_features(self._body, batch[name]) for name in ("seen", "bare"))
        logits: Tensor = head(head.embed(seen), head.embed(bare))
        return logits.float()

    def _patches(self, pair: FacePair, rng: np.random.Generator) -> _Patches:
        settings = self._settings
        try:
            squares = read_pair(pair, self._images, self._input_px, upright=settings.upright)
        except ItemFault as fault:
            raise DataError(f"sample {pair.sample_id}: {fault}") from fault
        masked, bare, classes = squares
        edge = settings.edge
        on_mask, on_face = judged_places(classes, edge.min_block_px, edge.context_px)
        quarter = settings.blocks // 4
        mask_at = _drawn(on_mask, 2 * quarter, rng)
        face_at = _drawn(on_face, quarter, rng)
        # Bare beside bare, mostly where masks are worn: a place alone must not give the answer.
        bare_at = _drawn(np.concatenate((on_mask, on_face)), quarter, rng)
        other_light = bare * rng.uniform(*_CONTRAST) + rng.uniform(*_BRIGHTNESS)
        masked_n, bare_n, light_n = (_normalised(one) for one in (masked, bare, other_light))
        seen_at = np.concatenate((mask_at, face_at))
        return _Patches(
            seen=torch.cat((self._cut(masked_n, seen_at), self._cut(light_n, bare_at))),
            bare=self._cut(bare_n, np.concatenate((seen_at, bare_at))),
            is_mask=torch.tensor([1.0] * len(mask_at) + [0.0] * (len(face_at) + len(bare_at))),
        )

    def _cut(self, image: Tensor, places: npt.NDArray[np.int64]) -> Tensor:
        edge = self._settings.edge
        centres = torch.from_numpy((places + 0.5) * edge.min_block_px)
        return patches_around(image, centres, edge.context_px)


def _drawn(places: npt.NDArray[np.int64], count: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    if not len(places):
        return places.reshape(0, 2)
    return places[rng.integers(len(places), size=count)]


def _normalised(rgb: npt.NDArray[np.generic]) -> Tensor:
    whole = np.asarray(rgb, dtype=np.float32).clip(0, 255)
    return normalise_images(torch.from_numpy(whole).permute(2, 0, 1)[None])[0]


def train_occlusion_classifier(
    network: EdgeSegmenter,
    learned: Sequence[FacePair],
    held_out: Sequence[FacePair],
    images: ImageStore,
    settings: ClassifierSettings,
    folder: Path,
    *,
    input_px: int,
    device: torch.device,
    seed: int,
    body_sha256: str,
    progress: ProgressFactory = silent,
) -> Position:
    """Fill the classifier and the dictionary of a network whose coarse stage is trained.

    Goes on with a training that was interrupted in `folder`.

    Args:
        network: changed in place; moved to `device`.
        learned, held_out: pairs to learn from and to choose the best weights on.
        images: their picture store.
        settings: how to train.
        folder: of the classifier's own checkpoint.
        input_px: side of the squares the network sees.
        device: where to train.
        seed: of everything random.
        body_sha256: of the coarse weights, which the classifier's features come from.
        progress: opens the progress display.

    Raises:
        DataError: no pair to learn from, or a picture cannot be read.
        ConfigError: `folder` holds another training.
    """
    if not learned:
        raise DataError(
            "no pair to learn the occlusion classifier from: it needs rendered samples in the training "
            "split whose photos are in the same manifest"
        )
    network.to(device).eval()
    job = PairJob(
        network.body, learned, held_out, images, settings, input_px=input_px, device=device, seed=seed
    )
    plan = Plan(
        title=f"{WHOLE} classifier",
        last_step=settings.steps,
        device=device,
        seed=seed,
        learning_rate=settings.learning_rate,
        val_every=settings.val_every_steps,
        patience=settings.patience,
    )
    choices = {
        "settings": settings.model_dump(mode="json"),
        "body": body_sha256,
        "pairs": [[pair.sample_id, pair.bare_id] for pair in learned],
        "input_px": input_px,
        "seed": seed,
    }
    fitted = fit(
        lambda _: OcclusionHead(), job, plan, folder, fingerprint=digest_json(choices), progress=progress
    )
    network.head.load_state_dict(fitted.network.state_dict())
    network.dictionary.copy_(_dictionary(network, learned, images, settings, input_px, device))
    return fitted.position


def _dictionary(
    network: EdgeSegmenter,
    pairs: Sequence[FacePair],
    images: ImageStore,
    settings: ClassifierSettings,
    input_px: int,
    device: torch.device,
) -> Tensor:
    """Mean embedding of every cell over the bare pictures, each counted once."""
    once = list({(pair.bare_id, pair.window): pair for pair in pairs}.values())
    edge = settings.edge
    centres = cell_centres(input_px, edge.grid).to(device)
    total = torch.zeros(len(centres), network.dictionary.shape[-1], device=device)
    chosen = once[: settings.dictionary_pairs]
    with torch.inference_mode():
        for pair in chosen:
            _, bare, _ = read_pair(pair, images, input_px, upright=settings.upright)
            patches = patches_around(_normalised(bare).to(device), centres, edge.context_px)
            total += network.head.embed(patch_features(network.body, patches))
    return (total / len(chosen)).reshape(edge.grid, edge.grid, -1)


def train_misa_edge(
    settings: TrainSettings,
    manifest: Manifest,
    images: ImageStore,
    out_dir: Path,
    progress: ProgressFactory = silent,
    *,
    fresh: FreshSamples | None = None,
    classifier: ClassifierSettings | None = None,
    coarse_dir: Path | None = None,
) -> TrainResult:
    """Train MISA whole: the coarse stage, then the occlusion classifier on its body.

    The checkpoint is one like any other: baseline `misa_edge`, one weights file.

    Args:
        settings: of the coarse stage; `baseline` is `misa_edge`, `labels` are face_mask and face. Options
            named as in `EdgeSettings` go to the edge stage, the others to `misa`.
        manifest: holds rendered samples and their photos.
        images: its picture store.
        out_dir: of the checkpoint; the stages keep theirs in `coarse` and `classifier` below it.
        progress: opens the progress display.
        fresh: of the coarse stage, as `train` takes it.
        classifier: how the classifier is trained; None: as `ClassifierSettings` has it, in no more steps
            than `settings.steps` where that is given.
        coarse_dir: a finished `misa` training to build on; None: one is trained.

    Raises:
        ConfigError: other labels, or `coarse_dir` holds another baseline or data.
        DataError: no pair to learn from; or as `train`.
    """
    if settings.baseline != WHOLE or settings.labels != _EDGE_LABELS:
        raise ConfigError(f"{WHOLE} learns the labels face_mask and face, in this order")
    if coarse_dir is not None:
        coarse = _read_coarse(coarse_dir, manifest)
    else:
        options = coarse_options(settings.options)
        wanted = settings.model_copy(update={"baseline": COARSE, "options": options})
        coarse = train(wanted, manifest, images, out_dir / COARSE_DIR, progress, fresh=fresh)
    whole = coarse.record.settings.model_copy(
        update={"baseline": WHOLE, "options": dict(settings.options), "pretrained": settings.pretrained}
    )
    network = build_network(WHOLE, whole.num_classes, pretrained=False, **dict(whole.options))
    assert isinstance(network, EdgeSegmenter)
    chosen = classifier or ClassifierSettings()
    if classifier is None and settings.steps is not None:
        chosen = chosen.model_copy(update={"steps": min(chosen.steps, settings.steps)})
    chosen = chosen.model_copy(update={"edge": network.edge})
    made_of = canonical_json({"classifier": chosen.model_dump(mode="json"), "coarse": coarse.record.version})
    finished = _finished(out_dir, whole, coarse.record, made_of)
    if finished is not None:
        return TrainResult(out_dir, finished, 0.0)
    network.coarse.load_state_dict(read_tensors(coarse.checkpoint_dir / WEIGHTS_FILE))
    learned = list_pairs(manifest.samples(), whole.split, whole.crop)
    held_out = list_pairs(manifest.samples(), Split.VAL, whole.crop)
    position = train_occlusion_classifier(
        network,
        learned,
        held_out,
        images,
        chosen,
        out_dir / CLASSIFIER_DIR,
        input_px=whole.input_px,
        device=choose_device(settings.device),
        seed=whole.seed,
        body_sha256=coarse.record.weights_sha256,
        progress=progress,
    )
    (out_dir / RECORD_FILE).unlink(missing_ok=True)
    write_tensors(out_dir / WEIGHTS_FILE, network.cpu().state_dict())
    seen = [*read_seen(coarse.checkpoint_dir), *(one for pair in [*learned, *held_out] for one in pair.seen)]
    record = coarse.record.model_copy(
        update={
            "baseline": WHOLE,
            "settings": whole,
            "seconds": round(coarse.record.seconds + position.seconds, 3),
            "weights_sha256": sha256_file(out_dir / WEIGHTS_FILE),
            "trained_on_sha256": write_seen(out_dir, seen),
        }
    )
    write_text(out_dir / _MADE_OF_FILE, made_of)
    write_record(out_dir, record)
    return TrainResult(out_dir, record, coarse.crops_per_second)


def _finished(
    out_dir: Path, whole: TrainSettings, coarse: TrainingRecord, made_of: str
) -> TrainingRecord | None:
    note = out_dir / _MADE_OF_FILE
    if not (out_dir / RECORD_FILE).exists() or not note.exists() or note.read_text() != made_of:
        return None
    record = read_record(out_dir)
    is_same = record.settings == whole and record.dataset_digest == coarse.dataset_digest
    return record if is_same else None


def _read_coarse(folder: Path, manifest: Manifest) -> TrainResult:
    record = read_record(folder)
    is_same_data = record.dataset_digest == manifest.canonical_digest()
    if record.baseline != COARSE or not is_same_data or record.settings.labels != _EDGE_LABELS:
        raise ConfigError(f"{folder} is no training of {COARSE} on face_mask and face of this data")
    return TrainResult(folder, record, 0.0)
