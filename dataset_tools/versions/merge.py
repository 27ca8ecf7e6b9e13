"""Two versions become one workspace; who is right where they disagree is said beforehand, never guessed.

A picture is the same when its stored bytes are. Groups of one name, and groups that share a picture, are one
group afterwards and lie on one side: the most cautious of those they had.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dataset_tools.core.errors import DataError, ItemFault, LicenceMissing
from dataset_tools.core.files import digest_json
from dataset_tools.core.images import ImageStore
from dataset_tools.core.manifest import Manifest, ShardCounts, write_header, write_shard
from dataset_tools.core.progress import ProgressFactory, silent
from dataset_tools.core.record import ImageRef, Provenance, Sample, Split
from dataset_tools.core.workspace import Workspace
from dataset_tools.formats.job import place_picture
from dataset_tools.split.frozen import group_digest
from dataset_tools.split.stage import most_cautious
from dataset_tools.versions.change import Moved
from dataset_tools.versions.diff import compare_labels
from dataset_tools.versions.foreign import find_files, found_pictures, read_labels, read_photo
from dataset_tools.versions.version import INDEX, Drawn, Row, Version

Prefer = Literal["a", "b", "human"]

SHARD_SIZE = 64

_DIGEST = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True, slots=True)
class Conflict:
    """A picture of which the two versions say different things.

    Attributes:
        id: of the sample.
        what: "labels", "licence" or both.
        iou: overlap of the two ground truths by label; empty when they are equal.
        chosen: "a" or "b".
    """

    id: str
    what: tuple[str, ...]
    iou: Mapping[str, float]
    chosen: str


@dataclass(frozen=True, slots=True)
class MergeReport:
    """What became of two versions.

    Attributes:
        manifest: the merged one.
        only_a, only_b, both: pictures by where they were.
        conflicts: where the two disagreed, and who was believed.
        moved: pictures that lie elsewhere than in the version they come from, because groups met.
    """

    manifest: Manifest
    only_a: int
    only_b: int
    both: int
    conflicts: tuple[Conflict, ...]
    moved: tuple[Moved, ...]


@dataclass(frozen=True, slots=True)
class _Known:
    row: Row  # without its masks
    group: str  # digest

    @staticmethod
    def of(row: Row) -> _Known:
        name = row.group or row.id
        digest = name if _DIGEST.fullmatch(name) else group_digest(name)
        return _Known(dataclasses.replace(row, drawn=None), digest)


def merge_versions(
    first: Version,
    second: Version,
    out: Path,
    *,
    prefer: Prefer | None = None,
    name: str = "",
    progress: ProgressFactory = silent,
) -> MergeReport:
    """Write a workspace that holds the pictures of both.

    Args:
        first, second: versions with pictures: manifests, workspaces or dataset folders.
        out: the workspace to make. What an interrupted merge left there is used or harmless.
        prefer: who is right about a picture that both have with different labels or licences: "a", "b", or
            "human": the one whose labels a person drew or confirmed, and the first where both or neither
            did. Labels always win over none.
        name: of the merged dataset.
        progress: opens the progress display.

    Raises:
        DataError: `out` holds something; a version is an index or cannot be read; or they disagree and
            `prefer` is not given: says about how many pictures.
        LicenceMissing: a picture has no licence.
    """
    for version in (first, second):
        if version.kind.startswith(INDEX):
            raise DataError(f"{version.path} is an index without pictures; it cannot be merged")
    if not _is_free(out):
        raise DataError(f"{out} is there already and holds something else")
    old, new = ({row.id: _Known.of(row) for row in version.rows(None)} for version in (first, second))
    chosen, disputes = _choose(old, new, prefer)
    splits, names = _join_groups(old, new)
    conflicts = tuple(_conflicts(first, second, disputes, chosen))
    workspace = Workspace(out)
    with workspace.lock(), progress("merge", len(old | new)) as bar:
        samples = _samples(first, second, workspace.images, chosen)
        placed = _placed(samples, splits, names)
        key = digest_json([first.title, second.title, prefer, sorted(old), sorted(new)])
        directory = workspace.manifest_dir("split", key)
        counts, moved = _write(placed, directory, bar.advance)
        header = {"stage": "split", "stage_version": "merge", "key": key, "parent": "", "dataset": name}
        config = {"merge": [first.title, second.title], "prefer": prefer}
        values = {"shards": -(-counts.inputs // SHARD_SIZE) or 1, "counts": dataclasses.asdict(counts)}
        manifest = write_header(directory, header | {"config": config} | values)
    both = len(old.keys() & new.keys())
    return MergeReport(manifest, len(old) - both, len(new) - both, both, conflicts, tuple(moved))


def _is_free(out: Path) -> bool:
    if not out.exists():
        return True
    names = {entry.name for entry in out.iterdir()}
    return names <= {".lock", "objects", "manifests"} and not any(out.glob("manifests/*/header.json"))


# -- deciding -----------------------------------------------------------------------------------------------


def _choose(
    old: Mapping[str, _Known], new: Mapping[str, _Known], prefer: Prefer | None
) -> tuple[dict[str, str], dict[str, tuple[str, ...]]]:
    """Which version every picture is taken from, and what is disputed about those in both."""
    chosen = dict.fromkeys(old, "a") | dict.fromkeys(new.keys() - old.keys(), "b")
    disputes: dict[str, tuple[str, ...]] = {}
    for name in sorted(old.keys() & new.keys()):
        one, other = old[name].row, new[name].row
        if bool(one.labels) != bool(other.labels):
            chosen[name] = "a" if one.labels else "b"
        elif prefer == "b" or (prefer == "human" and other.is_by_person and not one.is_by_person):
            chosen[name] = "b"
        what = ("labels",) * (bool(one.labels and other.labels) and one.labels != other.labels)
        licences = {one.facts["licence"], other.facts["licence"]} - {""}
        what += ("licence",) * (len(licences) > 1)
        if what:
            disputes[name] = what
    if disputes and prefer is None:
        kinds = ", ".join(sorted({kind for what in disputes.values() for kind in what}))
        raise DataError(
            f"the versions disagree about {len(disputes)} pictures ({kinds}), first {min(disputes)}; "
            "--prefer a, b or human says who is right"
        )
    return chosen, disputes


def _join_groups(
    old: Mapping[str, _Known], new: Mapping[str, _Known]
) -> tuple[dict[str, Split], dict[str, str]]:
    """Split and group name of every sample, by sample id."""
    above: dict[str, str] = {}

    def root(group: str) -> str:
        while (parent := above.setdefault(group, group)) != group:
            above[group] = above[parent]
            group = above[group]
        return group

    for name in old.keys() & new.keys():
        one, other = root(old[name].group), root(new[name].group)
        above[max(one, other)] = min(one, other)
    wanted: dict[str, set[Split]] = {}
    words: dict[str, str] = {}
    for known in (*old.values(), *new.values()):
        group = root(known.group)
        wanted.setdefault(group, set()).add(known.row.split)
        word = known.row.group or known.row.id
        # Names say more than digests of them, and frozen splits know them.
        words[group] = min(words.get(group, word), word, key=lambda text: (text == known.group, text))
    splits, names = {}, {}
    for name, known in {**old, **new}.items():
        group = root(known.group)
        placed = wanted[group] - {Split.UNASSIGNED}
        splits[name] = most_cautious(placed) if placed else Split.UNASSIGNED
        names[name] = words[group]
    return splits, names


def _conflicts(
    first: Version, second: Version, disputes: Mapping[str, tuple[str, ...]], chosen: Mapping[str, str]
) -> Iterator[Conflict]:
    drawn = {name: what for name, what in disputes.items() if "labels" in what}
    # Few at a time, so that their masks fit into memory.
    names = sorted(drawn)
    overlaps: dict[str, Mapping[str, float]] = {}
    for start in range(0, len(names), 1000):
        some = set(names[start : start + 1000])
        before: dict[str, tuple[Drawn, ...]] = {row.id: row.drawn or () for row in first.rows(some)}
        for row in second.rows(some):
            overlaps[row.id] = compare_labels(row.id, before[row.id], row.drawn or ()).iou
    for name, what in sorted(disputes.items()):
        yield Conflict(name, what, overlaps.get(name, {}), chosen[name])


# -- writing ------------------------------------------------------------------------------------------------


def _samples(
    first: Version, second: Version, images: ImageStore, chosen: Mapping[str, str]
) -> Iterator[Sample]:
    keys: set[str] = set()
    for side, version in (("a", first), ("b", second)):
        for sample in _read(version, images, {name for name, one in chosen.items() if one == side}):
            key = sample.provenance.item_key
            while key in keys:
                key += "#merged"
            keys.add(key)
            provenance = dataclasses.replace(sample.provenance, item_key=key)
            yield dataclasses.replace(sample, provenance=provenance)


def _read(version: Version, images: ImageStore, wanted: set[str]) -> Iterator[Sample]:
    if version.manifest is None:
        yield from _read_folder(version, images, wanted)
        return
    source = ImageStore(version.manifest.workspace)
    for sample in version.manifest.samples():
        if sample.id in wanted:
            for ref in _pictures(sample):
                _copy(source, images, ref)
            yield sample


def _pictures(sample: Sample) -> Iterator[ImageRef]:
    yield sample.image
    yield from (item.soft for item in sample.instances if item.soft is not None)
    yield from (layer.image for layer in sample.layers)


def _copy(source: ImageStore, images: ImageStore, ref: ImageRef) -> None:
    if images.path(ref).exists():
        return
    try:
        source.read_bytes(ref)  # a damaged one must not be handed on
    except ItemFault as fault:
        raise DataError(f"{source.root}: {fault}") from None
    place_picture(source, ref, images.path(ref))


def _read_folder(version: Version, images: ImageStore, wanted: set[str]) -> Iterator[Sample]:
    for found in found_pictures(*find_files(version.path)):
        name, photo = read_photo(found)
        if name not in wanted:
            continue
        facts, labels = found.facts, read_labels(found, photo.size_hw)
        if not facts.licence.strip():
            raise LicenceMissing(f"{found.key} of {version.title} states no licence; it cannot be merged")
        yield Sample(
            id=name,
            image=images.put_normal(photo),
            provenance=Provenance(
                source=facts.source or "merged",
                item_key=found.key,
                licence=facts.licence,
                url=facts.url,
                author=facts.author,
                parent_id=facts.parent_id,
            ),
            group=facts.group or name,
            phash=photo.phash,
            instances=labels.instances if labels is not None else (),
            split=found.annotation.split if found.annotation is not None else Split.UNASSIGNED,
            is_labelled=labels is not None and labels.is_complete,
        )


def _placed(
    samples: Iterator[Sample], splits: Mapping[str, Split], names: Mapping[str, str]
) -> Iterator[tuple[Sample, Split]]:
    """Samples on their new side and in their new group, each with the side it had."""
    for sample in samples:
        yield dataclasses.replace(sample, split=splits[sample.id], group=names[sample.id]), sample.split


def _write(
    placed: Iterator[tuple[Sample, Split]], directory: Path, advance: Callable[[], None]
) -> tuple[ShardCounts, list[Moved]]:
    counts, moved, index = ShardCounts(), [], 0
    batch: list[Sample] = []

    def flush() -> None:
        nonlocal counts, index
        counts += write_shard(directory, index, [one.provenance.item_key for one in batch], batch, [])
        index += 1
        batch.clear()

    for sample, before in placed:
        if before is not sample.split:
            moved.append(Moved(sample.id, before, sample.split))
        batch.append(sample)
        advance()
        if len(batch) == SHARD_SIZE:
            flush()
    if batch or not index:
        flush()
    return counts, sorted(moved, key=lambda one: one.id)
