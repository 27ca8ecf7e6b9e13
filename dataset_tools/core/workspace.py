"""A workspace on disk: pictures by content, one manifest directory per stage run, one writer at a time."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dataset_tools.core.errors import WorkspaceBusy
from dataset_tools.core.files import digest_json, disk_faults
from dataset_tools.core.images import ImageStore
from dataset_tools.core.manifest import Manifest


def stage_key(stage: str, version: str, config: dict[str, Any], parent_key: str) -> str:
    """Digest of all that decides a stage's rows; a changed setting means another directory."""
    return digest_json({"stage": stage, "version": version, "config": config, "parent": parent_key})


class Workspace:
    """One build's folder.

    objects/      pictures, named by sha256
    manifests/    <stage>-<key>/ per stage run
    models/       checkpoints trained by this build
    reviews/      verdicts pulled from review sessions, never overwritten
    dataset/      the exported dataset

    It holds photos of people: the folder is made for its owner alone (0700), and so is what is written while
    it is locked. An owner who opens a finished one to others is not overruled.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self.images = ImageStore(self.root)

    def manifest_dir(self, stage: str, key: str) -> Path:
        """Where the manifest of that stage run lies."""
        return self.root / "manifests" / f"{stage}-{key[:12]}"

    def manifest(self, stage: str, key: str) -> Manifest:
        """The complete manifest of that stage run.

        Raises:
            ManifestError: the stage has not finished.
        """
        return Manifest(self.manifest_dir(stage, key))

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the workspace for writing; the kernel frees it when this process dies.

        What killed runs left half-made in the workspace is removed.

        Raises:
            WorkspaceBusy: another process holds it; names that process.
            ServiceError: the workspace lies on a full or read-only disk.
        """
        path = self.root / ".lock"
        with disk_faults(path):
            self._make_private()
            stream = os.fdopen(os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600), "a+")
        with stream, _for_owner_only():
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                stream.seek(0)
                holder = stream.read(500).strip() or "unknown process"
                raise WorkspaceBusy(f"{self.root} is in use by {holder}") from None
            # A holder that ended by itself wiped its name off; one that was killed could not.
            stream.seek(0)
            self._sweep(everywhere=bool(stream.read(1)))
            with disk_faults(path):
                stream.truncate(0)
                stream.write(
                    json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "command": sys.argv[:3]})
                )
                stream.flush()
            try:
                yield
            finally:
                stream.truncate(0)

    def _make_private(self) -> None:
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        # A listing may have made it before; a folder with anything else in it is somebody's own.
        if {entry.name for entry in self.root.iterdir()} <= {"listings"}:
            for folder in (self.root, self.root / "listings"):
                for path in (folder, *folder.glob("*.jsonl")) if folder.is_dir() else ():
                    path.chmod(path.stat().st_mode & 0o700)

    def _sweep(self, *, everywhere: bool) -> None:
        # What killed runs left half-made: all who write here hold the lock, so nobody needs it. Looking
        # through millions of pictures takes its time, so it is only done when there is a reason.
        left = list(self.root.glob(".tmp-*"))
        for folder in ("objects", "manifests") if everywhere else ():
            left.extend((self.root / folder).rglob(".tmp-*"))
        for path in left:
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


@contextmanager
def _for_owner_only() -> Iterator[None]:
    """What this process, and those it starts, write inside the block is for the owner alone."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)
