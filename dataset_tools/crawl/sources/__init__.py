"""All sources. A new one is a file with a `SourceSettings` class and one entry in `SOURCES`."""

from __future__ import annotations

from dataset_tools.crawl.items import SourceSettings
from dataset_tools.crawl.sources.coco import CocoSource
from dataset_tools.crawl.sources.folder import FolderSource
from dataset_tools.crawl.sources.pairs import PairsSource
from dataset_tools.crawl.sources.url_list import UrlListSource

SOURCES: dict[str, type[SourceSettings]] = {
    "coco": CocoSource,
    "folder": FolderSource,
    "pairs": PairsSource,
    "url_list": UrlListSource,
}
