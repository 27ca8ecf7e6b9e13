"""Scores that follow from how many pixels were hit, invented and missed; empty masks as the package says."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

BoolMask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class PixelCounts:
    """How the pixels of one picture were decided."""

    tp: int
    fp: int
    fn: int
    tn: int


def count_pixels(predicted: BoolMask, truth: BoolMask) -> PixelCounts:
    """Counts of two (H, W) bool masks of one size."""
    tp = int(np.count_nonzero(predicted & truth))
    fp = int(np.count_nonzero(predicted)) - tp
    fn = int(np.count_nonzero(truth)) - tp
    return PixelCounts(tp, fp, fn, truth.size - tp - fp - fn)


def mask_scores(counts: PixelCounts) -> dict[str, float]:
    """The five scores of ABANet's table 2 for one picture: iou, f1, precision, recall, accuracy."""
    return {
        "iou": iou(counts),
        "f1": f1(counts),
        "precision": precision(counts),
        "recall": recall(counts),
        "accuracy": accuracy(counts),
    }


def iou(counts: PixelCounts) -> float:
    """TP / (TP + FP + FN); 1 when both are empty."""
    return _share(counts.tp, counts.tp + counts.fp + counts.fn, empty=1.0)


def f1(counts: PixelCounts) -> float:
    """2 TP / (2 TP + FP + FN), the Dice score; 1 when both are empty."""
    return _share(2 * counts.tp, 2 * counts.tp + counts.fp + counts.fn, empty=1.0)


def precision(counts: PixelCounts) -> float:
    """TP / (TP + FP); without prediction 1 if the label is empty too, else 0."""
    return _share(counts.tp, counts.tp + counts.fp, empty=1.0 if counts.fn == 0 else 0.0)


def recall(counts: PixelCounts) -> float:
    """TP / (TP + FN); without label 1 if nothing was predicted either, else NaN."""
    return _share(counts.tp, counts.tp + counts.fn, empty=1.0 if counts.fp == 0 else math.nan)


def accuracy(counts: PixelCounts) -> float:
    """(TP + TN) / all."""
    return (counts.tp + counts.tn) / (counts.tp + counts.fp + counts.fn + counts.tn)


def harmonic_mean(p: float, r: float) -> float:
    """2 p r / (p + r); 0 when both are 0."""
    return 2 * p * r / (p + r) if p + r > 0 else 0.0


def _share(part: int, whole: int, *, empty: float) -> float:
    return part / whole if whole else empty
