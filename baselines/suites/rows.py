"""What a suite is: rows of a table, each a baseline with the settings that the row means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from baselines.registry import Printed

NOT_PRINTED = Printed("", ())


@dataclass(frozen=True, slots=True)
class SuiteRow:
    """One row of a table.

    Attributes:
        key: unique in its suite; fit for a folder name.
        title: as the table shows it.
        baseline: registered name.
        settings: fields of `TrainSettings` that make the row what it is; all else is the baseline's recipe.
        printed: what this table prints for the row, `NOT_PRINTED` if nothing; None: what the baseline's
            spec says.
    """

    key: str
    title: str
    baseline: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    printed: Printed | None = None


@dataclass(frozen=True, slots=True)
class Suite:
    """A table of rows that are compared with each other.

    Attributes:
        name: as on the command line.
        title: what it is.
        rows: in the table's order.
        defaults: fields of `TrainSettings` for all rows; unlike a row's own settings they may be overridden.
        note: what a reader of the results must know; "" when nothing.
    """

    name: str
    title: str
    rows: tuple[SuiteRow, ...]
    defaults: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""


def row(
    baseline: str,
    title: str,
    key: str = "",
    *,
    printed: Printed | None = None,
    **settings: Any,
) -> SuiteRow:
    """A row; `settings` are fields of `TrainSettings`, its key is the baseline's name unless given."""
    return SuiteRow(key or baseline, title, baseline, MappingProxyType(settings), printed)
