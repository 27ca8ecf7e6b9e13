"""A board as plain values, text, Markdown, CSV or JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from baselines.leaderboard import Board, Line, TaskSection, remarks
from baselines.metrics import METRICS
from baselines.statistics import Interval, Spread
from baselines.tasks import TaskCard
from dataset_tools.core.record import Split

Form = Literal["table", "md", "csv", "json", "html"]

HEADINGS = {
    "iou": "IoU",
    "f1_of_means": "F1",
    "precision": "P",
    "recall": "R",
    "accuracy": "Acc",
    "mae": "MAE",
    "f_max": "Fβ max",
    "s_measure": "S",
    "boundary_iou": "bIoU",
    "hd95": "HD95 px",
    "iou_dataset": "IoU pooled",
}
_PERCENT = {"iou", "f1_of_means", "precision", "recall", "accuracy", "boundary_iou", "iou_dataset"}
_NARROW = ("iou", "f1_of_means", "precision", "recall", "accuracy", "mae", "f_max", "s_measure")
_NONE = "–"


def line_values(line: Line) -> dict[str, Any]:
    """One line of a board as plain values: what the JSON form holds."""
    card, spec, printed = line.card, line.spec, line.printed
    training = card.training
    return {
        "baseline": card.baseline,
        "row": card.row,
        "title": line.title,
        "versions": [one.version for one in line.cards],
        "fidelity": spec.fidelity.value if spec is not None else None,
        "trials": len(line.cards),
        "metrics": {name: spread.mean for name, spread in line.figures.items()},
        "sd": {name: spread.sd for name, spread in line.figures.items()},
        "iou_interval": [line.interval.low, line.interval.high],
        "p_against_next": line.against_next[1] if line.against_next is not None else None,
        "iou_more_than_next": line.against_next[0].mean_difference if line.against_next is not None else None,
        "printed": dict(printed.values) if printed is not None else None,
        "printed_table": printed.table if printed is not None else None,
        "printed_remark": printed.remark if printed is not None else None,
        "crops": card.crops,
        "empty_labels": card.empty_labels,
        "leaked_samples": card.leaked_samples,
        "parameters": card.parameters,
        "cost": card.cost.model_dump(mode="json") if card.cost is not None else None,
        "device": card.device,
        "trained": _training_values(line) if training is not None else None,
        "slices": [
            {
                "fact": one.fact,
                "value": one.value,
                "crops": one.crops,
                "empty_labels": one.empty_labels,
                "iou": _interval_values(one.figures["iou"]),
                "boundary_iou": _interval_values(one.figures["boundary_iou"]),
            }
            for one in line.slices()
        ],
    }


def _interval_values(interval: Interval) -> dict[str, Any]:
    return {"value": interval.value, "low": interval.low, "high": interval.high, "groups": interval.groups}


def _training_values(line: Line) -> dict[str, Any]:
    records = [card.training for card in line.cards if card.training is not None]
    first = records[0]
    return {
        "on": first.dataset_name,
        "digest": first.dataset_digest,
        "split": first.settings.split.value,
        "crops": first.crops,
        "synthetic_crops": first.synthetic_crops,
        "fresh_masks": first.fresh_masks,
        "steps": [one.steps for one in records],
        "seconds": [one.seconds for one in records],
        "device": first.device,
        "initial_weights": first.initial_weights,
        "initial_weights_sha256": first.initial_weights_sha256,
        "best_step": [one.best_step for one in records],
        "waiting_share": first.waiting_share,
        "peak_memory_mib": max(one.peak_memory_mib for one in records),
        "micro_batches": max(one.micro_batches for one in records),
        "rollbacks": max(one.rollbacks for one in records),
        "settings": first.settings.model_dump(mode="json"),
        "chosen_on_this_split": line.card.split is Split.VAL and first.best_val_iou is not None,
    }


def figure(metric: str, spread: Spread | None) -> str:
    """A figure as a table shows it: percent or share, with the deviation over trials where there is one."""
    if spread is None:
        return _NONE
    sd = f" ± {_number(metric, spread.sd)}" if spread.sd is not None else ""
    return _number(metric, spread.mean) + sd


def _number(metric: str, value: float) -> str:
    if metric in _PERCENT:
        return f"{value * 100:.2f}"
    return f"{value:.1f}" if metric == "hd95" else f"{value:.3f}"


def interval_text(interval: Interval) -> str:
    """Bounds in percent, e.g. "88.1 to 90.3"."""
    if interval.low is None or interval.high is None:
        return _NONE
    return f"{interval.low * 100:.1f} to {interval.high * 100:.1f}"


def printed_text(line: Line, metric: str) -> str:
    """The paper's figure of a metric."""
    value = line.printed.value(metric) if line.printed is not None else None
    return _number(metric, value) if value is not None else _NONE


