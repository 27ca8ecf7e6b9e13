"""What must not come back: pictures that were taken down, and hashes that others want kept out.

    <workspace>/tombstones.jsonl    one tombstone a line; hashes and addresses, never a picture

A later crawl asks before it fetches (`blocks_url`) and again before it stores (`blocks_content`).
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dataset_tools.core.errors import DataError, FetchFault, ImageFault
from dataset_tools.core.files import canonical_json, sha256_hex, write_text
from dataset_tools.core.reasons import Reason

FILE_NAME = "tombstones.jsonl"
STAND_IN = "taken-down/"

# Bits of a 64-bit perceptual hash in which a copy of the same picture may differ: other sizes and qualities
# move few bits. Of 1.28 million pairs of different tight face crops, which look much alike, none was so near.
COPY_DISTANCE = 4


@dataclass(frozen=True, slots=True)
class Tombstone:
    """One picture, or hash, that stays out.

    Attributes:
        date: UTC day it was taken down, e.g. "2026-01-31".
        reason: why, in the words of who asked; "" when not told.
        sha256: of the stored picture; "" for one that was never here.
        content_sha256: of its bytes as fetched.
        phash: perceptual hash, 16 hex digits; "" when not known.
        url: where it came from; "" for local files.
        source: name of the configured source.
        is_blocklist: it came from a list of hashes and not from a request.
    """

    date: str
    reason: str = ""
    sha256: str = ""
    content_sha256: str = ""
    phash: str = ""
    url: str = ""
    source: str = ""
    is_blocklist: bool = False

    @property
    def word(self) -> Reason:
        """The word for the rejects table."""
        return Reason.HASH_BLOCKLIST if self.is_blocklist else Reason.TOMBSTONE


def stand_in(name: str) -> str:
    """What stands where `name`, a key or an address, named a picture; it tells nothing about it."""
    return f"{STAND_IN}{sha256_hex(name.encode())[:24]}"


def current_tombstones(root: Path) -> Tombstones:
    """`Tombstones.read`, read again only when the file has changed."""
    path = root / FILE_NAME
    try:
        facts = path.stat()
    except FileNotFoundError:
        return Tombstones()
    return _read_once(root, facts.st_ino, facts.st_mtime_ns, facts.st_size)


@functools.lru_cache(maxsize=4)
def _read_once(root: Path, *_version: int) -> Tombstones:
    return Tombstones.read(root)


class Tombstones:
    """The tombstones of a workspace, looked up by address and by content."""

    def __init__(self, stones: Iterable[Tombstone] = ()) -> None:
        self.stones = tuple(dict.fromkeys(stones))
        self._urls = {stone.url: stone for stone in self.stones if stone.url}
        self._hashes = {
            value: stone for stone in self.stones for value in (stone.sha256, stone.content_sha256) if value
        }
        self._near = [stone for stone in self.stones if stone.phash]
        self._phashes = np.array([int(stone.phash, 16) for stone in self._near], dtype=np.uint64)

    @classmethod
    def read(cls, root: Path) -> Tombstones:
        """Those of the workspace at `root`; none when it has no such file.

        Raises:
            DataError: the file is damaged; going on without it would bring pictures back.
        """
        path = root / FILE_NAME
        try:
            lines = path.read_text().splitlines()
        except FileNotFoundError:
            return cls()
        try:
            return cls([Tombstone(**json.loads(line)) for line in lines])
        except (TypeError, ValueError) as error:
            raise DataError(f"{path} is damaged: {error}; restore it before you go on") from error

    def write(self, root: Path) -> None:
        """Replace the workspace's file, atomically."""
        rows = sorted(canonical_json(dataclasses.asdict(stone)) for stone in self.stones)
        write_text(root / FILE_NAME, "".join(row + "\n" for row in rows))

    def has(self, stone: Tombstone) -> bool:
        """True when everything that `stone` keeps out is kept out already."""
        digests = (stone.sha256, stone.content_sha256)
        return (
            (not stone.url or stone.url in self._urls)
            and all(not value or value in self._hashes for value in digests)
            and (not stone.phash or any(stone.phash == known.phash for known in self._near))
        )

    def blocks_url(self, url: str) -> Tombstone | None:
        """The tombstone of a picture that came from this address."""
        return self._urls.get(url)

    def blocks_content(self, *sha256: str, phash: str = "") -> Tombstone | None:
        """The tombstone of the same bytes, or of a picture that looks the same.

        Args:
            sha256: of the bytes as fetched, and of those that would be stored.
            phash: perceptual hash of the decoded picture, 16 hex digits; "" to ask for equal bytes only.
        """
        for value in sha256:
            if value in self._hashes:
                return self._hashes[value]
        if not phash or not self._near:
            return None
        distances = np.bitwise_count(self._phashes ^ np.uint64(int(phash, 16)))
        nearest = int(distances.argmin())
        return self._near[nearest] if distances[nearest] <= COPY_DISTANCE else None

    def refuse_url(self, url: str) -> None:
        """Return when the address may be fetched.

        Raises:
            FetchFault: `tombstone`.
        """
        if (stone := self.blocks_url(url)) is not None:
            raise FetchFault(stone.word, f"taken down on {stone.date}")

    def refuse_content(self, *sha256: str, phash: str = "") -> None:
        """Return when the picture may be stored; arguments as `blocks_content`.

        Raises:
            ImageFault: `tombstone` or `hash_blocklist`.
        """
        if (stone := self.blocks_content(*sha256, phash=phash)) is not None:
            said = "on a block-list since" if stone.is_blocklist else "taken down on"
            raise ImageFault(stone.word, f"{said} {stone.date}")
