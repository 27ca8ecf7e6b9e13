"""Score cards of tasks that are not one mask per picture: boxes, face parts, attributes, identities, classes.

A task's card is one JSON file, and beside it a Parquet table with the raw result of every item. The figures
are recomputed from the table when a card is read, so a card whose figures were edited is refused.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, ValidationError

from dataset_tools.core.errors import DataError, UnknownName
from dataset_tools.core.files import digest_json, replacing, sha256_file, write_text

if TYPE_CHECKING:
    import pyarrow as pa

Row = Mapping[str, Any]

_TOLERANCE = 1e-9
_HOMES: Mapping[str, str] = MappingProxyType(
    {
        "attributes": "baselines.attributes",
        "classes": "baselines.semantic",
        "detection": "baselines.detection",
        "parsing": "baselines.parsing",
        "verification": "baselines.verification",
    }
)
"""Task -> the module that registers it, imported when a card of it is met."""


@dataclass(frozen=True, slots=True)
class Column:
    """A figure of a task's table.

    Attributes:
        metric: its name among the figures of `Task.summarise`.
        heading: for tables.
        is_percent: shown times 100.
    """

    metric: str
    heading: str
    is_percent: bool = True


@dataclass(frozen=True, slots=True)
class Task:
    """What is measured and how.

    Attributes:
        name: e.g. "detection".
        title: for the table.
        columns: the figures a table shows, the first one ranks, higher is better.
        summarise: raw rows to figures by name; NaN for what the rows do not hold.
        schema: columns of the raw table.
        remark: what a reader must know of such figures; "" when nothing.
    """

    name: str
    title: str
    columns: tuple[Column, ...]
    summarise: Callable[[Sequence[Row]], Mapping[str, float]]
    schema: Callable[[], pa.Schema]
    remark: str = ""


class RunFacts(BaseModel):
    """What was trained, on what, for how long, from which start.

    Attributes:
        data: name of the training data, for people.
        data_digest: of the training data.
        items: training items.
        steps, seconds: optimiser steps and their wall time.
        device: name of the device.
        initial_weights: name of the start, "random" without published weights.
        seed: of the run.
        settings: all choices of the run, as JSON values.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: str
    data_digest: str
    items: int
    steps: int
    seconds: float
    device: str
    initial_weights: str
    seed: int
    settings: Mapping[str, Any]


class TaskCard(BaseModel):
    """How one trained network did in one task on one dataset.

    Attributes:
        task: name of the task.
        baseline, title, fidelity: as `BaselineSpec`.
        version: first 12 hex digits of the weights' sha256.
        dataset, dataset_digest, split: what was scored.
        items: rows of the raw table.
        metrics: figures by name, as the task's `summarise` gives them.
        parameters: of the network.
        seconds_per_item: wall time of the network, inputs already read; None where it was not measured.
        device: where it ran.
        training: see `RunFacts`.
        printed: the paper's figures by the same names, and where they stand.
        printed_table: e.g. "MISA, table 2".
        printed_remark: what is known to be wrong with them.
        table, table_sha256: file name and digest of the raw table; filled by `write_card`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: str
    baseline: str
    title: str
    fidelity: str
    version: str
    dataset: str
    dataset_digest: str
    split: str
    items: int
    metrics: Mapping[str, float | None]
    parameters: int
    seconds_per_item: float | None
    device: str
    training: RunFacts
    printed: Mapping[str, float] = {}
    printed_table: str = ""
    printed_remark: str = ""
    table: str = ""
    table_sha256: str = ""

    @property
    def stem(self) -> str:
        """File name without ending; equal for two scorings of one network on the same data."""
        choices = digest_json(dict(self.training.settings))[:6]
        return f"{self.task}-{self.baseline}-{self.version}-{choices}-{self.dataset_digest[:8]}-{self.split}"


_tasks: dict[str, Task] = {}


def register_task(task: Task) -> Task:
    """Make a task known to the board.

    Raises:
        ValueError: the name is taken.
    """
    if task.name in _tasks:
        raise ValueError(f"task {task.name!r} is registered twice")
    _tasks[task.name] = task
    return task


def find_task(name: str) -> Task:
    """The task of that name; imports its module.

    Raises:
        UnknownName: no such task.
    """
    if name in _HOMES:
        importlib.import_module(_HOMES[name])
    if name not in _tasks:
        raise UnknownName("task", name, _HOMES)
    return _tasks[name]


def figures(task: Task, rows: Sequence[Row]) -> dict[str, float | None]:
    """The task's figures of raw rows; None where there is no number.

    Raises:
        DataError: no row.
    """
    if not rows:
        raise DataError(f"nothing to score: no item for {task.title}")
    found = task.summarise(rows)
    return {name: float(value) if math.isfinite(value) else None for name, value in found.items()}


def write_card(folder: Path, card: TaskCard, rows: Sequence[Row]) -> TaskCard:
    """Write a card and its raw table; returns the card with figures, item count and table filled in.

    Raises:
        DataError: no row.
        UnknownName: no such task.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    task = find_task(card.task)
    table = f"{card.stem}.parquet"
    with replacing(folder / table) as temporary:
        pq.write_table(pa.Table.from_pylist(list(rows), task.schema()), temporary, compression="zstd")
    complete = card.model_copy(
        update={
            # From the stored rows, so that reading gives the same figures to the last bit.
            "metrics": figures(task, _read_rows(folder / table, task)),
            "items": len(rows),
            "table": table,
            "table_sha256": sha256_file(folder / table),
        }
    )
    write_text(folder / f"{card.stem}.json", complete.model_dump_json(indent=2) + "\n")
    return complete


def read_card(path: Path) -> TaskCard:
    """A card, after recomputing its figures from its table.

    Raises:
        DataError: not a card, its table is missing or changed, or its figures do not follow from it.
    """
    try:
        card = TaskCard.model_validate_json(path.read_bytes())
        task = find_task(card.task)
    except (OSError, ValidationError, UnknownName) as error:
        said = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        raise DataError(f"{path.name} is not a task card: {said}") from None
    table = path.parent / Path(card.table).name
    if not table.is_file():
        raise DataError(f"{path.name}: its table {card.table!r} is missing")
    if sha256_file(table) != card.table_sha256:
        raise DataError(f"{path.name}: its table {card.table} was changed")
    rows = _read_rows(table, task)
    if len(rows) != card.items:
        raise DataError(f"{path.name}: says {card.items} items, its table has {len(rows)}")
    expected = figures(task, rows)
    for name in sorted(expected.keys() | card.metrics.keys()):
        said_value, found = card.metrics.get(name), expected.get(name)
        if (said_value is None) != (found is None) or (
            said_value is not None and found is not None and abs(said_value - found) > _TOLERANCE
        ):
            raise DataError(f"{path.name}: {name} is {said_value}, its table gives {found}")
    return card


def _read_rows(path: Path, task: Task) -> list[dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.read_table(path, schema=task.schema()).to_pylist()  # type: ignore[no-any-return]
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"cannot read {path}: {error}") from error
