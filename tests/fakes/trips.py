"""Samples through one format: a job over the small labelled dataset, and everything that a reader says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dataset_tools.core.errors import ItemFault
from dataset_tools.core.images import DEFAULT_LIMITS, normal_photo
from dataset_tools.core.progress import silent
from dataset_tools.core.published import Labels
from dataset_tools.core.record import Sample
from dataset_tools.formats.job import ExportJob, public_group
from dataset_tools.formats.reading import FoundPicture, Problem, ReadOptions

OPTIONS = ReadOptions("published:test", licence="CC0-1.0")


@dataclass
class Read:
    """What a reader gave.

    Attributes:
        pictures: by key.
        labels: by key; None for a picture without labels.
        problems: (place, reason) in their order.
    """

    pictures: dict[str, FoundPicture] = field(default_factory=dict)
    labels: dict[str, Labels | None] = field(default_factory=dict)
    problems: list[tuple[str, str]] = field(default_factory=list)

    def instances(self, key: str) -> Any:
        labels = self.labels[key]
        assert labels is not None and labels.faults == ()
        return labels.instances

    def faults(self, key: str) -> list[tuple[str, str]]:
        """(name, reason) of the annotations that a picture lost."""
        labels = self.labels[key]
        assert labels is not None
        return [(name, fault.reason.value) for name, fault in labels.faults]

    def by_sample(self) -> dict[str, tuple[FoundPicture, Labels | None]]:
        return {found.facts.sample_id: (found, self.labels[key]) for key, found in self.pictures.items()}


def read_all(reader: Any, folder: Path, options: ReadOptions = OPTIONS) -> Read:
    """Everything in a dataset; each picture is decoded before its labels are, as the suite does."""
    said = Read()
    for item in reader(folder, options):
        if isinstance(item, Problem):
            assert item.fault.detail
            said.problems.append((item.where, item.fault.reason.value))
            continue
        assert item.key not in said.pictures
        assert item.path is None or item.path.read_bytes() == item.content.read(DEFAULT_LIMITS.max_bytes)
        size_hw = normal_photo(item.content.read(DEFAULT_LIMITS.max_bytes)).size_hw
        try:
            labels = item.annotation and item.annotation.read(size_hw, DEFAULT_LIMITS)
        except ItemFault as fault:
            said.problems.append((item.key, fault.reason.value))
            continue
        said.pictures[item.key], said.labels[item.key] = item, labels
    return said


def write(writer: Any, job: ExportJob, folder: Path, **more: Any) -> Path:
    """What a writer makes of a job."""
    with silent("write", None) as bar:
        writer(job, folder, bar, **more)
    return folder


def facts_of(sample: Sample) -> Iterator[tuple[str, str]]:
    """The facts of a sample that every format keeps."""
    provenance = sample.provenance
    for name in ("licence", "author", "url", "source", "parent_id"):
        yield name, getattr(provenance, name)
    yield "group", public_group(sample)
    yield "sample_id", sample.id


def assert_kept(job: ExportJob, said: Read, labels: Any = None) -> None:
    """Every sample came back with its facts, split and instances.

    Args:
        job: what was written.
        said: what was read.
        labels: of the instances the format can hold; all by default.
    """
    samples = {sample.id: sample for sample in job.samples()}
    found = said.by_sample()
    assert said.problems == [] and set(found) == set(samples)
    for name, sample in samples.items():
        picture, read = found[name]
        for fact, value in facts_of(sample):
            assert getattr(picture.facts, fact) == value, (fact, name)
        assert picture.annotation is not None and read is not None
        assert picture.annotation.split is sample.split
        assert read.faults == () and read.is_complete == sample.is_labelled
        wanted = [item for item in sample.instances if labels is None or item.label in labels]
        assert sorted(read.instances, key=lambda item: item.id) == sorted(wanted, key=lambda item: item.id)
