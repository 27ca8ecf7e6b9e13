"""Downloads one picture politely and safely; with `transport.py` the only code that speaks HTTP.

Every hop of a redirect is checked like a first request: scheme, address, robots.txt, opt-out header.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Self, TypeVar

from dataset_tools.core.errors import FetchFault
from dataset_tools.core.reasons import Reason
from dataset_tools.core.record import Pairs, sorted_pairs
from dataset_tools.core.seeds import generator
from dataset_tools.crawl.bodies import read_body
from dataset_tools.crawl.connections import Headers
from dataset_tools.crawl.hosts import (
    SITE_RULES_LAST_S,
    Backlog,
    CrawlMemory,
    HostGates,
    RobotsAnswer,
    deferred,
)
from dataset_tools.crawl.resolving import Resolver, TryAgain, resolve_host
from dataset_tools.crawl.rights import (
    PRODUCT_TOKEN,
    Reservation,
    opt_out_word,
    parse_reservations,
    parse_robots,
    reservation_of,
)
from dataset_tools.crawl.settings import CrawlSettings
from dataset_tools.crawl.transport import CheckedTransport
from dataset_tools.crawl.urls import WebUrl, authority, checked_url, origin

SITE_FILE_MAX_BYTES = 1024 * 1024
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_TRY_AGAIN_4XX = frozenset({408, 429})
_EVIDENCE_HEADERS = {
    "content_type": "content-type",
    "etag": "etag",
    "last_modified": "last-modified",
    "x_robots_tag": "x-robots-tag",
    "tdm_reservation": "tdm-reservation",
    "tdm_policy": "tdm-policy",
}
_MAX_EVIDENCE_CHARS = 500

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Fetched:
    """A downloaded file.

    Attributes:
        body: its bytes, whole; none when `is_unchanged`.
        evidence: final_url, redirects, status, content_type, etag, last_modified, x_robots_tag,
            tdm_reservation, tdm_policy, robots.
        is_unchanged: the server says that it still is the version we named.
    """

    body: bytes
    evidence: Pairs
    is_unchanged: bool = False


@dataclass(frozen=True, slots=True)
class Version:
    """The version of a file we have, by which a server can tell whether it is still the same.

    Attributes:
        etag, last_modified: as it was sent with the file; "" when it was not.
    """

    etag: str = ""
    last_modified: str = ""

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """The conditional request headers."""
        stated = {"If-None-Match": self.etag, "If-Modified-Since": self.last_modified}
        return tuple((name, value) for name, value in stated.items() if value)


class _Budget:
    """Network time one item has left; an async context manager, inside of which it runs."""

    __slots__ = ("_left_s", "_started", "_timeout", "_total_s")

    def __init__(self, total_s: float) -> None:
        self._total_s = self._left_s = total_s

    async def __aenter__(self) -> None:
        self._started = time.monotonic()
        self._timeout = asyncio.timeout(self._left_s)
        await self._timeout.__aenter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._left_s = max(self._left_s - (time.monotonic() - self._started), 0.0)
        try:
            await self._timeout.__aexit__(kind, error, trace)
        except TimeoutError as late:
            detail = f"not done after {self._total_s:g} s of network time"
            raise FetchFault(Reason.TRANSPORT, detail, retryable=True) from late


@dataclass(frozen=True, slots=True)
class _Answer:
    url: WebUrl
    status: int
    headers: Headers
    body: bytes


def user_agent(contact: str) -> str:
    """How we introduce ourselves."""
    said = f"; contact: {contact}" if contact else ""
    return f"{PRODUCT_TOKEN} (dataset crawler{said})"


class Fetcher:
    """An open HTTP client; use as an async context manager.

    Args:
        settings: manners and limits.
        seed: of the run; decides the jitter of retries.
        memory: robots verdicts and host pauses of the run so far.
        resolve: looks host names up.
        backlog: what was fetched and is not used up yet; a full one holds further downloads back.
    """

    def __init__(
        self,
        settings: CrawlSettings,
        seed: int,
        memory: CrawlMemory,
        resolve: Resolver = resolve_host,
        backlog: Backlog | None = None,
    ) -> None:
        limits = settings.fetch
        self._settings = settings
        self._limits = limits
        self._seed = seed
        self._memory = memory
        self._gates = HostGates(limits, memory, backlog or Backlog())
        self._site_locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._transport = CheckedTransport(
            settings.allow_origins, resolve, limits.idle_s, keep_per_origin=limits.per_host
        )
        self._headers = (
            ("User-Agent", user_agent(settings.contact)),
            ("Accept", "image/*,*/*;q=0.5"),
            ("Accept-Encoding", "identity"),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._transport.aclose()

    async def fetch(self, url: str, known: Version = Version()) -> Fetched:
        """Download one file.

        Args:
            url: http or https.
            known: the version at hand; an unchanged file is then not sent again.

        Raises:
            FetchFault: transport, http_4xx, http_5xx, redirect_limit, unsafe_url, robots, opt_out,
                too_many_bytes.
        """
        budget = _Budget(self._limits.deadline_s)
        answer, facts = await self._with_tries(url, lambda: self._follow(checked_url(url), budget, known))
        headers = {
            name: ", ".join(answer.headers.get_list(header))[:_MAX_EVIDENCE_CHARS]
            for name, header in _EVIDENCE_HEADERS.items()
        }
        facts = {"final_url": str(answer.url), "status": str(answer.status), **facts, **headers}
        stated = {name: value for name, value in facts.items() if value}
        return Fetched(answer.body, sorted_pairs(stated), is_unchanged=answer.status == 304)

    async def _with_tries(self, url: str, attempt: Callable[[], Awaitable[_Result]]) -> _Result:
        for number in range(1, self._limits.tries + 1):
            try:
                return await attempt()
            except TryAgain as fault:
                wait_s = fault.wait_s
                is_too_long = wait_s is not None and wait_s > self._limits.retry_after_cap_s
                if wait_s is not None and is_too_long:
                    raise deferred(fault.reason, str(fault), wait_s, number) from fault
                if number == self._limits.tries:
                    raise FetchFault(fault.reason, str(fault), retryable=True, tries=number) from fault
                if wait_s is None:  # otherwise the host's gate waits, for everyone
                    jitter = generator(self._seed, url, "retry", str(number)).uniform(0.75, 1.25)
                    await asyncio.sleep(self._limits.retry_pause_s * 2 ** (number - 1) * jitter)
            except FetchFault as fault:
                fault.tries = number
                raise
        raise AssertionError("the last try returns or raises")

    async def _follow(self, url: WebUrl, budget: _Budget, known: Version) -> tuple[_Answer, dict[str, str]]:
        """The final answer, the robots verdict of its origin and the redirects that led to it."""
        passed: list[str] = []
        for _ in range(self._limits.max_redirects + 1):
            robots = await self._check_site(url)
            answer = await self._get(url, budget, self._limits.max_bytes, known=known)
            if answer.status not in _REDIRECTS:
                chain = " ".join(passed)[:_MAX_EVIDENCE_CHARS]
                return _accepted(answer, known), {"robots": robots, "redirects": chain}
            passed.append(str(url))
            url = _redirect_target(answer)
        raise FetchFault(Reason.REDIRECT_LIMIT, f"more than {self._limits.max_redirects} redirects")

    async def _check_site(self, url: WebUrl) -> str:
        """What the site allows for that URL; each origin is asked once a day."""
        site = origin(url)
        target = url.target
        verdict = "not asked"
        if self._settings.respect_robots:
            verdict = await self._check_robots(url, site, target)
        if self._settings.respect_opt_out:
            entry = reservation_of(await self._reservations(url, site), target)
            if entry is not None and entry.is_reserved:
                raise FetchFault(Reason.OPT_OUT, _reserved("tdmrep.json", entry.policy))
        return verdict

    async def _check_robots(self, url: WebUrl, site: str, target: str) -> str:
        answer = self._known_robots(site)
        if answer is None:
            async with self._site_locks[site]:
                answer = self._known_robots(site)  # another item may have asked meanwhile
                if answer is None:
                    self._memory.reservations.pop(site, None)
                    answer = self._memory.robots[site] = await self._ask_robots(url)
                    self._gates.ask_slower(authority(url), answer.rules.crawl_delay_s)
        if answer.fault is not None:
            fault = FetchFault(
                answer.fault.reason,
                f"robots.txt: {answer.fault}",
                retryable=answer.fault.retryable,
                tries=answer.fault.tries,
            )
            fault.due = answer.fault.due
            raise fault
        if not answer.rules.allows(target):
            raise FetchFault(Reason.ROBOTS, f"robots.txt of {site} forbids {target[:200]}")
        return answer.verdict

    def _known_robots(self, site: str) -> RobotsAnswer | None:
        answer = self._memory.robots.get(site)
        is_good = answer is not None and time.monotonic() - answer.asked_at <= SITE_RULES_LAST_S
        return answer if is_good else None

    async def _ask_robots(self, url: WebUrl) -> RobotsAnswer:
        try:
            text = await self._site_file(url, "/robots.txt")
        except FetchFault as fault:
            # RFC 9309: "unavailable" (4xx, endless redirects) allows all, "unreachable" forbids all.
            # 429 and 408 are no "unavailable": the file may well be there.
            is_unavailable = fault.reason is Reason.HTTP_4XX and not fault.retryable
            if is_unavailable or fault.reason is Reason.REDIRECT_LIMIT:
                return RobotsAnswer(verdict="none")
            if fault.reason in (Reason.HTTP_4XX, Reason.HTTP_5XX):
                fault.reason = Reason.ROBOTS
            return RobotsAnswer(fault=fault)
        return RobotsAnswer(parse_robots(text))

    async def _reservations(self, url: WebUrl, site: str) -> tuple[Reservation, ...]:
        if (known := self._memory.reservations.get(site)) is not None:
            return known
        async with self._site_locks[site]:
            if site not in self._memory.reservations:
                try:
                    text = await self._site_file(url, "/.well-known/tdmrep.json")
                except FetchFault:
                    text = ""  # a site that cannot show a reservation has stated none
                self._memory.reservations[site] = parse_reservations(text)
            return self._memory.reservations[site]

    async def _site_file(self, url: WebUrl, path: str) -> str:
        """A file that speaks for a whole origin, as text, cut where it is too long."""
        budget = _Budget(self._limits.deadline_s)
        first = url.at(path)

        async def attempt() -> _Answer:
            hop = first
            for _ in range(self._limits.max_redirects + 1):
                answer = await self._get(hop, budget, SITE_FILE_MAX_BYTES, is_site_file=True)
                if answer.status not in _REDIRECTS:
                    return answer
                hop = _redirect_target(answer)
            raise FetchFault(Reason.REDIRECT_LIMIT, "too many redirects")

        answer = await self._with_tries(str(first), attempt)
        return answer.body.decode("utf-8-sig", "replace")

    async def _get(
        self,
        url: WebUrl,
        budget: _Budget,
        max_bytes: int,
        *,
        known: Version = Version(),
        is_site_file: bool = False,
    ) -> _Answer:
        """One request; the body only of a 200 answer. A site's file too long is cut, a picture refused."""
        host = authority(url)
        async with self._gates.turn(host) as turn, budget:
            started = time.monotonic()
            async with self._transport.get(url, (*self._headers, *known.headers)) as response:
                status, headers = response.status, response.headers
                turn.latency_s = time.monotonic() - started
                turn.is_trouble = status == 429 or status >= 500
                if status >= 400:
                    self._raise_status(host, status, headers)
                if self._settings.respect_opt_out and not is_site_file:
                    _check_opt_out(headers)
                body = b""
                if status == 200:
                    body = await read_body(
                        response,
                        max_bytes,
                        is_cut=is_site_file,
                        min_bytes_per_s=self._limits.min_bytes_per_s,
                        over_s=self._limits.min_rate_over_s,
                    )
                return _Answer(url, status, headers, body)

    def _raise_status(self, host: str, status: int, headers: Headers) -> None:
        reason = Reason.HTTP_4XX if status < 500 else Reason.HTTP_5XX
        if status < 500 and status not in _TRY_AGAIN_4XX:
            raise FetchFault(reason, f"HTTP status {status}")
        stated = headers.get("retry-after", "")
        wait_s = retry_after_s(stated, datetime.now(UTC))
        if wait_s is None:
            raise TryAgain(reason, f"HTTP status {status}")
        # The header as it stands, not the seconds left of a date: details must not depend on the clock.
        detail = f"HTTP status {status}, Retry-After {stated[:60]}"
        self._gates.hold(host, wait_s, reason, detail)
        raise TryAgain(reason, detail, wait_s=wait_s)


