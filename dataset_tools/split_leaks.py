"""Does anything cross the splits of one manifest: a group, a picture, its looks, an author, a page?

A group or the same bytes on two sides would make a score a lie: there must be none. What looks alike, shows
another cut of one shot, or comes from one author or page may be chance or habit: it is told, people judge.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dataset_tools.core.errors import ManifestError
from dataset_tools.core.manifest import Manifest
from dataset_tools.core.progress import ProgressFactory, silent
from dataset_tools.core.record import Split
from dataset_tools.leaks import FACE_DISTANCE, Opened, Picture, find_leaks, open_pictures
from dataset_tools.references import Origin, sample_origins

PAIRS = tuple(combinations((Split.TRAIN, Split.VAL, Split.TEST), 2))

# Kinds of which there must be none, then those that are told, the strongest first.
FORBIDDEN = ("group", "content")
TOLD = ("parent", "near", "mirrored", "face", "author", "page")
KINDS = (*FORBIDDEN, *TOLD)


@dataclass(frozen=True, slots=True)
class Crossing:
    """Something that is on both sides of a split.

    Attributes:
        kind: one of `KINDS`: "group" and "content" (the same bytes, as stored or as fetched) must not be;
            "parent", "near", "mirrored" and "face" as in `leaks.Leak`; "author" and "page" (the page that
            shows the pictures, or their common address) may.
        splits: the two sides, the one nearer to training first.
        first, second: item keys of two such pictures, one of either side.
        count: pictures of both sides that hang together so; 2 for a pair.
        distance: bits in which hashes differ; -1 where none were compared.
    """

    kind: str
    splits: tuple[Split, Split]
    first: str
    second: str
    count: int = 2
    distance: int = -1


def find_crossings(
    manifest: Manifest,
    *,
    max_distance: int = 6,
    face_distance: int | None = FACE_DISTANCE,
    progress: ProgressFactory = silent,
) -> list[Crossing]:
    """Everything that crosses the splits of a manifest.

    Args:
        manifest: of the split stage or of any after it. Pictures without a split are on no side.
        max_distance, face_distance: as `leaks.find_leaks`.
        progress: opens the progress display.

    Returns:
        By kind in the order of `KINDS`, then by splits and names.
    """
    splits = {key: split for path in manifest.shard_paths() for key, split in _splits_of(path)}
    origins = [origin for path in manifest.shard_paths() for origin in sample_origins(path)]
    found = [
        *_shared("group", origins, splits, lambda one: (one.group,)),
        *_shared("content", origins, splits, lambda one: (one.sha256, one.content_sha256)),
        *_shared("author", origins, splits, lambda one: (one.author.strip().casefold(),)),
        *_shared("page", origins, splits, lambda one: (one.page_url, *sorted(one.addresses))),
    ]
    del origins
    pictures = open_pictures(manifest.directory, progress).pictures
    sides: dict[Split, list[Picture]] = defaultdict(list)
    for picture in pictures:
        sides[splits[picture.name]].append(picture)
    for one, other in PAIRS:
        leaks = find_leaks(
            Opened(one.value, tuple(sides[one])),
            Opened(other.value, tuple(sides[other])),
            max_distance=max_distance,
            face_distance=face_distance,
        )
        found += [
            Crossing(leak.kind, (one, other), leak.first, leak.second, distance=leak.distance)
            for leak in leaks
            if leak.kind not in FORBIDDEN  # those were counted exactly
        ]
    return sorted(found, key=lambda one: (KINDS.index(one.kind), PAIRS.index(one.splits), one.first))


def _splits_of(shard: Path) -> Iterator[tuple[str, Split]]:
    try:
        with pq.ParquetFile(shard) as parquet:
            rows = parquet.read(columns=["provenance.item_key", "split"]).to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise ManifestError(f"cannot read {shard}: {error}") from error
    for row in rows:
        yield row["provenance"]["item_key"], Split(row["split"])


def _shared(
    kind: str,
    origins: Iterable[Origin],
    splits: Mapping[str, Split],
    values: Callable[[Origin], tuple[str, ...]],
) -> list[Crossing]:
    """One crossing for each value and pair of splits that it is found on both sides of."""
    holders: dict[str, dict[Split, list[str]]] = defaultdict(lambda: defaultdict(list))
    for origin in origins:
        for value in dict.fromkeys(values(origin)):
            if value:
                holders[value][splits[origin.item_key]].append(origin.item_key)
    found: dict[tuple[Any, ...], Crossing] = {}
    for sides in holders.values():
        for pair in PAIRS:
            one, other = (sides.get(split, []) for split in pair)
            if one and other:
                crossing = Crossing(kind, pair, min(one), min(other), len(one) + len(other))
                # One pair of pictures may share several values: stored and fetched bytes, two addresses.
                found.setdefault((pair, crossing.first, crossing.second), crossing)
    return list(found.values())


def is_clean(crossings: Iterable[Crossing]) -> bool:
    """True when nothing crosses that must not."""
    return not any(one.kind in FORBIDDEN for one in crossings)


def crossing_counts(crossings: Iterable[Crossing]) -> dict[str, dict[str, int]]:
    """How many crossings there are by kind and pair of splits, zeros included."""
    counts = {kind: {f"{one}-{other}": 0 for one, other in PAIRS} for kind in KINDS}
    for crossing in crossings:
        counts[crossing.kind][f"{crossing.splits[0]}-{crossing.splits[1]}"] += 1
    return counts
