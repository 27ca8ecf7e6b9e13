"""A trained cascade and a manifest make a card of the task "detection"."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from baselines.checkpoint import read_seen
from baselines.detection import Detections
from baselines.detection.pictures import RgbImage, list_pictures
from baselines.detection.scoring import ScoredDetector, score_detector
from baselines.evaluate import leaked_samples
from baselines.mtcnn.cascade import Cascade
from baselines.mtcnn.settings import Convolutions
from baselines.mtcnn.train import count_parameters, load_cascade, read_mtcnn_record
from baselines.registry import Fidelity
from baselines.segmenter import device_name
from baselines.tasks import TaskCard
from dataset_tools.core.errors import DataError
from dataset_tools.core.images import ImageStore
from dataset_tools.core.labels import Label
from dataset_tools.core.manifest import Manifest
from dataset_tools.core.progress import ProgressFactory, silent
from dataset_tools.core.record import Split

_NAMES: dict[Convolutions, tuple[str, str]] = {
    "standard": ("mtcnn", "MTCNN"),
    "separable": ("dsc_mtcnn", "MTCNN, depthwise separable"),
    "separable_all": ("dsc_mtcnn_all", "MTCNN, depthwise separable throughout"),
}
_PRINTED_TABLE = "Xu & Zheng, section 2.1"
_PRINTED_REMARK = "the paper prints no figure of its detector; truth here is the dataset's own face boxes"


def find_faces(cascade: Cascade, pictures: Sequence[RgbImage]) -> list[Detections]:
    """Faces of (H, W, 3) uint8 pictures, best first, all of class `Label.FACE`."""
    answers = []
    for rgb in pictures:
        found = cascade.detect(rgb)
        boxes, scores = found.boxes.numpy(), found.scores.numpy()
        labels = (Label.FACE.value,) * len(scores)
        answers.append(Detections(boxes.astype(np.float32), scores.astype(np.float32), labels))
    return answers


def score_mtcnn(
    checkpoint_dir: Path,
    manifest: Manifest,
    images: ImageStore,
    split: Split,
    board_dir: Path,
    *,
    allow_leaks: bool = False,
    device: str = "auto",
    progress: ProgressFactory = silent,
) -> TaskCard:
    """Score a cascade on the faces of one split.

    Pictures without a face are left out, as in training: the dataset's detector, whose boxes are the truth
    here, may have overlooked one.

    Args:
        checkpoint_dir: the folder `train_mtcnn` wrote.
        manifest: where the samples are.
        images: picture store of the manifest's workspace.
        split: which samples.
        board_dir: the card and its table are written there.
        allow_leaks: score although training saw some of these samples or their kin.
        device: "auto" takes the GPU when there is one.
        progress: opens the progress display.

    Raises:
        DataError: no face in that split, a damaged checkpoint or picture, or (unless `allow_leaks`) training
            saw a scored picture, its group, its parent or its child.
        ConfigError: no such device.
    """
    record = read_mtcnn_record(checkpoint_dir)
    cascade = load_cascade(checkpoint_dir, device)
    pictures = list_pictures(manifest.samples(), split, "faces")
    leaked = leaked_samples(pictures, read_seen(checkpoint_dir))
    if leaked and not allow_leaks:
        raise DataError(
            f"training saw {len(leaked)} of the samples to score, or their relatives (first {leaked[0]}); "
            "score another split, or allow leaks"
        )
    name, title = _NAMES[record.settings.convolutions]
    who = ScoredDetector(
        baseline=name,
        title=title,
        fidelity=Fidelity.FROM_TEXT.value,
        version=record.version,
        parameters=count_parameters(record.settings),
        device=device_name(cascade.device),
        training=record.facts,
        printed_table=_PRINTED_TABLE,
        printed_remark=_PRINTED_REMARK,
    )
    return score_detector(
        lambda batch: find_faces(cascade, batch),
        who,
        pictures,
        images,
        board_dir,
        dataset=manifest.title,
        dataset_digest=manifest.canonical_digest(),
        split=split.value,
        progress=progress,
    )
