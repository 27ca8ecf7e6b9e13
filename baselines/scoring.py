"""Crops through a predictor to scores, at the picture's own resolution."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from baselines import crops
from baselines.data import Crop, label_mask
from baselines.metrics import ImageScores, score_image
from baselines.predict import Predictor
from dataset_tools.core.errors import DataError, ItemFault
from dataset_tools.core.images import ImageStore
from dataset_tools.core.labels import Label
from dataset_tools.core.progress import Progress

BATCH = 8


@dataclass(frozen=True, slots=True)
class ScoredCrops:
    """Scores in the order of the crops, and the seconds the predictor took for all of them."""

    scores: tuple[ImageScores, ...]
    seconds: float


def score_crops(
    predictor: Predictor, found: Sequence[Crop], images: ImageStore, label: Label, progress: Progress
) -> ScoredCrops:
    """Score every crop on the pixels of the picture it shows (mirrored borders are not scored).

    Raises:
        ConfigError: the predictor does not know the label.
        DataError: a picture or mask cannot be read; names the sample.
    """
    channel = predictor.channel(label)
    scores: list[ImageScores] = []
    seconds = 0.0
    for start in range(0, len(found), BATCH):
        batch = found[start : start + BATCH]
        try:
            pictures = [images.read(crop.image) for crop in batch]
            truths = [crops.cut_visible(label_mask(crop, label), crop.window) for crop in batch]
        except ItemFault as fault:
            names = ", ".join(crop.sample_id for crop in batch)
            raise DataError(f"one of the samples {names}: {fault}") from fault
        squares = [crops.cut(rgb, crop.window) for rgb, crop in zip(pictures, batch, strict=True)]
        begun = time.perf_counter()
        maps = predictor.predict_windows(squares)
        seconds += time.perf_counter() - begun
        for crop, one, truth in zip(batch, maps, truths, strict=True):
            visible = crops.visible_part(one, crop.window, crop.image.size_hw)
            scores.append(score_image(visible[..., channel], truth))
        progress.advance(len(batch))
    return ScoredCrops(tuple(scores), seconds)
