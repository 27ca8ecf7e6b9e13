"""All scores of one picture, and the figures of a set of pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from baselines.metrics.counts import (
    BoolMask,
    PixelCounts,
    accuracy,
    count_pixels,
    f1,
    iou,
    precision,
    recall,
)
from baselines.metrics.saliency import (
    FloatArray,
    f_beta_adaptive,
    f_beta_curve,
    mean_absolute_error,
    s_measure,
)
from baselines.metrics.surface import boundary_iou, hd95
from dataset_tools.core.errors import DataError, MaskShapeError

THRESHOLD = 0.5  # foreground if probability >= 0.5

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
    ("dice_dataset", True),
    ("precision_dataset", True),
    ("recall_dataset", True),
    ("pa_dataset", True),
    ("mpa_dataset", True),
    ("miou_dataset", True),
    ("boundary_iou", True),
    ("hd95", False),
)
# Metrics in pixels of the picture; all others lie in [0, 1].
PIXEL_METRICS = frozenset({"hd95"})

# Columns of `score_table`; the 256 values of the F_beta curve follow them.
_MEANS = ("iou", "f1_mean", "precision", "accuracy", "mae", "f_adp", "s_measure", "boundary_iou", "hd95")
_COLUMNS = ("pictures", "recall_known", "recall", "tp", "fp", "fn", "tn", *_MEANS)


@dataclass(frozen=True, slots=True)
class ImageScores:
    """All scores of one picture, each in [0, 1] but `hd95`.

    Attributes:
        counts: decided pixels.
        recall: NaN when the label is empty and the prediction is not.
        boundary_iou: of bands 2 % of the diagonal wide (`surface.boundary_iou`).
        hd95: distance of the outlines in pixels of this picture (`surface.hd95`).
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
    boundary_iou: float
    hd95: float
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
    predicted = chance >= THRESHOLD
    counts = count_pixels(predicted, label)
    return ImageScores(
        counts=counts,
        iou=iou(counts),
        f1=f1(counts),
        precision=precision(counts),
        recall=recall(counts),
        accuracy=accuracy(counts),
        mae=mean_absolute_error(chance, label),
        f_adp=f_beta_adaptive(chance, label),
        s_measure=s_measure(chance, label),
        boundary_iou=boundary_iou(predicted, label),
        hd95=hd95(predicted, label),
        f_curve=tuple(f_beta_curve(chance, label).tolist()),
    )


def summarise(scores: Sequence[ImageScores]) -> dict[str, float]:
    """Figures of a set of pictures, one per name of `METRICS`; NaN where nothing defines one.

    `f1_of_means` is the harmonic mean of mean precision and mean recall (what ABANet's table 2 prints),
    `f1_mean` the mean of the pictures' own F1. `f_max` and `f_mean` are taken on the averaged curve.

    Raises:
        DataError: no picture.
    """
    if not scores:
        raise DataError("nothing to score: the split holds no labelled crop")
    figures = figures_of_sums(score_table(scores).sum(axis=0))
    return {name: float(figures[name]) for name, _ in METRICS}


def score_table(scores: Sequence[ImageScores]) -> FloatArray:
    """One row of numbers a picture, (n, columns) float64; `figures_of_sums` needs no more than their sum."""
    rows = []
    for one in scores:
        counts, is_known = one.counts, not math.isnan(one.recall)
        rows.append(
            (
                *(1.0, float(is_known), one.recall if is_known else 0.0),
                *(counts.tp, counts.fp, counts.fn, counts.tn),
                *(one.iou, one.f1, one.precision, one.accuracy, one.mae, one.f_adp, one.s_measure),
                *(one.boundary_iou, one.hd95),
                *one.f_curve,
            )
        )
    return np.array(rows, dtype=np.float64)


def figures_of_sums(sums: FloatArray) -> dict[str, FloatArray]:
    """Figures by name from summed rows of `score_table`.

    Args:
        sums: (…, columns) float64: each a sum over some pictures, counted as often as they were drawn.

    Returns:
        (…) float64 by name, NaN where undefined; the names are those of `METRICS`.
    """
    of = {name: sums[..., index] for index, name in enumerate(_COLUMNS)}
    tp, fp, fn, tn = (of[name] for name in ("tp", "fp", "fn", "tn"))
    curve = sums[..., len(_COLUMNS) :] / of["pictures"][..., None]
    figures = {name: of[name] / of["pictures"] for name in _MEANS}
    figures["recall"] = _shares(of["recall"], of["recall_known"], np.nan)
    p, r = figures["precision"], figures["recall"]
    recalled = _shares(tp, tp + fn, np.where(fp == 0, 1.0, np.nan))
    spared = _shares(tn, tn + fp, np.where(fn == 0, 1.0, np.nan))
    both = np.stack([recalled, spared])
    found = _shares(tp, tp + fp + fn, 1.0)
    return figures | {
        "f1_of_means": _shares(2 * p * np.nan_to_num(r), p + np.nan_to_num(r), 0.0),
        "f_max": curve.max(axis=-1),
        "f_mean": curve.mean(axis=-1),
        "iou_dataset": found,
        "dice_dataset": _shares(2 * tp, 2 * tp + fp + fn, 1.0),
        "precision_dataset": _shares(tp, tp + fp, np.where(fn == 0, 1.0, 0.0)),
        "recall_dataset": recalled,
        "pa_dataset": (tp + tn) / (tp + fp + fn + tn),
        # A class without pixels that something was taken for has no accuracy; the other one stands alone.
        "mpa_dataset": np.nansum(both, axis=0) / (~np.isnan(both)).sum(axis=0),
        "miou_dataset": (found + _shares(tn, tn + fp + fn, 1.0)) / 2,
    }


def _shares(part: FloatArray, whole: FloatArray, empty: FloatArray | float) -> FloatArray:
    some = whole != 0
    return np.asarray(np.where(some, part / np.where(some, whole, 1.0), empty), dtype=np.float64)


def _checked(probability: npt.ArrayLike, truth: npt.ArrayLike) -> tuple[FloatArray, BoolMask]:
    chance = np.ascontiguousarray(np.asarray(probability), dtype=np.float64)
    label = np.asarray(truth)
    if chance.ndim != 2 or chance.shape != label.shape or chance.size == 0:
        raise MaskShapeError(f"prediction is {chance.shape}, label is {label.shape}")
    if label.dtype != np.bool_:
        raise DataError(f"a label must be bool, found {label.dtype}; binarise it at > 127 first")
    if not (chance.min() >= 0 and chance.max() <= 1):  # also refuses NaN
        raise DataError("a probability is not a number in [0, 1]")
    return chance, label
