"""Which pictures are there twice, and which must stay on one side of a split.

Exact duplicates have the same stored picture; near duplicates differ in few bits of their perceptual hash.
Photos in which the same face was seen in the same shot, cut otherwise or mirrored, only share a group. Ground
truth is worth more than a photo: a labelled sample is preferred, and it is never dropped for being merely
*near* another one, only grouped with it.

A sample costs about 200 bytes while the plan is made, 32 more for each face, and no object of its own; the
search grows as `core.hamming` says.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

from dataset_tools.core.face_prints import FACE_PHASH, FacePrint, read_face_prints
from dataset_tools.core.hamming import BITS, Hashes, Indices, near_components
from dataset_tools.core.reasons import Reason
from dataset_tools.core.record import Sample

# Chance meetings of faces grow with the square of their number, and at millions would chain strangers into
# one giant group. No shot is cut in so many ways, so more pictures than these must be nearer to share one.
_MOST_BY_FACE = 100


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What the search for duplicates needs of a sample.

    Attributes:
        item_key, group: of the sample.
        sha256: of the stored picture.
        phash: 64-bit perceptual hash, None when the sample has none.
        area_px: height * width.
        is_labelled: whether it carries ground truth.
        faces: prints of its faces.
    """

    item_key: str
    group: str
    sha256: str
    phash: int | None
    area_px: int
    is_labelled: bool
    faces: tuple[FacePrint, ...] = ()


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
        faces=read_face_prints(dict(sample.provenance.evidence).get(FACE_PHASH, "")),
    )


def plan_duplicates(
    prints: Iterable[Fingerprint],
    *,
    drop_distance: int,
    group_distance: int,
    face_distance: int | None = None,
) -> DuplicatePlan:
    """Decide what is dropped and which groups join; the order of `prints` does not matter.

    Args:
        prints: one per item; item keys are unique.
        drop_distance: hashes that differ in at most so many bits (0..15) are the same picture. Labelled
            pictures come first, then larger ones, then the smaller item key; later ones are dropped.
        group_distance: groups of pictures that differ in at most so many bits (0..15) become one, named
            after the alphabetically first. Dropped pictures join groups too: they link what they resemble.
        face_distance: groups of pictures with faces whose crops differ in at most so many bits (0..15), as
            they are or mirrored, become one likewise; where that would join more than 100 pictures, they
            must be nearer. None compares no faces.
    """
    table = _Prints(prints)
    groups = _Groups()
    dropped: dict[str, Dropped] = {}
    is_unique = np.ones(table.count, dtype=bool)
    for members in _runs_of(table.content):
        first, *others = sorted(members, key=table.rank)
        for index in others:
            is_unique[index] = False
            groups.join(table.group(first), table.group(index))
            dropped[table.key(index)] = Dropped(Reason.DUPLICATE, table.key(first), 0)
    hashed = np.flatnonzero(is_unique & table.has_hash)
    distinct, place = np.unique(table.phash[hashed], return_inverse=True)
    for members in _runs_of(near_components(distinct, group_distance)[place]):
        for index in hashed[members[1:]]:
            groups.join(table.group(hashed[members[0]]), table.group(index))
    for members in _runs_of(near_components(distinct, drop_distance)[place]):
        dropped.update(_near_duplicates(table, hashed[members], drop_distance))
    if face_distance is not None:
        for owners in _sharing_a_face(table.face, table.face_owner, face_distance):
            for index in owners[1:]:
                groups.join(table.group(owners[0]), table.group(index))
    return DuplicatePlan(dropped, groups.renamed())


def _sharing_a_face(faces: Hashes, owners: Indices, max_distance: int) -> Iterator[Indices]:
    """Owners of faces that hang together, at a smaller distance where those would be too many."""
    distinct, place = np.unique(faces, return_inverse=True)
    for members in _runs_of(near_components(distinct, max_distance)[place]):
        found = np.unique(owners[members])
        if len(found) > _MOST_BY_FACE and max_distance > 0:
            yield from _sharing_a_face(faces[members], owners[members], max_distance - 1)
        else:
            yield found


def _near_duplicates(table: _Prints, members: Indices, drop_distance: int) -> dict[str, Dropped]:
    kept = _Kept(drop_distance)
    dropped: dict[str, Dropped] = {}
    for index in sorted(members.tolist(), key=table.rank):
        value, key = int(table.phash[index]), table.key(index)
        nearest = kept.nearest(value)
        if nearest is not None and not table.is_labelled[index]:
            dropped[key] = Dropped(Reason.NEAR_DUPLICATE, nearest[1], nearest[0])
        else:
            kept.add(value, key)
    return dropped


