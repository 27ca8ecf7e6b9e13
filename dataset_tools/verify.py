"""Is everything still there, bit for bit? Every stored file is hashed again, every reference followed.

Files are named by the sha256 of their bytes, so a changed one tells on itself. It is moved to `quarantine/`,
where nothing uses it. What was checked is noted every thousand files: a check that was cut off goes on there.
"""

from __future__ import annotations

import dataclasses
import json
from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dataset_tools.core.errors import DataError, ManifestError
from dataset_tools.core.files import canonical_json, sha256_file, write_text
from dataset_tools.core.manifest import Manifest, read_shard_counts
from dataset_tools.core.progress import ProgressFactory, silent
from dataset_tools.core.workspace import Workspace
from dataset_tools.references import (
    Keys,
    compare_stored,
    manifest_folders,
    object_references,
    sample_origins,
    shard_files,
    shard_keys,
    short_key,
    stored_files,
)

CHECKPOINT = "verify.json"
QUARANTINE = "quarantine"
EVERY = 1000


@dataclass(frozen=True, slots=True)
class Lost:
    """A stored file that a sample needs and that is gone or damaged.

    Attributes:
        path: relative to the workspace.
        sample_id, item_key, url, source: of a sample that refers to it.
        stage: name of the first stage whose rows refer to it: the one that can make it again.
    """

    path: str
    sample_id: str
    item_key: str
    url: str
    source: str
    stage: str


@dataclass(frozen=True)
class Verified:
    """What a check found.

    Attributes:
        checked: files hashed, those of the resumed part included.
        damaged: files whose bytes are not those of their name; they are in quarantine now.
        missing: files that rows refer to and that are not there; without the damaged ones.
        orphans: stored files that no row refers to: left by killed runs and by settings since deleted.
        broken: manifest files that cannot be read.
        lost: for each damaged or missing file a sample that needs it; a damaged orphan loses nothing.
    """

    checked: int = 0
    damaged: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    orphans: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()
    lost: tuple[Lost, ...] = ()

    @property
    def is_whole(self) -> bool:
        """True when nothing is damaged or missing."""
        return not (self.damaged or self.missing or self.broken)


def verify(
    workspace: Workspace,
    *,
    resume: bool = False,
    progress: ProgressFactory = silent,
    noted: Callable[[int], None] = lambda checked: None,
) -> Verified:
    """Check every stored file and every reference.

    Args:
        workspace: must not be locked by the caller.
        resume: go on where a check that was cut off stopped.
        progress: opens the progress display.
        noted: told the number of checked files after each checkpoint.

    Raises:
        DataError: there is no such workspace, or the checkpoint is damaged.
        WorkspaceBusy: another process writes to this workspace.
    """
    if not workspace.root.is_dir():
        raise DataError(f"{workspace.root} is not there")
    with workspace.lock():
        state = _read_checkpoint(workspace.root) if resume else {}
        checked, damaged = _check_files(workspace.root, state, progress, noted)
        wanted, broken = _wanted(workspace.root)
        there, orphans = compare_stored(workspace.root, wanted)
        absent = _absent(workspace.root, wanted[~np.isin(wanted, there)])
        damaged = sorted(set(damaged))
        missing = sorted(absent - set(damaged))
        lost = _lost(workspace.root, set(damaged) | set(missing))
        (workspace.root / CHECKPOINT).unlink(missing_ok=True)
    return Verified(checked, tuple(damaged), tuple(missing), tuple(orphans), tuple(broken), tuple(lost))


def reopen(workspace: Workspace, found: Verified) -> list[str]:
    """Let the stages that made what is lost do those shards again.

    Their rows are read again from the source, so a photo comes back when the source still has it; unreadable
    shards are made again likewise. The next `build-dataset run` does the work.

    Returns:
        What was reopened: "crawl-0123456789ab/part-00003.parquet", ….
    """
    lost = {item.path for item in found.lost}
    reopened = []
    with workspace.lock():
        for folder in _in_flow_order(workspace.root):
            for path in shard_files(folder):
                name = f"{folder.name}/{path.name}"
                needed = set() if name in found.broken else lost & {one for one, _ in object_references(path)}
                if not needed and name not in found.broken:
                    continue
                lost -= needed
                # The header first: a manifest with a hole must not look complete.
                (folder / "header.json").unlink(missing_ok=True)
                path.unlink()
                reopened.append(name)
    return reopened


