"""The engines by name; one more is one more entry here."""

from __future__ import annotations

from collections.abc import Callable

from dataset_tools.core.engine import Executor, LocalExecutor
from dataset_tools.core.errors import UnknownName
from dataset_tools.engines.ray_engine import RayExecutor

ENGINES: dict[str, Callable[[int], Executor]] = {"local": LocalExecutor, "ray": RayExecutor}


def choose_engine(name: str, workers: int) -> Executor:
    """The engine of that name with so many workers.

    Raises:
        UnknownName: there is no such engine.
        ConfigError: the package it needs is not installed.
    """
    if name not in ENGINES:
        raise UnknownName("engine", name, ENGINES)
    return ENGINES[name](workers)
