"""The scores of ABANet section 5.2 (`baselines.md` section 7), per picture and over a set; pure NumPy.

Positive means the label. A pixel counts as predicted when its probability is at least 0.5. Primary figures
are means over pictures ("per-image mean"); `iou_dataset` pools the pixels of all pictures instead.

Empty labels:
    label and prediction empty        IoU = F1 = precision = recall = 1
    label empty, prediction not       IoU = F1 = precision = 0; recall is undefined: NaN, left out of its mean
    prediction empty, label not       IoU = F1 = precision = recall = 0
    F_beta of an empty label          0, as the saliency field's reference code has it
    S-measure of an empty label       1 - mean(probability)
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dataset_tools.core.errors import DataError, MaskShapeError

BoolMask = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]

THRESHOLD = 0.5  # foreground if probability >= 0.5
BETA_SQUARED = 0.3  # Achanta et al., CVPR 2009: precision counts more than recall
S_ALPHA = 0.5  # Fan et al., ICCV 2017
CURVE_LEVELS = 256

# Names of `summarise`, in the order tables show them; True where higher is better.
METRICS: tuple[tuple[str, bool], ...] = (
    ("iou", True),
    ("f1_of_means", True),
    ("f1_mean", True),
    ("precision", True),
    ("recall", True),
    ("accuracy", True),
    ("mae", False),
    ("f_max", True),
    ("f_mean", True),
    ("f_adp", True),
    ("s_measure", True),
    ("iou_dataset", True),
)


@dataclass(frozen=True, slots=True)
class PixelCounts:
    """How the pixels of one picture were decided."""

    tp: int
    fp: int
    fn: int
    tn: int


@dataclass(frozen=True, slots=True)
class ImageScores:
    """All scores of one picture, each in [0, 1].

    Attributes:
        counts: decided pixels.
        recall: NaN when the label is empty and the prediction is not.
        f_curve: F_beta at thresholds 255/255, 254/255, …, 0 (256 values).
    """

    counts: PixelCounts
    iou: float
    f1: float
    precision: float
    recall: float
    accuracy: float
    mae: float
    f_adp: float
    s_measure: float
    f_curve: tuple[float, ...]

    @property
    def is_label_empty(self) -> bool:
        """True when no pixel of the picture carries the label."""
        return self.counts.tp + self.counts.fn == 0


def score_image(probability: npt.ArrayLike, truth: npt.ArrayLike) -> ImageScores:
    """All scores of one picture.

    Args:
        probability: (H, W) float in [0, 1]; never rescaled to its own minimum and maximum.
        truth: (H, W) bool on the same pixel grid.

    Raises:
        MaskShapeError: not two-dimensional, empty, or of different sizes.
        DataError: a probability that is not finite or not in [0, 1], or a truth that is not bool.
    """
    chance, label = _checked(probability, truth)
    counts = count_pixels(chance >= THRESHOLD, label)
    return ImageScores(
        counts=counts,
        iou=iou(counts),
        f1=f1(counts),
        precision=precision(counts),
        recall=recall(counts),
        accuracy=accuracy(counts),
        mae=float(np.abs(chance - label).mean()),
        f_adp=f_beta_adaptive(chance, label),
        s_measure=s_measure(chance, label),
        f_curve=tuple(f_beta_curve(chance, label).tolist()),
    )


def summarise(scores: Sequence[ImageScores]) -> dict[str, float]:
    """Figures of a set of pictures, one per name of `METRICS`.

    `f1_of_means` is the harmonic mean of mean precision and mean recall (what ABANet's table 2 prints),
    `f1_mean` the mean of the pictures' own F1. `f_max` and `f_mean` are taken on the averaged curve.

    Raises:
        DataError: no picture.
    """
    if not scores:
        raise DataError("nothing to score: the split holds no labelled crop")
    p = _mean(one.precision for one in scores)
    r = _mean(one.recall for one in scores if not math.isnan(one.recall))
    curve = np.mean([one.f_curve for one in scores], axis=0)
    pooled = PixelCounts(
        tp=sum(one.counts.tp for one in scores),
        fp=sum(one.counts.fp for one in scores),
        fn=sum(one.counts.fn for one in scores),
        tn=sum(one.counts.tn for one in scores),
    )
    return {
        "iou": _mean(one.iou for one in scores),
        "f1_of_means": harmonic_mean(p, r),
        "f1_mean": _mean(one.f1 for one in scores),
        "precision": p,
        "recall": r,
        "accuracy": _mean(one.accuracy for one in scores),
        "mae": _mean(one.mae for one in scores),
        "f_max": float(curve.max()),
        "f_mean": float(curve.mean()),
        "f_adp": _mean(one.f_adp for one in scores),
        "s_measure": _mean(one.s_measure for one in scores),
        "iou_dataset": iou(pooled),
    }


def count_pixels(predicted: BoolMask, truth: BoolMask) -> PixelCounts:
    """Counts of two (H, W) bool masks of one size."""
    tp = int(np.count_nonzero(predicted & truth))
    fp = int(np.count_nonzero(predicted)) - tp
    fn = int(np.count_nonzero(truth)) - tp
    return PixelCounts(tp, fp, fn, truth.size - tp - fp - fn)


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


def f_beta_adaptive(probability: FloatArray, truth: BoolMask) -> float:
    """F_beta at the threshold min(2 * mean(probability), 1); 0 without a hit.

    Source: Achanta et al., Frequency-tuned salient region detection, CVPR 2009.
    """
    predicted = probability >= min(2 * float(probability.mean()), 1.0)
    hits = int(np.count_nonzero(predicted & truth))
    if hits == 0:
        return 0.0
    p = hits / int(np.count_nonzero(predicted))
    r = hits / int(np.count_nonzero(truth))
    return (1 + BETA_SQUARED) * p * r / (BETA_SQUARED * p + r)


def f_beta_curve(probability: FloatArray, truth: BoolMask) -> FloatArray:
    """F_beta at 256 thresholds, highest first, on floor(255 * probability); (256,) float64."""
    levels = (probability * 255).astype(np.uint8)
    # Number of pixels at or above each level, counted once from the histogram's upper end.
    hits = np.bincount(levels[truth], minlength=CURVE_LEVELS)[::-1].cumsum()
    predicted = np.bincount(levels.ravel(), minlength=CURVE_LEVELS)[::-1].cumsum()
    p = hits / np.maximum(predicted, 1)
    r = hits / max(int(np.count_nonzero(truth)), 1)
    below = np.where(hits > 0, BETA_SQUARED * p + r, 1.0)
    return np.asarray((1 + BETA_SQUARED) * p * r / below, dtype=np.float64)


def s_measure(probability: FloatArray, truth: BoolMask) -> float:
    """Structure measure: half object-aware, half region-aware similarity, at least 0.

    Source: Fan et al., Structure-measure, ICCV 2017.
    """
    share = float(truth.mean())
    if share == 0:
        return 1 - float(probability.mean())
    if share == 1:
        return float(probability.mean())
    objects = share * _object_similarity(probability[truth])
    objects += (1 - share) * _object_similarity(1 - probability[~truth])
    return max(0.0, S_ALPHA * objects + (1 - S_ALPHA) * _region_similarity(probability, truth))


def _object_similarity(values: FloatArray) -> float:
    mean = float(values.mean())
    deviation = float(values.std(ddof=1)) if values.size > 1 else 0.0
    return 2 * mean / (mean**2 + 1 + deviation)


def _region_similarity(probability: FloatArray, truth: BoolMask) -> float:
    """SSIM of the four quarters around the label's centroid, weighted by their areas."""
    rows, columns = np.nonzero(truth)
    # The pixel of the centroid belongs to the upper left quarter, as in the authors' MATLAB code.
    y, x = int(np.round(rows.mean())) + 1, int(np.round(columns.mean())) + 1
    total = 0.0
    for part in (np.s_[:y, :x], np.s_[:y, x:], np.s_[y:, :x], np.s_[y:, x:]):
        if truth[part].size:
            total += _ssim(probability[part], truth[part]) * truth[part].size
    return total / truth.size


def _ssim(values: FloatArray, truth: BoolMask) -> float:
    mean_x, mean_y = float(values.mean()), float(truth.mean())
    free = max(values.size - 1, 1)
    off_x, off_y = values - mean_x, truth - mean_y
    spread = (float((off_x**2).sum()) + float((off_y**2).sum())) / free
    together = float((off_x * off_y).sum()) / free
    above = 4 * mean_x * mean_y * together
    below = (mean_x**2 + mean_y**2) * spread
    if above != 0:
        return above / (below + float(np.spacing(1.0)))
    return 1.0 if below == 0 else 0.0


def _checked(probability: npt.ArrayLike, truth: npt.ArrayLike) -> tuple[FloatArray, BoolMask]:
    chance, label = np.asarray(probability, dtype=np.float64), np.asarray(truth)
    if chance.ndim != 2 or chance.shape != label.shape or chance.size == 0:
        raise MaskShapeError(f"prediction is {chance.shape}, label is {label.shape}")
    if label.dtype != np.bool_:
        raise DataError(f"a label must be bool, found {label.dtype}; binarise it at > 127 first")
    if not (chance.min() >= 0 and chance.max() <= 1):  # also refuses NaN
        raise DataError("a probability is not a number in [0, 1]")
    return chance, label


def _share(part: int, whole: int, *, empty: float) -> float:
    return part / whole if whole else empty


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return math.fsum(found) / len(found) if found else math.nan
