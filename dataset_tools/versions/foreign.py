"""Versions that lie as files: a dataset folder in any format the suite reads, pictures decoded one by one."""

from __future__ import annotations

from collections.abc import Container, Iterator
from pathlib import Path

from dataset_tools.core.errors import ConfigError, DataError, ItemFault
from dataset_tools.core.files import sha256_hex
from dataset_tools.core.images import DEFAULT_LIMITS, NormalPhoto, normal_photo
from dataset_tools.core.labels import MASK_TYPE, WEARING_STATE
from dataset_tools.core.published import Labels
from dataset_tools.core.record import Split
from dataset_tools.formats.detect import detect_format
from dataset_tools.formats.reading import FoundPicture, Problem, ReadOptions
from dataset_tools.formats.registry import find_format
from dataset_tools.versions.version import FACTS, Drawn, Row, Stated, Version, labels_digest

_MAX_BYTES = 64 << 20


def find_files(path: Path) -> tuple[Path, str]:
    """The folder of a dataset that says most, and its format: Parquet, then COCO, then any other.

    Raises:
        DataError: it looks like no format, or like several.
    """
    if any((path / "data").glob("*.parquet")):
        return path / "data", "huggingface"
    if (path / "coco" / "annotations").is_dir():
        return path / "coco", "coco"
    try:
        return path, detect_format(path)
    except ConfigError as error:
        raise DataError(f"{path} is no version of a dataset: {error}") from None


def open_files(path: Path, stated: Stated) -> Version:
    """A dataset folder, read by the reader of its format.

    Raises:
        DataError: as `find_files`.
    """
    folder, name = find_files(path)

    def rows(only: Container[str] | None) -> Iterator[Row]:
        for found in found_pictures(folder, name):
            sample, photo = read_photo(found)
            if only is None or sample in only:
                yield _row(found, sample, photo)

    return Version(stated.name, path, stated.number, stated.date, "files", frozenset(), rows)


def found_pictures(folder: Path, name: str) -> Iterator[FoundPicture]:
    """All pictures of a dataset folder.

    Raises:
        DataError: something in it cannot be used: a version is compared whole or not at all.
    """
    for found in find_format(name).read(folder, ReadOptions("published:version")):
        if isinstance(found, Problem):
            raise DataError(f"{folder}: {found.where}: {found.fault.detail}; `import` lists all problems")
        yield found


def read_photo(found: FoundPicture) -> tuple[str, NormalPhoto]:
    """Sample id and picture, in the form in which the suite stores it.

    Raises:
        DataError: it cannot be read.
    """
    try:
        photo = normal_photo(found.content.read(_MAX_BYTES))
    except ItemFault as fault:
        raise DataError(f"{found.key}: {fault}") from None
    return sha256_hex(photo.data)[:32], photo


def read_labels(found: FoundPicture, size_hw: tuple[int, int]) -> Labels | None:
    """Its labels; None when the dataset has none for it.

    Raises:
        DataError: they do not belong to the picture, or some were lost.
    """
    if found.annotation is None:
        return None
    try:
        labels = found.annotation.read(size_hw, DEFAULT_LIMITS)
    except ItemFault as fault:
        raise DataError(f"{found.key}: {fault}") from None
    for name, lost in labels.faults:
        raise DataError(f"{found.key}, {name}: {lost.detail}")
    return labels


def _row(found: FoundPicture, sample: str, photo: NormalPhoto) -> Row:
    labels = read_labels(found, photo.size_hw)
    split = found.annotation.split if found.annotation is not None else Split.UNASSIGNED
    facts = {name: getattr(found.facts, name) for name in FACTS}
    group = found.facts.group
    if labels is None or not labels.is_complete:
        return Row(sample, split, facts, "", (), group)
    drawn = tuple(
        Drawn(item.label.value, item.mask, item.attribute(MASK_TYPE), item.attribute(WEARING_STATE))
        for item in labels.instances
        if not item.is_proposal
    )
    by_person = any(item.drawn_by.startswith("human:") for item in labels.instances)
    return Row(sample, split, facts, labels_digest(drawn), drawn, group, by_person)
