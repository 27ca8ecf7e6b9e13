"""Asks the sources of kept pictures again: still there, still the same, still allowed?

A picture whose server gave an ETag or a date is asked for conditionally, so one that has not changed is not
sent again; of the others the bytes are compared with the recorded hash. Nothing is stored.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice

from dataset_tools.core.errors import FetchFault
from dataset_tools.core.files import sha256_hex
from dataset_tools.core.interruptible import run_interruptible
from dataset_tools.core.progress import Progress, ProgressFactory, silent
from dataset_tools.core.reasons import Reason
from dataset_tools.core.record import Sample
from dataset_tools.crawl.fetch import Fetched, Fetcher, Version
from dataset_tools.crawl.hosts import CrawlMemory
from dataset_tools.crawl.settings import CrawlSettings

AT_ONCE = 256  # pictures asked for before the next ones are read from the manifest

_GONE = frozenset({"HTTP status 404", "HTTP status 410"})


class Fate(StrEnum):
    """What became of a picture at its source."""

    UNCHANGED = "unchanged"
    CHANGED = "content_changed"
    GONE = "gone"
    OPTED_OUT = "opted_out"
    DISALLOWED = "disallowed"
    NOT_KNOWN = "not_known"


@dataclass(frozen=True, slots=True)
class Revisit:
    """A kept picture to ask for.

    Attributes:
        sample_id, item_key, url, content_sha256: of the sample.
        version: what its server said about it when it was fetched.
    """

    sample_id: str
    item_key: str
    url: str
    content_sha256: str
    version: Version


@dataclass(frozen=True, slots=True)
class Rechecked:
    """The answer for one kept picture.

    Attributes:
        sample_id, item_key, url: of the sample.
        fate: what became of it.
        detail: one line for people; "" when it is unchanged.
    """

    sample_id: str
    item_key: str
    url: str
    fate: Fate
    detail: str = ""


def revisits(samples: Iterable[Sample]) -> Iterator[Revisit]:
    """Those that were fetched; pictures from files and rendered ones have no source to ask."""
    for sample in samples:
        origin = sample.provenance
        if origin.url:
            facts = dict(origin.evidence)
            version = Version(facts.get("etag", ""), facts.get("last_modified", ""))
            yield Revisit(sample.id, origin.item_key, origin.url, origin.content_sha256, version)


def recheck(
    samples: Iterable[Sample], settings: CrawlSettings, seed: int, progress: ProgressFactory = silent
) -> Iterator[Rechecked]:
    """Ask for every fetched sample once, with the manners of the crawl; answers in the order of the samples.

    Args:
        samples: kept pictures.
        settings: manners and limits.
        seed: of the run; decides the jitter of retries.
        progress: opens the progress display.
    """
    memory = CrawlMemory()
    with progress("recheck", None) as bar:
        wanted = revisits(samples)
        while batch := tuple(islice(wanted, AT_ONCE)):
            yield from run_interruptible(_ask_all(batch, settings, seed, memory, bar))


async def _ask_all(
    batch: Sequence[Revisit], settings: CrawlSettings, seed: int, memory: CrawlMemory, bar: Progress
) -> list[Rechecked]:
    async with Fetcher(settings, seed, memory) as fetcher:

        async def ask(one: Revisit) -> Rechecked:
            found = await judged(one, lambda: fetcher.fetch(one.url, one.version))
            bar.advance()
            return found

        return list(await asyncio.gather(*map(ask, batch)))


async def judged(one: Revisit, fetch: Callable[[], Awaitable[Fetched]]) -> Rechecked:
    """What an answer, or its absence, says about a picture.

    A refusal that may have other causes (401, 403, an error, silence) says nothing for certain.
    """
    try:
        answer = await fetch()
    except FetchFault as fault:
        return Rechecked(one.sample_id, one.item_key, one.url, _fate_of(fault), str(fault))
    if answer.is_unchanged or sha256_hex(answer.body) == one.content_sha256:
        return Rechecked(one.sample_id, one.item_key, one.url, Fate.UNCHANGED)
    detail = f"{len(answer.body)} bytes of another picture"
    return Rechecked(one.sample_id, one.item_key, one.url, Fate.CHANGED, detail)


def _fate_of(fault: FetchFault) -> Fate:
    if fault.reason is Reason.OPT_OUT:
        return Fate.OPTED_OUT
    if fault.reason is Reason.ROBOTS and not fault.retryable:
        return Fate.DISALLOWED
    if fault.reason is Reason.HTTP_4XX and str(fault) in _GONE:
        return Fate.GONE
    return Fate.NOT_KNOWN


def urls_to_remove(found: Iterable[Rechecked], *, with_changed: bool) -> frozenset[str]:
    """Addresses of pictures that should no longer be kept.

    A picture that is gone from one address and unchanged at another stays; an opt-out at any of them counts.

    Args:
        found: answers.
        with_changed: also those whose address shows something else by now.
    """
    rows = list(found)
    alive = {one.sample_id for one in rows if one.fate is Fate.UNCHANGED}
    absent = {Fate.GONE, Fate.CHANGED} if with_changed else {Fate.GONE}
    return frozenset(
        one.url
        for one in rows
        if one.fate in (Fate.OPTED_OUT, Fate.DISALLOWED)
        or (one.fate in absent and one.sample_id not in alive)
    )