# -- files --------------------------------------------------------------------------------------------------


def _check_files(
    root: Path, state: dict[str, Any], progress: ProgressFactory, noted: Callable[[int], None]
) -> tuple[int, list[str]]:
    after, checked = str(state.get("after", "")), int(state.get("checked", 0))
    damaged: list[str] = [str(path) for path in state.get("damaged", [])]
    with progress("verify", None) as bar:
        for path in stored_files(root):
            if path <= after:
                continue
            if sha256_file(root / path) != Path(path).stem:
                # Noted before it is moved: a check cut off in between must not forget it.
                damaged.append(path)
                _write_checkpoint(root, after, checked, damaged)
                target = root / QUARANTINE / path
                target.parent.mkdir(parents=True, exist_ok=True)
                (root / path).replace(target)
            after, checked = path, checked + 1
            bar.advance()
            if checked % EVERY == 0:
                _write_checkpoint(root, after, checked, damaged)
                noted(checked)
    return checked, damaged


def _write_checkpoint(root: Path, after: str, checked: int, damaged: list[str]) -> None:
    write_text(root / CHECKPOINT, canonical_json({"after": after, "checked": checked, "damaged": damaged}))


def _read_checkpoint(root: Path) -> dict[str, Any]:
    try:
        values = json.loads((root / CHECKPOINT).read_bytes())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise DataError(f"{root / CHECKPOINT} is damaged: {error}; check again without --resume") from error
    return dict(values)


# -- references ---------------------------------------------------------------------------------------------


def _wanted(root: Path) -> tuple[Keys, list[str]]:
    """Keys of all files that rows refer to, sorted, and the shards that cannot be read."""
    keys, broken = array("Q"), []
    for folder in manifest_folders(root):
        for path in shard_files(folder):
            try:
                read_shard_counts(folder, int(path.stem.removeprefix("part-")))
                keys.extend(shard_keys(path))
            except ManifestError:
                broken.append(f"{folder.name}/{path.name}")
    return np.unique(np.frombuffer(keys, dtype=np.uint64)), broken


def _absent(root: Path, keys: Keys) -> set[str]:
    """Paths of referenced objects with these keys. Originals are kept on request only, so none is missed."""
    if not len(keys):
        return set()
    known = set(keys.tolist())
    return {
        path for shard in _readable(root) for path, _ in object_references(shard) if short_key(path) in known
    }


def _lost(root: Path, paths: set[str]) -> list[Lost]:
    found: dict[str, Lost] = {}
    for folder in _in_flow_order(root) if paths else ():
        for shard in _readable_of(folder):
            needed: dict[str, set[str]] = {}
            for path, identity in object_references(shard):
                if path in paths:
                    needed.setdefault(identity, set()).add(path)
            if not needed:
                continue
            for origin in sample_origins(shard):
                for path in needed.get(origin.sample_id, set()) - set(found):
                    found[path] = Lost(
                        path,
                        origin.sample_id,
                        origin.item_key,
                        origin.url,
                        origin.source,
                        folder.name.rpartition("-")[0],
                    )
    return [found[path] for path in sorted(found)]


def _readable(root: Path) -> Iterator[Path]:
    for folder in manifest_folders(root):
        yield from _readable_of(folder)


def _readable_of(folder: Path) -> Iterator[Path]:
    for path in shard_files(folder):
        try:
            read_shard_counts(folder, int(path.stem.removeprefix("part-")))
        except ManifestError:
            continue
        yield path


def _in_flow_order(root: Path) -> Iterable[Path]:
    """Folders of stage runs, each after the one it was made from."""
    folders = manifest_folders(root)
    parents: dict[str, str] = {}
    keys: dict[Path, str] = {}
    for folder in folders:
        try:
            manifest = Manifest(folder)
        except ManifestError:
            continue
        keys[folder] = manifest.key
        parents[manifest.key] = str(manifest.header.get("parent", ""))

    def depth(folder: Path) -> int:
        steps, key = 0, keys.get(folder, "")
        while key in parents and steps < len(folders):
            steps, key = steps + 1, parents[key]
        return steps

    return sorted(folders, key=lambda folder: (depth(folder), folder.name))


def verified_values(found: Verified) -> dict[str, Any]:
    """A check's findings as plain JSON values."""
    return dataclasses.asdict(found)
