"""Named suites: the papers' tables as lists of rows that are trained, scored and ranked together.

Plain data: importing this loads no model library and builds nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from baselines.registry import BaselineSpec, Printed, all_specs, find_spec, option_names
from baselines.suites.abanet import ABANET_SUITES
from baselines.suites.papers import OTHER_SUITES
from baselines.suites.rows import NOT_PRINTED, Suite, SuiteRow
from dataset_tools.core.errors import ConfigError, UnknownName

__all__ = [
    "NOT_PRINTED",
    "Suite",
    "SuiteRow",
    "all_suites",
    "check_suite",
    "find_suite",
    "printed_of",
    "settings_of",
]

_NOTHING: Mapping[str, Any] = MappingProxyType({})

_QUICK = "quick"
_QUICK_PX = 64
_QUICK_BATCH = 2


def all_suites() -> tuple[Suite, ...]:
    """Every suite, in the order of the papers; the last one holds every registered baseline, tiny."""
    return (*ABANET_SUITES, *OTHER_SUITES, _quick())


def find_suite(name: str) -> Suite:
    """The suite of that name.

    Raises:
        UnknownName: no such suite; lists the nearest ones.
    """
    suites = {suite.name: suite for suite in all_suites()}
    if name not in suites:
        raise UnknownName("suite", name, suites)
    return suites[name]


def settings_of(suite: Suite, row: SuiteRow, chosen: Mapping[str, Any] = _NOTHING) -> dict[str, Any]:
    """Fields of `TrainSettings` for one row: the suite's defaults, under the user's, with the row's own.

    Raises:
        ConfigError: the user chose a field that the row fixes; the row would be another one.
    """
    for name in sorted(row.settings.keys() & chosen.keys()):
        if chosen[name] != row.settings[name]:
            raise ConfigError(
                f"{name} {chosen[name]!r}: row {row.key} of suite {suite.name} is about {name} "
                f"{row.settings[name]!r}; leave it out, or train {row.baseline} alone"
            )
    return {**suite.defaults, **chosen, **row.settings, "baseline": row.baseline}


def printed_of(row: SuiteRow) -> Printed | None:
    """What the paper prints for a row, or None.

    Raises:
        UnknownName: its baseline is not registered.
    """
    printed = row.printed or _spec(row).printed
    return printed if printed is not None and printed.values else None


def check_suite(suite: Suite) -> None:
    """See that every row can be built, before hours are spent on the first ones.

    Raises:
        UnknownName: a row names a baseline or an option that is not registered.
    """
    for row in suite.rows:
        _spec(row)
        known = option_names(row.baseline)
        for option in row.settings.get("options", {}):
            if option not in known:
                raise UnknownName(f"option of {row.baseline}", option, known)


def _spec(row: SuiteRow) -> BaselineSpec:
    _register_all()
    return find_spec(row.baseline)


def _quick() -> Suite:
    _register_all()
    rows = []
    for spec in all_specs():
        own: dict[str, Any] = {}
        if spec.least_labels > 1:
            own["labels"] = spec.labels
        if spec.min_px > _QUICK_PX:
            own["input_px"] = spec.min_px
        if spec.least_batch > _QUICK_BATCH:
            own["batch"] = spec.least_batch
        rows.append(SuiteRow(spec.name, spec.title, spec.name, MappingProxyType(own)))
    defaults = {"steps": 2, "batch": _QUICK_BATCH, "input_px": _QUICK_PX, "pretrained": False}
    return Suite(
        _QUICK,
        "Every registered baseline for two steps: shows that all of them train, not how well",
        tuple(rows),
        MappingProxyType(defaults),
    )


def _register_all() -> None:
    import baselines.models  # its files register their rows; loads no model library

    assert baselines.models
