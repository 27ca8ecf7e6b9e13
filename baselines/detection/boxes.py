"""Boxes of one picture, found or true. Pure arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

BoxArray = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Detections:
    """Objects of one picture.

    Attributes:
        boxes: (N, 4) float32 x0, y0, x1, y1 in pixels of the picture; x right, y down, x1 and y1 exclusive.
        scores: (N,) float32 in [0, 1]; 1 for true objects.
        labels: names of their classes, as many.
    """

    boxes: BoxArray
    scores: npt.NDArray[np.float32]
    labels: tuple[str, ...]

    def __post_init__(self) -> None:
        if not (self.boxes.shape == (len(self.labels), 4) and len(self.scores) == len(self.labels)):
            raise ValueError(
                f"boxes {self.boxes.shape}, scores {self.scores.shape} and {len(self.labels)} labels differ"
            )

    def of_class(self, label: str) -> Detections:
        """The objects of one class, best first; equal scores keep their order."""
        own = np.array([name == label for name in self.labels], dtype=np.bool_)
        order = np.argsort(-self.scores[own], kind="stable")
        return Detections(self.boxes[own][order], self.scores[own][order], (label,) * int(own.sum()))


def true_boxes(boxes: npt.ArrayLike, labels: tuple[str, ...]) -> Detections:
    """True objects: (N, 4) boxes and their classes."""
    found = np.asarray(boxes, dtype=np.float32).reshape(-1, 4)
    return Detections(found, np.ones(len(found), dtype=np.float32), labels)


def box_iou(boxes: BoxArray, others: BoxArray) -> npt.NDArray[np.float64]:
    """(N, M) overlaps of (N, 4) boxes with (M, 4) others: shared over joint area; 0 where both are empty."""
    left, right = boxes.astype(np.float64), others.astype(np.float64)
    low = np.maximum(left[:, None, :2], right[None, :, :2])
    high = np.minimum(left[:, None, 2:], right[None, :, 2:])
    shared = (high - low).clip(min=0).prod(axis=2)
    areas, other_areas = ((one[:, 2:] - one[:, :2]).prod(axis=1) for one in (left, right))
    joint = areas[:, None] + other_areas[None] - shared
    overlaps: npt.NDArray[np.float64] = np.divide(shared, joint, out=np.zeros_like(shared), where=joint > 0)
    return overlaps


def to_row(key: str, found: Detections, truth: Detections) -> dict[str, Any]:
    """A picture's raw result, as the task's table stores it."""
    return {
        "sample_id": key,
        "found_boxes": found.boxes.reshape(-1).tolist(),
        "found_scores": found.scores.tolist(),
        "found_labels": list(found.labels),
        "true_boxes": truth.boxes.reshape(-1).tolist(),
        "true_labels": list(truth.labels),
    }


def from_row(row: Mapping[str, Any]) -> tuple[Detections, Detections]:
    """Found and true objects of a stored row."""
    found = Detections(
        np.array(row["found_boxes"], dtype=np.float32).reshape(-1, 4),
        np.array(row["found_scores"], dtype=np.float32),
        tuple(row["found_labels"]),
    )
    return found, true_boxes(row["true_boxes"], tuple(row["true_labels"]))
