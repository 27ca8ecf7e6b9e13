"""From settings to the list of items a crawl works on."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Iterable

from dataset_tools.core.errors import ConfigError
from dataset_tools.core.reasons import Reason
from dataset_tools.crawl.items import Fault, SourceItem
from dataset_tools.crawl.settings import CrawlSettings


def list_items(settings: CrawlSettings) -> list[SourceItem]:
    """Every picture of every source, in configuration order, with unique keys.

    A URL that was already listed without a fault comes again as a faulty item (`duplicate`), so that each
    row of the input is accounted for. Equal files on disk are the filter's business.

    Raises:
        ConfigError: no source, or a source's path or column does not exist.
        DataError: a list or annotation file cannot be read at all.
    """
    if not settings.sources:
        raise ConfigError("crawl: no sources; add at least one under `sources:`")
    used: Counter[str] = Counter()
    taken: set[str] = set()
    first_of_url: dict[str, str] = {}
    items: list[SourceItem] = []
    for source in settings.sources:
        for item in source.items():
            key = item.key
            while key in taken:
                used[item.key] += 1
                key = f"{item.key}#{used[item.key] + 1}"
            taken.add(key)
            fault = item.fault
            if fault is None and item.is_remote and item.uri in first_of_url:
                fault = Fault(Reason.DUPLICATE, f"already listed as {first_of_url[item.uri]}")
            elif fault is None:
                first_of_url[item.uri] = key
            items.append(dataclasses.replace(item, key=key, fault=fault))
    return items


def listing_digest(items: Iterable[SourceItem]) -> str:
    """SHA-256 over all items: tells a resumed crawl that its sources still list the same things."""
    digest = hashlib.sha256()
    for item in items:
        digest.update(repr(item).encode())
        digest.update(b"\n")
    return digest.hexdigest()
