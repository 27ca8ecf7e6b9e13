"""A folder of score cards as one table: for a terminal, as Markdown, JSON, or one HTML page."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from baselines.cards import ScoreCard, read_card
from baselines.metrics import METRICS
from baselines.models import find_spec
from baselines.registry import BaselineSpec
from dataset_tools.core.errors import DataError, UnknownName
from dataset_tools.core.record import Split

CAVEAT = (
    "Figures printed in a paper were measured on the paper's own data with its own scoring script; ours on "
    "the data named above each table, with lossless labels and one threshold. They stand side by side, not "
    "on one scale."
)
FIDELITY_NOTE = (
    "Fidelity: A = architecture confirmed against released code; B = built from the text, gaps filled; "
    "C = a stand-in, never a reproduction."
)

Format = Literal["table", "md", "json", "html"]

_HEADINGS = {
    "iou": "IoU",
    "f1_of_means": "F1",
    "precision": "P",
    "recall": "R",
    "accuracy": "Acc",
    "mae": "MAE",
    "f_max": "Fβ max",
    "s_measure": "S",
}
_PERCENT = {
    "iou",
    "f1_of_means",
    "precision",
    "recall",
    "accuracy",
}  # as ABANet's table 2; others as its table 3


@dataclass(frozen=True, slots=True)
class Refusal:
    """A file of the board that is no honest card, and why."""

    file: str
    reason: str


@dataclass(frozen=True, slots=True)
class Section:
    """Cards that may be compared: one dataset, split, label and way of cutting; best IoU first."""

    title: str
    cards: tuple[ScoreCard, ...]


@dataclass(frozen=True, slots=True)
class Board:
    """All honest cards of a folder in sections, and what was refused."""

    sections: tuple[Section, ...]
    refused: tuple[Refusal, ...]


def read_board(folder: Path) -> Board:
    """Read and verify every card of a folder.

    Raises:
        DataError: the folder is missing or holds no JSON file.
    """
    files = sorted(folder.glob("*.json"))
    if not files:
        raise DataError(f"{folder} holds no score card; `leaderboard score` writes one")
    cards, refused = [], []
    for file in files:
        try:
            cards.append(read_card(file))
        except DataError as error:
            refused.append(Refusal(file.name, str(error)))
    return Board(tuple(_sections(cards)), tuple(refused))


def _sections(cards: Iterable[ScoreCard]) -> list[Section]:
    groups: dict[tuple[str, ...], list[ScoreCard]] = {}
    for card in cards:
        key = (
            card.dataset_name,
            card.dataset_digest,
            card.split.value,
            card.label.value,
            card.crop.model_dump_json(),
        )
        groups.setdefault(key, []).append(card)
    return [Section(_title(group[0]), tuple(sorted(group, key=_rank))) for _, group in sorted(groups.items())]


def _rank(card: ScoreCard) -> tuple[float, str, str]:
    return -card.metrics["iou"], card.baseline, card.version


def _title(card: ScoreCard) -> str:
    crop = "whole pictures" if card.crop.kind == "image" else f"face crops, margin {card.crop.margin:g}"
    empty = f", {card.empty_labels} without the label" if card.empty_labels else ""
    return (
        f"{card.dataset_name} (digest {card.dataset_digest[:12]}), split {card.split.value}, "
        f"label {card.label.value}: {card.crops} crops of {card.samples} samples "
        f"({card.synthetic_crops} synthetic{empty}), {crop}"
    )


def _spec(card: ScoreCard) -> BaselineSpec | None:
    try:
        return find_spec(card.baseline)
    except UnknownName:
        return None  # a card of a newer or a private baseline still is a card


def row_values(card: ScoreCard) -> dict[str, Any]:
    """One row of the table as plain values: what the JSON form holds."""
    spec = _spec(card)
    printed = spec.printed if spec is not None else None
    training = card.training
    return {
        "baseline": card.baseline,
        "title": spec.title if spec is not None else card.baseline,
        "version": card.version,
        "fidelity": spec.fidelity.value if spec is not None else None,
        "metrics": {name: card.metrics[name] for name, _ in METRICS},
        "printed": dict(printed.values) if printed is not None else None,
        "printed_table": printed.table if printed is not None else None,
        "printed_remark": printed.remark if printed is not None else None,
        "crops": card.crops,
        "empty_labels": card.empty_labels,
        "leaked_samples": card.leaked_samples,
        "parameters": card.parameters,
        "seconds_per_crop": card.seconds_per_crop,
        "device": card.device,
        "trained_crops": training.crops,
        "trained_synthetic_crops": training.synthetic_crops,
        "fresh_masks": training.fresh_masks,
        "trained_on": training.dataset_name,
        "chosen_on_this_split": card.split is Split.VAL and training.best_val_iou is not None,
        "steps": training.steps,
        "training_seconds": training.seconds,
        "initial_weights": training.initial_weights,
    }


def _cells(card: ScoreCard) -> list[str]:
    row = row_values(card)
    ours = [_figure(name, row["metrics"][name]) for name in _HEADINGS]
    printed = (row["printed"] or {}).get("iou")
    start = row["initial_weights"]
    share = row["trained_synthetic_crops"] / row["trained_crops"]
    fresh = ", drawn fresh in every pass" if row["fresh_masks"] else ""
    trained = (
        f"{row['trained_crops']} crops ({share:.0%} synthetic{fresh}), {row['steps']} steps, start {start}"
    )
    if row["leaked_samples"]:
        trained += f"; UNFAIR: training saw {row['leaked_samples']} of these samples"
    if row["chosen_on_this_split"]:
        trained += "; weights were chosen on this very split"
    return [
        row["title"],
        row["fidelity"] or "?",
        *ours,
        _figure("iou", printed) if printed is not None else "–",
        row["printed_table"] or "–",
        f"{row['parameters'] / 1e6:.1f} M",
        f"{row['seconds_per_crop'] * 1000:.0f} ms ({row['device']})",
        trained,
        row["version"],
    ]


def headings() -> list[str]:
    """Column titles of every form but JSON."""
    ours = [f"{title} %" if name in _PERCENT else title for name, title in _HEADINGS.items()]
    return [
        "baseline",
        "fid.",
        *ours,
        "paper's IoU %",
        "printed in",
        "parameters",
        "time a crop",
        "trained on",
        "version",
    ]


def _figure(metric: str, value: float) -> str:
    return f"{value * 100:.2f}" if metric in _PERCENT else f"{value:.3f}"


def render(board: Board, form: Format) -> str:
    """The board in one of its forms; ends with a line break."""
    forms = {"table": as_text, "md": as_markdown, "json": as_json, "html": as_html}
    return forms[form](board)


def as_text(board: Board) -> str:
    """Plain text for a terminal: the narrow columns; the other forms hold all."""
    wanted = [*range(2 + len(_HEADINGS) + 1), len(headings()) - 1]
    lines: list[str] = []
    for section in board.sections:
        rows = [headings(), *(_cells(card) for card in section.cards)]
        lines += [section.title, "", *_aligned([[row[index] for index in wanted] for row in rows]), ""]
        lines += [f"{card.baseline} {card.version}: {_cells(card)[-2]}" for card in section.cards]
        lines.append("")
    return "\n".join([*lines, *_notes(board)]) + "\n"


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
        lines += [f"**{_markdown(section.title)}**", ""]
        lines.append("| " + " | ".join(headings()) + " |")
        lines.append("|" + " --- |" * len(headings()))
        lines += ["| " + " | ".join(map(_markdown, _cells(card))) + " |" for card in section.cards]
        lines.append("")
    return "\n".join([*lines, *(f"{_markdown(note)}\n" for note in _notes(board))])


def _markdown(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")


def as_json(board: Board) -> str:
    """All figures in [0, 1], unrounded."""
    values = {
        "sections": [
            {"title": section.title, "rows": [row_values(card) for card in section.cards]}
            for section in board.sections
        ],
        "refused": [{"file": one.file, "reason": one.reason} for one in board.refused],
        "caveat": CAVEAT,
    }
    return json.dumps(values, indent=2, ensure_ascii=False) + "\n"


def as_html(board: Board) -> str:
    """One self-contained page, light or dark as the reader's system is."""
    import jinja2

    folder = Path(__file__).parent / "templates"
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("leaderboard.html").render(
        headings=headings(),
        sections=[(section.title, [_cells(card) for card in section.cards]) for section in board.sections],
        notes=_notes(board),
        numeric=range(2, 2 + len(_HEADINGS) + 1),
    )


def _notes(board: Board) -> list[str]:
    remarks = {
        f"{spec.printed.table}: {spec.printed.remark}."
        for section in board.sections
        for card in section.cards
        if (spec := _spec(card)) is not None and spec.printed is not None and spec.printed.remark
    }
    refusals = [f"Refused: {one.reason}" for one in board.refused]
    return [CAVEAT, FIDELITY_NOTE, *sorted(remarks), *refusals]
