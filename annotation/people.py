"""The report of a session: how far people agree, how each of them works, and whether that changes. Pure.

NaN stands for what cannot be said: no common picture, or a kappa that chance alone explains. Tables show "–".
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from statistics import median
from typing import Any

import numpy as np

from annotation.agreement import PictureAgreement, cohens_kappa, compare, label_iou
from annotation.consensus import one_per_person, person_key
from annotation.drawing import REGION_CHOICES
from annotation.verdict import Role, Verdict
from dataset_tools.core.labels import Label
from dataset_tools.core.record import Instance, ReviewState
from dataset_tools.core.text import printable

VerdictsBySample = Mapping[str, Sequence[Verdict]]
Sizes = Mapping[str, tuple[int, int]]

VERDICT_KAPPA = "verdict"

# Fewer values than this say nothing about a change: a third would be two of them.
MIN_DRIFT_VALUES = 9

# Theil–Sen looks at all pairs; more values than this are thinned out evenly.
_MAX_DRIFT_VALUES = 1000

# What people call the states of a verdict; they see no "not seen".
_WORDS = {
    ReviewState.ACCEPTED: "accepted",
    ReviewState.CORRECTED: "corrected",
    ReviewState.REJECTED: "rejected",
    ReviewState.NOT_SEEN: "fix",
}
_NONE = "–"

# Spreadsheets run cells that begin like this as formulas.
_FORMULA_STARTS = ("=", "+", "-", "@")


@dataclass(frozen=True, slots=True)
class Drift:
    """How a figure of one person changed over their tasks.

    Attributes:
        first, last: over the first and the last third of the values: mean IoU, or median seconds.
        per_100: Theil–Sen slope, change per 100 tasks.
        values: tasks that have such a value.
    """

    first: float
    last: float
    per_100: float
    values: int


@dataclass(frozen=True, slots=True)
class PairReport:
    """Two people's agreement over the pictures both have looked at; gold left out.

    Attributes:
        people: their names, sorted.
        pictures: that both gave a verdict on.
        iou, boundary_iou: mean over pictures, per label that at least one of them used.
        mean_iou, mean_boundary_iou: mean over pictures of the mean over labels.
        kappa: Cohen's kappa of each region choice over the objects both have, and of the verdict.
    """

    people: tuple[str, str]
    pictures: int
    iou: Mapping[Label, float]
    boundary_iou: Mapping[Label, float]
    mean_iou: float
    mean_boundary_iou: float
    kappa: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class PersonReport:
    """One person's work.

    Attributes:
        name: as shown in the dataset; a number is added when two people share it.
        tasks: annotated, gold ones included.
        shares: of those tasks by verdict, in [0, 1].
        adjudicated: tasks of others that this person settled.
        median_seconds: per annotated task, of those whose time is known.
        total_seconds: of all tasks, adjudication included, whose time is known.
        gold_items: tasks with known truth.
        gold_iou: mean over gold items of the overlap with the truth, per label; a rejected one counts as
            empty, one left to others ("fix") does not count.
        agreement_drift: of the mean IoU with the others; with the truth where only that is known.
        seconds_drift: of the time per task.
    """

    name: str
    tasks: int
    shares: Mapping[ReviewState, float]
    adjudicated: int
    median_seconds: float
    total_seconds: float
    gold_items: int
    gold_iou: Mapping[Label, float]
    agreement_drift: Drift | None
    seconds_drift: Drift | None

    @property
    def mean_gold_iou(self) -> float:
        """Mean over labels."""
        return _mean(self.gold_iou.values())


@dataclass(frozen=True, slots=True)
class SessionReport:
    """All that a session's verdicts say about the people.

    Attributes:
        pairs: every two people who share a picture, by name.
        people: by name.
        pictures: every two verdicts on one picture, those that differ most first.
        left_out: samples that are not under review any more, or whose verdicts are for another size.
    """

    pairs: tuple[PairReport, ...]
    people: tuple[PersonReport, ...]
    pictures: tuple[PictureAgreement, ...]
    left_out: int


def session_report(
    verdicts_by_sample: VerdictsBySample, truths: Mapping[str, tuple[Instance, ...]], sizes: Sizes
) -> SessionReport:
    """Who did what, how well they agree, and how that changes over time.

    Args:
        verdicts_by_sample: those that count, from `annotation.verdict.standing`.
        truths: the labelling of each gold sample, by id.
        sizes: height and width of every sample under review, by id.
    """
    names = _names(verdicts_by_sample)
    usable = {key: own for key, own in verdicts_by_sample.items() if _fits(own, sizes.get(key))}
    compared = list(_compared(usable, names, sizes))
    people = [_person(name, own, compared, truths, sizes) for name, own in _by_person(usable, names).items()]
    return SessionReport(
        pairs=tuple(_pairs(compared)),
        people=tuple(sorted(people, key=lambda person: person.name)),
        pictures=tuple(sorted(compared, key=_how_alike)),
        left_out=len(verdicts_by_sample) - len(usable),
    )


def _names(verdicts_by_sample: VerdictsBySample) -> dict[str, str]:
    """What each person is called: by key, different for different people."""
    given = {person_key(verdict): verdict.reviewer for own in verdicts_by_sample.values() for verdict in own}
    names: dict[str, str] = {}
    for key in sorted(given):
        number, name = 1, given[key]
        while name in names.values():
            number += 1
            name = f"{given[key]} ({number})"
        names[key] = name
    return names


def _fits(verdicts: Iterable[Verdict], size_hw: tuple[int, int] | None) -> bool:
    return size_hw is not None and all(
        instance.mask.size_hw == size_hw for verdict in verdicts for instance in verdict.instances
    )


def _compared(
    verdicts_by_sample: VerdictsBySample, names: Mapping[str, str], sizes: Sizes
) -> Iterator[PictureAgreement]:
    for sample_id in sorted(verdicts_by_sample):
        own = sorted(verdicts_by_sample[sample_id], key=lambda item: (item.order, item.lane))
        opinions = one_per_person(item for item in own if item.role is Role.ANNOTATOR)
        opinions.sort(key=lambda item: names[person_key(item)])
        for first, second in combinations(opinions, 2):
            people = (names[person_key(first)], names[person_key(second)])
            yield replace(compare(sizes[sample_id], first, second), people=people)


def _how_alike(picture: PictureAgreement) -> tuple[float, str, tuple[str, str]]:
    if picture.worst is not None:
        return (picture.worst, picture.sample_id, picture.people)
    return (float(picture.states[0] is picture.states[1]), picture.sample_id, picture.people)


def _by_person(verdicts_by_sample: VerdictsBySample, names: Mapping[str, str]) -> dict[str, list[Verdict]]:
    """Each person's verdicts in the order they were made."""
    found: dict[str, list[Verdict]] = {}
    every = (verdict for own in verdicts_by_sample.values() for verdict in own)
    for verdict in sorted(every, key=lambda item: (item.reviewed_at, item.sample_id, item.lane)):
        found.setdefault(names[person_key(verdict)], []).append(verdict)
    return found


