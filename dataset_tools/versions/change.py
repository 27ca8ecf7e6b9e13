"""What differs between two versions of a dataset, and which version number follows from it."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from dataset_tools.core.errors import ConfigError
from dataset_tools.core.record import Split

_VERSION = re.compile(r"(v?)(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})")

# Facts whose change can forbid what was allowed, or lets a picture cross a split unseen.
GRAVE_FACTS = ("licence",)


class Change(StrEnum):
    """How much of what users of the old version did still holds with the new one.

    `NONE`: the same. `RELABELLED`: the same pictures on the same sides; labels or facts were corrected, so
    scores may shift a little. `ADDITIVE`: more pictures or more labels, everything old is still there.
    `BREAKING`: pictures or labels are gone, moved to another split or under another licence, or the tables
    have other columns or labels.
    """

    NONE = "none"
    RELABELLED = "relabelled"
    ADDITIVE = "additive"
    BREAKING = "breaking"


def next_version(old: str, change: Change) -> str:
    """The version that follows: breaking raises the first number, additive the second, relabelled the third.

    Args:
        old: "MAJOR.MINOR.PATCH", with a "v" before it or without. Zero is a number like any other: breaking
            after 0.4.1 is 1.0.0.
        change: from the old version to the new one.

    Returns:
        The new version in the form of the old one; the same for `Change.NONE`.

    Raises:
        ConfigError: `old` is no such version.

    Source: Semantic Versioning 2.0.0, https://semver.org, with "API" read as "what a result rests on".
    """
    match = _VERSION.fullmatch(old)
    if match is None:
        raise ConfigError(f"version {old!r} is not of the form MAJOR.MINOR.PATCH, e.g. 1.4.0")
    prefix, (major, minor, patch) = match[1], map(int, match.groups()[1:])
    if change is Change.BREAKING:
        major, minor, patch = major + 1, 0, 0
    elif change is Change.ADDITIVE:
        minor, patch = minor + 1, 0
    elif change is Change.RELABELLED:
        patch += 1
    return f"{prefix}{major}.{minor}.{patch}"


@dataclass(frozen=True, slots=True)
class Relabelled:
    """A picture whose ground truth is not what it was.

    Attributes:
        id: of the sample.
        iou: by label, overlap in [0, 1] of all old with all new pixels of that label; a label that is new
            or gone has 0. Empty where only digests of the labels are known.
        attributes: what else changed, one phrase each, e.g. "face_mask mask_type cloth -> n95".
    """

    id: str
    iou: dict[str, float]
    attributes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Moved:
    """A picture that lies in another split now."""

    id: str
    before: Split
    after: Split


@dataclass(frozen=True, slots=True)
class FactChange:
    """A fact about a picture that reads differently now; `name` as in `versions.version.FACTS`."""

    id: str
    name: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class DatasetDiff:
    """What differs between two versions; every list is ordered by sample id.

    Attributes:
        before, after: titles of the versions.
        counts: pictures in either.
        added, removed: ids of pictures that only one of them has.
        labelled, unlabelled: ids of pictures in both that gained or lost their whole ground truth.
        relabelled: pictures in both whose ground truth differs.
        moved: pictures in both whose split differs.
        facts: licence, author, url and source that differ.
        schema_added, schema_removed: columns and labels of the tables themselves; a column of another type
            is in both. Only two datasets of one kind (two workspaces, two exports) are compared so.
    """

    before: str
    after: str
    counts: tuple[int, int]
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    labelled: tuple[str, ...] = ()
    unlabelled: tuple[str, ...] = ()
    relabelled: tuple[Relabelled, ...] = ()
    moved: tuple[Moved, ...] = ()
    facts: tuple[FactChange, ...] = ()
    schema_added: tuple[str, ...] = ()
    schema_removed: tuple[str, ...] = ()

    @property
    def change(self) -> Change:
        """The gravest of all differences."""
        grave_fact = any(one.name in GRAVE_FACTS for one in self.facts)
        if self.removed or self.unlabelled or self.moved or self.schema_removed or grave_fact:
            return Change.BREAKING
        if self.added or self.labelled or self.schema_added:
            return Change.ADDITIVE
        return Change.RELABELLED if self.relabelled or self.facts else Change.NONE

    def as_json(self) -> dict[str, Any]:
        """Everything as plain JSON values, the kind of change among them."""
        return {**dataclasses.asdict(self), "counts": list(self.counts), "change": self.change.value}
