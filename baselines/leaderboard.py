"""A folder of score cards as ranked lines: trials gathered, intervals, tests between neighbours.

Every card is recomputed from its table first. A card that does not follow from its table, or that no
measurement can give (`baselines.consistency`), is refused and named.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from baselines import tasks
from baselines.cards import ScoreCard, ScoredCrop, read_scored_card
from baselines.consistency import check_row
from baselines.metrics import METRICS
from baselines.models import find_spec
from baselines.registry import BaselineSpec, Printed
from baselines.runs import Failure, read_failures
from baselines.slices import Slice, slice_scores
from baselines.statistics import (
    Interval,
    PairedTest,
    Spread,
    compare_neighbours,
    mean_interval,
    mean_over_trials,
    spread,
)
from baselines.suites import find_suite, printed_of
from baselines.tasks import Task, TaskCard
from dataset_tools.core.errors import DataError, UnknownName
from dataset_tools.core.files import digest_json

CAVEAT = (
    "Figures printed in a paper were measured on the paper's own data with its own scoring script; ours on "
    "the data named above each table, with lossless labels and one threshold. They stand side by side, not "
    "on one scale."
)
FIDELITY_NOTE = (
    "Fidelity: A = architecture confirmed against released code; B = built from the text, gaps filled; "
    "C = a stand-in, never a reproduction."
)
STATISTICS_NOTE = (
    "± is the standard deviation over trials (n - 1). Intervals are 95 % BCa bootstrap intervals of the mean "
    "IoU over pictures, whole groups drawn; p is of a sign-flip test against the row below, corrected for "
    "the number of rows (Holm). Both speak of these pictures, not of other trainings."
)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A file of the board that is no honest card, and why."""

    file: str
    reason: str


@dataclass(frozen=True, slots=True)
class Line:
    """One row of a table: a baseline with its settings, over all its trials.

    Attributes:
        cards: one a trial, by seed.
        crops: the tables of the cards, in the same order.
        figures: mean and sd over the trials, by metric; a metric no trial has is missing.
        interval: of the mean IoU over pictures, their scores averaged over the trials.
        against_next: test against the line below, and its corrected p-value; None for the last line.
    """

    cards: tuple[ScoreCard, ...]
    crops: tuple[tuple[ScoredCrop, ...], ...]
    figures: Mapping[str, Spread]
    interval: Interval
    against_next: tuple[PairedTest, float] | None = None

    @property
    def card(self) -> ScoreCard:
        """Of the first trial."""
        return self.cards[0]

    @property
    def spec(self) -> BaselineSpec | None:
        """What is known of the baseline; None for predictions handed in, or a baseline of another version."""
        try:
            return find_spec(self.card.baseline)
        except UnknownName:
            return None

    @property
    def title(self) -> str:
        """As the table shows it."""
        return self.card.title or (self.spec.title if self.spec is not None else self.card.baseline)

    @property
    def printed(self) -> Printed | None:
        """What the paper prints for it: the suite's row first, then the baseline."""
        try:
            rows = {row.key: row for row in find_suite(self.card.suite).rows} if self.card.suite else {}
        except UnknownName:
            rows = {}
        row = rows.get(self.card.row)
        if row is not None:
            return printed_of(row)
        return self.spec.printed if self.spec is not None else None

    def slices(self) -> list[Slice]:
        """Figures by mask type, state, pose and origin, of the first trial."""
        crops = self.crops[0]
        return slice_scores([one.scores for one in crops], [one.facts for one in crops], _groups(crops))


@dataclass(frozen=True, slots=True)
class Section:
    """Lines that may be compared: one dataset, split, label and way of cutting; best IoU first."""

    title: str
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class TaskSection:
    """Cards of one task on one dataset and split; best first."""

    task: Task
    title: str
    cards: tuple[TaskCard, ...]


@dataclass(frozen=True, slots=True)
class Board:
    """Everything honest in a folder, what failed, and what was refused."""

    sections: tuple[Section, ...]
    task_sections: tuple[TaskSection, ...]
    failures: tuple[Failure, ...]
    refused: tuple[Refusal, ...]


def read_board(folder: Path) -> Board:
    """Read and verify every card of a folder.

    Raises:
        DataError: the folder is missing or holds neither card nor failure.
    """
    files = sorted(folder.glob("*.json"))
    failures = tuple(read_failures(folder))
    if not files and not failures:
        raise DataError(f"{folder} holds no score card; `leaderboard score` writes one")
    scored, task_cards, refused = [], [], []
    for file in files:
        try:
            if _is_task_card(file):
                task_cards.append(tasks.read_card(file))
            else:
                scored.append(_possible(file))
        except DataError as error:
            refused.append(Refusal(file.name, str(error)))
    return Board(tuple(_sections(scored)), tuple(_task_sections(task_cards)), failures, tuple(refused))


def _is_task_card(file: Path) -> bool:
    return b'"task"' in file.read_bytes()[:200]


def _possible(file: Path) -> tuple[ScoreCard, tuple[ScoredCrop, ...]]:
    card, crops = read_scored_card(file)
    known = {name: value for name, value in card.metrics.items() if value is not None}
    problems = check_row(known, "means")
    if problems:
        raise DataError(f"{file.name} is impossible: {'; '.join(problems)}")
    return card, tuple(crops)


