"""The rows of a suite that a board holds, scored again by both rules from its stored predictions."""

from __future__ import annotations

from pathlib import Path

from baselines.audit import RowScores, score_pairs
from baselines.evaluate import crops_to_score
from baselines.leaderboard import read_board
from baselines.scoring import truth_of
from baselines.stored import read_prediction
from baselines.suites import find_suite
from dataset_tools.core.errors import DataError
from dataset_tools.core.manifest import Manifest


def board_rows(board_dir: Path, suite: str, manifest: Manifest) -> list[RowScores]:
    """The first trial of each of the suite's rows, best one first.

    Args:
        board_dir: with cards and predictions.
        suite: name.
        manifest: of the scored samples.

    Raises:
        DataError: no row of the suite was scored on this data, or a prediction cannot be read.
    """
    rows = {row.key: row for row in find_suite(suite).rows}
    digest = manifest.canonical_digest()
    found = []
    for section in read_board(board_dir).sections:
        for line in section.lines:
            card = line.card
            if card.suite != suite or card.row not in rows or card.dataset_digest != digest:
                continue
            folder = board_dir / card.predictions
            pairs = (
                (read_prediction(folder, crop, card.label), truth_of(crop, card.label))
                for crop in crops_to_score(manifest, card.split, card.crop)
            )
            found.append(score_pairs(rows[card.row], pairs))
    if not found:
        raise DataError(f"{board_dir} holds no row of {suite} that was scored on {manifest.title}")
    return found
