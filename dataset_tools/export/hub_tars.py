"""A whole workspace as a few tar files, and back, byte for byte.

Equal workspaces give equal archives: names are sorted, and owners, times and rights are left out. What is not
packed: the lock, half-written files, links, and the folder that `publish` itself prepares.
"""

from __future__ import annotations

import itertools
import os
import re
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from dataset_tools.core.errors import DataError

FOLDER = "workspace"
# Few large files travel well; an archive is the unit of resuming an upload or a download.
BYTES_PER_ARCHIVE = 1 << 29

_LEFT_OUT = frozenset({".lock", "publish"})
_RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?")


def pack_workspace(workspace: Path, out: Path, leave_out: Path) -> None:
    """Write `out/workspace/part-00000.tar` and so on.

    Args:
        workspace: to pack.
        out: folder for the archives.
        leave_out: a folder that is not packed even if it lies in the workspace.
    """
    folder = out / FOLDER
    folder.mkdir()
    paths = _files(workspace, leave_out.resolve())
    path = next(paths, None)
    for number in itertools.count():
        if path is None:
            return
        with tarfile.open(folder / f"part-{number:05d}.tar", "w", format=tarfile.PAX_FORMAT) as archive:
            filled = 0
            while path is not None and filled < BYTES_PER_ARCHIVE:
                filled += _add(archive, path, path.relative_to(workspace).as_posix())
                path = next(paths, None)


def _add(archive: tarfile.TarFile, path: Path, name: str) -> int:
    member = tarfile.TarInfo(name)
    if path.is_dir():
        member.type, member.mode = tarfile.DIRTYPE, 0o700
        archive.addfile(member)
        return 0
    member.size, member.mode = path.stat().st_size, 0o600
    with path.open("rb") as stream:
        archive.addfile(member, stream)
    return member.size


def _files(workspace: Path, leave_out: Path) -> Iterator[Path]:
    """What is packed: files, and folders with nothing in them."""
    for root, folders, names in os.walk(workspace):
        here = Path(root)
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".tmp-")
            and (here / name).resolve() != leave_out
            and not (here == workspace and name in _LEFT_OUT)
            and not (here / name).is_symlink()
        )
        if not folders and not names and here != workspace:
            yield here
        for name in sorted(names):
            path = here / name
            if not (
                name.startswith(".tmp-") or (here == workspace and name in _LEFT_OUT) or path.is_symlink()
            ):
                yield path


def unpack_workspace(folder: Path, out: Path) -> int:
    """Restore a workspace from the archives of a pulled repository; gives the number of files.

    Args:
        folder: of the repository, with `workspace/part-*.tar`.
        out: an empty folder.

    Raises:
        DataError: no archive there, a damaged one, or a member that is no plain file inside the folder.
    """
    archives = sorted((folder / FOLDER).glob("part-*.tar"))
    if not archives:
        raise DataError("this repository holds no workspace (it was published without --with-workspace)")
    count = 0
    for path in archives:
        try:
            with tarfile.open(path, "r:") as archive:
                for member in archive:
                    target = out / safe_path(member.name)
                    if member.isdir():
                        _make_private(out, target)
                        continue
                    if not member.isreg():
                        raise DataError(f"{path.name}: {member.name!r} is no plain file")
                    _make_private(out, target.parent)
                    stream = archive.extractfile(member)
                    assert stream is not None  # a plain file has one
                    with os.fdopen(
                        os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb"
                    ) as copy:
                        shutil.copyfileobj(stream, copy)
                    count += 1
        except (tarfile.TarError, OSError) as error:
            raise DataError(f"{path.name} cannot be unpacked: {error}") from error
    return count


def _make_private(root: Path, folder: Path) -> None:
    # `mkdir(parents=True)` gives the parents the rights of the process, not those asked for.
    for place in reversed([folder, *folder.parents]):
        if place.is_relative_to(root):
            place.mkdir(mode=0o700, exist_ok=True)


def safe_path(name: str) -> PurePosixPath:
    """A foreign name as a path that stays inside the folder it is joined to, on every system.

    Raises:
        DataError: absolute, with a drive, a backslash, a control character, "." or "..", an empty part, or a
            device name.
    """
    parts = name.split("/")
    bad = (
        not name
        or len(name) > 1024
        or "\\" in name
        or ":" in name
        or any(ord(character) < 32 for character in name)
        or any(part in ("", ".", "..") or _RESERVED.fullmatch(part) for part in parts)
    )
    if bad:
        raise DataError(f"{name!r} is no path inside the folder; nothing was written")
    return PurePosixPath(name)
