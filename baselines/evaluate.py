"""A checkpoint and a manifest make a `ScoreCard`: figures, and what they were measured on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from baselines.cards import ScoreCard, write_card
from baselines.checkpoint import SeenSample, read_record, read_seen
from baselines.data import Crop, list_crops
from baselines.metrics import summarise
from baselines.predict import Predictor
from baselines.scoring import score_crops
from baselines.settings import CropSettings
from dataset_tools.core.errors import DataError
from dataset_tools.core.images import ImageStore
from dataset_tools.core.labels import Label
from dataset_tools.core.manifest import Manifest
from dataset_tools.core.progress import ProgressFactory, silent
from dataset_tools.core.record import Split


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
    progress: ProgressFactory = silent,
) -> ScoreCard:
    """Score a checkpoint on the labelled samples of one split.

    Every crop is scored at the picture's own resolution, against the lossless label, foreground where the
    probability is at least 0.5.

    Args:
        checkpoint_dir: the folder `train` wrote.
        manifest: where the samples are.
        images: picture store of the manifest's workspace.
        split: which samples.
        board_dir: the card and its per-picture table are written there.
        crop: how crops are cut; None: as in training.
        label: the label that is scored.
        allow_leaks: score although training saw some of these samples; the card says how many.
        device: "auto" takes the GPU when there is one.
        progress: opens the progress display.

    Raises:
        DataError: no labelled sample in that split, a damaged checkpoint or picture, or (unless
            `allow_leaks`) training saw a scored picture, its group, its parent or its child.
        ConfigError: the checkpoint does not know the label, or no such device.
    """
    record = read_record(checkpoint_dir)
    predictor = Predictor.load(checkpoint_dir, device)
    cutting = crop or predictor.crop
    found = list_crops(manifest.samples(), split, cutting)
    if not found:
        raise DataError(f"{manifest.directory} has no labelled sample in split {split.value}")
    # Choosing weights on val and scoring val is usual, if flattering; the leaderboard says so in the row.
    learned = record.settings.split.value
    seen = [one for one in read_seen(checkpoint_dir) if one.split == learned or split is not Split.VAL]
    leaked = leaked_samples(found, seen)
    if leaked and not allow_leaks:
        raise DataError(
            f"training saw {len(leaked)} of the samples to score, or their relatives (first {leaked[0]}); "
            "score another split, or allow leaks and have them marked"
        )
    with progress("score", len(found)) as bar:
        scored = score_crops(predictor, found, images, label, bar)
    card = ScoreCard(
        baseline=predictor.name,
        version=predictor.version,
        parameters=predictor.parameters,
        label=label,
        dataset_name=manifest.title,
        dataset_key=manifest.key,
        dataset_digest=manifest.canonical_digest(),
        split=split,
        crop=cutting,
        samples=len({one.sample_id for one in found}),
        crops=len(found),
        synthetic_crops=sum(1 for one in found if one.parent_id),
        empty_labels=sum(1 for one in scored.scores if one.is_label_empty),
        leaked_samples=len(leaked),
        metrics=summarise(scored.scores),
        seconds_per_crop=scored.seconds / len(found),
        device=predictor.device,
        training=record,
    )
    return write_card(board_dir, card, [(one.sample_id, one.face) for one in found], scored.scores)


def leaked_samples(found: Sequence[Crop], seen: Sequence[SeenSample]) -> list[str]:
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