def p_text(line: Line) -> str:
    """The corrected p-value against the next line."""
    return f"{line.against_next[1]:.3g}" if line.against_next is not None else _NONE


def trained_text(line: Line) -> str:
    """On what, how long and from which start, in one sentence."""
    training = line.card.training
    if training is None:
        return "predictions handed in; how they came about is not known here"
    leaks = ""
    if line.card.leaked_samples:
        leaks = f"; UNFAIR: training saw {line.card.leaked_samples} of these samples"
    if line.spec is not None and not line.spec.is_trained:
        return "a fixed method, not trained" + leaks
    share = training.synthetic_crops / training.crops
    own = training.proposed_crops / training.crops
    proposed = f", {own:.0%} with labels that a model proposed" if own else ""
    fresh = ", drawn fresh in every pass" if training.fresh_masks else ""
    steps = sorted({one.training.steps for one in line.cards if one.training is not None})
    said = (
        f"{training.crops} crops ({share:.0%} synthetic{fresh}{proposed}), "
        f"{' / '.join(map(str, steps))} steps of {training.settings.batch}, "
        f"{training.settings.input_px} px, "
        f"{training.seconds:.0f} s on {training.device}, start {training.initial_weights}"
    )
    if line.card.split is Split.VAL and training.best_val_iou is not None:
        said += "; weights were chosen on this very split"
    if training.micro_batches > 1:
        said += f"; memory ran out, batches went in {training.micro_batches} parts"
    if training.rollbacks:
        said += f"; went back {training.rollbacks} times with a lower rate"
    return said + leaks


def cost_cells(line: Line) -> list[str]:
    """Parameters, multiply-adds, pictures per second at batch 1 and 32, peak memory, device."""
    cost = line.card.cost
    parameters = f"{line.card.parameters / 1e6:.2f} M"
    if cost is None:
        return [parameters, _NONE, _NONE, _NONE, _NONE, line.card.device or _NONE]
    return [
        parameters,
        f"{cost.macs / 1e9:.2f} G" if cost.macs is not None else _NONE,
        f"{cost.fps_1:.1f}",
        f"{cost.fps_32:.1f}" if cost.fps_32 is not None else _NONE,
        f"{cost.peak_memory_mib:.0f} MiB" if cost.peak_memory_mib else _NONE,
        cost.device,
    ]


COST_HEADINGS = ("parameters", "MACs", "FPS, batch 1", "FPS, batch 32", "peak GPU memory", "device")


def headings() -> list[str]:
    """Column titles of Markdown and CSV."""
    ours = [f"{title} %" if name in _PERCENT else title for name, title in HEADINGS.items()]
    paper = [f"paper's {HEADINGS[name]}" for name in _NARROW]
    return [
        *("row", "fid.", "trials", *ours, "IoU 95 %", "p to next", *paper, "printed in"),
        *COST_HEADINGS,
        *("trained on", "version"),
    ]


def cells(line: Line) -> list[str]:
    """One row under `headings`."""
    return [
        line.title,
        line.spec.fidelity.value if line.spec is not None else "?",
        str(len(line.cards)),
        *(figure(name, line.figures.get(name)) for name in HEADINGS),
        interval_text(line.interval),
        p_text(line),
        *(printed_text(line, name) for name in _NARROW),
        line.printed.table if line.printed is not None else _NONE,
        *cost_cells(line),
        trained_text(line),
        ", ".join(card.version for card in line.cards),
    ]


def task_headings(section: TaskSection) -> list[str]:
    """Column titles of a task's table."""
    shown = [f"{one.heading} %" if one.is_percent else one.heading for one in section.task.columns]
    paper = [f"paper's {one.heading}" for one in section.task.columns]
    return ["row", "fid.", *shown, *paper, "printed in", "parameters", "s per item", "trained on", "version"]


def task_cells(section: TaskSection, card: TaskCard) -> list[str]:
    """One row under `task_headings`."""
    facts = card.training
    trained = (
        f"{facts.items} items of {facts.data}, {facts.steps} steps, {facts.seconds:.0f} s on {facts.device}, "
        f"start {facts.initial_weights}"
    )
    values: list[Mapping[str, float | None]] = [card.metrics, card.printed]
    shown = [
        _task_figure(of.get(column.metric), column.is_percent)
        for of in values
        for column in section.task.columns
    ]
    return [
        card.title,
        card.fidelity,
        *shown,
        card.printed_table or _NONE,
        f"{card.parameters / 1e6:.2f} M",
        f"{card.seconds_per_item:.4f}" if card.seconds_per_item is not None else _NONE,
        trained,
        card.version,
    ]


