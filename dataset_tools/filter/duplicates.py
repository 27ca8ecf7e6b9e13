"""Which pictures are there twice, and which must stay on one side of a split.

Exact duplicates have the same stored picture; near duplicates differ in few bits of their perceptual hash.
Ground truth is worth more than a photo: a labelled sample is preferred, and it is never dropped for being
merely *near* another one, only grouped with it.

A sample costs about 200 bytes while the plan is made, and no object of its own; the search grows as
`core.hamming` says.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

from dataset_tools.core.hamming import BITS, Hashes, Indices, near_components
from dataset_tools.core.images import RgbImage, perceptual_hash
from dataset_tools.core.reasons import Reason
from dataset_tools.core.record import Face, Sample

# A face crop is hashed with this much of its surroundings on each side, as a share of the box's side: the
# outline of head and hair tells people apart better than the middle of a masked face.
_FACE_MARGIN = 0.25
_SMALLEST_CROP_PX = 16


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


def face_hash(image_rgb: RgbImage, faces: Sequence[Face]) -> str:
    """Perceptual hash of the largest face with its surroundings, "" without a face of useful size.

    The same face in two crops of one photo has nearly the same one, where the pictures as wholes differ.

    Args:
        image_rgb: (H, W, 3) uint8.
        faces: largest first.

    Returns:
        16 hex digits as `core.images.perceptual_hash`, or "".
    """
    if not faces:
        return ""
    x0, y0, x1, y1 = faces[0].box_xyxy
    across, down = _FACE_MARGIN * (x1 - x0), _FACE_MARGIN * (y1 - y0)
    height, width = image_rgb.shape[:2]
    left, right = max(0, round(x0 - across)), min(width, round(x1 + across))
    top, bottom = max(0, round(y0 - down)), min(height, round(y1 + down))
    if min(right - left, bottom - top) < _SMALLEST_CROP_PX:
        return ""
    return perceptual_hash(np.ascontiguousarray(image_rgb[top:bottom, left:right]))


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
    return DuplicatePlan(dropped, groups.renamed())


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
        has_hash, is_labelled = bytearray(), bytearray()
        for item in prints:
            self._keys.append(item.item_key)
            self._groups.append(item.group)
            # 16 bytes tell any number of pictures apart.
            content.frombytes(blake2b(item.sha256.encode(), digest_size=16).digest())
            phash.append(item.phash or 0)
            has_hash.append(item.phash is not None)
            area.append(item.area_px)
            is_labelled.append(item.is_labelled)
        self.count = len(area)
        self.content = np.frombuffer(content, dtype=[("high", "u8"), ("low", "u8")])
        self.phash: Hashes = np.frombuffer(phash, dtype=np.uint64)
        self.has_hash = np.frombuffer(has_hash, dtype=bool)
        self.is_labelled = np.frombuffer(is_labelled, dtype=bool)
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
