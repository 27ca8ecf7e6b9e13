"""Score cards on disk: one JSON file a card, and beside it a Parquet table with every picture's scores.

The table is what the figures are recomputed from, so a card whose figures were edited is refused.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, ValidationError

from baselines import metrics
from baselines.checkpoint import TrainingRecord
from baselines.cost import Cost
from baselines.metrics import ImageScores, PixelCounts, summarise
from baselines.settings import CropSettings
from baselines.slices import FACTS
from dataset_tools.core.errors import DataError
from dataset_tools.core.files import digest_json, replacing, sha256_file, write_text
from dataset_tools.core.labels import Label
from dataset_tools.core.record import Split

_TOLERANCE = 1e-9

_SCHEMA = pa.schema(
    [
        ("sample_id", pa.string()),
        ("face", pa.int32()),
        ("group", pa.string()),
        *((name, pa.string()) for name in FACTS),
        *((name, pa.int64()) for name in ("tp", "fp", "fn", "tn")),
        *((name, pa.float64()) for name in ("iou", "f1", "precision", "recall", "accuracy")),
        *((name, pa.float64()) for name in ("mae", "f_adp", "s_measure", "boundary_iou", "hd95")),
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
        suite, row, title: the suite's row that this is a trial of; "" outside a suite.
        samples, crops, synthetic_crops: what was scored; every crop is one "picture" of the means.
        empty_labels: crops without the label; treated as `baselines.metrics` says.
        leaked_samples: scored samples that training had seen or that are kin to some; 0 for a fair score.
        metrics: figures by name (`baselines.metrics.METRICS`); None where nothing defines one.
        device: where the predictions were made; "" for predictions that were handed in.
        cost: parameters, multiply-adds, speed and memory, where they were measured.
        training: what the checkpoint was trained on, for how long, and from which start; None for predictions
            that were handed in.
        predictions: folder of the predictions, beside the card.
        table, table_sha256: file name and digest of the per-picture table.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    baseline: str
    version: str
    parameters: int
    suite: str = ""
    row: str = ""
    title: str = ""
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
    metrics: Mapping[str, float | None]
    device: str
    cost: Cost | None = None
    training: TrainingRecord | None
    predictions: str = ""
    table: str = ""
    table_sha256: str = ""

    @property
    def stem(self) -> str:
        """File name without ending; equal for two scorings of one checkpoint on the same crops."""
        data = f"{self.dataset_digest[:8]}-{self.split.value}-{self.label.value}-{self.crop.kind}"
        row = f"{self.suite}-{self.row}-" if self.suite else ""
        options = dict(self.training.settings.options) if self.training is not None else {}
        choice = f"-{digest_json(options)[:6]}" if options else ""
        return f"{row}{self.baseline}-{self.version}{choice}-{data}"


@dataclass(frozen=True, slots=True)
class ScoredCrop:
    """One line of a card's table.

    Attributes:
        sample_id, face, group: of the crop.
        facts: values of `baselines.slices.FACTS` by name.
        scores: all of them.
    """

    sample_id: str
    face: int
    group: str
    facts: Mapping[str, str]
    scores: ImageScores

    @property
    def key(self) -> tuple[str, int]:
        """Which crop of which sample."""
        return self.sample_id, self.face


def write_card(folder: Path, card: ScoreCard, lines: Sequence[ScoredCrop]) -> ScoreCard:
    """Write a card and its per-picture table.

    Args:
        folder: the board.
        card: without table.
        lines: one of each crop.

    Returns:
        The card as written.
    """
    table = f"{card.stem}.parquet"
    with replacing(folder / table) as temporary:
        rows = [_row(one) for one in lines]
        pq.write_table(pa.Table.from_pylist(rows, _SCHEMA), temporary, compression="zstd")
    complete = card.model_copy(update={"table": table, "table_sha256": sha256_file(folder / table)})
    write_text(folder / f"{card.stem}.json", complete.model_dump_json(indent=2) + "\n")
    return complete


def read_card(path: Path) -> ScoreCard:
    """A card, after recomputing its figures from its table; errors as `read_scored_card`."""
    return read_scored_card(path)[0]


def read_scored_card(path: Path) -> tuple[ScoreCard, list[ScoredCrop]]:
    """A card and its table, after recomputing the card's figures from it.

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
    lines = _read_lines(table)
    empty = sum(one.scores.is_label_empty for one in lines)
    if len(lines) != card.crops or card.empty_labels != empty:
        raise DataError(
            f"{path.name}: says {card.crops} crops, {card.empty_labels} of them empty; the table differs"
        )
    expected = figures_of(lines)
    for name in sorted(expected.keys() | card.metrics.keys()):
        said_value, found = card.metrics.get(name), expected.get(name)
        if not _is_same(said_value, found):
            raise DataError(f"{path.name}: {name} is {_said(said_value)}, its table gives {_said(found)}")
    return card, lines


def figures_of(lines: Sequence[ScoredCrop]) -> dict[str, float | None]:
    """A card's figures, None where nothing defines one.

    Raises:
        DataError: no line.
    """
    found = summarise([one.scores for one in lines])
    return {name: None if math.isnan(value) else value for name, value in found.items()}


def _is_same(left: float | None, right: float | None) -> bool:
    if left is None or right is None:
        return left is right
    return abs(left - right) <= _TOLERANCE * max(1.0, abs(right))


def _said(value: float | None) -> str:
    return "missing" if value is None else f"{value:.6f}"


def _row(line: ScoredCrop) -> dict[str, Any]:
    one, counts = line.scores, line.scores.counts
    return {
        "sample_id": line.sample_id,
        "face": line.face,
        "group": line.group,
        **line.facts,
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
        "boundary_iou": one.boundary_iou,
        "hd95": one.hd95,
        "f_curve": list(one.f_curve),
    }


def _read_lines(path: Path) -> list[ScoredCrop]:
    """Lines of a table; what follows from the pixel counts is computed from them, not read."""
    try:
        rows = pq.read_table(path, schema=_SCHEMA).to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"cannot read {path}: {error}") from error
    lines = []
    for row in rows:
        counts = PixelCounts(row["tp"], row["fp"], row["fn"], row["tn"])
        scores = ImageScores(
            counts=counts,
            iou=metrics.iou(counts),
            f1=metrics.f1(counts),
            precision=metrics.precision(counts),
            recall=metrics.recall(counts),
            accuracy=metrics.accuracy(counts),
            mae=row["mae"],
            f_adp=row["f_adp"],
            s_measure=row["s_measure"],
            boundary_iou=row["boundary_iou"],
            hd95=row["hd95"],
            f_curve=tuple(row["f_curve"]),
        )
        facts = {name: row[name] for name in FACTS}
        lines.append(ScoredCrop(row["sample_id"], row["face"], row["group"], facts, scores))
    return lines
