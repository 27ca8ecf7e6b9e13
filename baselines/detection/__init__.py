"""Finding boxes of masks and faces: the task, its figures, and Faster R-CNN. Importing this is light."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from baselines.detection.boxes import Detections, from_row, true_boxes
from baselines.detection.scores import average_precision, coco_average_precision, presence, roc_area
from baselines.tasks import Column, Task, register_task

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["DETECTION", "Detections", "detection_figures", "true_boxes"]


def detection_figures(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Figures of a set of pictures.

    Args:
        rows: as `boxes.to_row` makes them.

    Returns:
        `ap50`, `ap_coco`, `auc`: means over the classes with a number; `ap50_<class>`, `ap_coco_<class>`,
        `auc_<class>`: of each class that is true anywhere. See `baselines.detection.scores`.
    """
    pairs = [from_row(row) for row in rows]
    classes = sorted({name for _, truth in pairs for name in truth.labels})
    found: dict[str, list[float]] = {
        "ap50": [average_precision(pairs, name) for name in classes],
        "ap_coco": [coco_average_precision(pairs, name) for name in classes],
        "auc": [roc_area(*presence(pairs, name)) for name in classes],
    }
    figures = {}
    for metric, values in found.items():
        known = [value for value in values if not np.isnan(value)]
        figures[metric] = float(np.mean(known)) if known else float("nan")
        figures |= {f"{metric}_{name}": value for name, value in zip(classes, values, strict=True)}
    return figures


def _schema() -> pa.Schema:
    import pyarrow as pa

    boxes, names = pa.list_(pa.float32()), pa.list_(pa.string())
    return pa.schema(
        [
            ("sample_id", pa.string()),
            ("found_boxes", boxes),
            ("found_scores", boxes),
            ("found_labels", names),
            ("true_boxes", boxes),
            ("true_labels", names),
        ]
    )


DETECTION = register_task(
    Task(
        name="detection",
        title="Boxes of masks and faces",
        columns=(
            Column("ap50", "AP@.5"),
            Column("ap_coco", "AP COCO"),
            Column("auc", "AUC"),
            Column("ap50_face_mask", "AP@.5 mask"),
            Column("ap50_face", "AP@.5 face"),
        ),
        summarise=detection_figures,
        schema=_schema,
        remark=(
            "AP@.5 is the area under the whole curve; AUC asks whether a class is in the picture, as boxes "
            "have no true negatives"
        ),
    )
)
