"""The network as sources may use it: APIs and pages, by one client with the manners of the crawl.

Both go over connections whose address was checked. An API is asked as its terms say, not as robots.txt says,
which is for crawlers; a page for people is fetched exactly like a picture.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Coroutine, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

from dataset_tools.core.errors import FetchFault, ServiceError
from dataset_tools.core.reasons import Reason
from dataset_tools.core.text import printable
from dataset_tools.crawl.fetch import Fetcher, retry_after_s, user_agent
from dataset_tools.crawl.hosts import CrawlMemory
from dataset_tools.crawl.items import WebPage
from dataset_tools.crawl.resolving import TryAgain
from dataset_tools.crawl.settings import CrawlSettings
from dataset_tools.crawl.transport import CheckedTransport, Response
from dataset_tools.crawl.urls import WebUrl, authority, checked_url

ANSWER_MAX_BYTES = 32 * 1024 * 1024
SECRET_MIN_CHARS = 6  # shorter values are page numbers and words, no keys
_REFUSED = frozenset({401, 402, 403})
_AGAIN = frozenset({408, 429})

_Result = TypeVar("_Result")


class PoliteWeb:
    """The network for one listing.

    Args:
        settings: contact, allowed origins, limits and pauses of the crawl.
        seed: of the run; decides the jitter of retries.
    """

    def __init__(self, settings: CrawlSettings, seed: int = 0) -> None:
        self._settings = settings
        self._seed = seed
        self._runner = asyncio.Runner()
        self._transport = CheckedTransport(settings.allow_origins, idle_s=settings.fetch.idle_s)
        self._fetcher: Fetcher | None = None
        self._next_start: dict[str, float] = {}

    def close(self) -> None:
        """Close all connections."""
        self._run(self._transport.aclose())
        if self._fetcher is not None:
            self._run(self._fetcher.__aexit__(None, None, None))
        self._runner.close()

    def _run(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        return self._runner.run(work)

    # -- pages ----------------------------------------------------------------------------------------

    def page(self, url: str) -> WebPage:
        """A page for people, with robots.txt and opt-outs obeyed.

        Raises:
            FetchFault: as `Fetcher.fetch`.
        """
        return self._run(self._page(url))

    async def _page(self, url: str) -> WebPage:
        if self._fetcher is None:
            self._fetcher = await Fetcher(self._settings, self._seed, CrawlMemory()).__aenter__()
        fetched = await self._fetcher.fetch(url)
        facts = dict(fetched.evidence)
        return WebPage(facts.get("final_url", url), fetched.body, facts.get("content_type", ""))

    # -- APIs -----------------------------------------------------------------------------------------

    def ask(self, url: str, params: Mapping[str, str], headers: Mapping[str, str]) -> dict[str, Any]:
        """The JSON object with which an API answers; redirects are not followed, a key might go with them.

        Raises:
            ServiceError: no answer or none that is a JSON object after all tries, a quota used up, a key
                refused.
            FetchFault: `unsafe_url`, `http_4xx`, `too_many_bytes`.
        """
        return self._run(self._ask(checked_url(url), params, headers))

    async def _ask(
        self, url: WebUrl, params: Mapping[str, str], headers: Mapping[str, str]
    ) -> dict[str, Any]:
        limits = self._settings.fetch
        for number in range(1, limits.tries + 1):
            try:
                async with asyncio.timeout(limits.deadline_s):
                    return _json_object(await self._answer(url, params, headers))
            except (TryAgain, TimeoutError) as error:
                said = str(error) or f"no whole answer in {limits.deadline_s:g} s"
                wait_s = error.wait_s if isinstance(error, TryAgain) else None
                if wait_s is None:
                    wait_s = limits.retry_pause_s * 2 ** (number - 1)
                elif wait_s > limits.retry_after_cap_s:
                    break
                if number < limits.tries:
                    await asyncio.sleep(wait_s)
        raise ServiceError(f"{url.host}: {said}; pages that came are kept, run again later to go on")

    async def _answer(self, url: WebUrl, params: Mapping[str, str], headers: Mapping[str, str]) -> bytes:
        host = authority(url)
        await asyncio.sleep(max(self._next_start.get(host, 0.0) - time.monotonic(), 0.0))
        self._next_start[host] = time.monotonic() + self._settings.fetch.host_pause_s
        sent = {
            "User-Agent": user_agent(self._settings.contact),
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            **headers,
        }
        async with self._transport.get(url.with_params(params), list(sent.items())) as response:
            body = bytearray()
            async for block in response.blocks():
                body += block
                if len(body) > ANSWER_MAX_BYTES:
                    raise FetchFault(Reason.TOO_MANY_BYTES, f"answer of more than {ANSWER_MAX_BYTES} bytes")
        _check_status(url.host, response, bytes(body), [*params.values(), *headers.values()])
        return bytes(body)


def _check_status(host: str, response: Response, body: bytes, secrets: list[str]) -> None:
    status = response.status
    if status == 200:
        return
    said = f"HTTP status {status}{_excerpt(body, secrets)}"
    if status in _AGAIN or status >= 500:
        wait_s = retry_after_s(response.headers.get("retry-after", ""), datetime.now(UTC))
        reason = Reason.HTTP_4XX if status < 500 else Reason.HTTP_5XX
        hint = " (quota used up or too many requests)" if status == 429 else ""
        raise TryAgain(reason, said + hint, wait_s=wait_s)
    if status in _REFUSED:
        raise ServiceError(f"{host}: {said}: a quota is used up, or the key is missing, wrong or not allowed")
    raise FetchFault(Reason.HTTP_4XX, said)


def _excerpt(body: bytes, secrets: list[str]) -> str:
    """What an error answer says, on one line; servers like to repeat the request, so values go out of it."""
    text = body[:4000].decode("utf-8", "replace")
    words_sent = {word for value in secrets for word in (value, *value.split())}  # "Bearer <token>" too
    for secret in sorted(
        (word for word in words_sent if len(word) >= SECRET_MIN_CHARS), key=len, reverse=True
    ):
        text = text.replace(secret, "…")
    words = " ".join(printable(text).split())[:200]
    return f", {words!r}" if words and not words.startswith("<") else ""


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        content = json.loads(body)
    except (ValueError, RecursionError) as error:
        is_page = body.lstrip()[:1] == b"<"
        what = "a page for people, perhaps a captcha" if is_page else "cut or no JSON"
        raise TryAgain(Reason.JSON, f"answer is {what}") from error
    if not isinstance(content, dict):
        raise FetchFault(Reason.SCHEMA, f"answer is a JSON {type(content).__name__}, expected an object")
    return content