def _pairs(compared: Iterable[PictureAgreement]) -> Iterator[PairReport]:
    by_pair: dict[tuple[str, str], list[PictureAgreement]] = {}
    for picture in compared:
        by_pair.setdefault(picture.people, []).append(picture)
    for people, pictures in sorted(by_pair.items()):
        answers = {
            name: [row for one in pictures for row in one.choices if row[0] == name]
            for name in REGION_CHOICES
        }
        kappa = {
            name: cohens_kappa([row[1] for row in rows], [row[2] for row in rows])
            for name, rows in answers.items()
        }
        kappa[VERDICT_KAPPA] = cohens_kappa(*zip(*(one.states for one in pictures), strict=True))
        yield PairReport(
            people=people,
            pictures=len(pictures),
            iou=_label_means(one.iou for one in pictures),
            boundary_iou=_label_means(one.boundary_iou for one in pictures),
            mean_iou=_mean(one.mean_iou for one in pictures if one.mean_iou is not None),
            mean_boundary_iou=_mean(_mean(one.boundary_iou.values()) for one in pictures if one.boundary_iou),
            kappa=kappa,
        )


def _person(
    name: str,
    verdicts: Sequence[Verdict],
    compared: Iterable[PictureAgreement],
    truths: Mapping[str, tuple[Instance, ...]],
    sizes: Sizes,
) -> PersonReport:
    tasks = [verdict for verdict in verdicts if verdict.role is not Role.ADJUDICATOR]
    gold = {
        verdict.sample_id: label_iou(verdict.instances, truths[verdict.sample_id], sizes[verdict.sample_id])
        for verdict in tasks
        if verdict.role is Role.GOLD
        and verdict.sample_id in truths
        and verdict.state is not ReviewState.NOT_SEEN
    }
    overlaps: dict[str, list[float]] = {}
    for picture in compared:
        if name in picture.people and picture.mean_iou is not None:
            overlaps.setdefault(picture.sample_id, []).append(picture.mean_iou)
    agreement = {key: _mean(found.values()) for key, found in gold.items() if found} | {
        key: _mean(found) for key, found in overlaps.items()
    }
    seconds = [(place, one.seconds) for place, one in enumerate(tasks) if one.seconds > 0]
    agreed = [
        (place, agreement[one.sample_id]) for place, one in enumerate(tasks) if one.sample_id in agreement
    ]
    return PersonReport(
        name=name,
        tasks=len(tasks),
        shares={state: _share(tasks, state) for state in ReviewState},
        adjudicated=len(verdicts) - len(tasks),
        median_seconds=median(value for _, value in seconds) if seconds else math.nan,
        total_seconds=math.fsum(verdict.seconds for verdict in verdicts),
        gold_items=sum(verdict.role is Role.GOLD for verdict in tasks),
        gold_iou=_label_means(gold.values()),
        agreement_drift=_drift(agreed, _mean),
        seconds_drift=_drift(seconds, median),
    )


