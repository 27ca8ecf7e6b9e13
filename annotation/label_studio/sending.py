"""Bring pictures and tasks to the server, each exactly once, whatever gets lost on the way.

Writes are never repeated blindly: after a lost answer the server is asked what has arrived, and only the
rest is sent, in smaller portions.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from annotation.label_studio.client import MAX_FILES_PER_REQUEST, AnswerLost, Person, Project, Task
from annotation.label_studio.codec import encode_results
from annotation.label_studio.labelling import IMAGE, ITEM_KEY, SAMPLE_ID, SHOWN
from dataset_tools.core.errors import ItemFault, ReviewServiceError
from dataset_tools.core.files import digest_json
from dataset_tools.core.progress import Progress
from dataset_tools.core.record import Sample

_log = logging.getLogger(__name__)

MAX_TASKS_PER_REQUEST = 200
MAX_BYTES_PER_REQUEST = 64 * 1024 * 1024
TRIES = 4
RETRY_PAUSE_S = 2.0

# One version for all predictions of a project: Label Studio fills new annotations only from the version it
# saw last, so rendered samples, or those of a newer model, would hide the others. The manifest knows who
# proposed what.
PROPOSAL_VERSION = "maskset"


class ReviewClient(Protocol):
    """What a session needs of `LabelStudioClient`; the tests have a fake of it."""

    def find_projects(self, title: str) -> list[Project]: ...  # noqa: D102

    def create_project(  # noqa: D102
        self, title: str, config: str, description: str, annotators: int
    ) -> Project: ...

    def views(self, project: int) -> set[str]: ...  # noqa: D102

    def create_view(self, project: int, data: Mapping[str, Any]) -> int: ...  # noqa: D102

    def people(self) -> dict[int, Person]: ...  # noqa: D102

    def uploaded_images(self, project: int) -> dict[str, str]: ...  # noqa: D102

    def upload_images(self, project: int, images: Sequence[tuple[str, bytes]]) -> None: ...  # noqa: D102

    def import_tasks(self, project: int, tasks: Sequence[dict[str, Any]]) -> None: ...  # noqa: D102

    def tasks(self, project: int, *, with_annotations: bool) -> Iterator[Task]: ...  # noqa: D102


def sent_keys(client: ReviewClient, project: int) -> list[str]:
    """Sample ids of the tasks that the server has."""
    return [str(task.data.get(SAMPLE_ID, "")) for task in client.tasks(project, with_annotations=False)]


def check_sent_once(client: ReviewClient, project: int, expected: Iterable[str]) -> None:
    """Check that every expected sample has its task and none has two.

    Raises:
        ReviewServiceError: one is missing or doubled.
    """
    keys = sent_keys(client, project)
    missing = set(expected) - set(keys)
    if missing or len(set(keys)) != len(keys):
        raise ReviewServiceError(
            f"project {project}: {len(missing)} task(s) missing and {len(keys) - len(set(keys))} doubled "
            "after sending; is somebody else sending too?"
        )


def image_name(sample: Sample) -> str:
    """What a sample's picture is called on the server."""
    return f"{sample.id}.{sample.image.path.rsplit('.', 1)[-1]}"


def upload_missing(
    client: ReviewClient, project: int, pictures: Mapping[str, Callable[[], bytes]], bar: Progress
) -> tuple[dict[str, str], dict[str, ItemFault]]:
    """Upload the pictures that the server lacks.

    Always by upload, never by a shared folder: it works the same for a server next door and far away.

    Args:
        client, project: where to.
        pictures: by name (ends in .png or .jpg), how its bytes are made; asked once, just before sending.
        bar: display.

    Returns:
        Addresses on the server by name, and what is wrong with those that could not be made.

    Raises:
        ReviewServiceError: after `TRIES` rounds some picture has still not arrived.
    """
    broken: dict[str, ItemFault] = {}
    for _ in _tries():
        there = client.uploaded_images(project)
        lacking = [name for name in pictures if name not in broken and name not in there]
        if not lacking:
            return {name: there[name] for name in pictures if name not in broken}, broken
        try:
            done = 0
            for group in _groups(lacking, pictures, broken):
                client.upload_images(project, group)
                done += len(group)
                bar.note(f"{done}/{len(lacking)} pictures")
        except AnswerLost as error:
            _log.warning("%s; looking what has arrived", error)
    raise ReviewServiceError(f"pictures did not arrive in project {project} after {TRIES} tries")


