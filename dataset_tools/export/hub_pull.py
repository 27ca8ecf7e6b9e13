"""Bring a repository of the Hub onto this machine, byte for byte, at one commit, every hash checked.

Files arrive in a folder beside the target, named after the endpoint, repository and commit; the target
appears in one step when all of them are whole. A pull that was cut off goes on with the next file.

What a repository does not hold a pull cannot restore: a dataset comes back as it was exported (a source of
type `dataset` reads it); manifests, reviews, models and dropped pictures of the workspace come back only if
it was published with `--with-workspace`.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dataset_tools.core.errors import DataError, HubError
from dataset_tools.core.files import digest_json, sha256_file
from dataset_tools.core.progress import ProgressFactory, silent
from dataset_tools.export.hub_client import Hub, Pause, RemoteFile, RepoType, sleep
from dataset_tools.export.hub_plan import git_digest
from dataset_tools.export.hub_tars import safe_path, unpack_workspace

# What arrived damaged is fetched once more; then the Hub is to blame.
_TRIES = 2


@dataclass(frozen=True, slots=True)
class PullReport:
    """What was pulled.

    Attributes:
        folder: where it lies.
        commit: it is of.
        files: in the folder.
        size: bytes of them.
        fetched: files of the repository that were downloaded now; 0 when an identical folder was there.
        is_workspace: a whole workspace was restored, not only the dataset.
    """

    folder: Path
    commit: str
    files: int
    size: int
    fetched: int
    is_workspace: bool


def pull(
    repo: str,
    out: Path,
    *,
    repo_type: RepoType = "dataset",
    revision: str | None = None,
    workspace: bool = False,
    endpoint: str | None = None,
    pause: Pause = sleep,
    progress: ProgressFactory = silent,
) -> PullReport:
    """Download a repository, or restore the workspace in it.

    Args:
        repo: "user/name".
        out: folder to make; one that is there must hold exactly the same already, or nothing.
        repo_type: what kind.
        revision: commit, tag or branch; the head of main when None. All files are of one commit.
        workspace: give the workspace packed in the repository instead of its files.
        endpoint: another Hub than the usual one.
        pause: waits that many seconds between tries.
        progress: opens the progress display.

    Raises:
        ConfigError: bad repository name.
        DataError: a file name leaves the folder, `out` holds something else, or no workspace is in there.
        HubError: no such repository or revision, the Hub is away, or a file arrived damaged twice.
    """
    hub = Hub(repo, repo_type, endpoint=endpoint, needs_token=False, pause=pause)
    state = hub.state(revision)
    if state is None or not state.head:
        hint = "" if hub.has_token else "; a private one needs a token: `hf auth login` or HF_TOKEN"
        raise HubError(f"{repo}: no such repository or revision {revision or 'main'}{hint}")
    remote = hub.files(state.head)
    _check_names(remote)
    if not workspace and out.is_dir() and any(out.iterdir()):
        if not _holds(out, remote):
            raise DataError(f"{out} is there and holds something else than {repo} at {state.head[:12]}")
        return _report(out, state.head, 0, is_workspace=False)
    if workspace and out.is_dir() and any(out.iterdir()):
        raise DataError(f"{out} is there; a workspace is restored into a new folder only")
    staging = _staging(out, hub, repo, state.head)
    fetched = _fetch(hub, remote, state.head, staging, progress)
    shutil.rmtree(staging / ".cache", ignore_errors=True)
    for stray in _strays(staging, remote):
        stray.unlink()
    if workspace:
        restored = staging.with_name(f"{staging.name}-workspace")
        shutil.rmtree(restored, ignore_errors=True)
        restored.mkdir(mode=0o700)
        unpack_workspace(staging, restored)
        shutil.rmtree(staging)
        staging = restored
    os.sync()
    if out.is_dir():
        out.rmdir()
    staging.rename(out)
    return _report(out, state.head, fetched, is_workspace=workspace)


def fetch_files(
    repo: str,
    commit: str,
    names: Sequence[str],
    folder: Path,
    repo_type: RepoType = "dataset",
    *,
    endpoint: str | None = None,
    pause: Pause = sleep,
) -> int:
    """Bring the named files of a commit into a folder, checked; gives how many of them are there.

    Raises:
        HubError: the Hub is away, or a file arrived damaged twice.
    """
    hub = Hub(repo, repo_type, endpoint=endpoint, needs_token=False, pause=pause)
    there = hub.files(commit) if commit else {}
    found = [name for name in names if name in there]
    for name in found:
        _fetch_one(hub, name, commit, folder, there[name])
    return len(found)


def _check_names(remote: dict[str, RemoteFile]) -> None:
    for name in remote:
        if safe_path(name).parts[0] == ".cache":
            raise DataError(f"{name!r} would meet the download's own notes; nothing was written")
    folded: dict[str, str] = {}
    for name in remote:
        other = folded.setdefault(name.casefold(), name)
        if other != name:
            raise DataError(f"{name!r} and {other!r} are one file on some systems; nothing was written")


def _staging(out: Path, hub: Hub, repo: str, commit: str) -> Path:
    # The name holds everything that decides the content, so another repository never looks half pulled.
    key = digest_json([hub.endpoint, hub.repo_type, repo, commit])[:16]
    folder = out.resolve().with_name(f".pull-{out.name}-{key}")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def _fetch(
    hub: Hub, remote: dict[str, RemoteFile], commit: str, folder: Path, progress: ProgressFactory
) -> int:
    fetched = 0
    with progress("pull", len(remote)) as bar:
        for name, expected in sorted(remote.items()):
            target = folder / safe_path(name)
            if not _is_whole(target, expected):
                _fetch_one(hub, name, commit, folder, expected)
                fetched += 1
            bar.advance()
    return fetched


def _fetch_one(hub: Hub, name: str, commit: str, folder: Path, expected: RemoteFile) -> None:
    for _ in range(_TRIES):
        # The client trusts sizes and times of what is there; only the hash counts here.
        (folder / safe_path(name)).unlink(missing_ok=True)
        found = hub.download(name, commit, folder)
        if _is_whole(found, expected):
            return
    raise HubError(f"{hub.repo}: {name} arrived {_TRIES} times with another content than the Hub lists")


def _is_whole(path: Path, expected: RemoteFile) -> bool:
    if not path.is_file() or path.is_symlink() or path.stat().st_size != expected.size:
        return False
    return (sha256_file(path) if expected.is_lfs else git_digest(path)) == expected.digest


def _strays(folder: Path, remote: dict[str, RemoteFile]) -> list[Path]:
    return [
        path
        for path in folder.rglob("*")
        if not path.is_dir() and path.relative_to(folder).as_posix() not in remote
    ]


def _holds(folder: Path, remote: dict[str, RemoteFile]) -> bool:
    return not _strays(folder, remote) and all(
        _is_whole(folder / safe_path(name), expected) for name, expected in remote.items()
    )


def _report(folder: Path, commit: str, fetched: int, *, is_workspace: bool) -> PullReport:
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return PullReport(
        folder, commit, len(paths), sum(path.stat().st_size for path in paths), fetched, is_workspace
    )
