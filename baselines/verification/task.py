"""The task "verification" for the board: raw distances in, figures out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from baselines.tasks import Column, Row, Task, register_task
from baselines.verification.protocol import (
    FAR_TARGET,
    accuracy_per_fold,
    area_under_roc,
    tar_at_far,
    tar_at_far_by_folds,
)

if TYPE_CHECKING:
    import pyarrow as pa

BLOCK, MIXED, POLYGONS = "block", "mixed", "polygons"


def condition_name(protocol: str, percent: int | None) -> str:
    """How figures of a protocol end: "clean", "block_10", …, "mixed" or "polygons"."""
    if protocol != BLOCK:
        return protocol
    return f"{BLOCK}_{percent}" if percent else "clean"


def summarise_rows(rows: Sequence[Row]) -> dict[str, float]:
    """Figures of a raw table; each is the mean of its condition's repeats, but IoU pools their pixels.

    Args:
        rows: one per repeat of a condition, as `schema` says.

    Returns:
        For every condition (see `condition_name`): `accuracy_…` (ten folds), `tar_…` (share of same pairs
        accepted at a false acceptance rate of at most 0.001, all pairs pooled), `tar_folds_…` (the same with
        thresholds of the other folds), `auc_…`, `occlusion_iou_…` of the occluded pixels and
        `occlusion_miou_…` with the clean ones (NaN without an occlusion branch, or nothing to find). Then
        `accuracy_block` and `tar_block`, means over all square sizes but 0, the numbers of `pairs` and of
        `different_pairs`, and `seen_pairs`, the share of pairs with a picture that training saw.
    """
    conditions: dict[str, list[Row]] = {}
    for row in rows:
        conditions.setdefault(condition_name(row["protocol"], row["percent"]), []).append(row)
    found: dict[str, float] = {}
    for name, repeats in conditions.items():
        judged = [_judged(row) for row in repeats]
        for figure in judged[0]:
            found[f"{figure}_{name}"] = float(np.mean([one[figure] for one in judged]))
        found |= {f"{figure}_{name}": value for figure, value in _occlusion_overlap(repeats).items()}
    for figure in ("accuracy", "tar"):
        curve = [value for key, value in found.items() if key.startswith(f"{figure}_{BLOCK}_")]
        found[f"{figure}_{BLOCK}"] = float(np.mean(curve)) if curve else float("nan")
    found["pairs"] = len(rows[0]["same"])
    found["different_pairs"] = rows[0]["same"].count(False)
    found["seen_pairs"] = float(np.mean(rows[0]["seen"]))
    return found


def _judged(row: Row) -> dict[str, float]:
    distances = np.asarray(row["distances"], dtype=np.float64)
    same, folds = np.asarray(row["same"], dtype=bool), np.asarray(row["folds"], dtype=np.int64)
    return {
        "accuracy": float(accuracy_per_fold(distances, same, folds).mean()),
        "tar": tar_at_far(distances, same, FAR_TARGET),
        "tar_folds": tar_at_far_by_folds(distances, same, folds, FAR_TARGET),
        "auc": area_under_roc(distances, same),
    }


def _occlusion_overlap(repeats: Sequence[Row]) -> dict[str, float]:
    names = ("true_occluded", "false_occluded", "missed_occluded", "true_clean")
    if repeats[0][names[0]] is None:
        return {"occlusion_iou": float("nan"), "occlusion_miou": float("nan")}
    hit, false, missed, clean = (sum(row[name] for row in repeats) for name in names)
    overlap = hit / (hit + false + missed) if hit + missed else float("nan")
    other = clean / (clean + false + missed) if clean + false else float("nan")
    return {"occlusion_iou": overlap, "occlusion_miou": (overlap + other) / 2}


def schema() -> pa.Schema:
    """Columns of the raw table: one row per repeat of a condition, so that any curve can be drawn again."""
    import pyarrow as pa

    columns: Mapping[str, Any] = {
        "protocol": pa.string(),
        "percent": pa.int32(),  # of the square's area; null where every picture has its own
        "repeat": pa.int32(),
        "distances": pa.list_(pa.float32()),  # squared, by pair
        "same": pa.list_(pa.bool_()),
        "folds": pa.list_(pa.int32()),
        "seen": pa.list_(pa.bool_()),  # whether training saw one of the pair's pictures
        "true_occluded": pa.int64(),  # pixels of all faces of the row; null without an occlusion branch
        "false_occluded": pa.int64(),
        "missed_occluded": pa.int64(),
        "true_clean": pa.int64(),
    }
    return pa.schema(list(columns.items()))


VERIFICATION = register_task(
    Task(
        name="verification",
        title="1:1 face verification under occlusion",
        columns=(
            Column("accuracy_mixed", "Acc 1–40 %"),
            Column("accuracy_clean", "Acc clean"),
            Column("tar_clean", "TAR clean"),
            Column("accuracy_block", "Acc blocks"),
            Column("tar_block", "TAR blocks"),
            Column("accuracy_polygons", "Acc polygons"),
            Column("occlusion_iou_polygons", "Occlusion IoU"),
            Column("seen_pairs", "Pairs seen in training"),
        ),
        summarise=summarise_rows,
        schema=schema,
        remark=(
            "TAR at a false acceptance rate of 0.001 or less over all pairs pooled: with fewer than 1,000 "
            "pairs of different people not one of them may be accepted; figures of pairs seen in training "
            "say nothing about strangers"
        ),
    )
)
