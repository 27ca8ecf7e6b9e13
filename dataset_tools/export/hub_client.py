"""One repository on the Hugging Face Hub: the file that talks to it, with its retries and its errors.

Reading is repeated after a broken connection, 408, 429 and 5xx. Writing a commit is not: it may have been
made although its answer was lost, so `export.hub` looks first. A refusal (400, 401, 403, 404) is final.

The token comes from the Hub's own login or the environment (`HF_TOKEN`) and appears in no message.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Literal, TypeVar

from dataset_tools.core.errors import ConfigError, HubError

RepoType = Literal["dataset", "model"]
Pause = Callable[[float], None]

# Files the Hub itself puts into a repository.
REMOTE_OWN = frozenset({".gitattributes"})

# Tries of a call that may be repeated, and the pauses between them in seconds.
PAUSES_S = (1.0, 2.0, 4.0)
# A longer wish of the server is not sat out but reported.
LONGEST_PAUSE_S = 60.0

_REPEATED = frozenset({408, 425, 429, 500, 502, 503, 504})
_BUSY = 409
_FINAL = frozenset({400, 401, 402, 403, 404, 405, 413, 422})

_Answer = TypeVar("_Answer")

_MEANINGS = {
    401: "the Hub does not accept the token",
    403: "the token may not do that there (writing needs the write role)",
    404: "there is no such repository or revision, or the token may not see it",
    409: "the repository is busy; try again",
    412: "somebody else changed the repository meanwhile; look at it with --dry-run, then run the same "
    "command again",
    429: "the Hub asks to slow down; try again later",
}


def sleep(seconds: float) -> None:
    """Wait."""
    time.sleep(seconds)


class HubFault(HubError):
    """A call failed.

    Attributes:
        status: HTTP status; 0 when no readable answer came.
        wait_s: seconds that the server asked to wait; None when it named none.
    """

    def __init__(self, text: str, status: int = 0, wait_s: float | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.wait_s = wait_s

    @property
    def is_final(self) -> bool:
        """True when nothing was done and asking again would get the same answer."""
        return self.status in _FINAL


@dataclass(frozen=True, slots=True)
class RemoteState:
    """A repository: commit of the asked revision, and who may see it ("auto", "manual" or "" for gated)."""

    head: str
    is_private: bool
    gated: str


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file there: bytes, and SHA-256 (LFS) or git's own sha1 of its content."""

    size: int
    digest: str
    is_lfs: bool


@dataclass(frozen=True, slots=True)
class StoredBlob:
    """A large file that the repository keeps, named by some commit or by none.

    Attributes:
        sha256: of its content.
        name: path it was pushed as.
        handle: the client's own record of it, for deleting.
    """

    sha256: str
    name: str
    handle: Any


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


def quiet_client(is_quiet: bool) -> None:
    """Switch the client's own progress bars off when that is wished, or when nobody is looking."""
    from huggingface_hub.utils import disable_progress_bars  # type: ignore[attr-defined]  # public, not typed so

    if is_quiet or not sys.stderr.isatty():
        disable_progress_bars()


