"""Publish an exported dataset on the Hugging Face Hub: the one file that talks to it.

`prepare` makes the exact folder that would go up and reads no network. `push` compares it with the remote
file by file and makes one commit, or none when nothing changed. Private unless asked otherwise.

The token comes from the Hub's own login or the environment (`HF_TOKEN`) and appears in no message.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dataset_tools.core.errors import ConfigError, DataError, HubError
from dataset_tools.core.files import sha256_file
from dataset_tools.export.replace import replacing_folder

# Parts of an exported dataset that the Hub shows; the other formats hold the same pictures again.
_PUBLISHED = ("README.md", "dataset.json", "data")

# Files the Hub itself puts into a repository.
_REMOTE_OWN = frozenset({".gitattributes"})

_SERVER_FAULT = 500


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
    """

    folder: Path
    files: tuple[PlannedFile, ...]
    missing: tuple[str, ...]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(item.size for item in self.files)


@dataclass(frozen=True, slots=True)
class PublishReport:
    """What a push did.

    Attributes:
        url: of the repository.
        commit: its head now.
        added, changed, removed: paths in the commit; all empty when nothing had to be done.
    """

    url: str
    commit: str
    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()

    @property
    def is_new_commit(self) -> bool:
        """False when the repository already held exactly this folder."""
        return bool(self.added or self.changed or self.removed)


def prepare(dataset: Path, out: Path) -> PublishPlan:
    """Make the folder that `push` uploads, from an exported dataset; nothing leaves this machine.

    Args:
        dataset: folder of `export_dataset`, with the format "huggingface" in it.
        out: folder to make or replace.

    Raises:
        DataError: no such dataset.
    """
    if not (dataset / "dataset.json").is_file() or not any(dataset.glob("data/*.parquet")):
        raise DataError(f"{dataset} holds no exported dataset with the format huggingface; run export first")
    with replacing_folder(out) as fresh:
        for name in _PUBLISHED:
            source = dataset / name
            if source.is_dir():
                shutil.copytree(source, fresh / name, copy_function=_link_or_copy)
            else:
                shutil.copyfile(source, fresh / name)
    return read_plan(out)


def _link_or_copy(source: str, target: str) -> str:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
    return target


def check_repository_name(repo: str) -> None:
    """Refuse what the Hub would refuse, before anything is prepared.

    Raises:
        ConfigError: not of the form "user/name".
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]  # public, but not typed so

    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise ConfigError(f"{repo!r} is no repository name: {' '.join(str(error).split())}") from None
    if repo.count("/") != 1:
        raise ConfigError(f"{repo!r} is no repository name; expected user/name")


def read_plan(folder: Path) -> PublishPlan:
    """The plan of a folder that `prepare` made.

    Raises:
        DataError: it is not such a folder.
    """
    try:
        facts = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
        missing = tuple(str(item) for item in facts["missing"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{folder} is not a prepared dataset: {error!r}") from error
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    files = (
        PlannedFile(path.relative_to(folder).as_posix(), path.stat().st_size, sha256_file(path))
        for path in paths
    )
    return PublishPlan(folder, tuple(files), missing)


def push(
    folder: Path,
    repo: str,
    *,
    public: bool = False,
    message: str = "Update dataset",
    endpoint: str | None = None,
) -> PublishReport:
    """Bring a dataset repository to the state of a prepared folder, in one commit.

    Args:
        folder: made by `prepare`.
        repo: "user/name".
        public: make and accept a public repository. Without it the repository is created private and an
            existing public one is refused.
        message: of the commit.
        endpoint: another Hub than the usual one.

    Raises:
        DataError: not a prepared folder, or public although the card lacks something.
        HubError: no token, no rights, the Hub is away, or the repository moved meanwhile.
    """
    plan = read_plan(folder)
    if public and plan.missing:
        raise DataError(f"not published openly, because the dataset lacks {'; '.join(plan.missing)}")
    from huggingface_hub import HfApi, get_token

    token = get_token()
    if not token:
        raise HubError("no Hub token: log in with `hf auth login` or set HF_TOKEN")
    api = HfApi(endpoint=endpoint, token=token)
    with _hub_errors(repo, token):
        url = str(api.create_repo(repo, repo_type="dataset", private=not public, exist_ok=True))
        info = api.dataset_info(repo)
        if not public and info.private is False:
            raise HubError(f"{repo} is public; pass --public to publish there, or choose another name")
        head = str(info.sha or "")
        added, changed, removed = _difference(plan, _remote_files(api, repo, head))
        if not (added or changed or removed):
            return PublishReport(url, head)
        commit = _commit(api, plan, repo, head, added + changed, removed, message)
    return PublishReport(url, commit, tuple(added), tuple(changed), tuple(removed))


def _remote_files(api: Any, repo: str, revision: str) -> dict[str, str]:
    """Content digest by path: SHA-256 for large files, git's own digest for small ones."""
    if not revision:
        return {}
    tree = api.list_repo_tree(repo, repo_type="dataset", recursive=True, revision=revision)
    return {
        item.path: item.lfs.sha256 if item.lfs else item.blob_id
        for item in tree
        if hasattr(item, "blob_id") and item.path not in _REMOTE_OWN
    }


