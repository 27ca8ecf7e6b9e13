"""The task "attributes": raw rows, one per picture, and the figures that follow from them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from baselines.attributes.statement import ABOUT_LABELS
from baselines.tasks import Column, Row, Task, register_task

if TYPE_CHECKING:
    import pyarrow as pa


def _schema() -> pa.Schema:
    import pyarrow as pa

    return pa.schema(
        [
            # A digest, not a file name: file names of portraits are often people's names.
            ("picture", pa.string()),
            ("feature", pa.int32()),
            ("said_feature", pa.int32()),
            # Empty where gender is not learned or not known.
            ("gender", pa.string()),
            ("said_gender", pa.string()),
            ("was_learned", pa.bool_()),
        ]
    )


def summarise(rows: Sequence[Row]) -> Mapping[str, float]:
    """Figures of raw rows.

    Returns:
        feature_accuracy: share of pictures whose most probable value is the true one.
        feature_error: mean distance between the two, feature steps.
        gender_accuracy: agreement with the labels, over pictures with both; NaN where there are none.
        learned_share: share of the pictures that training saw, itself or by their group; 0 for a fair score.
    """
    distances = [abs(row["feature"] - row["said_feature"]) for row in rows]
    judged = [row["gender"] == row["said_gender"] for row in rows if row["gender"] and row["said_gender"]]
    return {
        "feature_accuracy": _mean([distance == 0 for distance in distances]),
        "feature_error": _mean(distances),
        "gender_accuracy": _mean(judged),
        "learned_share": _mean([row["was_learned"] for row in rows]),
    }


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan


ATTRIBUTE_TASK = register_task(
    Task(
        name="attributes",
        title="Face attributes, from the user's own labels",
        columns=(
            Column("feature_accuracy", "feature accuracy"),
            Column("feature_error", "feature error (steps)", is_percent=False),
            Column("gender_accuracy", "agreement with gender labels"),
            Column("learned_share", "seen in training"),
        ),
        summarise=summarise,
        schema=_schema,
        remark=ABOUT_LABELS,
    )
)
