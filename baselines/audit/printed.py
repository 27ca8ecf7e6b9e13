"""What a printed table says against itself: figures that cannot be, figures that look wrong, repeated rows.

All figures are means over pictures. The IoU of one picture follows from its precision P and recall R; for the
means only bounds are left. IoU = PR / (P + R - PR) lies between P + R - 1 and min(P, R), and both bounds are
reached, so for mean P, R and IoU

    P + R - 1 <= IoU <= min(P, R)

is all that is certain: a row outside is IMPOSSIBLE whatever the pictures were. A row inside may still be far
from PR / (P + R - PR); where scores of pictures are close to each other, honest rows are not, so that is
SUSPICIOUS. So is an F1 that is not what the other rows' F1 is, and a row whose accuracy, precision and recall
imply another share of foreground than those of the other rows, which were scored on the same labels.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations

from baselines.consistency import check_row
from baselines.metrics import harmonic_mean

PIXEL_SCORES = ("iou", "f1", "precision", "recall", "accuracy")

# Of the 22 published score files of networks with a mean IoU above .85, none is off by more than .0019.
IOU_TOLERANCE = 0.003
# Share of foreground; the library rows of ABANet's table 2 lie within .005 of their median.
SHARE_TOLERANCE = 0.02
_LEAST_ROWS = 4  # of which a median speaks
_LEAST_EQUAL = 2  # equal figures that make two rows duplicates: one may be chance among 20 rows


class Severity(StrEnum):
    """How bad a finding is."""

    IMPOSSIBLE = "impossible"
    SUSPICIOUS = "suspicious"
    DUPLICATE = "duplicate"
    KNOWN = "known"  # stated by the specification, from files that are not in the table


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, or looks wrong, with a row."""

    row: str
    severity: Severity
    what: str


@dataclass(frozen=True, slots=True)
class PrintedRow:
    """A row as printed.

    Attributes:
        title: of the row.
        values: shares in [0, 1] by the names of `PIXEL_SCORES`, as far as printed.
        remark: what else is known of it; "" when nothing.
    """

    title: str
    values: Mapping[str, float]
    remark: str = ""


def audit_rows(rows: Sequence[PrintedRow]) -> list[Finding]:
    """Everything that is wrong with the rows of one table, row by row, then what pairs of rows share."""
    shares = {row.title: share for row in rows if (share := foreground_share(row.values)) is not None}
    found: list[Finding] = []
    for row in rows:
        found += _of_one_row(row)
        found += _of_share(row.title, shares)
        clauses = row.remark.split("; ") if row.remark else []
        found += [Finding(row.title, Severity.KNOWN, clause) for clause in clauses]
    return found + _duplicates(rows)


def iou_of(precision: float, recall: float) -> float:
    """The IoU that a picture of that precision and recall has."""
    return precision * recall / (precision + recall - precision * recall) if precision + recall else 0.0


def foreground_share(values: Mapping[str, float]) -> float | None:
    """The share of pixels with the label that accuracy, precision and recall imply; None if one is missing.

    Of a share s, s (1 - R) are missed and s R (1 - P) / P are invented; both together are 1 - accuracy.
    Means over pictures give it roughly: pictures of more foreground have larger errors.
    """
    if not {"accuracy", "precision", "recall"} <= values.keys():
        return None
    p, r = values["precision"], values["recall"]
    wrong = (1 - r) + r * (1 - p) / p if p else 0.0
    return (1 - values["accuracy"]) / wrong if wrong else None


def _of_one_row(row: PrintedRow) -> list[Finding]:
    plain = {name: row.values[name] for name in PIXEL_SCORES if name in row.values and name != "f1"}
    tolerance = max(map(printed_unit, row.values.values()), default=0.0) / 2
    impossible = check_row(plain, "means", tolerance)
    found = [Finding(row.title, Severity.IMPOSSIBLE, said) for said in impossible]
    if "f1" in row.values:
        found += _of_f1(row.title, row.values["f1"], plain, tolerance)
    if not impossible and {"iou", "precision", "recall"} <= plain.keys():
        implied = iou_of(plain["precision"], plain["recall"])
        if abs(plain["iou"] - implied) > IOU_TOLERANCE:
            what = f"IoU {plain['iou']:.5f}; its precision and recall give about {implied:.5f}"
            found.append(Finding(row.title, Severity.SUSPICIOUS, what))
    return found


def _of_f1(title: str, f1: float, plain: Mapping[str, float], tolerance: float) -> list[Finding]:
    """An F1 may be the harmonic mean of mean precision and recall, or the mean of the pictures' own F1."""
    known = set(check_row(plain, "means", tolerance))
    against_mean = sorted(set(check_row({**plain, "f1_mean": f1}, "means", tolerance)) - known)
    if {"precision", "recall"} <= plain.keys():
        harmonic = harmonic_mean(plain["precision"], plain["recall"])
        # The value's own last digit, for it may be cut off, and half of those of what it was made from.
        slack = printed_unit(f1) + sum(printed_unit(plain[name]) / 2 for name in ("precision", "recall"))
        if abs(f1 - harmonic) <= slack:
            return []
        what = f"F1 {f1:.5f} is not the harmonic mean {harmonic:.5f} of its precision and recall"
        if against_mean:
            return [Finding(title, Severity.IMPOSSIBLE, f"{what}, nor a mean of the pictures' own F1")]
        return [Finding(title, Severity.SUSPICIOUS, f"{what}, as the other rows' is")]
    against_harmonic = sorted(set(check_row({**plain, "f1_of_means": f1}, "means", tolerance)) - known)
    if against_harmonic and against_mean:
        return [Finding(title, Severity.IMPOSSIBLE, "; ".join(against_mean))]
    if against_mean:
        what = f"F1 {f1:.5f} is no mean of the pictures' own F1: {'; '.join(against_mean)}"
        return [Finding(title, Severity.SUSPICIOUS, what)]
    return []


def _of_share(title: str, shares: Mapping[str, float]) -> list[Finding]:
    if title not in shares or len(shares) < _LEAST_ROWS:
        return []
    middle = statistics.median(shares.values())
    if abs(shares[title] - middle) <= SHARE_TOLERANCE:
        return []
    what = (
        f"accuracy, precision and recall imply that about {shares[title]:.3f} of the pixels are mask, "
        f"the median row {middle:.3f}: other labels, another rule, or a wrong digit"
    )
    return [Finding(title, Severity.SUSPICIOUS, what)]


def _duplicates(rows: Iterable[PrintedRow]) -> list[Finding]:
    found = []
    for one, other in combinations(rows, 2):
        names = [name for name in PIXEL_SCORES if name in one.values and name in other.values]
        equal = [name for name in names if one.values[name] == other.values[name]]
        if len(equal) >= _LEAST_EQUAL:
            what = f"{', '.join(equal)} equal those of {other.title} to the last digit"
            found.append(Finding(one.title, Severity.DUPLICATE, what))
    return found


def printed_unit(value: float) -> float:
    """The last digit that was printed of a share, e.g. 1e-5 of .93814; trailing zeros were not printed."""
    digits = f"{value:.10f}".rstrip("0").partition(".")[2]
    return 10.0 ** -max(len(digits), 2)
