"""A simulation as a Markdown table and as plain values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from annotation.simulate.economics import Row, Simulation
from annotation.simulate.settings import SimulationSettings

_HEADINGS = (
    "labels bought",
    "pictures",
    "proposal IoU",
    "unchanged %",
    "strokes",
    "saved %",
    "min / 100",
    "saved %",
    "whole job saved %",
    "contested %",
    "adjudicated",
    "final IoU",
    "final boundary IoU",
    "kappa verdict",
    "kappa choices",
)

_LEGEND = (
    "People are simulated and their faults assumed (`ErrorModel`); minutes are model minutes (`TimeModel`), "
    "no person was timed. Every row reviews the same pictures, none of them bought. *unchanged*: annotations "
    "submitted exactly as shown. *strokes*: per picture and person. *min / 100*: all people's minutes per "
    "100 pictures, adjudication included. *saved*: against the control, which paints every picture from "
    "nothing. *whole job*: the minutes saved on a dataset of {job} pictures when those bought cost as much "
    "as in the control. *final*: merged labels against the truth, mean over pictures."
)


def to_markdown(found: Mapping[str, Simulation], settings: SimulationSettings) -> str:
    """One table per proposer, and what the columns mean.

    Args:
        found: by the proposer's name.
        settings: of these simulations.
    """
    lines: list[str] = []
    for name, simulation in found.items():
        lines += [f"Proposals of {name}:", "", _line(_HEADINGS), _line(["---:"] * len(_HEADINGS))]
        lines += [_line(_cells(row)) for row in (simulation.control, *simulation.rows)]
        for number in simulation.too_many:
            lines.append(_line([str(number), f"left out: only {simulation.to_buy} to buy", *[""] * 13]))
        lines.append("")
        for item in simulation.unreadable:
            lines += [f"Left out {item.item_key}: {item.reason.value}: {item.detail}", ""]
    people = {f"annotator {place}": model for place, model in enumerate(settings.annotators, start=1)}
    for name, model in {**people, "adjudicator": settings.adjudicator, "time": settings.time}.items():
        values = ", ".join(f"{key} {value:g}" for key, value in model.model_dump().items())
        lines.append(f"- {name}: {values}")
    return "\n".join([*lines, "", _LEGEND.format(job=f"{settings.job_pictures:,}"), ""])


def _line(cells: Any) -> str:
    return f"| {' | '.join(cells)} |"


def _cells(row: Row) -> list[str]:
    is_control = row.bought is None
    saved = (row.strokes_saved, row.minutes_saved, row.job_saved)
    strokes_saved, minutes_saved, job_saved = (math.nan,) * 3 if is_control else saved
    return [
        "from nothing" if is_control else str(row.bought),
        str(row.pictures),
        _number(row.proposal_iou, 3),
        _number(math.nan if is_control else 100 * row.unchanged, 1),
        _number(row.strokes, 1),
        _number(100 * strokes_saved, 0),
        _number(row.minutes, 0),
        _number(100 * minutes_saved, 0),
        _number(100 * job_saved, 0),
        _number(100 * row.contested, 1),
        str(row.adjudicated),
        _number(row.final_iou, 3),
        _number(row.final_boundary_iou, 3),
        _number(row.kappa_verdict, 2),
        _number(row.kappa_choices, 2),
    ]


def _number(value: float, digits: int) -> str:
    return "–" if math.isnan(value) else f"{value:.{digits}f}"


def to_values(found: Mapping[str, Simulation], settings: SimulationSettings) -> dict[str, Any]:
    """The same as plain JSON values, shares in [0, 1]; null where a figure is not defined."""
    return {
        "settings": settings.model_dump(mode="json"),
        "simulations": {
            name: {
                "control": _values(simulation.control),
                "rows": [_values(row) for row in simulation.rows],
                "too_many": list(simulation.too_many),
                "to_buy": simulation.to_buy,
                "unreadable": [
                    {"item_key": item.item_key, "reason": item.reason.value, "detail": item.detail}
                    for item in simulation.unreadable
                ],
            }
            for name, simulation in found.items()
        },
    }


def _values(row: Row) -> dict[str, Any]:
    return {
        name: None if isinstance(value, float) and math.isnan(value) else value
        for name, value in asdict(row).items()
    }