def _check_opt_out(headers: Headers) -> None:
    word = opt_out_word(headers.get_list("x-robots-tag"))
    if word is not None:
        raise FetchFault(Reason.OPT_OUT, f"X-Robots-Tag says {word}")
    if headers.get("tdm-reservation", "").strip() == "1":
        raise FetchFault(Reason.OPT_OUT, _reserved("a header", headers.get("tdm-policy", "")))


def _reserved(where: str, policy: str) -> str:
    terms = f", terms at {policy[:200]}" if policy else ""
    return f"text and data mining is reserved by {where}{terms}"


def _accepted(answer: _Answer, known: Version) -> _Answer:
    is_unchanged = answer.status == 304 and known.headers
    if answer.status != 200 and not is_unchanged:
        raise FetchFault(Reason.TRANSPORT, f"HTTP status {answer.status} where 200 was expected")
    return answer


def _redirect_target(answer: _Answer) -> WebUrl:
    location = answer.headers.get("location", "")
    if not location:
        raise FetchFault(Reason.TRANSPORT, f"HTTP status {answer.status} without a Location")
    try:
        return answer.url.join(location)
    except FetchFault as fault:
        raise FetchFault(fault.reason, f"redirect: {fault}") from fault


def retry_after_s(value: str, now: datetime) -> float | None:
    """Seconds a Retry-After header asks to wait: a number or a date; None when it says neither.

    Args:
        value: the header, "" when there is none.
        now: time with a zone that a date is counted from; a date in the past gives 0.
    """
    text = value.strip()
    if re.fullmatch(r"[0-9]{1,9}", text):
        return float(text)
    try:
        due = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError):
        return None
    due = due if due.tzinfo is not None else due.replace(tzinfo=UTC)
    return max((due - now).total_seconds(), 0.0)