class Hub:
    """One repository; every method raises `HubFault` when the Hub refuses or is away."""

    def __init__(
        self,
        repo: str,
        repo_type: RepoType = "dataset",
        *,
        endpoint: str | None = None,
        needs_token: bool = True,
        pauses_s: tuple[float, ...] = PAUSES_S,
        pause: Pause = sleep,
    ) -> None:
        """Open it; no call is made.

        Args:
            repo: "user/name".
            repo_type: what kind.
            endpoint: another Hub than the usual one.
            needs_token: False to go on without one and see what everybody sees.
            pauses_s: seconds between two tries; one try more than there are pauses.
            pause: waits that many seconds.

        Raises:
            ConfigError: bad name.
            HubError: no token although one is needed.
        """
        from huggingface_hub import HfApi, get_token

        check_repository_name(repo)
        self.repo = repo
        self.repo_type = repo_type
        self._token = get_token() or ""
        if needs_token and not self._token:
            raise HubError("no Hub token: log in with `hf auth login` or set HF_TOKEN")
        self._pauses_s = pauses_s
        self._pause = pause
        self._api: Any = HfApi(endpoint=endpoint, token=self._token or False)
        self._about = {"repo_id": repo, "repo_type": repo_type}

    @property
    def has_token(self) -> bool:
        """True when calls are made in somebody's name."""
        return bool(self._token)

    @property
    def endpoint(self) -> str:
        """Base of every address."""
        return str(self._api.endpoint)

    @property
    def url(self) -> str:
        """Where people look at it."""
        return f"{self.endpoint}/{'datasets/' if self.repo_type == 'dataset' else ''}{self.repo}"

    # -- reading --------------------------------------------------------------------------------------

    def state(self, revision: str | None = None) -> RemoteState | None:
        """The repository at a branch, tag or commit ("main" when None); None when none can be seen."""
        from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

        def ask() -> RemoteState | None:
            try:
                info = self._api.repo_info(**self._about, revision=revision)
            except GatedRepoError:
                raise
            except (RepositoryNotFoundError, RevisionNotFoundError) as error:
                # Without a token 401 also means absent or private; with one, that the token is wrong.
                if self._token and error.response.status_code == 401:
                    raise
                return None
            return RemoteState(str(info.sha or ""), info.private is not False, str(info.gated or ""))

        return self._repeat(ask)

    def files(self, revision: str) -> dict[str, RemoteFile]:
        """Files at a revision by path, without the Hub's own."""

        def ask() -> dict[str, RemoteFile]:
            tree = self._api.list_repo_tree(**self._about, recursive=True, revision=revision)
            return {
                item.path: RemoteFile(
                    item.size, item.lfs.sha256 if item.lfs else item.blob_id, item.lfs is not None
                )
                for item in tree
                if hasattr(item, "blob_id") and item.path not in REMOTE_OWN
            }

        return self._repeat(ask)

    def refs(self) -> tuple[dict[str, str], dict[str, str]]:
        """Commits by tag, and by branch."""

        def ask() -> tuple[dict[str, str], dict[str, str]]:
            found = self._api.list_repo_refs(**self._about)
            return (
                {item.name: item.target_commit for item in found.tags},
                {item.name: item.target_commit for item in found.branches},
            )

        return self._repeat(ask)

    def commits(self) -> list[str]:
        """Commits of main, newest first."""
        return self._repeat(
            lambda: [str(item.commit_id) for item in self._api.list_repo_commits(**self._about)]
        )

    def open_pull_requests(self) -> list[int]:
        """Numbers of the open pull requests, newest first."""

        def ask() -> list[int]:
            found = self._api.get_repo_discussions(
                **self._about, discussion_type="pull_request", discussion_status="open"
            )
            return sorted((item.num for item in found), reverse=True)

        return self._repeat(ask)

    def stored_blobs(self) -> list[StoredBlob]:
        """Every large file the repository keeps, also those that no branch names any more."""
        return self._repeat(
            lambda: [
                StoredBlob(str(item.oid), str(item.filename), item)
                for item in self._api.list_lfs_files(**self._about)
            ]
        )

    def served_digest(self, path: str, revision: str) -> str:
        """Digest of what a download of that path at that revision would give; "" for nothing."""
        from huggingface_hub import hf_hub_url
        from huggingface_hub.errors import EntryNotFoundError, RevisionNotFoundError

        url = hf_hub_url(
            self.repo, path, repo_type=self.repo_type, revision=revision, endpoint=self._api.endpoint
        )

        def ask() -> str:
            try:
                return str(self._api.get_hf_file_metadata(url=url).etag or "")
            except (EntryNotFoundError, RevisionNotFoundError):
                return ""

        return self._repeat(ask)

    def download(self, path: str, revision: str, folder: Path) -> Path:
        """Fetch one file of a commit to `folder/path`; one that is there already is not fetched again."""
        return Path(
            self._repeat(
                lambda: self._api.hf_hub_download(
                    **self._about, filename=path, revision=revision, local_dir=folder
                )
            )
        )

    # -- writing --------------------------------------------------------------------------------------

    def create(self) -> None:
        """Make it, private, unless it is there."""
        self._repeat(lambda: self._api.create_repo(**self._about, private=True, exist_ok=True))

    def set_gated(self, gated: str) -> None:
        """Ask visitors to agree ("auto") or to be let in by hand ("manual")."""
        self._repeat(lambda: self._api.update_repo_settings(**self._about, gated=gated))

    def set_public(self) -> None:
        """Let everybody see it."""
        self._repeat(lambda: self._api.update_repo_settings(**self._about, private=False))

    def upload(self, operations: Sequence[Any]) -> None:
        """Send the large files among the additions, those not there yet; no branch changes by that."""
        with self._faults():
            self._api.preupload_lfs_files(self.repo, operations, repo_type=self.repo_type, free_memory=False)

    def commit(self, operations: Sequence[Any], parent: str, message: str, *, as_pull_request: bool) -> str:
        """Make one commit on main, or open a pull request with it; asked once only.

        Returns:
            The commit, or "refs/pr/<number>".
        """
        with self._faults():
            info = self._api.create_commit(
                self.repo,
                operations,
                commit_message=message,
                repo_type=self.repo_type,
                parent_commit=parent or None,
                create_pr=as_pull_request,
            )
        if not as_pull_request:
            return str(info.oid)
        return str(info.pr_revision)

    def tag(self, name: str, commit: str) -> None:
        """Name a commit; a tag of that name stays where it is."""
        self._repeat(lambda: self._api.create_tag(**self._about, tag=name, revision=commit, exist_ok=True))

    def delete_tag(self, name: str) -> None:
        """Remove a tag; one that is gone is fine."""
        self._remove(lambda: self._api.delete_tag(**self._about, tag=name))

    def delete_branch(self, name: str) -> None:
        """Remove a branch; one that is gone is fine."""
        self._remove(lambda: self._api.delete_branch(**self._about, branch=name))

    def close_pull_request(self, number: int, comment: str) -> None:
        """Close it with a comment."""
        self._repeat(
            lambda: self._api.change_discussion_status(
                discussion_num=number, new_status="closed", comment=comment, **self._about
            )
        )

    def squash(self, message: str) -> None:
        """Make main one commit without a past."""
        self._repeat(lambda: self._api.super_squash_history(**self._about, commit_message=message))

    def delete_blobs(self, blobs: Sequence[StoredBlob]) -> None:
        """Remove large files for good, from every commit that names them."""
        self._repeat(
            lambda: self._api.permanently_delete_lfs_files(
                lfs_files=[item.handle for item in blobs], **self._about
            )
        )

    def wait(self, fault: HubFault, tried: int) -> None:
        """Pause before try number `tried` + 2.

        Raises:
            HubFault: the server wants a longer pause than is sat out, or there were enough tries.
        """
        if tried >= len(self._pauses_s) or (fault.wait_s or 0) > LONGEST_PAUSE_S:
            raise fault
        self._pause(self._pauses_s[tried] if fault.wait_s is None else fault.wait_s)

    # -- how ------------------------------------------------------------------------------------------

    def _repeat(self, call: Callable[[], _Answer]) -> _Answer:
        """Ask again where that can help; for calls that do no more the second time."""
        tried = 0
        while True:
            try:
                with self._faults():
                    return call()
            except HubFault as fault:
                if fault.status and fault.status not in _REPEATED and fault.status != _BUSY:
                    raise
                self.wait(fault, tried)
                tried += 1

    def _remove(self, call: Callable[[], object]) -> None:
        try:
            self._repeat(call)
        except HubFault as fault:
            if fault.status != 404:
                raise

    @contextmanager
    def _faults(self) -> Iterator[None]:
        from huggingface_hub.errors import HfHubHTTPError

        try:
            yield
        except HubError:
            raise
        except _client_errors() as error:
            # Some errors of the client only wrap the answer that led to them.
            wrapped = isinstance(error.__cause__, HfHubHTTPError) or type(error) is RuntimeError
            cause = error.__cause__ if wrapped and error.__cause__ is not None else error
            if isinstance(cause, HfHubHTTPError):
                status = cause.response.status_code
                said = _MEANINGS.get(status) or self._one_line(cause)
                wait_s = _seconds(cause.response.headers.get("Retry-After"))
                raise HubFault(f"{self.repo}: {said} (HTTP {status})", status, wait_s) from None
            raise HubFault(f"{self.repo}: the Hub cannot be reached: {self._one_line(cause)}") from None
        except (ValueError, KeyError) as error:
            raise HubFault(f"{self.repo}: the Hub's answer cannot be used: {self._one_line(error)}") from None

    def _one_line(self, error: BaseException) -> str:
        text = " ".join(str(error).split()) or type(error).__name__
        return (text.replace(self._token, "<token>") if self._token else text)[:300]


def _seconds(value: str | None) -> float | None:
    """Seconds of a Retry-After header, which holds a number or a date; None when it holds neither."""
    if value is None:
        return None
    if value.strip().isdigit():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None


def _client_errors() -> tuple[type[Exception], ...]:
    # The client's HTTP library changed its name between versions; its base error stays the parent of this.
    # A failed upload of one file comes as a RuntimeError that only names the file.
    from huggingface_hub.errors import HfHubHTTPError

    return (HfHubHTTPError.__bases__[0], OSError, RuntimeError)
