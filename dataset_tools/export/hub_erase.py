"""Remove what a repository once held: older commits, their tags and branches, and their large files.

A file deleted by a commit stays in the history, and its large content in the Hub's store. `OUT_OF_REACH` says
what this cannot reach.
"""

from __future__ import annotations

from dataclasses import dataclass

from dataset_tools.core.errors import HubError
from dataset_tools.export.hub_client import Hub

OUT_OF_REACH = (
    "not reached: copies that others downloaded, mirrors and duplicated repositories, small files (card, "
    "dataset.json, index.jsonl) in closed pull requests, and previews the Hub still has in its cache; ask "
    "their owners, and the Hub's support for the last two"
)

_CLOSED = "Closed, because older versions of this repository were removed for good."


@dataclass(frozen=True, slots=True)
class ErasedReport:
    """What is gone.

    Attributes:
        head: commit of main now, the only one.
        blobs: SHA-256 of the large files removed.
        refs: tags and branches removed, and pull requests closed.
    """

    head: str
    blobs: tuple[str, ...]
    refs: tuple[str, ...]


def erase_history(hub: Hub, head: str) -> ErasedReport:
    """Leave main's present content and nothing else; may be cut off and repeated.

    Args:
        hub: the repository.
        head: the commit of main that stays; nothing is touched when main is elsewhere.

    Raises:
        HubError: main moved, the Hub refused, or something erased still answers.
    """
    state = hub.state()
    if state is None or state.head != head:
        raise HubError(f"{hub.repo}: main moved; nothing was erased")
    kept = {file.digest for file in hub.files(head).values() if file.is_lfs}
    before = [item for item in hub.stored_blobs() if item.sha256 not in kept]
    past = hub.commits()
    tags, branches = hub.refs()
    gone = []
    for number in hub.open_pull_requests():
        hub.close_pull_request(number, _CLOSED)
        gone.append(f"refs/pr/{number}")
    for name in sorted(tags):
        if len(past) > 1 or tags[name] != head:
            hub.delete_tag(name)
            gone.append(f"refs/tags/{name}")
    for name in sorted(set(branches) - {"main"}):
        hub.delete_branch(name)
        gone.append(f"refs/heads/{name}")
    if len(past) > 1:
        hub.squash("Remove older versions")
    if before:
        hub.delete_blobs(before)
    now = hub.state()
    fresh = now.head if now is not None else ""
    _verify(hub, {item.sha256 for item in before}, {item.name for item in before}, past, fresh)
    return ErasedReport(fresh, tuple(sorted({item.sha256 for item in before})), tuple(gone))


def _verify(hub: Hub, erased: set[str], names: set[str], past: list[str], head: str) -> None:
    left = {item.sha256 for item in hub.stored_blobs()} & erased
    if left:
        raise HubError(f"{hub.repo}: {len(left)} erased files are still stored; run the same command again")
    answering = [
        f"{name} at {commit[:12]}"
        for commit in past
        if commit != head
        for name in sorted(names)
        if hub.served_digest(name, commit) in erased
    ]
    if answering:
        raise HubError(
            f"{hub.repo}: still served although erased: {', '.join(answering[:5])}; the Hub may need time, "
            "then run the same command again"
        )
