"""A checkpoint (or predictions made elsewhere) and a manifest make a `ScoreCard`: figures, and what of."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

from baselines import tasks
from baselines.cards import ScoreCard, ScoredCrop, figures_of, write_card
from baselines.checkpoint import SeenSample, TrainingRecord, read_record, read_seen
from baselines.cost import Cost
from baselines.data import Crop, list_crops
from baselines.metrics import ImageScores, score_image
from baselines.models import find_spec
from baselines.predict import Predictor
from baselines.saved_predictions import SavedPredictions, Wanted
from baselines.scoring import predict_crops, score_stored, stored_classes, truth_of
from baselines.semantic import confusion, crop_row
from baselines.settings import CropSettings
from baselines.tasks import RunFacts, TaskCard
from dataset_tools.core.errors import ConfigError, DataError
from dataset_tools.core.images import ImageStore
from dataset_tools.core.labels import Label
from dataset_tools.core.manifest import Manifest
from dataset_tools.core.progress import ProgressFactory, silent
from dataset_tools.core.record import ImageRef, Sample, Split

_log = logging.getLogger(__name__)

PREDICTIONS = "predictions"


@dataclass(frozen=True, slots=True)
class RowName:
    """The row of a suite that a card is a trial of."""

    suite: str = ""
    row: str = ""
    title: str = ""


def evaluate(
    checkpoint_dir: Path,
    manifest: Manifest,
    images: ImageStore,
    split: Split,
    board_dir: Path,
    *,
    crop: CropSettings | None = None,
    label: Label = Label.FACE_MASK,
    allow_leaks: bool = False,
    device: str = "auto",
    suite_row: RowName | None = None,
    cost: Cost | None = None,
    progress: ProgressFactory = silent,
) -> ScoreCard:
    """Score a checkpoint on the labelled samples of one split; go on where an interrupted call stopped.

    Every crop is scored at the picture's own resolution, against the lossless label, foreground where the
    probability is at least 0.5. The predictions stay beside the card, and the figures are computed from them.

    Args:
        checkpoint_dir: the folder `train` wrote.
        manifest: where the samples are.
        images: picture store of the manifest's workspace.
        split: which samples.
        board_dir: the card, its per-picture table and the predictions are written there.
        crop: how crops are cut; None: as in training.
        label: the label that is scored.
        allow_leaks: score although training saw some of these samples; the card says how many.
        device: "auto" takes the GPU when there is one.
        suite_row: the row of a suite this is a trial of.
        cost: what was measured of the network.
        progress: opens the progress display.

    Raises:
        DataError: no labelled sample in that split, a damaged checkpoint or picture, or (unless
            `allow_leaks`) training saw a scored picture, its group, its parent or its child.
        ConfigError: the checkpoint does not know the label, or no such device.
    """
    record = read_record(checkpoint_dir)
    predictor = Predictor.load(checkpoint_dir, device)
    predictor.channel(label)
    cutting = crop or predictor.crop
    found = crops_to_score(manifest, split, cutting)
    # Choosing weights on val and scoring val is usual, if flattering; the leaderboard says so in the row.
    learned = record.settings.split.value
    seen = [one for one in read_seen(checkpoint_dir) if one.split == learned or split is not Split.VAL]
    leaked = leaked_samples(found, seen)
    if leaked and not allow_leaks:
        raise DataError(
            f"training saw {len(leaked)} of the samples to score, or their relatives (first {leaked[0]}); "
            "score another split, or allow leaks and have them marked"
        )
    card = _card(predictor.name, predictor.version, manifest, split, cutting, label, found, record)
    row = suite_row or RowName()
    card = card.model_copy(
        update={
            "parameters": predictor.parameters,
            "device": predictor.device,
            "cost": cost,
            "leaked_samples": len(leaked),
            "suite": row.suite,
            "row": row.row,
            "title": row.title,
        }
    )
    folder = Path(PREDICTIONS) / card.stem
    with progress("predict", len(found)) as bar:
        predict_crops(predictor, found, images, board_dir / folder, bar)
    scores = score_stored(board_dir / folder, found, label)
    return _complete(card.model_copy(update={"predictions": folder.as_posix()}), board_dir, found, scores)


def evaluate_handed_in(
    folder: Path,
    name: str,
    manifest: Manifest,
    split: Split,
    board_dir: Path,
    *,
    crop: CropSettings,
    label: Label = Label.FACE_MASK,
) -> ScoreCard:
    """Score a folder of PNG masks that somebody made; nothing is known of what made them.

    Args:
        folder: see `baselines.saved_predictions`.
        name: what the row is called.
        manifest: where the samples are.
        split: which samples.
        board_dir: the card and its table are written there.
        crop: how crops are cut.
        label: the label that is scored.

    Raises:
        DataError: no labelled sample in that split, or a prediction or label cannot be read.
    """
    found = crops_to_score(manifest, split, crop)
    names = {one.id: _picture_names(one) for one in manifest.samples() if one.split is split}
    wanted = [
        Wanted(one.sample_id, one.face, names[one.sample_id], one.image.size_hw, one.window) for one in found
    ]
    saved = SavedPredictions(folder, wanted)
    for finding in saved.findings:
        _log.warning("%s: %s", finding.file, finding.what)
    scores = [
        score_image(saved.probability(asked), truth_of(one, label))
        for asked, one in zip(wanted, found, strict=True)
    ]
    card = _card(name, saved.sha256[:12], manifest, split, crop, label, found, None)
    return _complete(card, board_dir, found, scores)


def _picture_names(sample: Sample) -> tuple[str, ...]:
    """What a sample's picture may be called: by its id, and as its source called it."""
    return tuple(dict.fromkeys((sample.id, PurePosixPath(sample.provenance.item_key).stem)))


