"""What differs between versions, for people: a few lines on a terminal, or a Markdown changelog."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from dataset_tools.core.errors import ConfigError
from dataset_tools.core.labels import Label
from dataset_tools.core.text import printable
from dataset_tools.versions.change import Change, DatasetDiff, Relabelled, next_version
from dataset_tools.versions.diff import diff_versions
from dataset_tools.versions.version import Version

FIRST_VERSION = "0.1.0"
_MOST_NAMES = 5

_WHY = {
    Change.NONE: "nothing changed",
    Change.RELABELLED: "only labels or facts were corrected",
    Change.ADDITIVE: "something was added, everything old is still there",
    Change.BREAKING: "results with the version before cannot be compared without care",
}


@dataclass(frozen=True, slots=True)
class Release:
    """One version in a row of versions.

    Attributes:
        number: stated by the dataset, or the one that follows from the changes.
        is_stated: False when it follows from the changes.
        date: as stated; "" when not.
        diff: to the version before; None for the first.
        pictures: how many it holds.
    """

    number: str
    is_stated: bool
    date: str
    diff: DatasetDiff | None
    pictures: int


def list_releases(versions: Sequence[Version]) -> list[Release]:
    """Compare each version with the one before it, the oldest first.

    Raises:
        ConfigError: fewer than two versions.
        DataError: as `diff_versions`.
    """
    if len(versions) < 2:
        raise ConfigError("a changelog needs at least two versions, the oldest first")
    releases: list[Release] = []
    for before, after in itertools.pairwise(versions):
        diff = diff_versions(before, after)
        if not releases:
            first = before.number or FIRST_VERSION
            releases.append(Release(first, bool(before.number), before.date, None, diff.counts[0]))
        number = after.number
        # An export that nobody renamed still has the number of the version before.
        is_stated = bool(number) and (number != releases[-1].number or diff.change is Change.NONE)
        if not is_stated:
            number = next_version(releases[-1].number, diff.change)
        releases.append(Release(number, is_stated, after.date, diff, diff.counts[1]))
    return releases


def render_changelog(title: str, releases: Iterable[Release]) -> str:
    """A Markdown changelog, the newest version first."""
    blocks = [f"# Changelog of {_markdown(title)}"]
    for release in reversed(list(releases)):
        date = f" ({release.date})" if release.date else ""
        lines = [f"## {release.number}{date}", ""]
        if release.diff is None:
            lines.append(f"First version: {_pictures(release.pictures)}.")
        else:
            lines += _changes(release)
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks) + "\n"


def _changes(release: Release) -> list[str]:
    diff = release.diff
    assert diff is not None
    said = "" if release.is_stated else "; the number follows from the changes"
    return [
        f"{diff.change.value.capitalize()} ({_WHY[diff.change]}{said}). {_pictures(release.pictures)}.",
        "",
        *(f"- {line}" for line in describe_diff(diff, _markdown)),
    ]


def describe_diff(diff: DatasetDiff, escape: Callable[[str], str] = printable) -> list[str]:
    """What differs, one line for each kind of difference that there is, the gravest first.

    Args:
        diff: what differs.
        escape: makes foreign words safe where the lines are shown.
    """
    moves = Counter(f"{one.before.value} -> {one.after.value}" for one in diff.moved)
    facts = Counter(one.name for one in diff.facts)
    found = [
        (diff.schema_removed, "no longer in the tables: " + ", ".join(map(escape, diff.schema_removed))),
        (diff.removed, f"removed: {_pictures(len(diff.removed))}{_names(diff.removed)}"),
        (diff.unlabelled, f"lost their labels: {_pictures(len(diff.unlabelled))}{_names(diff.unlabelled)}"),
        (diff.moved, "moved to another split: " + _counted(moves) + _names([one.id for one in diff.moved])),
        (diff.facts, "facts that read differently: " + _counted(facts) + _fact_example(diff, escape)),
        (diff.relabelled, _relabelled(diff.relabelled)),
        (diff.labelled, f"labelled for the first time: {_pictures(len(diff.labelled))}"),
        (diff.added, f"added: {_pictures(len(diff.added))}"),
        (diff.schema_added, "new in the tables: " + ", ".join(map(escape, diff.schema_added))),
    ]
    return [line for values, line in found if values]


def _relabelled(changed: Sequence[Relabelled]) -> str:
    overlaps = []
    for label in Label:
        values = [one.iou[label.value] for one in changed if label.value in one.iou]
        if values:
            overlaps.append(f"{label.value} mean IoU {fmean(values):.3f}, least {min(values):.3f}")
    worst = sorted(changed, key=lambda one: (min(one.iou.values(), default=1.0), one.id))
    said = f" ({'; '.join(overlaps)})" if overlaps else ""
    others = sum(bool(one.attributes) for one in changed)
    said += f", {others} of them with other types, states or numbers of objects" if others else ""
    return f"relabelled: {_pictures(len(changed))}{said}{_names([one.id for one in worst], 'most changed ')}"


def _fact_example(diff: DatasetDiff, escape: Callable[[str], str]) -> str:
    if not diff.facts:
        return ""
    one = min(diff.facts, key=lambda fact: (fact.name != "licence", fact.id))
    before, after = (escape(text) or "not stated" for text in (one.before, one.after))
    return f"; e.g. {one.id}: {one.name} {before} -> {after}"


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))


def _names(ids: Sequence[str], what: str = "") -> str:
    if not ids:
        return ""
    more = f" and {len(ids) - _MOST_NAMES} more" if len(ids) > _MOST_NAMES else ""
    return f": {what}{', '.join(map(printable, ids[:_MOST_NAMES]))}{more}"


def _pictures(count: int) -> str:
    return f"{count} picture{'' if count == 1 else 's'}"


def _markdown(text: str) -> str:
    """Foreign words that Markdown shows and does not obey."""
    shown = printable(text)
    for mark in "\\`*_[]<>#|":
        shown = shown.replace(mark, f"\\{mark}")
    return shown
