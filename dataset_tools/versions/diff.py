"""What differs between two opened versions, picture by picture, without holding all masks in memory.

First both are read once and only digests of labels are compared. Then only pictures whose labels differ are
read again: the old masks go to a temporary database on disk, the new ones are compared as they come.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing

import numpy as np
import numpy.typing as npt

from dataset_tools.core.errors import DataError, MaskShapeError
from dataset_tools.core.files import canonical_json
from dataset_tools.core.labels import Label
from dataset_tools.core.masks import RleMask, check_rle
from dataset_tools.core.record import Split
from dataset_tools.versions.change import DatasetDiff, FactChange, Moved, Relabelled
from dataset_tools.versions.version import FACTS, Drawn, Row, Version


def diff_versions(before: Version, after: Version) -> DatasetDiff:
    """Compare two versions.

    Pictures without ground truth count only between two of one kind: a workspace holds them, what it exports
    does not, and both are the same version.

    Memory: a few hundred bytes a picture, and the masks of one.

    Raises:
        DataError: one cannot be read, or holds a picture twice.
    """
    is_alike = before.kind == after.kind
    old = {row.id: _short(row) for row in _rows_once(before, is_alike)}
    added: list[str] = []
    labelled: list[str] = []
    unlabelled: list[str] = []
    redrawn: list[str] = []
    moved: list[Moved] = []
    facts: list[FactChange] = []
    count = 0
    known: set[str] = set()
    for row in _rows_once(after, is_alike):
        count += 1
        if row.id not in old:
            added.append(row.id)
            continue
        known.add(row.id)
        split, labels, stated = old[row.id]
        moved += [Moved(row.id, split, row.split)] * _is_move(split, row.split)
        facts += _fact_changes(row, stated)
        if labels != row.labels:
            (redrawn if labels and row.labels else labelled if row.labels else unlabelled).append(row.id)
    return DatasetDiff(
        before=before.title,
        after=after.title,
        counts=(len(old), count),
        added=tuple(sorted(added)),
        removed=tuple(sorted(old.keys() - known)),
        labelled=tuple(sorted(labelled)),
        unlabelled=tuple(sorted(unlabelled)),
        relabelled=tuple(sorted(_compare_drawn(before, after, set(redrawn)), key=lambda one: one.id)),
        moved=tuple(sorted(moved, key=lambda one: one.id)),
        facts=tuple(sorted(facts, key=lambda one: (one.id, one.name))),
        schema_added=_only_in(after, before),
        schema_removed=_only_in(before, after),
    )


def _rows_once(version: Version, with_unlabelled: bool) -> Iterator[Row]:
    seen: set[str] = set()
    for row in version.rows(None):
        if row.id in seen:
            raise DataError(f"{version.title} holds the picture {row.id} twice")
        seen.add(row.id)
        if row.labels or with_unlabelled:
            yield row


def _short(row: Row) -> tuple[Split, str, tuple[str, ...]]:
    return row.split, row.labels, tuple(row.facts[name] for name in FACTS)


def _is_move(before: Split, after: Split) -> bool:
    # Where a picture had no side, none was left.
    return before is not after and Split.UNASSIGNED not in (before, after)


def _fact_changes(row: Row, stated: tuple[str, ...]) -> Iterator[FactChange]:
    for name, before in zip(FACTS, stated, strict=True):
        if before != row.facts[name]:
            yield FactChange(row.id, name, before, row.facts[name])


def _only_in(one: Version, other: Version) -> tuple[str, ...]:
    return tuple(sorted(one.schema - other.schema)) if one.kind == other.kind else ()


# -- what was redrawn ---------------------------------------------------------------------------------------


def _compare_drawn(before: Version, after: Version, ids: set[str]) -> Iterator[Relabelled]:
    if not ids:
        return
    # A database without a name lies in a temporary file that is gone when it is closed.
    with closing(sqlite3.connect("")) as database:
        database.execute("CREATE TABLE old (id TEXT PRIMARY KEY, drawn TEXT) WITHOUT ROWID")
        for row in before.rows(ids):
            if row.drawn is not None:
                database.execute("INSERT INTO old VALUES (?, ?)", (row.id, _pack(row.drawn)))
        for row in after.rows(ids):
            found = database.execute("SELECT drawn FROM old WHERE id = ?", (row.id,)).fetchone()
            if found is None or row.drawn is None:
                yield Relabelled(row.id, {})
            else:
                yield compare_labels(row.id, _unpack(found[0]), row.drawn)


def _pack(drawn: tuple[Drawn, ...]) -> str:
    return canonical_json(
        [[one.label, one.mask.size_hw, one.mask.counts, one.kind, one.state] for one in drawn]
    )


def _unpack(text: str) -> tuple[Drawn, ...]:
    return tuple(
        Drawn(label, RleMask((size[0], size[1]), tuple(counts)), kind, state)
        for label, size, counts, kind, state in json.loads(text)
    )


def compare_labels(name: str, before: tuple[Drawn, ...], after: tuple[Drawn, ...]) -> Relabelled:
    """How one picture's ground truth changed.

    Args:
        name: id of the sample.
        before, after: its objects, with masks of one size.

    Raises:
        DataError: masks of several sizes, or that do not fill their picture.
    """
    iou: dict[str, float] = {}
    attributes: list[str] = []
    for label in Label:
        old, new = ([one for one in drawn if one.label == label.value] for drawn in (before, after))
        if not (old or new):
            continue
        iou[label.value] = overlap([one.mask for one in old], [one.mask for one in new])
        if len(old) != len(new):
            attributes.append(f"{label.value} objects {len(old)} -> {len(new)}")
        attributes += _attribute_changes(label, old, new)
    return Relabelled(name, iou, tuple(attributes))


def overlap(before: Sequence[RleMask], after: Sequence[RleMask]) -> float:
    """IoU of all pixels of some masks with all pixels of others, counted over run lengths.

    Args:
        before, after: masks of one picture; those of one side may overlap each other.

    Returns:
        In [0, 1]; 1 when neither has a pixel.

    Raises:
        DataError: masks of several sizes, or that do not fill their picture.
    """
    masks = (*before, *after)
    sizes = {check_rle(mask).size_hw for mask in masks}
    if len(sizes) > 1:
        raise MaskShapeError(f"masks of one picture have sizes {sorted(sizes)}")
    edges: list[npt.NDArray[np.int64]] = [np.zeros(0, np.int64)]
    steps: list[npt.NDArray[np.int64]] = [np.zeros((0, 2), np.int64)]
    for side, mask in ((side, mask) for side, some in enumerate((before, after)) for mask in some):
        ends = np.cumsum(np.asarray(mask.counts, dtype=np.int64))
        step = np.zeros((len(ends), 2), np.int64)
        step[0::2, side], step[1::2, side] = 1, -1  # after an even run foreground begins
        edges.append(ends)
        steps.append(step)
    places = np.concatenate(edges)
    order = np.argsort(places, kind="stable")
    lengths = np.diff(places[order])
    covered = np.cumsum(np.concatenate(steps)[order], axis=0)[:-1] > 0
    either = int(lengths[covered.any(axis=1)].sum())
    return int(lengths[covered.all(axis=1)].sum()) / either if either else 1.0


def _attribute_changes(label: Label, old: list[Drawn], new: list[Drawn]) -> Iterator[str]:
    for word, values in (
        ("mask_type", [sorted(one.kind for one in drawn) for drawn in (old, new)]),
        ("wearing_state", [sorted(one.state for one in drawn) for drawn in (old, new)]),
    ):
        # Only where the objects can be told to be the same ones.
        if len(old) == len(new) and values[0] != values[1]:
            before, after = (", ".join(value or "not stated" for value in side) for side in values)
            yield f"{label.value} {word} {before} -> {after}"
