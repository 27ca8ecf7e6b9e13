"""Figures of face parsing, from the pixel counts of every picture and part.

A part without a pixel in truth and prediction has no figure (NaN) and is left out of means. Where the truth
alone is empty, IoU, precision and F1 are 0 and recall has no figure; where the prediction alone is empty, all
are 0. Only the figures named `…_batch_smooth` do it the paper's way.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from baselines.parsing.parts import MEASURES, PAPER_BATCH, PARTS, SMOOTH, measure_name
from baselines.tasks import Column, Row, Task, TaskCard, register_task

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class PartCounts:
    """Decided pixels of a part."""

    tp: int = 0
    fp: int = 0
    fn: int = 0

    def __add__(self, other: PartCounts) -> PartCounts:
        return PartCounts(self.tp + other.tp, self.fp + other.fp, self.fn + other.fn)

    def measures(self) -> dict[str, float]:
        """The four measures, as the module docstring has them."""
        predicted, true = self.tp + self.fp, self.tp + self.fn
        if not predicted and not true:
            return dict.fromkeys(MEASURES, math.nan)
        return {
            "iou": self.tp / (self.tp + self.fp + self.fn),
            "precision": self.tp / predicted if predicted else 0.0,
            "recall": self.tp / true if true else math.nan,
            "f1": 2 * self.tp / (predicted + true),
        }

    def smooth_measures(self) -> dict[str, float]:
        """The four measures with `SMOOTH` above and below: an absent part that is not predicted gets 1."""
        above, predicted, true = self.tp + SMOOTH, self.tp + self.fp, self.tp + self.fn
        return {
            "iou": above / (self.tp + self.fp + self.fn + SMOOTH),
            "precision": above / (predicted + SMOOTH),
            "recall": above / (true + SMOOTH),
            "f1": (2 * self.tp + SMOOTH) / (predicted + true + SMOOTH),
        }


def summarise_parts(rows: Sequence[Row]) -> dict[str, float]:
    """Figures of raw rows (`row_of`).

    Returns:
        Each in [0, 1] or NaN: "<part>/<measure>" over the whole dataset; "miou_dataset" and
        "mean_precision", "mean_recall", "mean_f1", their means over the parts; "<measure>_pooled" of all
        parts' pixels together; "<measure>_batch_smooth" per part and batch of 4 pictures, smoothed, then
        the mean, as the paper's library does.
    """
    by_part = {part: PartCounts() for part in PARTS}
    by_batch: dict[int, dict[str, PartCounts]] = {}
    for row in rows:
        counts = PartCounts(row["tp"], row["fp"], row["fn"])
        by_part[row["part"]] += counts
        batch = by_batch.setdefault(row["position"] // PAPER_BATCH, {part: PartCounts() for part in PARTS})
        batch[row["part"]] += counts
    parts = {part: counts.measures() for part, counts in by_part.items()}
    pooled = sum(by_part.values(), PartCounts()).measures()
    smooth = [counts.smooth_measures() for batch in by_batch.values() for counts in batch.values()]
    found = {"miou_dataset": _mean(one["iou"] for one in parts.values())}
    for measure in MEASURES[1:]:
        found[f"mean_{measure}"] = _mean(one[measure] for one in parts.values())
    for measure in MEASURES:
        found[f"{measure}_pooled"] = pooled[measure]
        found[f"{measure}_batch_smooth"] = _mean(one[measure] for one in smooth)
    for part, one in parts.items():
        found |= {measure_name(part, measure): one[measure] for measure in MEASURES}
    return found


def row_of(picture: str, position: int, part: str, counts: PartCounts) -> dict[str, object]:
    """The raw row of a picture and part; `position` is the picture's place in the scored order."""
    return {
        "picture": picture,
        "position": position,
        "part": part,
        "tp": counts.tp,
        "fp": counts.fp,
        "fn": counts.fn,
    }


def part_table(card: TaskCard) -> list[tuple[str, dict[str, tuple[float | None, float | None]]]]:
    """A card's per-part table: part -> measure -> (ours, the paper's), in the paper's order."""
    return [
        (
            part,
            {
                measure: (card.metrics.get(name), card.printed.get(name))
                for measure in MEASURES
                for name in [measure_name(part, measure)]
            },
        )
        for part in PARTS
    ]


def _schema() -> pa.Schema:
    import pyarrow as pa

    counts = [(name, pa.int64()) for name in ("tp", "fp", "fn")]
    return pa.schema([("picture", pa.string()), ("position", pa.int32()), ("part", pa.string()), *counts])


def _mean(values: Iterable[float]) -> float:
    found = [value for value in values if not math.isnan(value)]
    return math.fsum(found) / len(found) if found else math.nan


PARSING = register_task(
    Task(
        name="parsing",
        title="Face parsing, 18 parts",
        columns=(
            Column("miou_dataset", "mIoU"),
            Column("mean_precision", "precision"),
            Column("mean_recall", "recall"),
            Column("mean_f1", "F1"),
            Column("iou_pooled", "IoU, pooled"),
            Column("iou_batch_smooth", "mIoU, the paper's way"),
        ),
        summarise=summarise_parts,
        schema=_schema,
        remark="mIoU is the mean of the parts' IoU over the dataset. The paper's way counts a part that is "
        "absent from a batch of 4 as 1, which raises the mean. Pictures are split one by one: where a "
        "dataset has several of one person, they may stand on both sides.",
    )
)
