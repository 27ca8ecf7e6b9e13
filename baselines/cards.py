"""Score cards on disk: one JSON file a card, and beside it a Parquet table with every picture's scores.

The table is what the figures are recomputed from, so a card whose figures were edited is refused.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, ValidationError

from baselines import metrics
from baselines.checkpoint import TrainingRecord
from baselines.metrics import ImageScores, PixelCounts, summarise
from baselines.settings import CropSettings
from dataset_tools.core.errors import DataError
from dataset_tools.core.files import replacing, sha256_file, write_text
from dataset_tools.core.labels import Label
from dataset_tools.core.record import Split

_TOLERANCE = 1e-9

_SCHEMA = pa.schema(
    [
        ("sample_id", pa.string()),
        ("face", pa.int32()),
        *((name, pa.int64()) for name in ("tp", "fp", "fn", "tn")),
        *((name, pa.float64()) for name in ("iou", "f1", "precision", "recall", "accuracy")),
        *((name, pa.float64()) for name in ("mae", "f_adp", "s_measure")),
        ("f_curve", pa.list_(pa.float64())),
    ]
)


class ScoreCard(BaseModel):
    """How one checkpoint scored on one split of one dataset.

    Attributes:
        baseline, version: registered name, and first 12 hex digits of the weights' sha256.
        parameters: of the network.
        label: what was scored.
        dataset_name, dataset_key, dataset_digest: of the manifest, as in `TrainingRecord`.
        split, crop: which samples, and how they were cut.
        samples, crops, synthetic_crops: what was scored; every crop is one "picture" of the means.
        empty_labels: crops without the label; treated as `baselines.metrics` says.
        leaked_samples: scored samples that training had seen or that are kin to some; 0 for a fair score.
        metrics: figures in [0, 1] by name (`baselines.metrics.METRICS`).
        seconds_per_crop: time of the predictor in batches of 8, pictures already read.
        device: where it ran.
        training: what the checkpoint was trained on, for how long, and from which start.
        table, table_sha256: file name and digest of the per-picture table.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    baseline: str
    version: str
    parameters: int
    label: Label
    dataset_name: str
    dataset_key: str
    dataset_digest: str
    split: Split
    crop: CropSettings
    samples: int
    crops: int
    synthetic_crops: int
    empty_labels: int
    leaked_samples: int
    metrics: Mapping[str, float]
    seconds_per_crop: float
    device: str
    training: TrainingRecord
    table: str = ""
    table_sha256: str = ""

    @property
    def stem(self) -> str:
        """File name without ending; equal for two scorings of one checkpoint on the same crops."""
        data = f"{self.dataset_digest[:8]}-{self.split.value}-{self.label.value}-{self.crop.kind}"
        return f"{self.baseline}-{self.version}-{data}"


def write_card(
    folder: Path, card: ScoreCard, keys: Sequence[tuple[str, int]], scores: Sequence[ImageScores]
) -> ScoreCard:
    """Write a card and its per-picture table.

    Args:
        folder: the board.
        card: without table.
        keys: (sample id, face index) of each crop.
        scores: in the same order.

    Returns:
        The card as written.
    """
    table = f"{card.stem}.parquet"
    rows = [_row(key, one) for key, one in zip(keys, scores, strict=True)]
    with replacing(folder / table) as temporary:
        pq.write_table(pa.Table.from_pylist(rows, _SCHEMA), temporary, compression="zstd")
    complete = card.model_copy(update={"table": table, "table_sha256": sha256_file(folder / table)})
    write_text(folder / f"{card.stem}.json", complete.model_dump_json(indent=2) + "\n")
    return complete


def read_card(path: Path) -> ScoreCard:
    """A card, after recomputing its figures from its table.

    Raises:
        DataError: not a card, its table is missing or changed, or its figures do not follow from it.
    """
    try:
        card = ScoreCard.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        said = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        raise DataError(f"{path.name} is not a score card: {said}") from None
    table = path.parent / Path(card.table).name
    if not table.is_file():
        raise DataError(f"{path.name}: its table {card.table!r} is missing")
    if sha256_file(table) != card.table_sha256:
        raise DataError(f"{path.name}: its table {card.table} was changed")
    scores = _read_scores(table)
    if len(scores) != card.crops or card.empty_labels != sum(one.is_label_empty for one in scores):
        raise DataError(
            f"{path.name}: says {card.crops} crops, {card.empty_labels} of them empty; the table differs"
        )
    expected = summarise(scores)
    for name in sorted(expected.keys() | card.metrics.keys()):
        said_value, found = card.metrics.get(name, math.nan), expected.get(name, math.nan)
        if not _is_same(said_value, found):
            raise DataError(f"{path.name}: {name} is {said_value:.6f}, its table gives {found:.6f}")
    return card


def _is_same(left: float, right: float) -> bool:
    return abs(left - right) <= _TOLERANCE


def _row(key: tuple[str, int], one: ImageScores) -> dict[str, Any]:
    counts = one.counts
    return {
        "sample_id": key[0],
        "face": key[1],
        "tp": counts.tp,
        "fp": counts.fp,
        "fn": counts.fn,
        "tn": counts.tn,
        "iou": one.iou,
        "f1": one.f1,
        "precision": one.precision,
        "recall": None if math.isnan(one.recall) else one.recall,
        "accuracy": one.accuracy,
        "mae": one.mae,
        "f_adp": one.f_adp,
        "s_measure": one.s_measure,
        "f_curve": list(one.f_curve),
    }


def _read_scores(path: Path) -> list[ImageScores]:
    """Scores of a table; what follows from the pixel counts is computed from them, not read."""
    try:
        rows = pq.read_table(path, schema=_SCHEMA).to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"cannot read {path}: {error}") from error
    scores = []
    for row in rows:
        counts = PixelCounts(row["tp"], row["fp"], row["fn"], row["tn"])
        scores.append(
            ImageScores(
                counts=counts,
                iou=metrics.iou(counts),
                f1=metrics.f1(counts),
                precision=metrics.precision(counts),
                recall=metrics.recall(counts),
                accuracy=metrics.accuracy(counts),
                mae=row["mae"],
                f_adp=row["f_adp"],
                s_measure=row["s_measure"],
                f_curve=tuple(row["f_curve"]),
            )
        )
    return scores