def _sections(scored: Iterable[tuple[ScoreCard, tuple[ScoredCrop, ...]]]) -> list[Section]:
    groups: dict[tuple[str, ...], list[tuple[ScoreCard, tuple[ScoredCrop, ...]]]] = {}
    for card, crops in scored:
        key = (
            card.dataset_name,
            card.dataset_digest,
            card.split.value,
            card.label.value,
            card.crop.model_dump_json(),
            card.suite,
        )
        groups.setdefault(key, []).append((card, crops))
    return [Section(_title(found[0][0]), tuple(_lines(found))) for _, found in sorted(groups.items())]


def _lines(scored: Sequence[tuple[ScoreCard, tuple[ScoredCrop, ...]]]) -> list[Line]:
    trials: dict[str, list[tuple[ScoreCard, tuple[ScoredCrop, ...]]]] = {}
    for card, crops in scored:
        trials.setdefault(_identity(card), []).append((card, crops))
    lines = [_line(sorted(found, key=lambda one: _seed(one[0]))) for found in trials.values()]
    lines.sort(key=lambda line: (-line.figures["iou"].mean, line.card.baseline, line.card.version))
    groups: dict[Hashable, Hashable] = {one.key: one.group for line in lines for one in line.crops[0]}
    tests = compare_neighbours([_mean_iou(line.crops) for line in lines], groups)
    return [_with_test(line, test) for line, test in zip(lines, [*tests, None], strict=True)]


def _with_test(line: Line, test: tuple[PairedTest, float] | None) -> Line:
    return Line(line.cards, line.crops, line.figures, line.interval, test)


def _identity(card: ScoreCard) -> str:
    """Equal for trials of one row: all but the seed and what follows from it."""
    training = card.training
    if training is None:
        return f"{card.baseline}@{card.version}"
    settings = training.settings.model_dump(
        mode="json", exclude={"seed", "device", "num_workers", "kept_mib", "compiled"}
    )
    return digest_json({"settings": settings, "data": training.dataset_digest, "row": card.row})


def _seed(card: ScoreCard) -> int:
    return card.training.settings.seed if card.training is not None else 0


def _line(found: Sequence[tuple[ScoreCard, tuple[ScoredCrop, ...]]]) -> Line:
    cards, crops = tuple(card for card, _ in found), tuple(table for _, table in found)
    figures = {}
    for name, _ in METRICS:
        values = [value for card in cards if (value := card.metrics.get(name)) is not None]
        if values:
            figures[name] = spread(values)
    means = _mean_iou(crops)
    interval = mean_interval(list(means.values()), _groups(crops[0]))
    return Line(cards, crops, figures, interval)


def _mean_iou(trials: Sequence[Sequence[ScoredCrop]]) -> dict[Hashable, float]:
    return mean_over_trials([{one.key: one.scores.iou for one in crops} for crops in trials])


def _groups(crops: Sequence[ScoredCrop]) -> list[str]:
    return [one.group for one in crops]


def _title(card: ScoreCard) -> str:
    crop = "whole pictures" if card.crop.kind == "image" else f"face crops, margin {card.crop.margin:g}"
    empty = f", {card.empty_labels} without the label" if card.empty_labels else ""
    suite = f"{_suite_title(card.suite)}: " if card.suite else ""
    return (
        f"{suite}{card.dataset_name} (digest {card.dataset_digest[:12]}), split {card.split.value}, "
        f"label {card.label.value}: {card.crops} crops of {card.samples} samples "
        f"({card.synthetic_crops} synthetic{empty}), {crop}"
    )


def _suite_title(name: str) -> str:
    try:
        return find_suite(name).title
    except UnknownName:
        return name


def _task_sections(cards: Iterable[TaskCard]) -> list[TaskSection]:
    groups: dict[tuple[str, str, str], list[TaskCard]] = {}
    for card in cards:
        groups.setdefault((card.task, card.dataset_digest, card.split), []).append(card)
    found = []
    for (name, digest, split), members in sorted(groups.items()):
        task = tasks.find_task(name)
        first = task.columns[0].metric
        ranked = sorted(members, key=lambda card: (-(card.metrics.get(first) or 0.0), card.baseline))
        title = f"{task.title}: {members[0].dataset} (digest {digest[:12]}), split {split}"
        found.append(TaskSection(task, title, tuple(ranked)))
    return found


def remarks(board: Board) -> list[str]:
    """What a reader must know: how to read the figures, what is wrong with printed ones, what was refused."""
    printed = [line.printed for section in board.sections for line in section.lines]
    known = {f"{one.table}: {one.remark}." for one in printed if one is not None and one.remark}
    known |= {
        f"{card.printed_table}: {card.printed_remark}."
        for section in board.task_sections
        for card in section.cards
        if card.printed_remark
    }
    of_tasks = [f"{one.task.title}: {one.task.remark}" for one in board.task_sections if one.task.remark]
    suites = {line.card.suite for section in board.sections for line in section.lines if line.card.suite}
    of_suites = []
    for name in sorted(suites):
        try:
            suite = find_suite(name)
        except UnknownName:
            continue
        if suite.note:
            of_suites.append(f"{suite.title}: {suite.note}")
    refusals = [f"Refused: {one.reason}" for one in board.refused]
    return [CAVEAT, FIDELITY_NOTE, STATISTICS_NOTE, *of_suites, *of_tasks, *sorted(known), *refusals]
