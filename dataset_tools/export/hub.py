"""Publish a prepared folder on the Hugging Face Hub: a reader sees the old set or the new one, never a part.

    1  compare the folder with the head of main, file by file, by hash
    2  send the large files; they belong to no commit yet, and those already there are skipped on the next run
    3  one commit that names them all, only if main is still where it was
    4  list main and compare every hash; then the tag; then, if asked for, open it to the public

Whatever breaks in between, the same command goes on from there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from dataset_tools.core.errors import DataError, HubError
from dataset_tools.export.hub_client import Hub, HubFault, Pause, RemoteState, RepoType, sleep
from dataset_tools.export.hub_erase import ErasedReport, erase_history
from dataset_tools.export.hub_plan import Change, PublishPlan, compare

Gated = Literal["auto", "manual"]

_MOVED = "changed while it was published; run the same command again"


@dataclass(frozen=True, slots=True)
class PublishOptions:
    """How to publish.

    Attributes:
        public: open to everybody; without it the repository is made private, and one that is public already
            is refused.
        draft: private only: publish although the card lacks something.
        gated: visitors have to agree ("auto") or to be let in by hand ("manual"); None leaves it as it is.
        pull_request: propose the change instead of making it; settings and tags stay as they are.
        tag: name for the commit, such as the dataset's version; "" for none. A tag never moves.
        message: of the commit.
        erase_history: afterwards remove every older version and its large files for good.
    """

    public: bool = False
    draft: bool = False
    gated: Gated | None = None
    pull_request: bool = False
    tag: str = ""
    message: str = "Update dataset"
    erase_history: bool = False


@dataclass(frozen=True, slots=True)
class Comparison:
    """What publishing would change: the head it was compared with ("" for no repository), and the files."""

    head: str
    changes: tuple[Change, ...]
    is_new: bool


@dataclass(frozen=True, slots=True)
class PublishReport:
    """What a push did.

    Attributes:
        url: of the repository.
        commit: its head now, or "refs/pr/<number>" of the pull request that proposes the change.
        changes: files in the commit; empty when nothing had to be done.
        tag: that names the commit; "" for none.
        erased: what was removed for good; None when that was not asked for.
    """

    url: str
    commit: str
    changes: tuple[Change, ...] = ()
    tag: str = ""
    erased: ErasedReport | None = None

    @property
    def is_new_commit(self) -> bool:
        """False when the repository already held exactly this folder."""
        return bool(self.changes)


def look(
    plan: PublishPlan,
    repo: str,
    repo_type: RepoType = "dataset",
    *,
    endpoint: str | None = None,
    pause: Pause = sleep,
) -> Comparison:
    """Compare a prepared folder with the repository; needs no token for one that is public or absent.

    Raises:
        ConfigError: bad repository name.
        HubError: the Hub is away.
    """
    hub = Hub(repo, repo_type, endpoint=endpoint, needs_token=False, pauses_s=(1.0,), pause=pause)
    return _look(plan, hub, hub.state())


def _look(plan: PublishPlan, hub: Hub, state: RemoteState | None) -> Comparison:
    remote = hub.files(state.head) if state is not None and state.head else {}
    return Comparison(state.head if state is not None else "", compare(plan, remote), state is None)


def push(
    plan: PublishPlan,
    repo: str,
    options: PublishOptions = PublishOptions(),
    repo_type: RepoType = "dataset",
    *,
    seen: str | None = None,
    endpoint: str | None = None,
    pause: Pause = sleep,
) -> PublishReport:
    """Bring a repository to the state of a prepared folder, in one commit.

    Args:
        plan: the folder.
        repo: "user/name".
        options: how.
        repo_type: what kind.
        seen: commit that was looked at before (see `look`); the push is refused when main is elsewhere.
        endpoint: another Hub than the usual one.
        pause: waits that many seconds between tries.

    Raises:
        ConfigError: bad repository name.
        DataError: the card lacks something and this is no private draft, or the tag names other content.
        HubError: no token, no rights, the Hub is away, or the repository moved meanwhile.
    """
    if plan.missing and (options.public or not options.draft):
        lacks = "; ".join(plan.missing)
        raise DataError(f"not published, because it lacks {lacks} (--draft publishes it, privately only)")
    hub = Hub(repo, repo_type, endpoint=endpoint, pause=pause)
    state = hub.state()
    if state is None:
        hub.create()
        state = hub.state()
    if state is None:
        raise HubError(f"{repo}: was made, but the Hub does not show it yet; run the same command again")
    if not state.is_private and not options.public:
        raise HubError(f"{repo} is public; pass --public to publish there, or choose another name")
    if seen and seen != state.head:
        raise HubError(f"{repo}: {_MOVED}")
    found = _look(plan, hub, state)
    if options.pull_request:
        commit = _propose(hub, plan, found, options.message) if found.changes else state.head
        return PublishReport(hub.url, commit, found.changes)
    if options.tag:
        _check_tag(hub, plan, options.tag)
    if options.gated is not None and options.gated != state.gated:
        hub.set_gated(options.gated)
    commit = _commit(hub, plan, found, options.message) if found.changes else state.head
    erased = erase_history(hub, commit) if options.erase_history else None
    commit = erased.head if erased is not None else commit
    if options.tag:
        _tag(hub, options.tag, commit)
    if options.public and state.is_private:
        hub.set_public()
    return PublishReport(hub.url, commit, found.changes, options.tag, erased)


def _check_tag(hub: Hub, plan: PublishPlan, tag: str) -> None:
    commit = hub.refs()[0].get(tag)
    if commit is not None and compare(plan, hub.files(commit)):
        raise DataError(
            f"{hub.repo} has a version {tag} with other content already; a published version never changes: "
            "raise the version (export.version) and export again"
        )


def _tag(hub: Hub, tag: str, commit: str) -> None:
    if tag not in hub.refs()[0]:
        hub.tag(tag, commit)
        if tag not in hub.refs()[0]:
            raise HubError(f"{hub.repo}: the tag {tag} was not made; run the same command again")


def _operations(plan: PublishPlan, changes: Sequence[Change]) -> list[object]:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    return [
        CommitOperationDelete(change.path)
        if change.after is None
        else CommitOperationAdd(change.path, plan.folder / change.path)
        for change in changes
    ]


def _send(hub: Hub, plan: PublishPlan, found: Comparison, message: str, *, propose: bool) -> str:
    operations = _operations(plan, found.changes)
    pairs = zip(operations, found.changes, strict=True)
    hub.upload([item for item, change in pairs if change.after is not None])
    return hub.commit(operations, found.head, message, as_pull_request=propose)


def _commit(hub: Hub, plan: PublishPlan, found: Comparison, message: str) -> str:
    """Make the commit exactly once: after any doubt the repository is asked, never guessed at."""
    tried = 0
    while True:
        try:
            commit = _send(hub, plan, found, message, propose=False)
            break
        except HubFault as fault:
            if fault.is_final:
                raise
            # A commit may be made although its answer was an error or was lost (datasets PR 7708): look.
            state = hub.state()
            now = state.head if state is not None else ""
            if not compare(plan, hub.files(now)):
                return now
            if now != found.head:
                raise HubError(f"{hub.repo}: somebody else {_MOVED}") from None
            hub.wait(fault, tried)
            tried += 1
    left = compare(plan, hub.files(commit))
    if left:
        raise HubError(f"{hub.repo}: the commit does not hold what was sent: {left[0]}; publish again")
    return commit


def _propose(hub: Hub, plan: PublishPlan, found: Comparison, message: str) -> str:
    """Open a pull request, or find the open one that proposes exactly this."""
    tried = 0
    while True:
        proposed = _proposed(hub, plan)
        if proposed:
            return proposed
        try:
            return _send(hub, plan, found, message, propose=True)
        except HubFault as fault:
            if fault.is_final:
                raise
            hub.wait(fault, tried)
            tried += 1


def _proposed(hub: Hub, plan: PublishPlan) -> str:
    for number in hub.open_pull_requests():
        name = f"refs/pr/{number}"
        if not compare(plan, hub.files(name)):
            return name
    return ""
