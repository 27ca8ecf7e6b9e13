"""Downloads one picture politely and safely; with `transport.py` the only code that speaks HTTP.

Every hop of a redirect is checked like a first request: scheme, address, robots.txt, opt-out header.
"""

from __future__ import annotations

import asyncio
import re
import time
import zlib
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.cookiejar import CookieJar, DefaultCookiePolicy
from types import TracebackType
from typing import Self, TypeVar

import httpx

from dataset_tools.core.errors import FetchFault
from dataset_tools.core.reasons import Reason
from dataset_tools.core.record import Pairs, sorted_pairs
from dataset_tools.core.seeds import generator
from dataset_tools.crawl.hosts import CrawlMemory, HostGates, RobotsAnswer
from dataset_tools.crawl.rights import PRODUCT_TOKEN, opt_out_word, parse_robots
from dataset_tools.crawl.settings import CrawlSettings
from dataset_tools.crawl.transport import CheckedBackend, CheckedTransport, Resolver, TryAgain, resolve_host
from dataset_tools.crawl.urls import authority, checked_url, origin

ROBOTS_MAX_BYTES = 1024 * 1024
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_TRY_AGAIN_4XX = frozenset({408, 429})
_EVIDENCE_HEADERS = {
    "content_type": "content-type",
    "etag": "etag",
    "last_modified": "last-modified",
    "x_robots_tag": "x-robots-tag",
}
_MAX_EVIDENCE_CHARS = 500

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Fetched:
    """A downloaded file.

    Attributes:
        body: its bytes, whole.
        evidence: final_url, status, content_type, etag, last_modified, x_robots_tag, robots.
    """

    body: bytes
    evidence: Pairs


@dataclass(slots=True)
class _Budget:
    """Network time one item has left."""

    total_s: float
    left_s: float = field(init=False)

    def __post_init__(self) -> None:
        self.left_s = self.total_s

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        started = time.monotonic()
        try:
            async with asyncio.timeout(self.left_s):
                yield
        except TimeoutError as error:
            detail = f"not done after {self.total_s:g} s of network time"
            raise FetchFault(Reason.TRANSPORT, detail, retryable=True) from error
        finally:
            self.left_s = max(self.left_s - (time.monotonic() - started), 0.0)


