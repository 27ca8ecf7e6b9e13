"""A copy of a workspace's finished work on any fsspec path: a folder, s3, gs, the Hugging Face Hub, memory.

    <url>/objects/ab/<sha256>.jpg|png
    <url>/manifests/<stage>-<key>/…        complete manifests only
    <url>/tombstones.jsonl                       what was taken down; a fetch does not bring it back
    <url>/index.json                       written last: every file with its size and sha256

Stages work in a local workspace, whose files appear by an atomic rename; object stores have none. So work
travels in whole pieces: one machine pushes what is finished, another fetches it and goes on, or adds what is
missing. Both directions skip what is there already and can be killed and run again. What is not here: no
stage reads or writes a remote path while it runs, and two pushes at once are not kept apart.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from dataset_tools.core.errors import ConfigError, DataError, ManifestError, ServiceError, SuiteError
from dataset_tools.core.files import replacing, sha256_file, write_bytes
from dataset_tools.core.manifest import Manifest
from dataset_tools.core.tombstones import FILE_NAME as TOMBSTONES
from dataset_tools.core.tombstones import Tombstones
from dataset_tools.core.workspace import Workspace

INDEX = "index.json"
# Copies at once: most of a small object's time is waiting for an answer.
COPIES_AT_ONCE = 8
_BLOCK_BYTES = 1 << 20

# Whatever an index says, nothing else is ever written into a workspace.
_OBJECT = re.compile(r"objects/(?P<start>[0-9a-f]{2})/(?P<sha256>(?P=start)[0-9a-f]{62})\.(jpg|png)")
_ROWS = re.compile(r"manifests/[a-z]+-[0-9a-f]{12}/(samples|rejections)/part-[0-9]{5,7}\.parquet")
_HEADER = re.compile(r"manifests/[a-z]+-[0-9a-f]{12}/header\.json")


def _is_ours(path: str) -> bool:
    return any(pattern.fullmatch(path) for pattern in (_OBJECT, _ROWS, _HEADER))


@dataclass(frozen=True, slots=True)
class Entry:
    """One file: its size in bytes and the sha256 of its content."""

    size: int
    sha256: str


Index = dict[str, Entry]  # path below the workspace → what it holds


@dataclass(frozen=True, slots=True)
class MirrorReport:
    """What a push or a fetch did.

    Attributes:
        files: in the copy, or fetched and present.
        copied: of them, those that had to travel.
        copied_bytes: their size.
        removed: files of the copy that were taken away (`prune`).
    """

    files: int
    copied: int
    copied_bytes: int
    removed: int = 0


def push_workspace(workspace: Workspace, url: str, *, prune: bool = False) -> MirrorReport:
    """Copy all pictures and all complete manifests of a workspace to `url`.

    Args:
        workspace: where from; locked meanwhile.
        url: any fsspec URL or folder; credentials come from where its library looks for them.
        prune: remove pictures and rows from the copy that are not here, e.g. after a takedown.

    Raises:
        ConfigError: no such protocol, its package is missing, or the URL holds a password.
        DataError: a picture no longer has the bytes it is named after.
        ServiceError: the other side is away or refuses; run again to resume.
    """
    with workspace.lock(), _remote(url) as (remote, root):
        if _stones_there(remote, root) - _stones_here(workspace.root):
            raise DataError(f"{url} knows takedowns that {workspace.root} does not; fetch-workspace first")
        index = _index_of(workspace.root)
        before = _read_index(remote, root) if remote.exists(f"{root}/{INDEX}") else {}
        sizes = _sizes(remote, root)

        def is_there(path: str) -> bool:
            # A picture's name is its hash; rows under one name may differ in their times.
            known = bool(_OBJECT.fullmatch(path)) or before.get(path) == index[path]
            return known and sizes.get(path) == index[path].size

        missing = [path for path in index if not is_there(path)]

        def send(path: str) -> None:
            target = f"{root}/{path}"
            remote.makedirs(target.rpartition("/")[0], exist_ok=True)
            remote.put_file(str(workspace.root / path), target)

        remote.makedirs(root, exist_ok=True)
        if _stones_here(workspace.root):
            remote.put_file(str(workspace.root / TOMBSTONES), f"{root}/{TOMBSTONES}")
        _in_order(missing, send)
        remote.pipe_file(f"{root}/{INDEX}", _write_index(index))
        gone = [path for path in sizes if _is_ours(path) and path not in index] if prune else []
        for path in gone:
            remote.rm_file(f"{root}/{path}")
    return MirrorReport(len(index), len(missing), sum(index[path].size for path in missing), len(gone))


def fetch_workspace(url: str, workspace: Workspace) -> MirrorReport:
    """Copy what was pushed to `url` into a workspace; every byte is checked before it appears there.

    Raises:
        ConfigError: as `push_workspace`.
        DataError: no finished push is there, a file is not what the index says, or the workspace holds
            another manifest under the same name.
        ServiceError: the other side is away; run again to resume.
    """
    with workspace.lock(), _remote(url) as (remote, root):
        if not remote.exists(f"{root}/{INDEX}"):
            raise DataError(f"{url} holds no finished push ({INDEX} is missing)")
        index = _read_index(remote, root)
        for path in filter(_HEADER.fullmatch, index):
            here = workspace.root / path
            if here.exists() and sha256_file(here) != index[path].sha256:
                raise DataError(
                    f"{here.parent} is another manifest than the one at {url}; move it away first"
                )
        stones = _stones_here(workspace.root) | _stones_there(remote, root)
        if stones != _stones_here(workspace.root):
            write_bytes(workspace.root / TOMBSTONES, b"".join(sorted(stones)))
        taken_down = Tombstones.read(workspace.root)
        for path in [path for path in index if _OBJECT.fullmatch(path)]:
            if taken_down.blocks_content(index[path].sha256):
                del index[path]
        missing = [path for path, entry in index.items() if not _is_here(workspace.root / path, path, entry)]

        def receive(path: str) -> None:
            digest = hashlib.sha256()
            with replacing(workspace.root / path) as temporary:
                with remote.open(f"{root}/{path}", "rb") as source, temporary.open("wb") as target:
                    while block := source.read(_BLOCK_BYTES):
                        digest.update(block)
                        target.write(block)
                if digest.hexdigest() != index[path].sha256:
                    raise DataError(f"{url}: {path} is not what the index says; push it again")

        _in_order(missing, receive)
    return MirrorReport(len(index), len(missing), sum(index[path].size for path in missing))


def _stones_here(root: Path) -> set[bytes]:
    path = root / TOMBSTONES
    return set(path.read_bytes().splitlines(keepends=True)) if path.exists() else set()


def _stones_there(remote: Any, root: str) -> set[bytes]:
    path = f"{root}/{TOMBSTONES}"
    return set(bytes(remote.cat_file(path)).splitlines(keepends=True)) if remote.exists(path) else set()


def _is_here(local: Path, path: str, entry: Entry) -> bool:
    if not local.is_file() or local.stat().st_size != entry.size:
        return False
    return bool(_OBJECT.fullmatch(path)) or sha256_file(local) == entry.sha256


def _in_order(paths: list[str], copy: Callable[[str], None]) -> None:
    """Pictures first, rows next, headers last: a header never stands for what is not there."""
    with ThreadPoolExecutor(COPIES_AT_ONCE, "mirror") as pool:
        for pattern in (_OBJECT, _ROWS, _HEADER):
            for _ in pool.map(copy, filter(pattern.fullmatch, paths)):
                pass


def _index_of(root: Path) -> Index:
    """Pictures and complete manifests below `root`; rows are hashed, pictures have their hash as a name."""
    index: Index = {}
    for path in sorted((root / "objects").glob("??/*")):
        name = path.relative_to(root).as_posix()
        found = _OBJECT.fullmatch(name)
        if found:
            index[name] = Entry(path.stat().st_size, found["sha256"])
    for header in sorted((root / "manifests").glob("*/header.json")):
        try:
            shards = Manifest(header.parent).shard_paths()
        except ManifestError:
            continue
        rejected = [header.parent / "rejections" / path.name for path in shards]
        for path in (*shards, *rejected, header):
            if not path.is_file():
                raise DataError(f"{header.parent} lacks {path.name}; run its stage again")
            index[path.relative_to(root).as_posix()] = Entry(path.stat().st_size, sha256_file(path))
    return index


def _write_index(index: Index) -> bytes:
    values = {path: [entry.size, entry.sha256] for path, entry in index.items()}
    return json.dumps({"version": 1, "files": values}, sort_keys=True).encode()


def _read_index(remote: Any, root: str) -> Index:
    try:
        values = json.loads(remote.cat_file(f"{root}/{INDEX}"))
        index = {str(path): Entry(int(size), str(sha256)) for path, (size, sha256) in values["files"].items()}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{root}/{INDEX} is not an index of this suite: {error!r}") from error
    for path, entry in index.items():
        found = _OBJECT.fullmatch(path)
        if not _is_ours(path):
            raise DataError(f"{root}/{INDEX} names {path!r}, which is no file of a workspace")
        if found and found["sha256"] != entry.sha256:
            raise DataError(f"{root}/{INDEX} gives {path} another hash than its name")
    return index


def _sizes(remote: Any, root: str) -> dict[str, int]:
    """Path below `root` → size, of everything in the copy."""
    if not remote.exists(root):
        return {}
    start = len(root.rstrip("/")) + 1
    found = remote.find(root, detail=True)
    return {str(path)[start:]: int(info.get("size") or 0) for path, info in found.items()}


@contextmanager
def _remote(url: str) -> Iterator[tuple[Any, str]]:
    """The file system of a URL and the path in it; its errors become ours."""
    from fsspec.core import url_to_fs  # type: ignore[import-untyped]

    if "@" in urlsplit(url).netloc:
        raise ConfigError("a URL with a name or password in it ends up in logs; use the environment instead")
    try:
        remote, root = url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise ConfigError(f"{url}: {error}") from error
    try:
        # Listings kept from before would hide what somebody else wrote meanwhile.
        remote.invalidate_cache()
        yield remote, str(root).rstrip("/")
    except SuiteError:
        raise
    except Exception as error:  # every file system of fsspec has errors of its own
        said = " ".join(str(error).split())[:300]
        raise ServiceError(f"{url}: {type(error).__name__}: {said}; run again to resume") from error