class _Prints:
    """Fingerprints as columns."""

    def __init__(self, prints: Iterable[Fingerprint]) -> None:
        self._keys, self._groups = _Words(), _Words()
        content, phash, area = array("Q"), array("Q"), array("q")
        face, face_owner = array("Q"), array("q")
        has_hash, is_labelled = bytearray(), bytearray()
        for place, item in enumerate(prints):
            self._keys.append(item.item_key)
            self._groups.append(item.group)
            # 16 bytes tell any number of pictures apart.
            content.frombytes(blake2b(item.sha256.encode(), digest_size=16).digest())
            phash.append(item.phash or 0)
            has_hash.append(item.phash is not None)
            area.append(item.area_px)
            is_labelled.append(item.is_labelled)
            for one in item.faces:
                face.extend(one)
                face_owner.extend((place, place))
        self.count = len(area)
        self.content = np.frombuffer(content, dtype=[("high", "u8"), ("low", "u8")])
        self.phash: Hashes = np.frombuffer(phash, dtype=np.uint64)
        self.has_hash = np.frombuffer(has_hash, dtype=bool)
        self.is_labelled = np.frombuffer(is_labelled, dtype=bool)
        self.face: Hashes = np.frombuffer(face, dtype=np.uint64)
        self.face_owner: Indices = np.frombuffer(face_owner, dtype=np.int64)
        self._area = np.frombuffer(area, dtype=np.int64)

    def key(self, index: int) -> str:
        return self._keys[index]

    def group(self, index: int) -> str:
        return self._groups[index]

    def rank(self, index: int) -> tuple[bool, int, str]:
        """Sorts the item that stays before those that go."""
        return not self.is_labelled[index], -int(self._area[index]), self.key(index)


class _Words:
    """Many strings in one piece of memory."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._ends = array("q", [0])

    def append(self, word: str) -> None:
        # Names of files may hold lone surrogates; they must come back as they were.
        self._bytes += word.encode("utf-8", "surrogatepass")
        self._ends.append(len(self._bytes))

    def __getitem__(self, index: int) -> str:
        piece = self._bytes[self._ends[index] : self._ends[index + 1]]
        return piece.decode("utf-8", "surrogatepass")


def _runs_of(names: npt.NDArray[np.generic]) -> Iterator[Indices]:
    """Indices of every name that occurs more than once, ascending."""
    order = np.argsort(names, kind="stable")
    named = names[order]
    starts = np.flatnonzero(np.concatenate(([True], named[1:] != named[:-1])))[: len(names)]
    lengths = np.diff(starts, append=len(names))
    for start, length in zip(starts[lengths > 1], lengths[lengths > 1], strict=True):
        yield order[start : start + length]


class _Kept:
    """Hashes that stay, filed so that the nearest within a distance is found among few.

    Cut into distance + 1 bands, two hashes within the distance agree in at least one of them.
    """

    def __init__(self, max_distance: int) -> None:
        self._distance = max_distance
        self._width = BITS // (max_distance + 1)
        self._keys: dict[int, str] = {}
        self._bands: defaultdict[tuple[int, int], list[int]] = defaultdict(list)

    def add(self, value: int, key: str) -> None:
        if value not in self._keys:
            self._keys[value] = key
            for band in self._bands_of(value):
                self._bands[band].append(value)

    def nearest(self, value: int) -> tuple[int, str] | None:
        """Distance and key, of equally near ones the smallest key; None when none is within reach."""
        if value in self._keys:
            return 0, self._keys[value]
        met = {other for band in self._bands_of(value) for other in self._bands.get(band, ())}
        measured = ((_distance(value, other), other) for other in met)
        near = [(distance, self._keys[other]) for distance, other in measured if distance <= self._distance]
        return min(near, default=None)

    def _bands_of(self, value: int) -> Iterator[tuple[int, int]]:
        mask = (1 << self._width) - 1
        for band in range(self._distance + 1):
            yield band, value >> (band * self._width) & mask


def _distance(one: int, other: int) -> int:
    return (one ^ other).bit_count()


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
        """Put two names into one set."""
        first, second = sorted((self._root(one), self._root(other)))
        if first != second:
            self._parent[second] = first

    def renamed(self) -> dict[str, str]:
        """First name of the set by name, of those that have another one."""
        names = {name: self._root(name) for name in sorted(self._parent)}
        return {name: root for name, root in names.items() if name != root}
