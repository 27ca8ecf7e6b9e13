"""`leaderboard audit`: a published table against itself, against the rule it was scored by, and against ours.

Source: `baselines.md` section 1.1 and D-01 for ABANet's table 2; it works for any suite with printed figures.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy.typing as npt

from baselines.audit.folders import (
    PUBLISHED_SCORES,
    PublishedScores,
    matching_labels,
    predicted_pairs,
    read_labels,
    read_published,
)
from baselines.audit.printed import Finding, PrintedRow, Severity, audit_rows
from baselines.audit.rules import (
    BoolMask,
    Ceiling,
    Figures,
    ceilings,
    foreground_shares,
    means,
    score_by_our_rule,
    score_by_released_rule,
)
from baselines.suites import SuiteRow, find_suite, printed_of
from dataset_tools.core.errors import ConfigError, UnknownName

__all__ = [
    "Audit",
    "Finding",
    "RowScores",
    "Severity",
    "audit_suite",
    "printed_rows",
    "score_pairs",
]


@dataclass(frozen=True, slots=True)
class RowScores:
    """One of our rows under both rules.

    Attributes:
        row: title in the suite.
        baseline: registered name.
        pictures: how many were scored.
        ours, released: means over pictures by our rule and by the released one.
    """

    row: str
    baseline: str
    pictures: int
    ours: Figures
    released: Figures


@dataclass(frozen=True, slots=True)
class Audit:
    """Everything an audit found; `audit.report` writes it down.

    Attributes:
        suite, title: what was audited.
        printed: the rows with printed pixel scores.
        findings: about them, and about the published score files (their rows say so).
        pictures: labels looked at; 0 when no data were given.
        shares: mean share of foreground of the lossless labels, and of the released ones.
        matching: how many stored released labels were made again bit for bit, of how many; None without any.
        ceilings: what perfect predictors score.
        rows: our rows whose predictions were given.
        published: means of the published score files.
    """

    suite: str
    title: str
    printed: tuple[PrintedRow, ...]
    findings: tuple[Finding, ...]
    pictures: int = 0
    shares: tuple[float, float] | None = None
    matching: tuple[int, int] | None = None
    ceilings: tuple[Ceiling, ...] = ()
    rows: tuple[RowScores, ...] = ()
    published: tuple[PublishedScores, ...] = ()


def audit_suite(name: str, data: Path | None = None, predictions: Mapping[str, Path] | None = None) -> Audit:
    """Audit a suite's printed rows and, with data, the rules behind them.

    Args:
        name: of the suite.
        data: a folder with `mask/*.png` and, if there are any, `mask_published_rule/*.png` and
            `published_scores.csv`; None: only the printed figures are looked at.
        predictions: a folder of PNGs (`audit.folders.predicted_pairs`) by row key; rows without are left out.

    Raises:
        UnknownName: no such suite, one of its rows is not registered, or predictions of an unknown row.
        DataError: a folder or file is missing, damaged or does not fit.
    """
    suite = find_suite(name)
    rows = {row.key: row for row in suite.rows}
    folders = dict(predictions or {})
    for key in folders:
        if key not in rows:
            raise UnknownName(f"row of suite {name}", key, rows)
    if folders and data is None:
        raise ConfigError("predictions can only be scored beside data with labels")
    printed = printed_rows(suite.rows)
    findings = audit_rows(printed)
    if data is None:
        return Audit(name, suite.title, tuple(printed), tuple(findings))
    labels = read_labels(data)
    scores_file = data / PUBLISHED_SCORES
    published = read_published(scores_file) if scores_file.is_file() else []
    return Audit(
        name,
        suite.title,
        tuple(printed),
        (*findings, *_of_published(published)),
        len(labels),
        foreground_shares(labels.values()),
        matching_labels(data, labels),
        tuple(ceilings(labels.values())),
        tuple(score_pairs(rows[key], predicted_pairs(folder, labels)) for key, folder in folders.items()),
        tuple(published),
    )


def score_pairs(row: SuiteRow, pairs: Iterable[tuple[npt.ArrayLike, BoolMask]]) -> RowScores:
    """Score a row's predictions by both rules.

    Args:
        row: whose they are.
        pairs: (H, W) float probabilities in [0, 1] and (H, W) bool labels of each picture.
    """
    ours, released = [], []
    for probability, truth in pairs:
        ours.append(score_by_our_rule(probability, truth))
        released.append(score_by_released_rule(probability, truth))
    return RowScores(row.title, row.baseline, len(ours), means(ours), means(released))


def printed_rows(rows: Iterable[SuiteRow]) -> list[PrintedRow]:
    """The rows for which the paper prints pixel scores.

    Raises:
        UnknownName: a row's baseline is not registered.
    """
    found = []
    for row in rows:
        printed = printed_of(row)
        if printed is None:
            continue
        values = {_short(metric): value for metric, value in printed.values if _short(metric)}
        if "iou" in values:
            found.append(PrintedRow(row.title, values, printed.remark))
    return found


def _short(metric: str) -> str:
    return {
        "iou": "iou",
        "f1_of_means": "f1",
        "f1_mean": "f1",
        "precision": "precision",
        "recall": "recall",
        "accuracy": "accuracy",
    }.get(metric, "")


def _of_published(published: Iterable[PublishedScores]) -> list[Finding]:
    """What the published score files say against each other; bad networks are not bad scoring."""
    rows = [
        PrintedRow(f"score file {one.name}", {_short(key): value for key, value in one.figures.items()})
        for one in published
    ]
    kept = {Severity.IMPOSSIBLE, Severity.DUPLICATE}
    return [one for one in audit_rows(rows) if one.severity in kept]