def _drift(values: Sequence[tuple[int, float]], average: Callable[[list[float]], float]) -> Drift | None:
    """Change of (task number, value) pairs over a person's tasks; None for too few.

    Source: Sen, Estimates of the regression coefficient based on Kendall's tau, 1968,
        doi:10.1080/01621459.1968.10480934
    """
    if len(values) < MIN_DRIFT_VALUES:
        return None
    third = len(values) // 3
    step = math.ceil(len(values) / _MAX_DRIFT_VALUES)
    places, figures = np.asarray(values[::step], dtype=np.float64).T
    one, other = np.triu_indices(len(places), 1)
    slopes = (figures[other] - figures[one]) / (places[other] - places[one])
    return Drift(
        first=average([value for _, value in values[:third]]),
        last=average([value for _, value in values[-third:]]),
        per_100=float(np.median(slopes)) * 100,
        values=len(values),
    )


def _label_means(rows: Iterable[Mapping[Label, float]]) -> dict[Label, float]:
    """Mean per label over the rows that have it, in the labels' order."""
    found = list(rows)
    return {
        label: _mean(row[label] for row in found if label in row)
        for label in Label
        if any(label in row for row in found)
    }


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return math.fsum(found) / len(found) if found else math.nan


def _share(verdicts: Sequence[Verdict], state: ReviewState) -> float:
    return _mean(float(verdict.state is state) for verdict in verdicts)


def report_lines(report: SessionReport) -> list[str]:
    """The report for a terminal: a table of pairs, one of people, and what changed over time."""
    lines: list[str] = []
    if report.pairs:
        head = ["agreement", "pictures", "IoU", *Label, "boundary", *(f"κ {name}" for name in _KAPPAS)]
        lines += _aligned([head, *(_pair_cells(pair) for pair in report.pairs)])
    if report.people:
        head = ["person", "tasks", *_WORDS.values(), "settled", "s/task", "minutes", "gold", "gold IoU"]
        lines += _aligned([head, *(_person_cells(person) for person in report.people)])
    for person in report.people:
        lines += _drift_lines(person)
    if report.left_out:
        lines.append(f"{report.left_out} samples left out: not under review now, or of another size")
    return lines