@dataclass(frozen=True, slots=True)
class _Answer:
    url: httpx.URL
    status: int
    headers: httpx.Headers
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
    """

    def __init__(
        self,
        settings: CrawlSettings,
        seed: int,
        memory: CrawlMemory,
        resolve: Resolver = resolve_host,
    ) -> None:
        limits = settings.fetch
        self._settings = settings
        self._limits = limits
        self._seed = seed
        self._memory = memory
        self._gates = HostGates(limits, memory)
        self._robots_locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._client = httpx.AsyncClient(
            transport=CheckedTransport(CheckedBackend(settings.allow_origins, resolve)),
            trust_env=False,
            follow_redirects=False,
            timeout=httpx.Timeout(limits.idle_s, pool=None),
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            headers={
                "User-Agent": user_agent(settings.contact),
                "Accept": "image/*,*/*;q=0.5",
                "Accept-Encoding": "identity",
            },
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._client.aclose()

    async def fetch(self, url: str) -> Fetched:
        """Download one file.

        Raises:
            FetchFault: transport, http_4xx, http_5xx, redirect_limit, unsafe_url, robots, opt_out,
                too_many_bytes.
        """
        budget = _Budget(self._limits.deadline_s)
        answer, robots = await self._with_tries(url, lambda: self._follow(checked_url(url), budget))
        headers = {
            name: ", ".join(answer.headers.get_list(header))[:_MAX_EVIDENCE_CHARS]
            for name, header in _EVIDENCE_HEADERS.items()
        }
        facts = {"final_url": str(answer.url), "status": str(answer.status), "robots": robots, **headers}
        stated = {name: value for name, value in facts.items() if value}
        return Fetched(answer.body, sorted_pairs(stated))

    async def _with_tries(self, url: str, attempt: Callable[[], Awaitable[_Result]]) -> _Result:
        for number in range(1, self._limits.tries + 1):
            try:
                return await attempt()
            except TryAgain as fault:
                wait_s = fault.wait_s
                is_too_long = wait_s is not None and wait_s > self._limits.retry_after_cap_s
                if number == self._limits.tries or is_too_long:
                    raise FetchFault(fault.reason, str(fault), retryable=True, tries=number) from fault
                if wait_s is None:  # otherwise the host's gate waits, for everyone
                    jitter = generator(self._seed, url, "retry", str(number)).uniform(0.75, 1.25)
                    await asyncio.sleep(self._limits.retry_pause_s * 2 ** (number - 1) * jitter)
            except FetchFault as fault:
                fault.tries = number
                raise
        raise AssertionError("the last try returns or raises")

    async def _follow(self, url: httpx.URL, budget: _Budget) -> tuple[_Answer, str]:
        """The final answer and the robots verdict of its origin."""
        for _ in range(self._limits.max_redirects + 1):
            robots = await self._check_robots(url)
            answer = await self._get(url, budget, self._limits.max_bytes)
            if answer.status not in _REDIRECTS:
                return _accepted(answer), robots
            url = _redirect_target(answer)
        raise FetchFault(Reason.REDIRECT_LIMIT, f"more than {self._limits.max_redirects} redirects")

    async def _check_robots(self, url: httpx.URL) -> str:
        if not self._settings.respect_robots:
            return "not asked"
        site = origin(url)
        async with self._robots_locks[site]:
            if site not in self._memory.robots:
                self._memory.robots[site] = await self._ask_robots(url)
        answer = self._memory.robots[site]
        if answer.fault is not None:
            fault = answer.fault
            raise FetchFault(
                fault.reason, f"robots.txt: {fault}", retryable=fault.retryable, tries=fault.tries
            )
        target = url.raw_path.decode("ascii")
        if not answer.rules.allows(target):
            raise FetchFault(Reason.ROBOTS, f"robots.txt of {site} forbids {target[:200]}")
        return answer.verdict

    async def _ask_robots(self, url: httpx.URL) -> RobotsAnswer:
        budget = _Budget(self._limits.deadline_s)
        first = url.copy_with(raw_path=b"/robots.txt")

        async def attempt() -> _Answer:
            hop = first
            for _ in range(self._limits.max_redirects + 1):
                answer = await self._get(hop, budget, ROBOTS_MAX_BYTES, is_robots=True)
                if answer.status not in _REDIRECTS:
                    return answer
                hop = _redirect_target(answer)
            raise FetchFault(Reason.REDIRECT_LIMIT, "too many redirects")

        try:
            answer = await self._with_tries(str(first), attempt)
        except FetchFault as fault:
            # RFC 9309: "unavailable" (4xx, endless redirects) allows all, "unreachable" forbids all.
            # 429 and 408 are no "unavailable": the file may well be there.
            is_unavailable = fault.reason is Reason.HTTP_4XX and not fault.retryable
            if is_unavailable or fault.reason is Reason.REDIRECT_LIMIT:
                return RobotsAnswer(verdict="none")
            if fault.reason in (Reason.HTTP_4XX, Reason.HTTP_5XX):
                fault.reason = Reason.ROBOTS
            return RobotsAnswer(fault=fault)
        return RobotsAnswer(parse_robots(answer.body.decode("utf-8-sig", "replace")))

    async def _get(
        self, url: httpx.URL, budget: _Budget, max_bytes: int, *, is_robots: bool = False
    ) -> _Answer:
        """One request; the body only of a 200 answer. A robots.txt too long is cut, a picture refused."""
        host = authority(url)
        async with (
            self._gates.turn(host) as turn,
            budget.running(),
            self._client.stream("GET", url) as response,
        ):
            turn.is_answered = True
            status, headers = response.status_code, response.headers
            if status >= 400:
                self._raise_status(host, status, headers)
            if self._settings.respect_opt_out and not is_robots:
                word = opt_out_word(headers.get_list("x-robots-tag"))
                if word is not None:
                    raise FetchFault(Reason.OPT_OUT, f"X-Robots-Tag says {word}")
            body = b"" if status != 200 else await _read_body(response, max_bytes, is_cut=is_robots)
            return _Answer(url, status, headers, body)

    def _raise_status(self, host: str, status: int, headers: httpx.Headers) -> None:
        reason = Reason.HTTP_4XX if status < 500 else Reason.HTTP_5XX
        if status < 500 and status not in _TRY_AGAIN_4XX:
            raise FetchFault(reason, f"HTTP status {status}")
        wait_s = retry_after_s(headers.get("retry-after", ""), datetime.now(UTC))
        if wait_s is None:
            raise TryAgain(reason, f"HTTP status {status}")
        if wait_s <= self._limits.retry_after_cap_s:
            self._gates.hold(host, wait_s)
        raise TryAgain(reason, f"HTTP status {status}, Retry-After {wait_s:.0f} s", wait_s=wait_s)


def _accepted(answer: _Answer) -> _Answer:
    if answer.status != 200:
        raise FetchFault(Reason.TRANSPORT, f"HTTP status {answer.status} where 200 was expected")
    return answer


def _redirect_target(answer: _Answer) -> httpx.URL:
    location = answer.headers.get("location", "")
    if not location:
        raise FetchFault(Reason.TRANSPORT, f"HTTP status {answer.status} without a Location")
    try:
        return checked_url(str(answer.url.join(location)))
    except (httpx.InvalidURL, ValueError) as error:
        detail = str(error) if isinstance(error, FetchFault) else f"not a URL: {error}"
        raise FetchFault(Reason.UNSAFE_URL, f"redirect: {detail}") from error


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


async def _read_body(response: httpx.Response, max_bytes: int, *, is_cut: bool) -> bytes:
    stated = response.headers.get("content-length", "")
    if stated.isdecimal() and int(stated[:20]) > max_bytes and not is_cut:
        raise FetchFault(Reason.TOO_MANY_BYTES, f"{stated[:20]} bytes stated, at most {max_bytes} allowed")
    inflate = _inflater(response.headers.get("content-encoding", "identity"))
    body = bytearray()
    async for block in response.aiter_raw():
        # One byte more than allowed tells "too long" from "exactly full".
        body += inflate(block, max_bytes + 1 - len(body))
        if len(body) > max_bytes:
            if is_cut:
                return bytes(body[:max_bytes])
            raise FetchFault(Reason.TOO_MANY_BYTES, f"more than {max_bytes} bytes")
    return bytes(body)


def _inflater(encoding: str) -> Callable[[bytes, int], bytes]:
    """Undo one layer of compression that we did not ask for, at most so many bytes at a time."""
    name = encoding.strip().lower()
    if name in ("", "identity"):
        return lambda block, most: block
    if name not in ("gzip", "x-gzip", "deflate"):
        raise FetchFault(Reason.TRANSPORT, f"answer in content-encoding {name[:40]!r}, not asked for")
    decoder = zlib.decompressobj(wbits=47)  # 32 + 15: gzip or zlib, told by the header

    def inflate(block: bytes, most: int) -> bytes:
        try:
            return decoder.decompress(block, most)
        except zlib.error as error:
            raise FetchFault(Reason.TRANSPORT, f"broken {name} encoding: {error}") from error

    return inflate
