"""Samples made of the astronaut portrait, a review server in memory, and the real Label Studio."""

from __future__ import annotations

import dataclasses
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from annotation.label_studio.client import Annotation, AnswerLost, Person, Project, Task
from annotation.label_studio.server import (
    LABEL_STUDIO_VERSION,
    LabelStudioServer,
    cache_folder,
    install_server,
)
from dataset_tools.core.errors import ReviewServiceError
from dataset_tools.core.images import ImageStore
from dataset_tools.core.labels import Label, Wearing
from dataset_tools.core.masks import mask_to_rle
from dataset_tools.core.record import Face, Instance, Provenance, Sample, sample_id

MODEL = "model:unet@0123456789ab"
SampleMaker = Callable[..., Sample]


def ellipse(
    size_hw: tuple[int, int], centre_xy: tuple[float, float], radii_xy: tuple[float, float]
) -> np.ndarray:
    y, x = np.mgrid[: size_hw[0], : size_hw[1]]
    return ((x - centre_xy[0]) / radii_xy[0]) ** 2 + ((y - centre_xy[1]) / radii_xy[1]) ** 2 < 1


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return ImageStore(tmp_path / "workspace")


@pytest.fixture
def make_sample(store: ImageStore, astronaut_rgb: np.ndarray) -> SampleMaker:
    """The astronaut with a proposed face mask (it has a hole) and face; `number` moves the crop."""

    def make(number: int = 0, **changes: Any) -> Sample:
        image = store.put_array(np.ascontiguousarray(astronaut_rgb[:260, 120 + number : 340]))
        size_hw = image.size_hw
        mouth_xy = (102 - number, 145)
        face_mask = ellipse(size_hw, mouth_xy, (38, 28)) & ~ellipse(size_hw, mouth_xy, (8, 6))
        face = ellipse(size_hw, (102 - number, 100), (52, 70)) & ~face_mask
        attributes = (("mask_type", "cloth"), ("wearing_state", "nose_out"))
        instances = (
            Instance(
                "proposal-face0-face_mask",
                Label.FACE_MASK,
                mask_to_rle(face_mask),
                MODEL,
                0.8,
                0,
                None,
                attributes,
            ),
            Instance("proposal face#0", Label.FACE, mask_to_rle(face), MODEL, 0.9, 0),
        )
        sample = Sample(
            id=sample_id(image),
            image=image,
            provenance=Provenance("folder", f"astronaut-{number}.png", "CC0-1.0"),
            group="astronaut",
            faces=(
                Face((50.5 - number, 30.25, 155.0 - number, 175.0), 0.9, Wearing.MASKED, "d@1", (1.0,) * 6),
            ),
            instances=instances,
        )
        return dataclasses.replace(sample, **changes)

    return make


class FakeLabelStudio:
    """Holds projects, uploads and tasks in memory, with the methods of `LabelStudioClient`.

    `lose` names calls whose answer gets lost, each as (method, was it carried out).
    """

    def __init__(self) -> None:
        self.projects: list[Project] = []
        self.uploads: dict[str, bytes] = {}
        self.rows: list[Task] = []
        self.accounts = {
            1: Person(1, "ann@example.com", "Ann Otator"),
            2: Person(2, "bob@example.com", "bob"),
        }
        self.views_made: list[dict[str, Any]] = []
        self.lose: list[tuple[str, bool]] = []
        self.calls: list[tuple[str, int]] = []

    def _write(self, method: str, count: int, carry_out: Callable[[], None]) -> None:
        self.calls.append((method, count))
        if self.lose and self.lose[0][0] == method:
            _, is_done = self.lose.pop(0)
            if is_done:
                carry_out()
            raise AnswerLost("the answer was lost")
        carry_out()

    def find_projects(self, title: str) -> list[Project]:
        return [project for project in self.projects if project.title == title]

    def create_project(self, title: str, config: str, description: str, annotators: int) -> Project:
        self.projects.append(Project(len(self.projects) + 1, title, description, 0, "http://fake/"))
        return self.projects[-1]

    def views(self, project: int) -> set[str]:
        return {view["title"] for view in self.views_made}

    def create_view(self, project: int, data: Mapping[str, Any]) -> int:
        self.views_made.append(dict(data))
        return len(self.views_made)

    def people(self) -> dict[int, Person]:
        return self.accounts

    def uploaded_images(self, project: int) -> dict[str, str]:
        return {name: f"/data/upload/{project}/{name}" for name in self.uploads}

    def upload_images(self, project: int, images: Sequence[tuple[str, bytes]]) -> None:
        self._write("upload_images", len(images), lambda: self.uploads.update(images))

    def import_tasks(self, project: int, tasks: Sequence[dict[str, Any]]) -> None:
        def carry_out() -> None:
            for task in tasks:
                self.rows.append(Task(len(self.rows) + 1, task["data"]))

        self._write("import_tasks", len(tasks), carry_out)

    def tasks(self, project: int, *, with_annotations: bool) -> Iterator[Task]:
        yield from self.rows

    def annotate(self, key: str, results: list[Any], *, user: int = 1, minute: int = 0) -> None:
        """An annotator submits results for the sample of that id."""
        moment = f"2026-01-01T00:{minute:02d}:00Z"
        count = sum(len(task.annotations) for task in self.rows)
        made = Annotation(count + 1, user, moment, moment, 12.5, results)
        self.rows = [
            dataclasses.replace(task, annotations=(*task.annotations, made))
            if task.data["sample_id"] == key
            else task
            for task in self.rows
        ]


@pytest.fixture
def fake_label_studio() -> FakeLabelStudio:
    return FakeLabelStudio()


@pytest.fixture(scope="session")
def label_studio_program() -> Path:
    """The real Label Studio; installed once into the user's cache folder."""
    try:
        return install_server()
    except ReviewServiceError as error:
        pytest.skip(f"the real Label Studio cannot be installed here: {error}")


@pytest.fixture(scope="session")
def label_studio(
    label_studio_program: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LabelStudioServer]:
    """A running server with an empty database; making that once takes half a minute, so it is cached."""
    made = cache_folder() / f"label-studio-{LABEL_STUDIO_VERSION}-empty-{sys.version_info[1]}"
    data = tmp_path_factory.mktemp("label-studio") / "data"
    if made.is_dir():
        shutil.copytree(made, data)
    server = LabelStudioServer(label_studio_program, data)
    with server:
        if made.is_dir():
            yield server
            return
    fresh = made.with_name(f"{made.name}.{data.parent.name}.tmp")
    shutil.copytree(data, fresh)
    fresh.rename(made)
    with server:
        yield server
