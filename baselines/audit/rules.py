"""Two rules of scoring a mask: ours, and the one ABANet's released scripts apply to the library networks.

Ours compares at the picture's own size, on lossless labels, foreground from one half on. The released one
(`baselines.md` D-01) has labels as JPEG files, enlarges them to 256 x 256 bilinearly and takes for foreground
what is exactly 255; the rings that JPEG leaves along every edge are lost from the label. Networks are taught
another label, "anything but 0", to which the rings belong. Predictions are written as JPEG themselves.
Everything of it can be made again from lossless labels: quality 95 gives the released labels bit for bit.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from baselines.metrics import (
    THRESHOLD,
    PixelCounts,
    accuracy,
    count_pixels,
    f1,
    harmonic_mean,
    iou,
    precision,
    recall,
)

BoolMask = npt.NDArray[np.bool_]
GreyImage = npt.NDArray[np.uint8]

OURS = "lossless labels, threshold 127"
RELEASED = "released rule"
RELEASED_PX = 256
JPEG_QUALITY = 95

Figures = dict[str, float]


@dataclass(frozen=True, slots=True)
class Ceiling:
    """What a perfect predictor scores.

    Attributes:
        predictor: what it predicts.
        rule: how it is scored.
        figures: means over the pictures (`means`).
    """

    predictor: str
    rule: str
    figures: Figures


def means(counts: Sequence[PixelCounts]) -> Figures:
    """Means over pictures by the names of `baselines.metrics.METRICS`; NaN recalls are left out."""
    recalls = [value for value in map(recall, counts) if not np.isnan(value)]
    p, r = _mean(map(precision, counts)), _mean(recalls)
    return {
        "iou": _mean(map(iou, counts)),
        "f1_of_means": harmonic_mean(p, r),
        "f1_mean": _mean(map(f1, counts)),
        "precision": p,
        "recall": r,
        "accuracy": _mean(map(accuracy, counts)),
    }


def score_by_our_rule(probability: npt.ArrayLike, truth: BoolMask) -> PixelCounts:
    """(H, W) float in [0, 1] against (H, W) bool at their own size."""
    return count_pixels(np.asarray(probability) >= THRESHOLD, truth)


def score_by_released_rule(probability: npt.ArrayLike, truth: BoolMask) -> PixelCounts:
    """The same pair as the released scripts score it: at 256 x 256, both through JPEG and taken at 255."""
    import cv2

    chances = np.asarray(probability, dtype=np.float32)
    enlarged = cv2.resize(chances, (RELEASED_PX, RELEASED_PX), interpolation=cv2.INTER_LINEAR)
    return count_pixels(written_prediction(enlarged >= THRESHOLD), released_truth(truth))


def released_truth(truth: BoolMask) -> BoolMask:
    """What the released script compares with: (256, 256) bool from a lossless label of any size."""
    return np.asarray(_released_label(truth) == 255)


def taught_label(truth: BoolMask) -> BoolMask:
    """What the library networks learned: (256, 256) bool, the label with its JPEG rings."""
    return np.asarray(_released_label(truth) > 0)


def written_prediction(predicted: BoolMask) -> BoolMask:
    """What is left of a (256, 256) prediction after it was written as JPEG, read, and taken at 255."""
    return np.asarray(_through_jpeg(_grey(predicted)) == 255)


def ceilings(truths: Iterable[BoolMask]) -> list[Ceiling]:
    """What the label itself, and what the networks were taught, score by either rule.

    Args:
        truths: (H, W) bool lossless labels.
    """
    counts: dict[tuple[str, str], list[PixelCounts]] = {}

    def add(predictor: str, rule: str, predicted: BoolMask, truth: BoolMask) -> None:
        counts.setdefault((predictor, rule), []).append(count_pixels(predicted, truth))

    for truth in truths:
        target, taught = released_truth(truth), taught_label(truth)
        large = _enlarged(_grey(truth)) > 127
        ringed = _through_jpeg(_grey(truth)) > 0
        add("the label", OURS, truth, truth)
        add("the label", "released labels, prediction lossless", large, target)
        add("the label", RELEASED, written_prediction(large), target)
        add("what was taught", OURS, ringed, truth)
        add("what was taught", "released labels, prediction lossless", taught, target)
        add("what was taught", RELEASED, written_prediction(taught), target)
    return [Ceiling(predictor, rule, means(found)) for (predictor, rule), found in counts.items()]


def foreground_shares(truths: Iterable[BoolMask]) -> tuple[float, float]:
    """Mean share of foreground pixels of lossless labels, and of the released labels made of them."""
    pairs = [(float(truth.mean()), float(released_truth(truth).mean())) for truth in truths]
    return _mean(one for one, _ in pairs), _mean(other for _, other in pairs)


def _released_label(truth: BoolMask) -> GreyImage:
    return _enlarged(_through_jpeg(_grey(truth)))


def _enlarged(grey: GreyImage) -> GreyImage:
    # OpenCV, not Pillow: its rounding is the one that gives the released labels bit for bit.
    import cv2

    return np.asarray(
        cv2.resize(grey, (RELEASED_PX, RELEASED_PX), interpolation=cv2.INTER_LINEAR), dtype=np.uint8
    )


def _grey(mask: BoolMask) -> GreyImage:
    return np.where(mask, 255, 0).astype(np.uint8)


def _through_jpeg(grey: GreyImage) -> GreyImage:
    written = io.BytesIO()
    Image.fromarray(grey).save(written, "JPEG", quality=JPEG_QUALITY)
    with Image.open(written) as opened:
        return np.asarray(opened)


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return float(np.mean(found)) if found else float("nan")
