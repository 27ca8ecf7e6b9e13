"""From settings to the list of items a crawl works on."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from dataset_tools.core.errors import ConfigError
from dataset_tools.core.published import Fault
from dataset_tools.core.reasons import Reason
from dataset_tools.crawl.items import Listing, SourceItem, Web, WebPage
from dataset_tools.crawl.settings import CrawlSettings


def list_items(settings: CrawlSettings, cache: Path | None = None) -> list[SourceItem]:
    """Every picture of every source, in configuration order, with unique keys.

    A URL that was already listed without a fault comes again as a faulty item (`duplicate`), so that each
    row of the input is accounted for. Equal files on disk are the filter's business.

    Args:
        settings: the sources, and the manners and limits with which they may ask the network.
        cache: folder where answers of APIs and pages are kept, see `default_cache`.

    Raises:
        ConfigError: no source, a source's path or column does not exist, or a key is not in the environment.
        DataError: a list, annotation file or API answer cannot be read at all.
        ServiceError: a service is away or its quota used up; what it gave so far is kept for the next time.
    """
    if not settings.sources:
        raise ConfigError("crawl: no sources; add at least one under `sources:`")
    used: Counter[str] = Counter()
    taken: set[str] = set()
    first_of_url: dict[str, str] = {}
    items: list[SourceItem] = []
    web = _LaterWeb(settings)
    listing = Listing(web, cache if cache is not None else default_cache())
    try:
        for source in settings.sources:
            for item in source.items(listing):
                key = item.key
                while key in taken:
                    used[item.key] += 1
                    key = f"{item.key}#{used[item.key] + 1}"
                taken.add(key)
                fault = item.fault
                if fault is None and item.is_remote and item.uri in first_of_url:
                    fault = Fault(Reason.DUPLICATE, f"already listed as {first_of_url[item.uri]}")
                elif fault is None and item.is_remote:
                    first_of_url[item.uri] = key
                items.append(dataclasses.replace(item, key=key, fault=fault))
    finally:
        web.close()
    return items


def default_cache() -> Path:
    """`listings` in `MASKSET_CACHE`, else in `$XDG_CACHE_HOME/maskset`, else in `~/.cache/maskset`."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "maskset"
    return Path(os.environ.get("MASKSET_CACHE") or base).expanduser() / "listings"


class _LaterWeb:
    """Opens the network only when a source asks for it: local sources need no HTTP client."""

    def __init__(self, settings: CrawlSettings) -> None:
        self._settings = settings
        self._web: Any = None

    def _opened(self) -> Web:
        if self._web is None:
            from dataset_tools.crawl.web import PoliteWeb

            self._web = PoliteWeb(self._settings)
        web: Web = self._web
        return web

    def ask(self, url: str, params: Mapping[str, str], headers: Mapping[str, str]) -> dict[str, Any]:
        return self._opened().ask(url, params, headers)

    def page(self, url: str) -> WebPage:
        return self._opened().page(url)

    def close(self) -> None:
        if self._web is not None:
            self._web.close()


def listing_digest(items: Iterable[SourceItem]) -> str:
    """SHA-256 over all items: tells a resumed crawl that its sources still list the same things.

    Taking pictures down changes kept answers, but not this digest: the rest need not be crawled again.
    """
    digest = hashlib.sha256()
    for item in items:
        digest.update((item.digest or repr(_by_itself(item))).encode())
        digest.update(b"\n")
    return digest.hexdigest()


def _by_itself(item: SourceItem) -> SourceItem:
    """The item without what other items made of it: an earlier one with the same URL may be taken down."""
    is_repeated = item.fault is not None and item.fault.reason is Reason.DUPLICATE and item.is_remote
    return dataclasses.replace(
        item,
        key=item.uri if item.is_remote else item.key,
        fault=None if is_repeated else item.fault,
    )