def _tries() -> Iterator[int]:
    for count in range(TRIES):
        if count > 1:  # the first repetition follows a lost answer at once, or a plain first upload
            time.sleep(RETRY_PAUSE_S * (count - 1))
        yield count


def _groups(
    names: Sequence[str], pictures: Mapping[str, Callable[[], bytes]], broken: dict[str, ItemFault]
) -> Iterator[list[tuple[str, bytes]]]:
    group: list[tuple[str, bytes]] = []
    size = 0
    for name in names:
        try:
            data = pictures[name]()
        except ItemFault as fault:
            broken[name] = fault
            continue
        if group and (len(group) == MAX_FILES_PER_REQUEST or size + len(data) > MAX_BYTES_PER_REQUEST):
            yield group
            group, size = [], 0
        group.append((name, data))
        size += len(data)
    if group:
        yield group


def send_missing(
    client: ReviewClient,
    project: int,
    keys: Sequence[str],
    make_task: Callable[[str], dict[str, Any]],
    bar: Progress,
) -> None:
    """Send tasks; after a lost answer look first what has arrived, then send the rest in halves.

    Args:
        client, project: where to.
        keys: sample ids, in the order people shall see them.
        make_task: from a key to its task.
        bar: display.

    Raises:
        AnswerLost: `TRIES` answers in a row were lost.
        ReviewServiceError: the server refused.
    """
    waiting = list(keys)
    size, tries = MAX_TASKS_PER_REQUEST, 0
    while waiting:
        before = len(waiting)
        try:
            client.import_tasks(project, [make_task(key) for key in waiting[:size]])
            waiting = waiting[size:]
            tries = 0
        except AnswerLost as error:
            tries += 1
            if tries == TRIES:
                raise
            _log.warning("%s; looking what has arrived", error)
            time.sleep(RETRY_PAUSE_S * tries)
            there = set(sent_keys(client, project))
            waiting = [key for key in waiting if key not in there]
            size = max(size // 2, 1)
        bar.advance(before - len(waiting))


def shown_digest(sample: Sample) -> str:
    """Digest of what a task shows of a sample: its instances and face boxes as they are drawn."""
    return _digest(encode_results(sample.instances, sample.faces, sample.image.size_hw))


def _digest(results: list[dict[str, Any]]) -> str:
    return digest_json(results)[:16]


def is_outdated(task: Task, sample: Sample) -> bool:
    """True when the task shows another proposal than the sample has now: the manifest was made anew."""
    return task.data.get(SHOWN) != shown_digest(sample)


def task_of(sample: Sample, image_address: str, **shown_beside: str) -> dict[str, Any]:
    """A sample as a task: picture, our keys, and its instances and faces as an editable prediction.

    Args:
        sample: with proposals, or labels to be confirmed.
        image_address: path of the picture on the server.
        shown_beside: further values of the task's data, such as the address of a preview.
    """
    results = encode_results(sample.instances, sample.faces, sample.image.size_hw)
    task: dict[str, Any] = {
        "data": {
            IMAGE: image_address,
            SAMPLE_ID: sample.id,
            ITEM_KEY: sample.provenance.item_key,
            SHOWN: _digest(results),
            **shown_beside,
        }
    }
    if results:
        sure = [item.confidence for item in sample.instances if item.confidence is not None]
        task["predictions"] = [
            {"model_version": PROPOSAL_VERSION, "score": min(sure, default=1.0), "result": results}
        ]
    return task
