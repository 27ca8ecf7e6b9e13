"""Turns at a host: few requests at once, a pause between them, and longer when it asks for it or suffers."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import TracebackType

from dataset_tools.core.errors import FetchFault
from dataset_tools.core.reasons import Reason
from dataset_tools.crawl.rights import Reservation, RobotsRules
from dataset_tools.crawl.settings import FetchSettings

SITE_RULES_LAST_S = 24 * 3600.0  # RFC 9309 section 2.4
_MOST_SLOWED = 64.0
_LONGEST_HOLD_S = 366 * 24 * 3600.0


@dataclass(slots=True)
class RobotsAnswer:
    """What one origin says about robots.

    Attributes:
        rules: of its robots.txt, for us.
        verdict: one word for the record: "rules" or "none" (no robots.txt there).
        fault: why robots.txt could not be had, which forbids everything (RFC 9309 section 2.3.1.4).
        asked_at: monotonic time; the answer is good for a day.
    """

    rules: RobotsRules = field(default_factory=RobotsRules)
    verdict: str = "rules"
    fault: FetchFault | None = None
    asked_at: float = field(default_factory=time.monotonic)


@dataclass(slots=True)
class HostState:
    """What we know of one host and port.

    Attributes:
        next_start: monotonic time before which no request may start.
        held: the answer by which it asked us to wait, as (reason, detail).
        silences: requests in a row that got no answer.
        crawl_delay_s: pause its robots.txt asks for.
        latency_s: moving average of the time to the head of an answer.
        slowed: by which factor its pause is longer since it answered with trouble.
    """

    next_start: float = 0.0
    held: tuple[Reason, str] = (Reason.TRANSPORT, "")
    silences: int = 0
    crawl_delay_s: float = 0.0
    latency_s: float = 0.0
    slowed: float = 1.0


@dataclass(slots=True)
class CrawlMemory:
    """What a crawl remembers from shard to shard.

    Attributes:
        robots: by origin; each is asked once in a run, or once a day.
        reservations: of /.well-known/tdmrep.json, by origin.
        hosts: by host and port.
    """

    robots: dict[str, RobotsAnswer] = field(default_factory=dict)
    reservations: dict[str, tuple[Reservation, ...]] = field(default_factory=dict)
    hosts: defaultdict[str, HostState] = field(default_factory=lambda: defaultdict(HostState))


@dataclass(slots=True)
class Turn:
    """The right to send one request; whoever holds it says how the host took it.

    Attributes:
        latency_s: time to the head of the answer, None while there is none.
        is_trouble: the answer was 429 or 5xx.
    """

    latency_s: float | None = None
    is_trouble: bool = False


class Backlog:
    """Bytes that were fetched and wait to be decoded; when they are many, no new download starts.

    Args:
        most_bytes: at which no further request is sent. Those under way may add to it.
    """

    def __init__(self, most_bytes: int = 16 * 1024 * 1024) -> None:
        self._most_bytes = most_bytes
        self._bytes = 0
        self._has_room = asyncio.Event()
        self._has_room.set()

    @contextmanager
    def holding(self, size: int) -> Iterator[None]:
        """Count so many bytes as waiting inside the block."""
        self._add(size)
        try:
            yield
        finally:
            self._add(-size)

    def _add(self, size: int) -> None:
        self._bytes += size
        if self._bytes < self._most_bytes:
            self._has_room.set()
        else:
            self._has_room.clear()

    async def room(self) -> None:
        """Wait until another download may start."""
        await self._has_room.wait()


class HostGates:
    """Hands out turns; made anew for every event loop, on the memory of the whole run."""

    def __init__(self, settings: FetchSettings, memory: CrawlMemory, backlog: Backlog) -> None:
        self._settings = settings
        self._backlog = backlog
        self._hosts = memory.hosts
        self._turns: defaultdict[str, asyncio.Semaphore] = defaultdict(
            lambda: asyncio.Semaphore(settings.per_host)
        )
        self._all = asyncio.Semaphore(settings.concurrency)

    def turn(self, host: str) -> _HostTurn:
        """A turn at `host` ("name:port"): an async context manager that waits for it and gives the `Turn`.

        Raises:
            FetchFault: on entering: `transport`, the host has been silent too often; a dead host with many
                items would otherwise hold up the whole crawl. The reason of its own answer, with the time it
                is due, when the host asked for a longer pause than this run waits.
        """
        return _HostTurn(self, host)

    async def start(self, host: str) -> None:
        """Wait for a turn; ends with a call of `end`, unless it raises. As `turn`."""
        state, turns = self._hosts[host], self._turns[host]
        await turns.acquire()
        try:
            if state.silences >= self._settings.give_up_after:
                detail = f"{host} gave no answer {self._settings.give_up_after} times in a row"
                raise FetchFault(Reason.TRANSPORT, detail, retryable=True)
            # Look again after each sleep: another request may have started, or the host asked for a pause.
            while (wait := state.next_start - time.monotonic()) > 0:
                if wait > max(self._settings.retry_after_cap_s, self._pause_s(state)):
                    raise deferred(*state.held, wait)
                await asyncio.sleep(wait)
            state.next_start = time.monotonic() + self._pause_s(state)
            await self._backlog.room()
            await self._all.acquire()
        except BaseException:
            turns.release()
            raise

    def end(self, host: str, turn: Turn, error: BaseException | None) -> None:
        """Give a turn back, with what was learnt of the host in it."""
        self._all.release()
        self._turns[host].release()
        state = self._hosts[host]
        if turn.latency_s is not None:
            _learn(state, turn, turn.latency_s)
        elif isinstance(error, FetchFault) and error.reason is Reason.TRANSPORT:
            state.silences += 1
            state.slowed = min(state.slowed * 2, _MOST_SLOWED)

    def hold(self, host: str, seconds: float, reason: Reason, detail: str) -> None:
        """Let nobody start at `host` for that long, for the reason it gave."""
        state = self._hosts[host]
        start = time.monotonic() + min(seconds, _LONGEST_HOLD_S)
        if start > state.next_start:
            state.next_start, state.held = start, (reason, detail)

    def ask_slower(self, host: str, crawl_delay_s: float) -> None:
        """Keep the pause that robots.txt asks for, up to the longest that this run waits."""
        self._hosts[host].crawl_delay_s = min(crawl_delay_s, self._settings.retry_after_cap_s)

    def _pause_s(self, state: HostState) -> float:
        """Between the starts of two requests.

        The pause doubles with every answer that spells trouble and halves with every good one. A host that
        takes long gets as long a pause as keeps `per_host` requests in flight, as Scrapy's AutoThrottle does.
        """
        least = self._settings.host_pause_s
        slowed = min(least * state.slowed, self._settings.retry_after_cap_s)
        strained = state.latency_s / self._settings.per_host if least > 0 else 0.0
        return max(least, slowed, strained, state.crawl_delay_s)


class _HostTurn:
    """See `HostGates.turn`."""

    __slots__ = ("_gates", "_host", "_turn")

    def __init__(self, gates: HostGates, host: str) -> None:
        self._gates, self._host = gates, host
        self._turn = Turn()

    async def __aenter__(self) -> Turn:
        await self._gates.start(self._host)
        return self._turn

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._gates.end(self._host, self._turn, error)


def _learn(state: HostState, turn: Turn, latency_s: float) -> None:
    state.silences = 0
    if turn.is_trouble:
        state.slowed = min(state.slowed * 2, _MOST_SLOWED)
        return  # an error is quick to send: its latency says nothing
    state.slowed = max(state.slowed / 2, 1.0)
    state.latency_s = latency_s if state.latency_s == 0 else 0.7 * state.latency_s + 0.3 * latency_s


def deferred(reason: Reason, detail: str, wait_s: float, tries: int = 1) -> FetchFault:
    """The fault of an item that its host wants to be asked for later than this run waits."""
    fault = FetchFault(reason, detail, retryable=True, tries=tries)
    due = datetime.now(UTC) + timedelta(seconds=min(wait_s, _LONGEST_HOLD_S))
    fault.due = due.strftime("%Y-%m-%dT%H:%M:%SZ")
    return fault
