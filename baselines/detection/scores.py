"""How well boxes were found: average precision, and presence as a yes-or-no question. Pure arrays.

Average precision has two readings, both dataset-level and per class. `ap50` takes the whole curve at IoU 0.5
(precision made monotone, area under it); `ap_coco` is COCO's: 101 points of recall, the mean over IoU 0.5 to
0.95, at most 100 boxes per picture and class. A class without a true box has none (NaN).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from baselines.detection.boxes import Detections, box_iou

Pair = tuple[Detections, Detections]
"""Found and true objects of one picture."""

COCO_IOUS: tuple[float, ...] = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
_COCO_RECALLS = np.linspace(0.0, 1.0, 101)
_COCO_MOST = 100
PRESENCE_IOU = 0.5

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


def matched(found: Detections, truth: Detections, least_iou: float) -> BoolArray:
    """Which of one class's boxes, best first, hit a true box no better one has hit.

    A box takes the free true box it overlaps most, as COCO has it.

    Returns:
        (N,) bool, in the order of `found`.
    """
    overlaps = box_iou(found.boxes, truth.boxes)
    hits = np.zeros(len(found.labels), dtype=np.bool_)
    free = np.ones(len(truth.labels), dtype=np.bool_)
    for index, row in enumerate(overlaps):
        open_row = np.where(free, row, -1.0)
        if len(open_row) and open_row.max() >= least_iou:
            free[int(open_row.argmax())] = False
            hits[index] = True
    return hits


def precision_recall(
    pairs: Sequence[Pair], label: str, least_iou: float, most: int | None = None
) -> tuple[FloatArray, FloatArray]:
    """Precision and recall of one class as boxes of all pictures are added, best first.

    Args:
        pairs: found and true objects of each picture.
        label: the class.
        least_iou: from which on a box counts as right.
        most: boxes per picture at most, best first; None: all.

    Returns:
        (N,) each; recall is NaN when there is no true box.
    """
    hits: list[BoolArray] = []
    scores: list[npt.NDArray[np.float32]] = []
    count = 0
    for found, truth in pairs:
        own, true = found.of_class(label), truth.of_class(label)
        hits.append(matched(own, true, least_iou)[:most])
        scores.append(own.scores[:most])
        count += len(true.labels)
    order = np.argsort(-np.concatenate(scores), kind="stable") if scores else np.zeros(0, dtype=np.intp)
    right = np.cumsum(np.concatenate(hits)[order]) if hits else np.zeros(0)
    ranks = np.arange(1, len(right) + 1)
    return right / ranks, right / count if count else np.full(len(right), np.nan)


def average_precision(pairs: Sequence[Pair], label: str, least_iou: float = PRESENCE_IOU) -> float:
    """Area under the whole monotone precision-recall curve of a class, in [0, 1]; NaN without a true box."""
    if not _has_truth(pairs, label):
        return float("nan")
    precision, recall = precision_recall(pairs, label, least_iou)
    highest = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(np.diff(recall, prepend=0.0) * highest))


def coco_average_precision(pairs: Sequence[Pair], label: str, ious: Sequence[float] = COCO_IOUS) -> float:
    """COCO's average precision of a class, mean over `ious`, in [0, 1]; NaN without a true box."""
    if not _has_truth(pairs, label):
        return float("nan")
    found = []
    for least_iou in ious:
        precision, recall = precision_recall(pairs, label, least_iou, _COCO_MOST)
        highest = np.maximum.accumulate(precision[::-1])[::-1]
        places = np.searchsorted(recall, _COCO_RECALLS, side="left")
        reached = np.append(highest, 0.0)[np.minimum(places, len(highest))]
        found.append(float(reached.mean()))
    return float(np.mean(found))


def _has_truth(pairs: Sequence[Pair], label: str) -> bool:
    return any(label in truth.labels for _, truth in pairs)


def presence(pairs: Sequence[Pair], label: str) -> tuple[BoolArray, FloatArray]:
    """Is the class in the picture? Truth and score of each picture.

    Boxes have no true negatives, so a ROC needs a question with two answers (`baselines.md` section 7). The
    score is that of the best box; where the class is present and that box does not overlap a true one by
    0.5, the score is 0.

    Returns:
        (P,) bool, and (P,) float64 in [0, 1].
    """
    is_there, scores = [], []
    for found, truth in pairs:
        own, true = found.of_class(label), truth.of_class(label)
        score = float(own.scores[0]) if len(own.labels) else 0.0
        if len(true.labels) and score > 0:
            reach = box_iou(own.boxes[:1], true.boxes).max()
            score = score if reach >= PRESENCE_IOU else 0.0
        is_there.append(bool(len(true.labels)))
        scores.append(score)
    return np.array(is_there, dtype=np.bool_), np.array(scores, dtype=np.float64)


def roc_curve(is_positive: BoolArray, scores: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """False-positive rate, true-positive rate and threshold, from strictest to laxest.

    One point per distinct score, and (0, 0) at an infinite threshold first. A rate without cases is NaN.
    """
    order = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True)) if len(order) else order
    passed = np.cumsum(is_positive[order])[ends]
    with np.errstate(invalid="ignore"):
        true_rate = passed / np.float64(is_positive.sum())
        false_rate = (ends + 1 - passed) / np.float64((~is_positive).sum())
    thresholds = scores[order][ends]
    return (
        np.concatenate(([0.0], false_rate)),
        np.concatenate(([0.0], true_rate)),
        np.concatenate(([np.inf], thresholds)),
    )


def roc_area(is_positive: BoolArray, scores: FloatArray) -> float:
    """Area under `roc_curve`: the chance that a picture with the class scores higher than one without.

    NaN when all pictures have it, or none.
    """
    false_rate, true_rate, _ = roc_curve(is_positive, scores)
    return float(np.trapezoid(true_rate, false_rate))
