"""Local files as untrusted input: listed without following links, opened without surprises."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dataset_tools.core.errors import ConfigError, FetchFault
from dataset_tools.core.published import Fault
from dataset_tools.core.reasons import Reason

_MAX_NAME_BYTES = 255  # of one part of a path, on every usual file system

_REASON_OF_ERRNO = {
    errno.ELOOP: Reason.UNSAFE_PATH,
    errno.ENOENT: Reason.MISSING_IMAGE,
    errno.ENOTDIR: Reason.MISSING_IMAGE,
    errno.ENAMETOOLONG: Reason.MISSING_IMAGE,
    errno.EACCES: Reason.PERMISSION,
    errno.EPERM: Reason.PERMISSION,
}


@dataclass(frozen=True, slots=True)
class LocalEntry:
    """One directory entry below a root.

    Attributes:
        name: path relative to the root with "/" between parts, printable even when it is not UTF-8.
        path: absolute path.
        fault: why it is not an ordinary file.
    """

    name: str
    path: Path
    fault: Fault | None = None


def require_folder(path: Path, source: str) -> Path:
    """`path`, absolute.

    Raises:
        ConfigError: it is not an existing folder.
    """
    if not path.is_dir():
        raise ConfigError(f"source {source}: {path} is not a folder")
    return path.absolute()


def require_file(path: Path, source: str) -> Path:
    """`path`, absolute.

    Raises:
        ConfigError: it is not an existing file.
    """
    if not path.is_file():
        raise ConfigError(f"source {source}: {path} is not a file")
    return path.absolute()


def printable_name(path: Path) -> str:
    """Path as text that can be stored: bytes that are not UTF-8 are written as backslash escapes."""
    return os.fsencode(path.as_posix()).decode("utf-8", "backslashreplace")


def walk(root: Path) -> Iterator[LocalEntry]:
    """Everything below `root` that is not a folder, sorted by name.

    Links are never followed. Links, pipes, devices and unreadable folders come as faulty entries, so that
    nothing vanishes unseen.
    """
    yield from sorted(_walk(root), key=lambda entry: entry.name)


def _walk(root: Path) -> Iterator[LocalEntry]:
    pending = [root]
    while pending:
        folder = pending.pop()
        try:
            entries = list(os.scandir(folder))
        except OSError as error:
            yield _entry(root, folder, Fault(Reason.PERMISSION, f"folder: {error.strerror}"))
            continue
        for entry in entries:
            path = Path(entry.path)
            if entry.is_symlink():
                yield _entry(root, path, Fault(Reason.UNSAFE_PATH, "a symbolic link; links are not followed"))
            elif entry.is_dir(follow_symlinks=False):
                pending.append(path)
            elif entry.is_file(follow_symlinks=False):
                yield _entry(root, path, None)
            else:
                yield _entry(root, path, Fault(Reason.NOT_A_FILE, "a pipe, socket or device"))


def _entry(root: Path, path: Path, fault: Fault | None) -> LocalEntry:
    return LocalEntry(printable_name(path.relative_to(root)), path, fault)


def inside(root: Path, name: str) -> Path:
    """Path of `name`, a path found in data, below `root`.

    Raises:
        FetchFault: `unsafe_path` when it leads outside, also by a link or as an absolute path;
            `missing_image` for a name that no file can have.
    """
    try:
        base = root.resolve()
        target = (base / name).resolve()
    except (OSError, ValueError, RuntimeError) as error:
        raise FetchFault(Reason.UNSAFE_PATH, f"{name[:200]!r} is not a path: {error}") from error
    if any(len(os.fsencode(part)) > _MAX_NAME_BYTES for part in target.parts):
        raise FetchFault(Reason.MISSING_IMAGE, f"{name[:200]!r}… is longer than a file name can be")
    if not target.is_relative_to(base):
        raise FetchFault(Reason.UNSAFE_PATH, f"{name[:200]!r} leads outside the source's folder")
    return target


def read_local(path: Path, max_bytes: int) -> bytes:
    """The bytes of an ordinary file; the last part of the path must not be a link.

    Raises:
        FetchFault: missing_image, permission, unsafe_path (a link), not_a_file (pipe, device, folder),
            too_many_bytes.
    """
    # Without O_NONBLOCK the open of a pipe waits for a writer, possibly for ever.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        handle = os.open(path, flags)
    except (OSError, ValueError) as error:
        code = error.errno if isinstance(error, OSError) else None
        reason = _REASON_OF_ERRNO.get(code or 0, Reason.NOT_A_FILE)
        raise FetchFault(reason, f"cannot open the file: {getattr(error, 'strerror', error)}") from error
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise FetchFault(Reason.NOT_A_FILE, "not an ordinary file")
        if status.st_size > max_bytes:
            raise FetchFault(Reason.TOO_MANY_BYTES, f"{status.st_size} bytes, at most {max_bytes} allowed")
        with os.fdopen(handle, "rb", closefd=False) as stream:
            return stream.read(max_bytes)
    except OSError as error:
        raise FetchFault(
            Reason.TRANSPORT, f"cannot read the file: {error.strerror}", retryable=True
        ) from error
    finally:
        os.close(handle)
