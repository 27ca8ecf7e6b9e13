"""Arithmetic that holds between the scores of one row; a row that breaks it was not measured as it says.

One picture, or one pile of pixels (level "dataset"), has one set of pixel counts, so its scores determine
each other. Means over pictures (level "means") keep the linear consequences only: a mean IoU and a mean F1
need not meet F1 = 2 IoU / (1 + IoU), but F1 cannot lie above it, nor below IoU.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Literal

from baselines.metrics import METRICS, PIXEL_METRICS, harmonic_mean

Level = Literal["picture", "dataset", "means"]

# Of figures that were computed, not printed: covers the rounding of long sums.
EXACT = 1e-9

# Level "means": these keys are of pooled pixels and keep the rules of level "dataset".
_POOLED = {
    "iou": "iou_dataset",
    "f1": "dice_dataset",
    "precision": "precision_dataset",
    "recall": "recall_dataset",
    "accuracy": "pa_dataset",
}


def check_row(values: Mapping[str, float], level: Level, tolerance: float = EXACT) -> list[str]:
    """What is impossible about a row of scores.

    Args:
        values: by name, shares in [0, 1]. For "picture" and "dataset" the names iou, f1 (or dice), precision,
            recall and accuracy (or pa); for "means" the names of `baselines.metrics.METRICS`. Names that are
            missing, unknown or not a number are passed over.
        level: what one figure was averaged over.
        tolerance: how far each value may be from the true one: half a unit of the last printed digit, e.g.
            0.00005 for percent with two digits.

    Returns:
        One sentence for every rule that is broken; empty when the row is possible.
    """
    known = {name: value for name, value in values.items() if not math.isnan(value)}
    problems = _bounds(known, tolerance)
    if problems:
        return problems  # the rules below compare shares
    if level == "means":
        rules = _Rules(known, tolerance)
        rules.check_means()
        pooled = {short: known[name] for short, name in _POOLED.items() if name in known}
        return rules.problems + [f"pooled pixels: {said}" for said in check_row(pooled, "dataset", tolerance)]
    renamed = {{"dice": "f1", "pa": "accuracy"}.get(name, name): value for name, value in known.items()}
    rules = _Rules(renamed, tolerance)
    rules.check_counts()
    return rules.problems


def _bounds(values: Mapping[str, float], tolerance: float) -> list[str]:
    names = {name for name, _ in METRICS} | {"f1", "dice", "pa"}
    problems = []
    for name in sorted(names & values.keys()):
        value = values[name]
        if name in PIXEL_METRICS:
            if not 0 <= value < math.inf:
                problems.append(f"{name} {value:g} is not a distance")
        elif not -tolerance <= value <= 1 + tolerance:
            problems.append(f"{name} {value:g} is not in [0, 1]")
    return problems


class _Rules:
    def __init__(self, values: Mapping[str, float], tolerance: float) -> None:
        self._values = values
        self._tolerance = tolerance
        self.problems: list[str] = []

    def check_counts(self) -> None:
        """Scores of one set of pixel counts."""
        self._equal("f1", "2 IoU / (1 + IoU)", _f1_of_iou, "iou")
        self._equal("f1", "2 P R / (P + R)", harmonic_mean, "precision", "recall")
        self._equal("iou", "P R / (P + R - P R)", _iou_of, "precision", "recall")
        self._at_most("iou", "precision")
        self._at_most("iou", "recall")
        self._at_most("iou", "accuracy")

    def check_means(self) -> None:
        """Means over pictures: by linearity, or by Jensen's inequality where a rule is concave."""
        self._equal("f1_of_means", "2 P R / (P + R)", harmonic_mean, "precision", "recall")
        for name in ("precision", "recall", "accuracy", "f1_mean", "f1_of_means"):
            self._at_most("iou", name)
        self._at_most("f1_mean", "f1_of_means")
        self._at_most("f_mean", "f_max")
        self._no_more("f1_mean", "2 IoU / (1 + IoU)", _f1_of_iou, "iou")
        self._no_less("iou", "P + R - 1", lambda p, r: p + r - 1, "precision", "recall")
        # A pixel decided wrongly is at least half wrong, one decided rightly at most half.
        self._no_less("mae", "(1 - accuracy) / 2", lambda a: (1 - a) / 2, "accuracy")
        self._no_more("mae", "1 - accuracy / 2", lambda a: 1 - a / 2, "accuracy")

    def _range(self, rule: Callable[..., float], *names: str) -> tuple[float, float] | None:
        # All rules are monotone in each argument, so the extremes lie at the ends.
        if any(name not in self._values for name in names):
            return None
        ends = [rule(*(self._end(name, sign) for name in names)) for sign in (-1, 1)]
        return min(ends), max(ends)

    def _end(self, name: str, sign: int) -> float:
        return min(max(self._values[name] + sign * self._tolerance, 0.0), 1.0)

    def _equal(self, name: str, formula: str, rule: Callable[..., float], *names: str) -> None:
        ends = self._range(rule, *names)
        if ends is None or name not in self._values:
            return
        if not ends[0] - self._tolerance <= self._values[name] <= ends[1] + self._tolerance:
            self._say(name, f"must equal {formula}", rule, names)

    def _no_more(self, name: str, formula: str, rule: Callable[..., float], *names: str) -> None:
        ends = self._range(rule, *names)
        if ends is not None and name in self._values and self._values[name] > ends[1] + self._tolerance:
            self._say(name, f"cannot be above {formula}", rule, names)

    def _no_less(self, name: str, formula: str, rule: Callable[..., float], *names: str) -> None:
        ends = self._range(rule, *names)
        if ends is not None and name in self._values and self._values[name] < ends[0] - self._tolerance:
            self._say(name, f"cannot be below {formula}", rule, names)

    def _at_most(self, name: str, other: str) -> None:
        self._no_more(name, other, lambda value: value, other)

    def _say(self, name: str, what: str, rule: Callable[..., float], names: tuple[str, ...]) -> None:
        bound = rule(*(self._values[one] for one in names))
        self.problems.append(f"{name} {self._values[name]:.6g} {what} = {bound:.6g}")


def _f1_of_iou(value: float) -> float:
    return 2 * value / (1 + value)


def _iou_of(p: float, r: float) -> float:
    return p * r / (p + r - p * r) if p + r > 0 else 0.0