def _difference(plan: PublishPlan, remote: dict[str, str]) -> tuple[list[str], list[str], list[str]]:
    local = {item.path: item for item in plan.files}
    added = [path for path in local if path not in remote]
    changed = [
        path
        for path, item in local.items()
        if path in remote and remote[path] not in (item.sha256, _git_digest(plan.folder / path, item.size))
    ]
    return added, changed, sorted(set(remote) - set(local))


def _git_digest(path: Path, size: int) -> str:
    # git names a file by the sha1 of "blob <size>\0" and its content.
    digest = hashlib.sha1(f"blob {size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _commit(
    api: Any, plan: PublishPlan, repo: str, head: str, upload: list[str], removed: list[str], message: str
) -> str:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete
    from huggingface_hub.errors import HfHubHTTPError

    operations = [
        *(CommitOperationAdd(path, plan.folder / path) for path in upload),
        *(CommitOperationDelete(path) for path in removed),
    ]
    try:
        info = api.create_commit(
            repo, operations, commit_message=message, repo_type="dataset", parent_commit=head or None
        )
    except _client_errors() as error:
        if isinstance(error, HfHubHTTPError) and error.response.status_code < _SERVER_FAULT:
            raise
        # A commit may be made although its answer was 500 or got lost (datasets PR 7708): look first.
        now = str(api.dataset_info(repo).sha or "")
        if any(_difference(plan, _remote_files(api, repo, now))):
            raise
        return now
    return str(info.oid)


def _client_errors() -> tuple[type[Exception], ...]:
    # The client's HTTP library changed its name between versions; its base error stays the parent of this.
    # A failed upload of one file comes as a RuntimeError that only names the file.
    from huggingface_hub.errors import HfHubHTTPError

    return (HfHubHTTPError.__bases__[0], ConnectionError, TimeoutError, RuntimeError)


_MEANINGS = {
    401: "the Hub does not accept the token",
    403: "the token may not write there (it needs the write role)",
    404: "there is no such repository, or the token may not see it",
    409: "the repository is busy; try again",
    412: "somebody else changed the repository meanwhile; run the same command again",
    429: "the Hub asks to slow down; try again later",
}


@contextmanager
def _hub_errors(repo: str, token: str) -> Iterator[None]:
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        yield
    except HFValidationError as error:
        raise HubError(f"{repo!r} is no repository name: {_one_line(error, token)}") from None
    except _client_errors() as error:
        if isinstance(error, HubError):
            raise
        cause = error.__cause__ if type(error) is RuntimeError and error.__cause__ else error
        if isinstance(cause, HfHubHTTPError):
            status = cause.response.status_code
            said = _MEANINGS.get(status) or _one_line(cause, token)
            raise HubError(f"{repo}: {said} (HTTP {status})") from None
        raise HubError(f"{repo}: the Hub cannot be reached: {_one_line(cause, token)}") from None


def _one_line(error: BaseException, token: str) -> str:
    return " ".join(str(error).replace(token, "<token>").split())[:300]
