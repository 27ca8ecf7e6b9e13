"""Which pictures are there twice, and which must stay on one side of a split.

Exact duplicates have the same stored picture; near duplicates differ in few bits of their perceptual hash.
Ground truth is worth more than a photo: a labelled sample is preferred, and it is never dropped for being
merely *near* another one, only grouped with it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations

from dataset_tools.core.reasons import Reason
from dataset_tools.core.record import Sample

_BANDS = 4
_BAND_BITS = 16
_BAND_MASK = (1 << _BAND_BITS) - 1


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What the search for duplicates needs of a sample.

    Attributes:
        item_key, group: of the sample.
        sha256: of the stored picture.
        phash: 64-bit perceptual hash, None when the sample has none.
        area_px: height * width.
        is_labelled: whether it carries ground truth.
    """

    item_key: str
    group: str
    sha256: str
    phash: int | None
    area_px: int
    is_labelled: bool


@dataclass(frozen=True, slots=True)
class Dropped:
    """Why an item goes, and the item that stays in its place."""

    reason: Reason
    kept_key: str
    distance: int


@dataclass(frozen=True, slots=True)
class DuplicatePlan:
    """Decisions over the whole input.

    Attributes:
        dropped: by item key.
        groups: new group name by old one; groups that stay as they are do not appear.
    """

    dropped: dict[str, Dropped] = field(default_factory=dict)
    groups: dict[str, str] = field(default_factory=dict)


def fingerprint(sample: Sample) -> Fingerprint:
    """The fingerprint of a sample."""
    height, width = sample.image.size_hw
    return Fingerprint(
        item_key=sample.provenance.item_key,
        group=sample.group,
        sha256=sample.image.sha256,
        phash=int(sample.phash, 16) if sample.phash else None,
        area_px=height * width,
        is_labelled=sample.is_labelled,
    )


def plan_duplicates(
    prints: Iterable[Fingerprint], *, drop_distance: int, group_distance: int
) -> DuplicatePlan:
    """Decide what is dropped and which groups join; the order of `prints` does not matter.

    Args:
        prints: one per item; item keys are unique.
        drop_distance: hashes that differ in at most so many bits (0..15) are the same picture. Labelled
            pictures come first, then larger ones, then the smaller item key; later ones are dropped.
        group_distance: groups of pictures that differ in at most so many bits (0..15) become one, named
            after the alphabetically first. Dropped pictures join groups too: they link what they resemble.
    """
    ranked = sorted(prints, key=lambda item: (not item.is_labelled, -item.area_px, item.item_key))
    groups = _Groups()
    dropped: dict[str, Dropped] = {}
    unique: list[Fingerprint] = []
    first_of: dict[str, Fingerprint] = {}
    for item in ranked:
        original = first_of.setdefault(item.sha256, item)
        if original is item:
            unique.append(item)
        else:
            groups.join(original.group, item.group)
            dropped[item.item_key] = Dropped(Reason.DUPLICATE, original.item_key, 0)
    hashed: dict[int, list[Fingerprint]] = defaultdict(list)
    for item in unique:
        if item.phash is not None:
            hashed[item.phash].append(item)
    reach = max(drop_distance, group_distance)
    neighbours: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for one, other, distance in close_pairs(list(hashed), reach):
        neighbours[one].append((other, distance))
        neighbours[other].append((one, distance))
        if distance <= group_distance:
            groups.join(hashed[one][0].group, hashed[other][0].group)
    for alike in hashed.values():
        for item in alike[1:]:
            groups.join(alike[0].group, item.group)
    dropped.update(_near_duplicates(unique, neighbours, drop_distance))
    return DuplicatePlan(dropped, groups.renamed())


def _near_duplicates(
    ranked: Sequence[Fingerprint], neighbours: dict[int, list[tuple[int, int]]], drop_distance: int
) -> dict[str, Dropped]:
    kept: dict[int, Fingerprint] = {}  # best kept item by hash
    dropped: dict[str, Dropped] = {}
    for item in ranked:
        if item.phash is None:
            continue
        near = [(0, item.phash), *((distance, other) for other, distance in neighbours[item.phash])]
        better = [
            (distance, kept[key]) for distance, key in near if distance <= drop_distance and key in kept
        ]
        if better and not item.is_labelled:
            distance, original = min(better, key=lambda pair: (pair[0], pair[1].item_key))
            dropped[item.item_key] = Dropped(Reason.NEAR_DUPLICATE, original.item_key, distance)
        else:
            kept.setdefault(item.phash, item)
    return dropped


def close_pairs(hashes: Sequence[int], max_distance: int) -> Iterator[tuple[int, int, int]]:
    """Pairs of different 64-bit hashes within a Hamming distance, each once: (one, other, distance).

    Hashes are filed under four 16-bit bands. Two that differ in d bits differ in at most d // 4 bits in one
    of the bands, so looking up all band values that near finds every pair.

    Args:
        hashes: distinct values.
        max_distance: 0..15; the number of look-ups grows with max_distance // 4.

    Source: Norouzi et al., Fast search in Hamming space with multi-index hashing, CVPR 2012.
    """
    flips = _flips(max_distance // _BANDS)
    tables: list[dict[int, list[int]]] = [defaultdict(list) for _ in range(_BANDS)]
    for value in hashes:
        found: set[int] = set()
        for band, table in enumerate(tables):
            key = (value >> (band * _BAND_BITS)) & _BAND_MASK
            for flip in flips:
                found.update(table.get(key ^ flip, ()))
            table[key].append(value)
        for other in sorted(found):
            distance = (value ^ other).bit_count()
            if distance <= max_distance:
                yield other, value, distance


def _flips(radius: int) -> list[int]:
    bits = [1 << position for position in range(_BAND_BITS)]
    return [sum(chosen) for count in range(radius + 1) for chosen in combinations(bits, count)]


class _Groups:
    """Union-find over group names; the root of a set is its alphabetically first name."""

    def __init__(self) -> None:
        self._parent: dict[str, str] = {}

    def _root(self, name: str) -> str:
        root = name
        while (above := self._parent.get(root, root)) != root:
            root = above
        while (above := self._parent.get(name, name)) != root:
            self._parent[name] = root
            name = above
        return root

    def join(self, one: str, other: str) -> None:
        first, second = sorted((self._root(one), self._root(other)))
        if first != second:
            self._parent[second] = first

    def renamed(self) -> dict[str, str]:
        names = {name: self._root(name) for name in sorted(self._parent)}
        return {name: root for name, root in names.items() if name != root}