_KAPPAS = (*REGION_CHOICES, VERDICT_KAPPA)


def _pair_cells(pair: PairReport) -> list[str]:
    return [
        " · ".join(map(printable, pair.people)),
        str(pair.pictures),
        _number(pair.mean_iou),
        *(_number(pair.iou.get(label, math.nan)) for label in Label),
        _number(pair.mean_boundary_iou),
        *(_number(pair.kappa[name]) for name in _KAPPAS),
    ]


def _person_cells(person: PersonReport) -> list[str]:
    return [
        printable(person.name),
        str(person.tasks),
        *(_percent(person.shares[state]) for state in _WORDS),
        str(person.adjudicated),
        _number(person.median_seconds, 1),
        _number(person.total_seconds / 60, 1),
        str(person.gold_items),
        _number(person.mean_gold_iou),
    ]


def _drift_lines(person: PersonReport) -> Iterator[str]:
    name = printable(person.name)
    if (drift := person.agreement_drift) is not None:
        change = f"{drift.first:.3f} → {drift.last:.3f} ({drift.per_100:+.3f} per 100 tasks)"
        yield f"{name}: agreement, first to last third: {change}"
    if (drift := person.seconds_drift) is not None:
        change = f"{drift.first:.1f} → {drift.last:.1f} s ({drift.per_100:+.1f} s per 100 tasks)"
        yield f"{name}: time per task, first to last third: {change}"


def _number(value: float, digits: int = 3) -> str:
    return _NONE if math.isnan(value) else f"{value:.{digits}f}"


def _percent(value: float) -> str:
    return _NONE if math.isnan(value) else f"{value:.0%}"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    return [
        "  ".join(
            cell.ljust(width) if index == 0 else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]


def report_values(report: SessionReport) -> dict[str, Any]:
    """The report as plain JSON values, under the names of its fields; None for what cannot be said."""
    return {
        "pairs": [_plain(asdict(pair)) for pair in report.pairs],
        "people": [_plain(asdict(person)) for person in report.people],
        "left_out": report.left_out,
    }


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {
            _WORDS[key] if isinstance(key, ReviewState) else str(key): _plain(item)
            for key, item in value.items()
        }
    if isinstance(value, tuple):
        return list(value)
    return None if isinstance(value, float) and math.isnan(value) else value


def picture_rows(verdicts_by_sample: VerdictsBySample, sizes: Sizes) -> str:
    """CSV with a header and a line for every two opinions on one picture, those that differ most first.

    Args:
        verdicts_by_sample, sizes: as for `session_report`.
    """
    report = session_report(verdicts_by_sample, {}, sizes)
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    overlaps = [f"{kind}_{label}" for kind in ("iou", "boundary_iou") for label in Label]
    writer.writerow(
        [
            "sample_id",
            "first",
            "second",
            "first_verdict",
            "second_verdict",
            "worst_iou",
            *overlaps,
            *REGION_CHOICES,
        ]
    )
    for picture in report.pictures:
        words = (_WORDS[state] for state in picture.states)
        figures = [kind.get(label) for kind in (picture.iou, picture.boundary_iou) for label in Label]
        equal = picture.equal_choices
        choices = (
            "" if name not in equal else "same" if equal[name] else "differs" for name in REGION_CHOICES
        )
        texts = (_cell(text) for text in (picture.sample_id, *picture.people, *words))
        numbers = ("" if value is None else f"{value:.4f}" for value in (picture.worst, *figures))
        writer.writerow([*texts, *numbers, *choices])
    return stream.getvalue()


def _cell(text: str) -> str:
    safe = printable(text)  # tabs and line ends are blanks now
    return f"'{safe}" if safe.lstrip().startswith(_FORMULA_STARTS) else safe
