"""Whole-file writes that are either there or not there, and digests."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dataset_tools.core.errors import ServiceError

_DISK_FAULTS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)


def sha256_hex(data: bytes) -> str:
    """SHA-256 of bytes as 64 lower-case hex digits."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's content, read in blocks of 1 MiB."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def digest_json(value: Any) -> str:
    """SHA-256 of `canonical_json(value)`."""
    return sha256_hex(canonical_json(value).encode())


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Give a temporary path beside `target`; on success sync it and rename it onto `target`.

    A crash at any moment leaves the old file, or none, but never a torn one. Left-over temporary files
    start with `.tmp-` and are harmless. In a private workspace the file is for its owner alone.

    Raises:
        ServiceError: the disk is full, over quota, read-only or failing: no fault of what was written.
    """
    temporary = target.parent / f".tmp-{secrets.token_hex(8)}{target.suffix}"
    with disk_faults(target):
        is_private = lies_private(target.parent)
        target.parent.mkdir(mode=0o700 if is_private else 0o777, parents=True, exist_ok=True)
        try:
            # Not mkstemp: its files are for the owner alone, and a report or a dataset is for others too.
            os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600 if is_private else 0o666))
            yield temporary
            with temporary.open("rb+") as stream:
                os.fsync(stream.fileno())
            temporary.replace(target)
            _sync_directory(target.parent)
        except BaseException:
            with contextlib.suppress(OSError):  # a read-only disk keeps it; the first error is the news
                temporary.unlink(missing_ok=True)
            raise


def lies_private(folder: Path) -> bool:
    """True below a workspace, known by its `.lock` and its manifests, that only its owner may enter."""
    for place in (folder, *folder.parents):
        if (place / ".lock").exists() and (place / "manifests").is_dir():
            return place.stat().st_mode & 0o077 == 0
    return False


@contextmanager
def disk_faults(target: Path) -> Iterator[None]:
    """Turn what a disk, not the data, is to blame for into an error that stops the run and can be resumed.

    Raises:
        ServiceError: ENOSPC, EDQUOT, EROFS or EIO inside the block.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _DISK_FAULTS:
            raise
        raise ServiceError(
            f"cannot write {target}: {os.strerror(error.errno)}; once that is mended, run the same command "
            "again: finished work is kept"
        ) from error


def write_bytes(target: Path, data: bytes) -> None:
    """Write a whole file atomically and durably."""
    with replacing(target) as temporary:
        temporary.write_bytes(data)


def write_text(target: Path, text: str) -> None:
    """Write a whole UTF-8 file atomically and durably."""
    write_bytes(target, text.encode())


def _sync_directory(folder: Path) -> None:
    # A rename is only durable once the directory entry is on disk.
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
