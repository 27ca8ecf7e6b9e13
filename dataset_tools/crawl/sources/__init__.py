"""All sources. A new one is a file with a `SourceSettings` class and one entry in `SOURCES`."""

from __future__ import annotations

from dataset_tools.crawl.source_settings import SourceSettings
from dataset_tools.crawl.sources.archive import ArchiveSource
from dataset_tools.crawl.sources.coco import CocoSource
from dataset_tools.crawl.sources.dataset import DatasetSource
from dataset_tools.crawl.sources.flickr import FlickrSource
from dataset_tools.crawl.sources.folder import FolderSource
from dataset_tools.crawl.sources.google_pse import GoogleSource
from dataset_tools.crawl.sources.hf_dataset import HfDatasetSource
from dataset_tools.crawl.sources.openverse import OpenverseSource
from dataset_tools.crawl.sources.pairs import PairsSource
from dataset_tools.crawl.sources.url_list import UrlListSource
from dataset_tools.crawl.sources.web_pages import WebPagesSource
from dataset_tools.crawl.sources.wikimedia import WikimediaSource

SOURCES: dict[str, type[SourceSettings]] = {
    "archive": ArchiveSource,
    "coco": CocoSource,
    "dataset": DatasetSource,
    "flickr": FlickrSource,
    "folder": FolderSource,
    "google_pse": GoogleSource,
    "hf_dataset": HfDatasetSource,
    "openverse": OpenverseSource,
    "pairs": PairsSource,
    "url_list": UrlListSource,
    "web_pages": WebPagesSource,
    "wikimedia": WikimediaSource,
}
