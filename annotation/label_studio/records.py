"""What Label Studio holds, in our types; rows from it are read here and nowhere else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from dataset_tools.core.errors import ReviewServiceError


@dataclass(frozen=True, slots=True)
class Project:
    """A review project.

    Attributes:
        id: Label Studio's number.
        title: as shown in its list.
        description: our marker stands here.
        tasks: number of tasks.
        url: page for people.
    """

    id: int
    title: str
    description: str
    tasks: int
    url: str


@dataclass(frozen=True, slots=True)
class Annotation:
    """One submitted annotation of a task, results unread.

    Attributes:
        id: Label Studio's number.
        user_id: who made it.
        created_at, updated_at: UTC, ISO 8601, as the server says them.
        seconds: time spent, 0 when not known.
        results: untrusted.
    """

    id: int
    user_id: int
    created_at: str
    updated_at: str
    seconds: float
    results: list[Any]


@dataclass(frozen=True, slots=True)
class Task:
    """One task as the server holds it.

    Attributes:
        id: Label Studio's number.
        data: untrusted; holds our keys.
        annotations: submitted ones; skipped ones and drafts are left out.
    """

    id: int
    data: Mapping[str, Any]
    annotations: tuple[Annotation, ...] = ()


@dataclass(frozen=True, slots=True)
class Person:
    """An account on the server; `name` is what the dataset will show."""

    id: int
    email: str
    name: str


@contextmanager
def readable() -> Iterator[None]:
    """Turn what is missing or of another kind in an answer into a `ReviewServiceError`."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ReviewServiceError(f"Label Studio sent something that cannot be read: {error!r}") from error


def read_task(row: Mapping[str, Any]) -> Task:
    """A row of the task list; to be called within `readable`."""
    return Task(
        id=int(row["id"]),
        data=dict(row["data"]),
        annotations=tuple(
            Annotation(
                id=int(item["id"]),
                user_id=_user_id(item.get("completed_by")),
                created_at=str(item["created_at"]),
                updated_at=str(item["updated_at"]),
                seconds=float(item.get("lead_time") or 0.0),
                results=list(item["result"]),
            )
            for item in row.get("annotations", [])
            if not item.get("was_cancelled")
        ),
    )


def _user_id(completed_by: Any) -> int:
    return int(completed_by["id"] if isinstance(completed_by, dict) else completed_by or 0)