def _task_figure(value: float | None, is_percent: bool) -> str:
    if value is None:
        return _NONE
    return f"{value * 100:.2f}" if is_percent else f"{value:.4f}"


def as_text(board: Board) -> str:
    """Plain text for a terminal: the narrow columns; the other forms hold all."""
    lines: list[str] = []
    for section in board.sections:
        titles = [f"{HEADINGS[name]} %" if name in _PERCENT else HEADINGS[name] for name in _NARROW]
        rows = [["row", "fid.", "n", *titles, "IoU 95 %", "p to next", "paper's IoU %"]]
        for line in section.lines:
            ours = [figure(name, line.figures.get(name)) for name in _NARROW]
            ends = [interval_text(line.interval), p_text(line), printed_text(line, "iou")]
            rows.append([*cells(line)[:3], *ours, *ends])
        lines += [section.title, "", *_aligned(rows), ""]
        lines += [f"{line.title}: {trained_text(line)}" for line in section.lines]
        lines.append("")
    for task in board.task_sections:
        count = 2 + 2 * len(task.task.columns)
        table = [task_headings(task)[:count], *(task_cells(task, card)[:count] for card in task.cards)]
        lines += [task.title, "", *_aligned(table), ""]
    return "\n".join([*lines, *_failures(board), *remarks(board)]) + "\n"


def _failures(board: Board) -> list[str]:
    return [f"Failed: {one.title}, trial {one.trial}: {one.reason}" for one in board.failures]


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    lines = [
        "  ".join(
            cell.ljust(width) if index == 0 else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    return [lines[0], "-" * len(lines[0]), *lines[1:]]


def as_markdown(board: Board) -> str:
    """GitHub Markdown with every column."""
    lines: list[str] = []
    for section in board.sections:
        lines += _markdown_table(section.title, headings(), (cells(line) for line in section.lines))
    for task in board.task_sections:
        lines += _markdown_table(
            task.title, task_headings(task), (task_cells(task, one) for one in task.cards)
        )
    notes = [*_failures(board), *remarks(board)]
    return "\n".join([*lines, *(f"{_markdown(note)}\n" for note in notes)])


def _markdown_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [
        f"**{_markdown(title)}**",
        "",
        "| " + " | ".join(columns) + " |",
        "|" + " --- |" * len(columns),
        *("| " + " | ".join(map(_markdown, row)) + " |" for row in rows),
        "",
    ]


def _markdown(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")


def as_csv(board: Board) -> str:
    """All figures unrounded, one line a row; tasks have a form of their own (JSON)."""
    stream = io.StringIO()
    names = [name for name, _ in METRICS]
    writer = csv.writer(stream, lineterminator="\n")
    head = ("section", "row", "baseline", "fidelity", "trials")
    spreads = [column for name in names for column in (name, f"{name}_sd")]
    tail = ("iou_low", "iou_high", "p_against_next", "parameters", "macs", "fps_1", "fps_32", "trained_on")
    writer.writerow((*head, *spreads, *(f"paper_{name}" for name in _NARROW), *tail))
    for section in board.sections:
        for line in section.lines:
            found = [line.figures.get(name) for name in names]
            pairs = [value for one in found for value in ((one.mean, one.sd) if one else (None, None))]
            printed = dict(line.printed.values) if line.printed is not None else {}
            cost = line.card.cost
            fidelity = line.spec.fidelity.value if line.spec is not None else ""
            writer.writerow(
                (
                    *(section.title, line.title, line.card.baseline, fidelity, len(line.cards)),
                    *pairs,
                    *(printed.get(name) for name in _NARROW),
                    *(line.interval.low, line.interval.high),
                    line.against_next[1] if line.against_next is not None else None,
                    line.card.parameters,
                    *((cost.macs, cost.fps_1, cost.fps_32) if cost is not None else (None, None, None)),
                    trained_text(line),
                )
            )
    return stream.getvalue()


def as_json_text(board: Board) -> str:
    """All figures unrounded."""
    values = {
        "sections": [
            {"title": section.title, "rows": [line_values(line) for line in section.lines]}
            for section in board.sections
        ],
        "tasks": [
            {
                "title": section.title,
                "task": section.task.name,
                "rows": [card.model_dump(mode="json") for card in section.cards],
            }
            for section in board.task_sections
        ],
        "failed": [one.model_dump(mode="json") for one in board.failures],
        "refused": [{"file": one.file, "reason": one.reason} for one in board.refused],
        "notes": remarks(board),
    }
    return json.dumps(values, indent=2, ensure_ascii=False) + "\n"
