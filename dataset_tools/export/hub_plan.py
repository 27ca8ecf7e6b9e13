"""Prepare the exact folder that goes to the Hub, and say what is in it; nothing here reads the network.

README.md          the card
DATASHEET.md, croissant.json, CHANGELOG.md   where the export has them
dataset.json       name, version, counts, and what is missing for open publication
data/*.parquet     the rows, with pictures or without
index.jsonl        what the next publication compares itself with, see `dataset_tools.versions`
workspace/*.tar    with `publish --with-workspace`: the whole workspace, see `export.hub_tars`
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dataset_tools.core.errors import DataError
from dataset_tools.core.files import sha256_file
from dataset_tools.export.hub_client import RemoteFile
from dataset_tools.export.hub_no_images import strip_pictures
from dataset_tools.export.hub_tars import pack_workspace
from dataset_tools.export.replace import replacing_folder

FACTS_FILE = "dataset.json"
CARD_FILE = "README.md"
# Parts of an exported dataset that the Hub shows; the other formats hold the same pictures again.
_PUBLISHED = (CARD_FILE, FACTS_FILE, "data")
_ALSO_PUBLISHED = ("DATASHEET.md", "croissant.json", "CHANGELOG.md")

# One commit takes at most so many large files (the Hub's own limit is 25,000).
MOST_FILES = 20_000


@dataclass(frozen=True, slots=True)
class PlannedFile:
    """One file to publish: path inside the repository, size in bytes, SHA-256 of its content."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class PublishPlan:
    """A prepared folder.

    Attributes:
        folder: exactly what will be in the repository.
        files: in it, by path.
        missing: what keeps it from being published openly.
        version: of the dataset; "" for a model or a leaderboard.
    """

    folder: Path
    files: tuple[PlannedFile, ...]
    missing: tuple[str, ...]
    version: str = ""

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(item.size for item in self.files)


@dataclass(frozen=True, slots=True)
class Change:
    """A file that differs: bytes before (None: new) and after (None: goes)."""

    path: str
    before: int | None
    after: int | None

    def __str__(self) -> str:
        if self.before is None:
            return f"+ {self.path}  {self.after} bytes"
        if self.after is None:
            return f"- {self.path}  {self.before} bytes"
        return f"~ {self.path}  {self.before} -> {self.after} bytes"


def prepare(
    dataset: Path,
    out: Path,
    *,
    with_images: bool = True,
    workspace: Path | None = None,
    complete: Callable[[Path], None] | None = None,
) -> PublishPlan:
    """Make the folder that `push` uploads, from an exported dataset; nothing leaves this machine.

    Args:
        dataset: folder of `export_dataset`, with the format "huggingface" in it.
        out: folder to make or replace.
        with_images: False leaves the pictures out: labels, addresses and hashes stay, and the card says so.
        workspace: also pack this workspace, so that a pull can restore it; never for open publication.
        complete: adds further files to the folder before it is in its place.

    Raises:
        DataError: no such dataset.
    """
    if not (dataset / FACTS_FILE).is_file() or not any(dataset.glob("data/*.parquet")):
        raise DataError(f"{dataset} holds no exported dataset with the format huggingface; run export first")
    with replacing_folder(out) as fresh:
        for name in (*_PUBLISHED, *_ALSO_PUBLISHED):
            source = dataset / name
            if source.is_dir():
                shutil.copytree(source, fresh / name, copy_function=link_or_copy)
            elif source.is_file() or name in _PUBLISHED:
                shutil.copyfile(source, fresh / name)
        if not with_images:
            strip_pictures(fresh)
        if workspace is not None:
            pack_workspace(workspace, fresh, leave_out=out)
        if complete is not None:
            complete(fresh)
    return read_plan(out)


def link_or_copy(source: str, target: str) -> str:
    """A hard link where the file system allows it, a copy otherwise."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
    return target


def read_plan(folder: Path) -> PublishPlan:
    """The plan of a prepared dataset.

    Raises:
        DataError: it is not such a folder, or holds more files than one commit takes.
    """
    try:
        facts: Any = json.loads((folder / FACTS_FILE).read_text(encoding="utf-8"))
        missing = tuple(str(item) for item in facts["missing"])
        version = str(facts["version"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{folder} is not a prepared dataset: {error!r}") from error
    return plan_of(folder, missing, version)


def plan_of(folder: Path, missing: tuple[str, ...], version: str = "") -> PublishPlan:
    """The plan of a folder as it lies there.

    Raises:
        DataError: more files than one commit takes.
    """
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    if len(paths) > MOST_FILES:
        raise DataError(f"{folder} holds {len(paths)} files; one commit takes at most {MOST_FILES}")
    files = tuple(
        PlannedFile(path.relative_to(folder).as_posix(), path.stat().st_size, sha256_file(path))
        for path in paths
    )
    return PublishPlan(folder, files, missing, version)


def compare(plan: PublishPlan, remote: dict[str, RemoteFile]) -> tuple[Change, ...]:
    """What a commit would change, by path; empty when the repository holds exactly this folder."""
    local = {item.path: item for item in plan.files}
    changes = [Change(path, found.size, None) for path, found in remote.items() if path not in local]
    for path, item in local.items():
        found = remote.get(path)
        if found is None:
            changes.append(Change(path, None, item.size))
        elif not _is_same(plan.folder / path, item, found):
            changes.append(Change(path, found.size, item.size))
    return tuple(sorted(changes, key=lambda change: change.path))


def _is_same(path: Path, item: PlannedFile, found: RemoteFile) -> bool:
    if item.size != found.size:
        return False
    return found.digest == (item.sha256 if found.is_lfs else git_digest(path))


def git_digest(path: Path) -> str:
    """The name git gives a file's content: sha1 of "blob <size>\\0" and the content."""
    digest = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
