"""Turns at a host: few requests at once, a pause between them, and longer when it asks for it."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from dataset_tools.core.errors import FetchFault
from dataset_tools.core.reasons import Reason
from dataset_tools.crawl.rights import RobotsRules
from dataset_tools.crawl.settings import FetchSettings


@dataclass(slots=True)
class RobotsAnswer:
    """What one origin's robots.txt came to.

    Attributes:
        rules: for us.
        verdict: one word for the record: "rules" or "none" (no robots.txt there).
        fault: why it could not be had, which forbids everything (RFC 9309 section 2.3.1.4).
    """

    rules: RobotsRules = field(default_factory=RobotsRules)
    verdict: str = "rules"
    fault: FetchFault | None = None


@dataclass(slots=True)
class CrawlMemory:
    """What a crawl remembers from shard to shard.

    Attributes:
        robots: by origin; each is asked once in a run.
        next_start: by host and port: monotonic time before which no request may start.
        silences: by host and port: requests in a row that got no answer.
    """

    robots: dict[str, RobotsAnswer] = field(default_factory=dict)
    next_start: dict[str, float] = field(default_factory=dict)
    silences: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class Turn:
    """The right to send one request; whoever holds it says whether an answer came."""

    is_answered: bool = False


class HostGates:
    """Hands out turns; made anew for every event loop, on the memory of the whole run."""

    def __init__(self, settings: FetchSettings, memory: CrawlMemory) -> None:
        self._pause_s = settings.host_pause_s
        self._give_up_after = settings.give_up_after
        self._next_start = memory.next_start
        self._silences = memory.silences
        self._turns: defaultdict[str, asyncio.Semaphore] = defaultdict(
            lambda: asyncio.Semaphore(settings.per_host)
        )
        self._all = asyncio.Semaphore(settings.concurrency)

    @asynccontextmanager
    async def turn(self, host: str) -> AsyncIterator[Turn]:
        """Wait for a turn at `host` ("name:port") and hold it inside the block.

        Raises:
            FetchFault: `transport`, the host has been silent too often; a dead host with many items would
                otherwise hold up the whole crawl.
        """
        async with self._turns[host]:
            if self._silences[host] >= self._give_up_after:
                detail = f"{host} gave no answer {self._give_up_after} times in a row"
                raise FetchFault(Reason.TRANSPORT, detail, retryable=True)
            # Look again after each sleep: another request may have started, or the host asked for a pause.
            while (wait := self._next_start.get(host, 0.0) - time.monotonic()) > 0:
                await asyncio.sleep(wait)
            self._next_start[host] = time.monotonic() + self._pause_s
            turn = Turn()
            try:
                async with self._all:
                    yield turn
            except FetchFault as fault:
                if fault.reason is Reason.TRANSPORT and not turn.is_answered:
                    self._silences[host] += 1
                raise
            finally:
                if turn.is_answered:
                    self._silences[host] = 0

    def hold(self, host: str, seconds: float) -> None:
        """Let nobody start at `host` for that long."""
        self._next_start[host] = max(self._next_start.get(host, 0.0), time.monotonic() + seconds)
