"""Take pictures down for good: out of every manifest, file and folder of a workspace, and never to return.

    select    what was asked for, its copies (equal bytes, or nearly the same picture) and what was rendered
              from any of these
    record    the decision, in `takedown.json`; then the tombstones: from here on no crawl brings one back
    erase     rows of all stage runs, verdicts, lanes, reports, exports, models trained on them, objects
    remake    export, statistics and card (by the caller), then `finish`

What was decided is recorded before anything is changed, so a run that was killed is completed by the next
one. Taking down is the one thing that edits what is otherwise only ever added to.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from dataset_tools.core.errors import ConfigError, DataError
from dataset_tools.core.files import canonical_json, write_text
from dataset_tools.core.hamming import Hashes, nearest
from dataset_tools.core.tombstones import COPY_DISTANCE, Tombstone, Tombstones
from dataset_tools.core.workspace import Workspace
from dataset_tools.erasing import (
    ID_DIGITS,
    JOURNAL,
    REMADE,
    Names,
    Step,
    clean_files,
    clean_listings,
    clean_manifest,
    listed_urls,
)
from dataset_tools.references import (
    STORES,
    Origin,
    compare_stored,
    manifest_folders,
    normal_url,
    object_references,
    sample_origins,
    shard_files,
    shard_keys,
)

_HEX_DIGITS = set("0123456789abcdef")


@dataclass(frozen=True)
class Wanted:
    """What shall go.

    Attributes:
        urls: addresses: as asked for, as answered in the end or on the way, or of the page that shows it.
        url_patterns: the same with "*" for anything, e.g. "https://example.org/users/me/*".
        sha256s: of stored pictures, or of the bytes as fetched.
        authors, sources: all pictures of these.
        phashes: perceptual hashes: pictures that look the same, such as a photo somebody handed in.
        blocked: hashes of a block-list (64 or 16 hex digits): they go where they are, and stay out.
        with_copies: also what looks the same as one of these; False: only equal bytes.
    """

    urls: frozenset[str] = frozenset()
    url_patterns: frozenset[str] = frozenset()
    sha256s: frozenset[str] = frozenset()
    authors: frozenset[str] = frozenset()
    sources: frozenset[str] = frozenset()
    phashes: frozenset[str] = frozenset()
    blocked: frozenset[str] = frozenset()
    with_copies: bool = True

    @cached_property
    def addresses(self) -> frozenset[str]:
        """All addresses, in the form in which the crawl keeps them."""
        return frozenset(map(normal_url, self.urls))

    @cached_property
    def _patterns(self) -> re.Pattern[str]:
        wild = (".*".join(map(re.escape, one.split("*"))) for one in sorted(self.url_patterns))
        return re.compile("|".join(wild) or "(?!)")

    def wants_address(self, *addresses: str) -> bool:
        """True when one of these is asked for."""
        return any(one in self.addresses or self._patterns.fullmatch(one) for one in addresses if one)

    def wants_listed(self, url: str, page_url: str, author: str, source: str) -> bool:
        """True for a picture that a kept answer of a source names, whether it was fetched or not."""
        return self.wants_address(url, page_url) or author in self.authors - {""} or source in self.sources

    @property
    def digests(self) -> frozenset[str]:
        """All sha256 sums."""
        return self.sha256s | {value for value in self.blocked if len(value) == 64}

    @property
    def looks(self) -> frozenset[str]:
        """All perceptual hashes."""
        return self.phashes | {value for value in self.blocked if len(value) == 16}


@dataclass(frozen=True)
class Found:
    """One picture that goes, as the manifests know it.

    Attributes:
        id, sha256, content_sha256, phash, url, source, item_key, parent_id: of the sample.
        also: further addresses of the picture.
        why: "asked for", "copy" or "rendered from it".
    """

    id: str
    sha256: str
    content_sha256: str
    phash: str
    url: str
    source: str
    item_key: str
    parent_id: str
    also: tuple[str, ...]
    why: str


@dataclass(frozen=True)
class Takedown:
    """What a call did, or would do.

    Attributes:
        found: pictures, one row for each name they go by.
        erased: files and folders, relative to the workspace.
        shards: manifest shards rewritten.
        objects: stored pictures removed, those included that no row refers to any more.
        remake: folders of the workspace that were removed and are to be made again.
        tombstones: new ones.
    """

    found: tuple[Found, ...] = ()
    erased: tuple[str, ...] = ()
    shards: int = 0
    objects: int = 0
    remake: tuple[str, ...] = ()
    tombstones: int = 0

    @property
    def sample_ids(self) -> list[str]:
        """Ids of the samples, each once."""
        return sorted({item.id for item in self.found})


def read_hashes(path: Path) -> frozenset[str]:
    """Hashes of a block-list: one a line, 64 hex digits (sha256) or 16 (perceptual); "#" starts a remark.

    Raises:
        ConfigError: no such file, or a line that is neither; names it.
    """
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path}: {error}") from None
    hashes = set()
    for number, line in enumerate(lines, start=1):
        value = line.split("#", 1)[0].strip().lower()
        if value and (len(value) not in (16, 64) or not set(value) <= _HEX_DIGITS):
            raise ConfigError(f"{path} line {number}: expected 64 or 16 hex digits, found {value[:80]!r}")
        hashes.add(value)
    return frozenset(hashes - {""})


def select(workspace: Workspace, wanted: Wanted) -> tuple[Found, ...]:
    """What `wanted` comes to, over all stage runs; with copies, and all that was rendered from any of it."""
    chosen: dict[str, str] = {}  # why, by sample id
    while True:
        before = len(chosen)
        digests, looks = _looks_of(workspace, chosen)
        for item in _origins(workspace):
            if item.sample_id in chosen:
                continue
            if _is_asked_for(item, wanted):
                chosen[item.sample_id] = "asked for"
            elif item.sha256 in digests or (item.content_sha256 and item.content_sha256 in digests):
                chosen[item.sample_id] = "copy"
            elif item.parent_id in chosen:
                chosen[item.sample_id] = "rendered from it"
        near = looks if wanted.with_copies else frozenset()
        for identity in _lookalikes(workspace, near | wanted.looks):
            chosen.setdefault(identity, "copy")
        if len(chosen) == before:
            break
    unique = {
        _found(item, chosen[item.sample_id]) for item in _origins(workspace) if item.sample_id in chosen
    }
    return tuple(sorted(unique, key=_order))


def _origins(workspace: Workspace) -> Iterator[Origin]:
    for folder in manifest_folders(workspace.root):
        for path in shard_files(folder):
            yield from sample_origins(path)


def _found(origin: Origin, why: str) -> Found:
    return Found(
        id=origin.sample_id,
        sha256=origin.sha256,
        content_sha256=origin.content_sha256,
        phash=origin.phash,
        url=origin.url,
        source=origin.source,
        item_key=origin.item_key,
        parent_id=origin.parent_id,
        also=tuple(sorted(origin.addresses - {origin.url})),
        why=why,
    )


def _is_asked_for(item: Origin, wanted: Wanted) -> bool:
    return (
        wanted.wants_address(item.item_key, item.page_url, *item.addresses)
        or not {item.sha256, item.content_sha256}.isdisjoint(wanted.digests)
        or (item.author != "" and item.author in wanted.authors)
        or item.source in wanted.sources
    )


def _looks_of(workspace: Workspace, chosen: dict[str, str]) -> tuple[frozenset[str], frozenset[str]]:
    """Digests of what is chosen, and perceptual hashes of the photos among it."""
    if not chosen:
        return frozenset(), frozenset()
    items = [item for item in _origins(workspace) if item.sample_id in chosen]
    digests = {value for item in items for value in (item.sha256, item.content_sha256) if value}
    # A rendered picture looks like its parent; what looks like it only is somebody else's picture.
    return frozenset(digests), frozenset(item.phash for item in items if item.phash and not item.parent_id)


def _lookalikes(workspace: Workspace, phashes: Iterable[str]) -> Iterator[str]:
    wanted = np.array(sorted(int(value, 16) for value in phashes), dtype=np.uint64)
    if not len(wanted):
        return
    batch: list[tuple[str, int]] = []
    for item in _origins(workspace):
        if item.phash:
            batch.append((item.sample_id, int(item.phash, 16)))
        if len(batch) == 1 << 16:
            yield from _near(batch, wanted)
            batch = []
    yield from _near(batch, wanted)


def _near(batch: list[tuple[str, int]], wanted: Hashes) -> Iterator[str]:
    hashes = np.array([value for _, value in batch], dtype=np.uint64)
    index, _ = nearest(hashes, wanted, COPY_DISTANCE)
    yield from (identity for (identity, _), place in zip(batch, index, strict=True) if place >= 0)


# -- doing it ------------------------------------------------------------


def take_down(
    workspace: Workspace, wanted: Wanted, *, reason: str, date: str, step: Step = lambda name: None
) -> Takedown:
    """Take pictures down, and complete what a killed call left undone.

    Afterwards the folders in `remake` are to be made again; then call `finish`.

    Args:
        workspace: must not be locked by the caller.
        wanted: what shall go.
        reason: why, for the tombstones.
        date: UTC day, e.g. "2026-01-31", for the tombstones.
        step: told after every durable change.

    Raises:
        WorkspaceBusy: another process writes to this workspace.
        ManifestError: a shard cannot be read; nothing has been changed, `build-dataset verify` says more.
    """
    with workspace.lock():
        journal = _read_journal(workspace)
        found = {_read_found(row) for row in journal.get("found", [])} | set(select(workspace, wanted))
        urls = wanted.addresses | listed_urls(workspace.root, wanted.wants_listed)
        objects = _objects_of(workspace, {item.id for item in found}) | _stored(workspace, wanted.digests)
        objects |= set(journal.get("objects", []))
        remake = {name for name in REMADE if found and (workspace.root / name).exists()}
        known = Tombstones.read(workspace.root)
        stones = [Tombstone(**row) for row in journal.get("stones", [])]
        stones += _tombstones(sorted(found, key=_order), wanted, urls, reason, date)
        record = {
            "found": [dataclasses.asdict(item) for item in sorted(found, key=_order)],
            "remake": sorted(remake | set(journal.get("remake", []))),
            "objects": sorted(objects),
            "urls": sorted(urls | set(journal.get("urls", []))),
            "stones": [dataclasses.asdict(stone) for stone in stones],
        }
        _write_journal(workspace, record, step)
        merged = Tombstones([*known.stones, *(stone for stone in stones if not known.has(stone))])
        if merged.stones != known.stones:
            merged.write(workspace.root)
            step("tombstones")
        return _erase(workspace, record, len(merged.stones) - len(known.stones), step)


def _read_found(row: dict[str, Any]) -> Found:
    return Found(**{**row, "also": tuple(row["also"])})


def _order(item: Found) -> tuple[str, str, str]:
    return item.id, item.item_key, item.phash


def _erase(workspace: Workspace, record: dict[str, Any], tombstones: int, step: Step) -> Takedown:
    found = [_read_found(row) for row in record["found"]]
    ids = frozenset(item.id for item in found)
    keys = frozenset(item.item_key for item in found)
    names = Names(
        digests=frozenset(
            {identity[:ID_DIGITS] for identity in ids}
            | {value[:ID_DIGITS] for item in found for value in (item.sha256, item.content_sha256) if value}
            | {Path(path).stem[:ID_DIGITS] for path in record["objects"]}
        ),
        urls=frozenset(
            {url for item in found for url in (item.url, *item.also) if url} | set(record["urls"])
        ),
        keys=keys,
    )
    shards = sum(clean_manifest(folder, ids, names, step) for folder in manifest_folders(workspace.root))
    used = _used(workspace, set(record["objects"]))
    gone = [path for path in record["objects"] if path not in used and (workspace.root / path).exists()]
    for path in gone:
        (workspace.root / path).unlink()
        step(f"object {path}")
    gone += _sweep(workspace, step) if found else []
    hidden = frozenset(Path(path).stem[:ID_DIGITS] for path in used)
    erased = clean_listings(workspace.root, names.urls, step)
    if found or names.urls:
        visible = dataclasses.replace(names, digests=names.digests - hidden)
        erased += clean_files(workspace.root, visible, record["remake"], step)
    # Of the decision only what is still to be done stays: it named what is gone.
    _write_journal(workspace, {"remake": record["remake"]}, step)
    return Takedown(
        found=tuple(found),
        erased=tuple(erased),
        shards=shards,
        objects=len(gone),
        remake=tuple(record["remake"]),
        tombstones=tombstones,
    )


def finish(workspace: Workspace) -> None:
    """Note that what `take_down` removed has been made again, or cannot be."""
    with workspace.lock():
        (workspace.root / JOURNAL).unlink(missing_ok=True)


def _objects_of(workspace: Workspace, ids: set[str]) -> set[str]:
    """Paths of all that the samples refer to: picture, soft labels, layers."""
    return {path for path, identity in _references(workspace) if identity in ids} if ids else set()


def _used(workspace: Workspace, paths: set[str]) -> set[str]:
    """Those of the objects that a sample that stays refers to."""
    return {path for path, _ in _references(workspace) if path in paths}


def _references(workspace: Workspace) -> Iterator[tuple[str, str]]:
    for folder in manifest_folders(workspace.root):
        for path in shard_files(folder):
            yield from object_references(path)


def _stored(workspace: Workspace, digests: Iterable[str]) -> set[str]:
    """Stored files of these sha256 sums, also such as no manifest knows."""
    root = workspace.root
    return {
        path.relative_to(root).as_posix()
        for store in STORES
        for value in digests
        for path in (root / store / value[:2]).glob(f"{value}*")
    }


def _sweep(workspace: Workspace, step: Step) -> list[str]:
    """Remove what no row refers to: of stage runs since removed, and whose picture it shows nobody knows."""
    root = workspace.root
    shards = (path for folder in manifest_folders(root) for path in shard_files(folder))
    wanted = np.unique(np.fromiter((key for path in shards for key in shard_keys(path)), np.uint64))
    orphans = [path for path in compare_stored(root, wanted)[1] if len(Path(path).stem) == 64]
    for path in orphans:
        (root / path).unlink()
        step(f"object {path}")
    return orphans


def _tombstones(
    found: Iterable[Found], wanted: Wanted, urls: Iterable[str], reason: str, date: str
) -> list[Tombstone]:
    stones = [
        Tombstone(
            date=date,
            reason=reason,
            sha256=item.sha256,
            content_sha256=item.content_sha256,
            phash="" if item.parent_id else item.phash,
            url=item.url,
            source=item.source,
        )
        for item in found
    ]
    # What was asked for and is not here must not come either.
    asked = [Tombstone(date=date, reason=reason, url=url) for url in sorted(urls)]
    asked += [Tombstone(date=date, reason=reason, sha256=value) for value in sorted(wanted.sha256s)]
    asked += [Tombstone(date=date, reason=reason, phash=value) for value in sorted(wanted.phashes)]
    known = Tombstones(stones)
    stones += [stone for stone in asked if not known.has(stone)]
    for value in sorted(wanted.blocked):
        kind = "phash" if len(value) == 16 else "sha256"
        stones.append(Tombstone(date=date, reason=reason, is_blocklist=True, **{kind: value}))
    return stones


def _read_journal(workspace: Workspace) -> dict[str, Any]:
    try:
        values = json.loads((workspace.root / JOURNAL).read_bytes())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise DataError(f"{workspace.root / JOURNAL} is damaged: {error}") from error
    return dict(values)


def _write_journal(workspace: Workspace, record: dict[str, Any], step: Step) -> None:
    write_text(workspace.root / JOURNAL, canonical_json(record) + "\n")
    step("journal")
