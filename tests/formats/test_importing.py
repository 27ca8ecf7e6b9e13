"""Datasets with something wrong: everything is said, exactly once, and nothing outside is read."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dataset_tools.core.errors import ConfigError, DataError, ServiceError
from dataset_tools.core.images import ImageStore
from dataset_tools.core.labels import Label
from dataset_tools.core.record import Split
from dataset_tools.formats.registry import FORMATS
from dataset_tools.importing import ImportPlan, check_dataset, convert_dataset

_watched: list[Path] = []
_opened: list[str] = []


def _see(event: str, arguments: tuple[object, ...]) -> None:
    if event == "open" and _watched and isinstance(arguments[0], str | bytes):
        given, flags = Path(os.fsdecode(arguments[0])), arguments[2]
        # With O_NOFOLLOW the last part of a path is opened itself, or refused when it is a link.
        is_itself = isinstance(flags, int) and bool(flags & os.O_NOFOLLOW)
        path = given.parent.resolve() / given.name if is_itself else given.resolve()
        if path.is_relative_to(_watched[0]):
            _opened.append(str(path))


sys.addaudithook(_see)  # hooks stay for good, so this one sleeps between the tests


@contextmanager
def watching(folder: Path) -> Iterator[list[str]]:
    """What is opened below a folder, by its real path."""
    _opened.clear()
    _watched.append(folder.resolve())
    try:
        yield _opened
    finally:
        _watched.clear()


def test_the_watch_sees_what_is_opened(tmp_path):
    (tmp_path / "canary.png").write_bytes(b"x")
    (tmp_path / "link.png").symlink_to("canary.png")
    with watching(tmp_path) as opened:
        (tmp_path / "link.png").read_bytes()
    assert opened == [str(tmp_path.resolve() / "canary.png")]


@pytest.fixture(scope="module")
def hostile(load_fake):
    return load_fake("hostile_datasets")


@pytest.fixture(scope="module")
def matrix(load_fake):
    return load_fake("matrix")


def test_of_every_hostile_dataset_each_entry_is_counted_and_nothing_outside_is_opened(
    hostile, matrix, tmp_path
):
    cases = hostile.all_cases()
    assert len(cases) >= 61
    store = ImageStore(tmp_path / "store", syncs=False)
    wrong = []
    for number, case in enumerate(cases):
        home = tmp_path / "sets" / str(number)
        dataset = home / "dataset"
        dataset.mkdir(parents=True)
        (home / "canary.png").write_bytes(hostile.png(99))
        case.write(dataset)
        with watching(home) as opened:
            samples, rejections = matrix.read_samples(case.format, dataset, store)
        outside = [path for path in opened if not Path(path).is_relative_to(dataset.resolve())]
        reasons = tuple(sorted(item.reason.value for item in rejections))
        whole = sum(sample.is_labelled for sample in samples)
        if (reasons, whole, outside) != (case.reasons, case.whole, []):
            details = [item.detail for item in rejections]
            wrong.append((case.format, case.name, case.reasons, case.whole, reasons, whole, outside, details))
    assert wrong == []


def test_all_problems_of_a_dataset_are_reported_at_once_with_their_places(hostile, tmp_path):
    def spoil(document):
        document["annotations"][0]["segmentation"] = [[float("nan"), 1, 20, 1, 20, 20]]
        document["annotations"].append({"id": 3, "image_id": 9, "category_id": 1})
        document["images"].append({"id": 3, "file_name": "../canary.png"})
        document["images"].append({"id": 4, "file_name": "gone.png"})

    hostile._coco(spoil)(tmp_path)
    report = check_dataset(ImportPlan(tmp_path, licence="CC0-1.0"))
    assert [(problem.where, problem.reason.value) for problem in report.problems] == [
        ("a.png#a1", "not_finite"),
        ("labels.json: annotations[2]", "dangling_reference"),
        ("labels.json: images[2]", "unsafe_path"),
        ("labels.json: images[3]", "missing_image"),
    ]
    assert (report.format, report.entries, report.whole, report.incomplete, report.refused) == (
        "coco",
        5,
        1,
        1,
        3,
    )
    assert report.entries == report.whole + report.incomplete + report.unlabelled + report.refused


def test_a_hostile_picture_ends_its_worker_and_not_the_import(hostile, tmp_path):
    hostile._second_picture(hostile.png_bomb())(tmp_path)
    report = check_dataset(ImportPlan(tmp_path, licence="CC0-1.0"))
    assert [(problem.where, problem.reason.value) for problem in report.problems] == [
        ("b.png", "too_many_pixels")
    ]
    assert report.whole == 1


def test_two_names_of_one_picture_are_a_problem(hostile, tmp_path):
    hostile._second_picture(hostile.png(0))(tmp_path)
    report = check_dataset(ImportPlan(tmp_path, licence="CC0-1.0"))
    assert [(problem.reason.value, problem.detail) for problem in report.problems] in (
        [("duplicate", "the same picture as a.png")],
        [("duplicate", "the same picture as b.png")],
    )
    assert (report.whole, report.refused) == (1, 1)


def test_a_converted_dataset_says_what_the_first_one_said(matrix, tmp_path):
    store = ImageStore(tmp_path / "store", syncs=False)
    samples = matrix.hard_samples(store)
    first = matrix.write_samples("coco", samples, store, tmp_path)
    report = convert_dataset(ImportPlan(first), tmp_path / "out", "coco")
    assert (report.problems, report.unlicensed, report.whole) == ((), 0, len(samples))
    again, rejections = matrix.read_samples("coco", tmp_path / "out", store)
    assert rejections == []
    assert matrix.compare(samples, again).is_exact
    by_id = {sample.id: sample for sample in again}
    for sample in samples:
        other = by_id[sample.id]
        assert (other.split, other.provenance.licence) == (sample.split, "CC-BY-4.0")
        assert other.provenance.author == "Łukasz 山田"
        assert dict(other.provenance.evidence)["stated_source"] == "Gesichter ☃"
    groups: dict[str, set[str]] = {}
    for sample in samples:
        groups.setdefault(sample.group, set()).add(by_id[sample.id].group)
    assert all(len(found) == 1 for found in groups.values())
    assert len({next(iter(found)) for found in groups.values()}) == len(groups)


def test_only_whole_pictures_are_converted(hostile, matrix, tmp_path):
    source = tmp_path / "in"
    source.mkdir()
    hostile._segmentation([[1, 1, 20, 20]])(source)
    report = convert_dataset(ImportPlan(source, licence="MIT", split=Split.TEST), tmp_path / "out", "coco")
    assert (report.whole, report.incomplete) == (1, 1)
    samples, _ = matrix.read_samples("coco", tmp_path / "out", ImageStore(tmp_path / "store"))
    assert [(sample.split, sample.provenance.licence) for sample in samples] == [(Split.TEST, "MIT")]


def test_nothing_is_converted_without_a_licence_or_over_something_else(hostile, tmp_path):
    source = tmp_path / "in"
    source.mkdir()
    hostile._coco(lambda document: None)(source)
    with pytest.raises(ConfigError, match="2 pictures state no licence"):
        convert_dataset(ImportPlan(source), tmp_path / "out", "coco")
    with pytest.raises(ConfigError, match="is not empty"):
        convert_dataset(ImportPlan(source, licence="MIT"), source, "coco")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]


def test_a_full_disk_leaves_no_half_dataset(hostile, tmp_path, monkeypatch):
    def full(job, folder, progress):
        (folder / "half").write_text("a half")
        raise OSError(28, "No space left on device")

    source = tmp_path / "in"
    source.mkdir()
    hostile._coco(lambda document: None)(source)
    monkeypatch.setitem(FORMATS, "coco", dataclasses.replace(FORMATS["coco"], write=full))
    with pytest.raises(ServiceError, match="No space left"):
        convert_dataset(ImportPlan(source, licence="MIT"), tmp_path / "out", "coco")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]


def test_foreign_class_names_become_labels_or_are_left_out_on_purpose(hostile, tmp_path):
    def rename(document):
        document["categories"] = [{"id": 1, "name": "Maske"}, {"id": 2, "name": "hair"}]
        document["annotations"][1]["category_id"] = 2

    hostile._coco(rename)(tmp_path)
    plan = ImportPlan(tmp_path, licence="MIT", categories={"Maske": Label.FACE_MASK, "hair": None})
    report = check_dataset(plan)
    assert (report.problems, report.whole, report.instances) == ((), 2, 1)
    assert [problem.reason.value for problem in check_dataset(ImportPlan(tmp_path)).problems] == [
        "unknown_label",
        "unknown_label",
    ]


@pytest.fixture
def edition(hostile, matrix, tmp_path):
    """(a format folder beside a dataset.json, its samples, a function that writes a list of withdrawals)."""
    store = ImageStore(tmp_path / "store", syncs=False)
    samples = matrix.hard_samples(store)
    matrix.write_samples("coco", samples, store, tmp_path / "all").rename(tmp_path / "all" / "coco")
    facts = {"id": "urn:maskset:1", "version": "1.2.0", "revocations": "https://example.org/list.json"}
    (tmp_path / "all" / "dataset.json").write_text(json.dumps(facts))

    def withdraw(*entries: object) -> Path:
        path = tmp_path / "list.json"
        path.write_text(json.dumps({"revocations": entries}))
        return path

    return tmp_path / "all" / "coco", samples, withdraw


def test_a_withdrawn_version_is_refused_and_another_one_is_not(edition):
    folder, samples, withdraw = edition
    for entry in (
        {
            "id": "urn:maskset:1",
            "versions": ["1.1.0", "1.2.0"],
            "date": "2026-01-31",
            "reason": "wrong licence",
        },
        {"id": "urn:maskset:1", "date": "2026-01-31", "reason": "wrong licence"},
    ):
        with pytest.raises(DataError, match=r"was withdrawn: 2026-01-31 wrong licence"):
            check_dataset(ImportPlan(folder, revocations=withdraw(entry)))
    other = withdraw({"id": "urn:maskset:1", "versions": ["1.1.0"]}, {"id": "urn:maskset:2"})
    assert check_dataset(ImportPlan(folder, revocations=other)).whole == len(samples)


def test_withdrawn_pictures_are_problems_and_are_not_converted(edition, matrix, tmp_path):
    folder, samples, withdraw = edition
    gone = samples[3].id
    revocations = withdraw({"id": "urn:maskset:1", "pictures": [gone], "reason": "a person asked"})
    report = convert_dataset(ImportPlan(folder, revocations=revocations), tmp_path / "out", "coco")
    assert [(problem.reason.value, problem.detail) for problem in report.problems] == [
        ("tombstone", "withdrawn: a person asked")
    ]
    assert (report.whole, report.refused) == (len(samples) - 1, 1)
    assert not list((tmp_path / "out").rglob(f"{gone}*"))
    assert report.entries == report.whole + report.incomplete + report.unlabelled + report.refused


def test_a_dataset_that_says_not_which_one_it_is_cannot_be_asked_for(edition, hostile, tmp_path):
    folder, _, withdraw = edition
    revocations = withdraw({"id": "urn:maskset:1", "versions": "1.2.0"})
    with pytest.raises(DataError, match="is no list of withdrawals"):
        check_dataset(ImportPlan(folder, revocations=revocations))
    nameless = tmp_path / "nameless"
    nameless.mkdir()
    hostile._coco(lambda document: None)(nameless)
    (folder.parent / "dataset.json").unlink()
    with pytest.raises(ConfigError, match=r"has no dataset\.json with an id"):
        check_dataset(ImportPlan(nameless, revocations=revocations))
