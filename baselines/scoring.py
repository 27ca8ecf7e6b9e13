"""Crops through a predictor to scores, at the picture's own resolution."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from baselines import crops
from baselines.data import Crop, class_map, label_mask
from baselines.metrics import ImageScores, score_image
from baselines.predict import Predictor
from baselines.stored import has_prediction, read_prediction, write_prediction
from dataset_tools.core.errors import DataError, ItemFault
from dataset_tools.core.images import ImageStore
from dataset_tools.core.labels import Label
from dataset_tools.core.masks import BoolMask
from dataset_tools.core.progress import Progress

BATCH = 8

ClassMap = npt.NDArray[np.uint8]


def score_crops(
    predictor: Predictor, found: Sequence[Crop], images: ImageStore, label: Label, progress: Progress
) -> list[ImageScores]:
    """Ask and score each crop in memory; mirrored pixels beyond the picture are not scored.

    Raises:
        ConfigError: the predictor does not know the label.
        DataError: a picture or mask cannot be read; names the sample.
    """
    channel = predictor.channel(label)
    scores = []
    for batch, maps, _ in _asked(predictor, found, images):
        for crop, one in zip(batch, maps, strict=True):
            visible = crops.visible_part(one, crop.window, crop.image.size_hw)
            scores.append(score_image(visible[..., channel], truth_of(crop, label)))
        progress.advance(len(batch))
    return scores


def predict_crops(
    predictor: Predictor, found: Sequence[Crop], images: ImageStore, folder: Path, progress: Progress
) -> float:
    """Ask about every crop whose prediction is not there yet, and keep the answers in `folder`.

    Returns:
        Seconds the predictor took, pictures already read.

    Raises:
        DataError: a picture cannot be read; names the sample.
    """
    missing = [crop for crop in found if not has_prediction(folder, crop, predictor.labels)]
    progress.advance(len(found) - len(missing))
    seconds = 0.0
    for batch, maps, took in _asked(predictor, missing, images):
        seconds += took
        for crop, one in zip(batch, maps, strict=True):
            write_prediction(folder, crop, predictor.labels, one)
        progress.advance(len(batch))
    return seconds


def _asked(
    predictor: Predictor, found: Sequence[Crop], images: ImageStore
) -> Iterator[tuple[Sequence[Crop], list[crops.FloatMap], float]]:
    for start in range(0, len(found), BATCH):
        batch = found[start : start + BATCH]
        try:
            squares = [crops.cut(images.read(crop.image), crop.window) for crop in batch]
        except ItemFault as fault:
            names = ", ".join(crop.sample_id for crop in batch)
            raise DataError(f"one of the samples {names}: {fault}") from fault
        begun = time.perf_counter()
        maps = predictor.predict_windows(squares)
        yield batch, maps, time.perf_counter() - begun


def score_stored(folder: Path, found: Sequence[Crop], label: Label) -> list[ImageScores]:
    """Score the predictions kept in a folder.

    Raises:
        DataError: a prediction or a label cannot be read; names it.
    """
    return [score_image(read_prediction(folder, crop, label), truth_of(crop, label)) for crop in found]


def truth_of(crop: Crop, label: Label) -> BoolMask:
    """The label over the visible part of a crop, (h, w) bool.

    Raises:
        DataError: the mask cannot be read; names the sample.
    """
    try:
        return crops.cut_visible(label_mask(crop, label), crop.window)
    except ItemFault as fault:
        raise DataError(f"sample {crop.sample_id}: {fault}") from fault


def stored_classes(folder: Path, crop: Crop, labels: Sequence[Label]) -> tuple[ClassMap, ClassMap]:
    """Predicted and true class numbers over the visible part of a crop, (h, w) uint8 each.

    The predicted class is the likeliest of the background and the labels.

    Raises:
        DataError: a prediction cannot be read.
    """
    chances = np.stack([read_prediction(folder, crop, label) for label in labels], axis=-1)
    background = 1 - chances.sum(axis=-1, keepdims=True)
    predicted = np.concatenate([background, chances], axis=-1).argmax(axis=-1).astype(np.uint8)
    return predicted, crops.cut_visible(class_map(crop, tuple(labels)), crop.window)
