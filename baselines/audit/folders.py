"""Reading what an audit needs: pairs of labels, published means, and predictions of our rows."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from baselines.audit.rules import BoolMask, Figures, released_truth
from baselines.crops import image_window
from baselines.saved_predictions import SavedPredictions, Wanted
from dataset_tools.core.errors import DataError

MASKS = "mask"
PUBLISHED_MASKS = "mask_published_rule"
PUBLISHED_SCORES = "published_scores.csv"

_BRIGHT = 127
_ARCHITECTURES = {
    "Unet": "unet",
    "Unet++": "unetpp",
    "MAnet": "manet",
    "Linknet": "linknet",
    "DeepLabV3+": "dlv3p",
    "DeepLabV3": "dlv3",
    "PAN": "pan",
    "FPN": "fpn",
    "PSPNet": "pspnet",
}
_BACKBONES = {"Efficient-b7": "effb7", "ResNet50": "r50", "VGG19": "vgg19"}
_COLUMNS = {
    "iou": "iou",
    "f1": "f1_mean",
    "precision": "precision",
    "recall": "recall",
    "accuracy": "accuracy",
}


@dataclass(frozen=True, slots=True)
class PublishedScores:
    """Means over the published scores of single pictures.

    Attributes:
        name: as in the file, e.g. "Unet++ / ResNet50".
        baseline: the name our registry has for it, or what it would be called there.
        pictures: how many.
        figures: shares by the names of `baselines.metrics.METRICS`.
    """

    name: str
    baseline: str
    pictures: int
    figures: Figures


def read_labels(data: Path) -> dict[str, BoolMask]:
    """The lossless labels of `data/mask`, (H, W) bool by file name without ending, sorted.

    Raises:
        DataError: no such folder, no PNG in it, or one that cannot be read.
    """
    return dict(_masks(data / MASKS))


def matching_labels(data: Path, labels: Mapping[str, BoolMask]) -> tuple[int, int] | None:
    """How many of the stored released labels `released_truth` makes bit for bit, and how many there are.

    Returns:
        None when the folder `mask_published_rule` is not there.

    Raises:
        DataError: it holds a label of no known picture, or one that cannot be read.
    """
    folder = data / PUBLISHED_MASKS
    if not folder.is_dir():
        return None
    equal = total = 0
    for name, stored in _masks(folder):
        if name not in labels:
            raise DataError(f"{folder / name}.png has no partner in {MASKS}")
        total += 1
        equal += bool(np.array_equal(stored, released_truth(labels[name])))
    return equal, total


def read_published(path: Path) -> list[PublishedScores]:
    """The means of the published score files, in the file's order.

    Raises:
        DataError: no such file, or not such a table.
    """
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            return [_published(row) for row in csv.DictReader(stream)]
    except (OSError, UnicodeDecodeError, csv.Error, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path} is not a table of published scores: {error!r}") from None


def predicted_pairs(
    folder: Path, labels: Mapping[str, BoolMask]
) -> Iterator[tuple[npt.NDArray[np.float32], BoolMask]]:
    """Predictions of whole pictures beside their labels.

    Args:
        folder: one PNG per label, named like it (`baselines.saved_predictions`).
        labels: as `read_labels` gives them.

    Yields:
        (H, W) float32 in [0, 1] and (H, W) bool.

    Raises:
        DataError: a prediction is missing, unreadable or of another size.
    """
    wanted = [_wanted(name, truth) for name, truth in labels.items()]
    saved = SavedPredictions(folder, wanted)
    for one in wanted:
        yield saved.probability(one), labels[one.sample_id]


def _wanted(name: str, truth: BoolMask) -> Wanted:
    size_hw = (truth.shape[0], truth.shape[1])
    return Wanted(name, -1, (name,), size_hw, image_window(size_hw))


def _masks(folder: Path) -> Iterable[tuple[str, BoolMask]]:
    paths = sorted(folder.glob("*.png"))
    if not paths:
        raise DataError(f"{folder} holds no PNG labels")
    for path in paths:
        try:
            with Image.open(path) as opened:
                grey = np.asarray(opened.convert("L"))
        except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
            raise DataError(f"cannot read the label {path}: {error}") from None
        yield path.stem, grey > _BRIGHT


def _published(row: Mapping[str, str]) -> PublishedScores:
    architecture, backbone = row["arch"], row["backbone"]
    baseline = f"{_ARCHITECTURES.get(architecture, architecture)}_{_BACKBONES.get(backbone, backbone)}"
    figures = {ours: float(row[theirs]) / 100 for theirs, ours in _COLUMNS.items()}
    return PublishedScores(f"{architecture} / {backbone}", baseline, int(row["n"]), figures)
