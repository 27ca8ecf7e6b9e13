"""Replace a whole folder at once: readers see the old one or the new one, never half of either."""

from __future__ import annotations

import ctypes
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2  # linux/fs.h: swap two names in one step


@contextmanager
def replacing_folder(target: Path) -> Iterator[Path]:
    """Give an empty folder beside `target`; on success it becomes `target`, and the old one goes.

    A failure or a crash leaves the old folder as it was; left-overs start with `.tmp-` and are harmless.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=".tmp-", dir=target.parent))
    fresh.chmod(0o755)
    try:
        yield fresh
        os.sync()  # many files at once: one call instead of one per file
        if target.exists():
            _swap(fresh, target)
        else:
            fresh.rename(target)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _swap(fresh: Path, target: Path) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    exchange = getattr(libc, "renameat2", None)
    if exchange is not None:
        names = (_AT_FDCWD, os.fsencode(fresh), _AT_FDCWD, os.fsencode(target))
        if exchange(*names, _RENAME_EXCHANGE) == 0:
            return
    # Some file systems cannot swap; the old folder then waits under its temporary name for one rename.
    old = fresh.with_name(f"{fresh.name}-old")
    target.rename(old)
    try:
        fresh.rename(target)
    except OSError:
        old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)
