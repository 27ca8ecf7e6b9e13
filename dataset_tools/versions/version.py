"""A version of a dataset as it is compared: one plain row a picture, whatever it is kept in."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dataset_tools.core.errors import DataError
from dataset_tools.core.files import canonical_json
from dataset_tools.core.manifest import Manifest
from dataset_tools.core.masks import RleMask
from dataset_tools.core.record import Split

FACTS = ("licence", "author", "url", "source")

# How the kind of a version begins that is an index file alone.
INDEX = "index"


@dataclass(frozen=True, slots=True)
class Drawn:
    """One object of a picture's ground truth, as far as all formats can say it.

    Attributes:
        label: what it is.
        mask: its pixels.
        kind, state: mask type and wearing state; "" when not stated.
    """

    label: str
    mask: RleMask
    kind: str = ""
    state: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """What a version says of one picture.

    Attributes:
        id: of the sample.
        split: where it lies.
        facts: by name, see `FACTS`; "" when not stated.
        labels: digest of the ground truth, whatever the order of its objects; "" for a picture without.
        drawn: the ground truth itself; None when only its digest is known.
        group: name of its group; an export gives a digest of it (`group_digest`).
        is_by_person: a person drew, corrected or accepted the labels.
    """

    id: str
    split: Split
    facts: Mapping[str, str]
    labels: str
    drawn: tuple[Drawn, ...] | None
    group: str = ""
    is_by_person: bool = False


Rows = Callable[[Container[str] | None], Iterator[Row]]


@dataclass(frozen=True)
class Version:
    """An opened version.

    Attributes:
        title: for people.
        path: as it was named.
        number: e.g. "1.4.0"; "" when it has none.
        date: as the dataset states it; "" when it states none.
        kind: "manifest", "parquet" or "files", or "index of …" one of these: only the tables of one kind are
            comparable.
        schema: columns with their types, and labels.
        rows: all rows, or those of the given ids; unlabelled pictures too, where there are any.
        manifest: the manifest, where it is one.
    """

    title: str
    path: Path
    number: str
    date: str
    kind: str
    schema: frozenset[str]
    rows: Rows = field(repr=False)
    manifest: Manifest | None = None


def labels_digest(drawn: tuple[Drawn, ...]) -> str:
    """32 hex digits that are equal for equal ground truths, whatever the order of their objects."""
    parts = sorted(
        canonical_json([one.label, one.mask.size_hw, one.kind, one.state]).encode()
        + np.asarray(one.mask.counts, dtype="<i8").tobytes()
        for one in drawn
    )
    lengths = canonical_json([len(part) for part in parts]).encode()
    return hashlib.sha256(lengths + b"".join(parts)).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Stated:
    """What a dataset folder says of itself; "" for what it does not."""

    name: str = ""
    number: str = ""
    date: str = ""


def read_stated(path: Path) -> Stated:
    """Name, version and date in a folder's `dataset.json`.

    Raises:
        DataError: the file cannot be read.
    """
    file = path / "dataset.json"
    if not file.is_file():
        return Stated(path.resolve().name)
    try:
        values = json.loads(file.read_bytes())
        name, number, date = (str(values.get(key) or "") for key in ("name", "version", "date"))
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise DataError(f"cannot read {file}: {error}") from None
    return Stated(name or path.resolve().name, number, date)