def evaluate_classes(card: ScoreCard, manifest: Manifest, board_dir: Path) -> TaskCard:
    """Score a network of several labels as MISA does, over background, face mask and face.

    Args:
        card: of the same network and predictions, as `evaluate` gave it.
        manifest: the same.
        board_dir: the same; the task card is written there.

    Raises:
        ConfigError: the network does not tell exactly face mask and face.
        DataError: a prediction or label cannot be read.
    """
    record = card.training
    labels = record.settings.labels if record is not None else ()
    if record is None or set(labels) != {Label.FACE_MASK, Label.FACE}:
        raise ConfigError(f"{card.baseline} tells {', '.join(labels)}, not face_mask and face")
    ordered = (Label.FACE_MASK, Label.FACE)
    rows = []
    for crop in crops_to_score(manifest, card.split, card.crop):
        predicted, truth = stored_classes(board_dir / card.predictions, crop, ordered)
        rows.append(crop_row(crop.sample_id, crop.face, confusion(predicted, truth)))
    spec = find_spec(card.baseline)
    printed = dict(spec.printed.values) if spec.printed else {}
    task_card = TaskCard(
        task="classes",
        baseline=card.baseline,
        title=card.title or spec.title,
        fidelity=spec.fidelity.value,
        version=card.version,
        dataset=card.dataset_name,
        dataset_digest=card.dataset_digest,
        split=card.split.value,
        items=0,
        metrics={},
        parameters=card.parameters,
        seconds_per_item=1 / card.cost.fps_1 if card.cost else None,
        device=card.device,
        training=_run_facts(record),
        printed=printed,
        printed_table=spec.printed.table if spec.printed else "",
        printed_remark=spec.printed.remark if spec.printed else "",
    )
    return tasks.write_card(board_dir, task_card, rows)


def _run_facts(record: TrainingRecord) -> RunFacts:
    return RunFacts(
        data=record.dataset_name,
        data_digest=record.dataset_digest,
        items=record.crops,
        steps=record.steps,
        seconds=record.seconds,
        device=record.device,
        initial_weights=record.initial_weights,
        seed=record.settings.seed,
        settings=record.settings.model_dump(mode="json"),
    )


def crops_to_score(manifest: Manifest, split: Split, crop: CropSettings) -> list[Crop]:
    """The labelled crops of a split.

    Raises:
        DataError: there is none.
    """
    found = list_crops(manifest.samples(), split, crop)
    if not found:
        raise DataError(f"{manifest.directory} has no labelled sample in split {split.value}")
    return found


def _card(
    name: str,
    version: str,
    manifest: Manifest,
    split: Split,
    crop: CropSettings,
    label: Label,
    found: Sequence[Crop],
    training: TrainingRecord | None,
) -> ScoreCard:
    return ScoreCard(
        baseline=name,
        version=version,
        parameters=0,
        label=label,
        dataset_name=manifest.title,
        dataset_key=manifest.key,
        dataset_digest=manifest.canonical_digest(),
        split=split,
        crop=crop,
        samples=len({one.sample_id for one in found}),
        crops=len(found),
        synthetic_crops=sum(1 for one in found if one.parent_id),
        empty_labels=0,
        leaked_samples=0,
        metrics={},
        device="",
        training=training,
    )


def _complete(
    card: ScoreCard, board_dir: Path, found: Sequence[Crop], scores: Sequence[ImageScores]
) -> ScoreCard:
    lines = [
        ScoredCrop(crop.sample_id, crop.face, crop.group, dict(crop.facts), one)
        for crop, one in zip(found, scores, strict=True)
    ]
    empty = sum(1 for one in scores if one.is_label_empty)
    filled = card.model_copy(update={"metrics": figures_of(lines), "empty_labels": empty})
    return write_card(board_dir, filled, lines)


class Scored(Protocol):
    """What is scored, as far as its kin matter: a crop or a picture."""

    @property
    def sample_id(self) -> str:
        """Of the sample."""
        ...

    @property
    def group(self) -> str:
        """Of the sample."""
        ...

    @property
    def parent_id(self) -> str:
        """Sample it was rendered from, or ""."""
        ...

    @property
    def image(self) -> ImageRef:
        """Its picture."""
        ...


def leaked_samples(found: Sequence[Scored], seen: Sequence[SeenSample]) -> list[str]:
    """Ids of scored samples that training saw itself, or whose group, parent or child it saw; sorted."""
    ids = {one.sample_id for one in seen}
    pictures = {one.image_sha256 for one in seen}
    groups = {one.group for one in seen}
    parents = {one.parent_id for one in seen if one.parent_id}
    return sorted(
        {
            crop.sample_id
            for crop in found
            if crop.image.sha256 in pictures
            or crop.group in groups
            or crop.sample_id in ids | parents
            or (crop.parent_id and crop.parent_id in ids | parents)
        }
    )
