"""Trains and scores every row of a table of ablations; started again, it goes on where it was."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from baselines.attributes.ablations import Ablation
from baselines.attributes.score import score_attributes
from baselines.attributes.table import LabelTable
from baselines.attributes.train import train_attributes
from baselines.tasks import TaskCard
from dataset_tools.core.errors import SuiteError
from dataset_tools.core.progress import ProgressFactory, silent

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TableResult:
    """What became of a table.

    Attributes:
        cards: of the rows that were trained and scored, in the table's order.
        failures: (row name, reason) of the others.
    """

    cards: tuple[TaskCard, ...]
    failures: tuple[tuple[str, str], ...]


def run_table(
    rows: Sequence[Ablation],
    learned: LabelTable,
    scored: LabelTable,
    out_dir: Path,
    board_dir: Path,
    *,
    held_out: LabelTable | None = None,
    progress: ProgressFactory = silent,
) -> TableResult:
    """Train and score every row; a row that fails is named with its reason and the next one goes on.

    Args:
        rows: e.g. `ablations.table_1(base)`.
        learned, held_out: as in `train_attributes`.
        scored: other pictures, with labels.
        out_dir: each row's checkpoint goes into the folder of its name.
        board_dir: gets the cards.
        progress: opens the progress displays.
    """
    cards, failures = [], []
    for row in rows:
        folder = out_dir / row.name
        try:
            train_attributes(row.settings, learned, folder, held_out, progress)
            card = score_attributes(
                folder,
                scored,
                board_dir,
                title=row.title,
                printed=row.printed,
                printed_table=row.table,
                printed_remark=row.remark,
                device=row.settings.device,
                progress=progress,
            )
        except SuiteError as error:
            _log.warning("%s: %s", row.name, error)
            failures.append((row.name, str(error)))
        else:
            cards.append(card)
    return TableResult(tuple(cards), tuple(failures))
