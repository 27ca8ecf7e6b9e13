"""The crawl stage: source items in, stored pictures with provenance out."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataset_tools.core.errors import FetchFault, ItemFault, ServiceError, SuiteError
from dataset_tools.core.files import sha256_hex
from dataset_tools.core.images import DecodedPhoto, ImageStore, decode_photo, perceptual_hash
from dataset_tools.core.progress import Progress
from dataset_tools.core.reasons import Reason
from dataset_tools.core.record import (
    ImageRef,
    Provenance,
    Rejection,
    Sample,
    Split,
    sample_id,
    sorted_pairs,
)
from dataset_tools.crawl.hosts import CrawlMemory
from dataset_tools.crawl.items import Labels, SourceItem
from dataset_tools.crawl.local import read_local
from dataset_tools.crawl.settings import CrawlSettings

if TYPE_CHECKING:
    from dataset_tools.crawl.fetch import Fetched, Fetcher

_log = logging.getLogger(__name__)

Result = Sample | Rejection


class CrawlStage:
    """Fetches, decodes and stores pictures.

    Not parallel over processes: one process keeps the promises made to each host. Within it, downloads
    run together and pictures are decoded by a few threads.

    Args:
        settings: what to collect and how.
        seed: of the run.
        listing: `listing_digest` of the items, so that a run over changed sources is another run.
    """

    name = "crawl"
    version = "1"
    parallel = False

    def __init__(self, settings: CrawlSettings, seed: int, listing: str = "") -> None:
        self.settings = settings
        self.seed = seed
        self.listing = listing
        self._memory = CrawlMemory()

    @property
    def config(self) -> dict[str, Any]:
        """Settings that decide the rows, the seed and the listing; not how many run at once."""
        settings = self.settings.model_dump(
            mode="json", exclude={"contact": True, "decode_threads": True, "fetch": {"concurrency"}}
        )
        return {**settings, "seed": self.seed, "listing": self.listing}

    def plan(self, samples: Iterable[Sample]) -> None:
        """Nothing to plan: a crawl has no parent."""

    def run(
        self,
        items: Sequence[SourceItem],
        *,
        plan: None,
        images: ImageStore,
        progress: Progress,
    ) -> Iterator[Result]:
        """Fetch one shard; results come in the order of the items, whatever order they finished in."""
        for results in asyncio.run(self._crawl(items, images, progress)):
            yield from results

    async def _crawl(
        self, items: Sequence[SourceItem], images: ImageStore, progress: Progress
    ) -> list[list[Result]]:
        # Imported here: `build-dataset --help` must not pay for the HTTP client.
        from dataset_tools.crawl.fetch import Fetcher

        with ThreadPoolExecutor(self.settings.decode_threads, "decode") as pool:
            async with Fetcher(self.settings, self.seed, self._memory) as fetcher:
                work = (self._one(item, fetcher, pool, images, progress) for item in items)
                return await asyncio.gather(*work)

    async def _one(
        self,
        item: SourceItem,
        fetcher: Fetcher,
        pool: ThreadPoolExecutor,
        images: ImageStore,
        progress: Progress,
    ) -> list[Result]:
        loop = asyncio.get_running_loop()
        try:
            if item.fault is not None:
                raise FetchFault(item.fault.reason, item.fault.detail)
            fetched = await fetcher.fetch(item.uri) if item.is_remote else None
            return await loop.run_in_executor(pool, self._keep, item, fetched, images)
        except ItemFault as fault:
            return [_rejection(item, fault)]
        except SuiteError:
            raise
        except Exception as error:  # one bad item must not end a run of millions
            _log.exception("crawl failed on %s", item.key)
            return [_rejection(item, ItemFault(Reason.INTERNAL, f"{type(error).__name__}: {error}"))]
        finally:
            progress.advance()

    def _keep(self, item: SourceItem, fetched: Fetched | None, images: ImageStore) -> list[Result]:
        """Decode, store and describe one picture (runs in a thread)."""
        limits = self.settings.image_limits
        body = fetched.body if fetched is not None else _read(item, limits.max_bytes)
        photo = decode_photo(body, limits)
        height, width = photo.rgb.shape[:2]
        annotation = item.annotation
        labels = annotation.read((height, width), limits) if annotation is not None else Labels()
        image = _store(images, photo)
        identity = sample_id(image)
        sample = Sample(
            id=identity,
            image=image,
            provenance=_provenance(item, fetched, sha256_hex(body)),
            group=item.group or identity,
            phash=perceptual_hash(photo.rgb),
            instances=labels.instances,
            split=annotation.split if annotation is not None else Split.UNASSIGNED,
            is_labelled=annotation is not None and not labels.faults,
        )
        return [sample, *_lost_annotations(item, identity, labels)]


def _read(item: SourceItem, max_bytes: int) -> bytes:
    if item.content is not None:
        return item.content.read(max_bytes)
    return read_local(Path(item.uri), max_bytes)


def _store(images: ImageStore, photo: DecodedPhoto) -> ImageRef:
    try:
        return images.put_photo(photo)
    except OSError as error:
        # A full disk is not the picture's fault: stop here, a rerun goes on.
        raise ServiceError(
            f"cannot write pictures to {images.root}: {error.strerror}; then run again to resume"
        ) from error


def _provenance(item: SourceItem, fetched: Fetched | None, content_sha256: str) -> Provenance:
    facts = dict(item.evidence) | dict(fetched.evidence if fetched is not None else ())
    if item.name:
        facts["name"] = item.name
    return Provenance(
        source=item.source,
        item_key=item.key,
        licence=item.licence,
        url=item.uri if fetched is not None else "",
        author=item.author,
        retrieved_at=_utc_now(),
        content_sha256=content_sha256,
        evidence=sorted_pairs(facts),
    )


def _utc_now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _lost_annotations(item: SourceItem, identity: str, labels: Labels) -> Iterator[Rejection]:
    used: set[str] = set()
    for name, fault in labels.faults:
        key = f"{item.key}#{name}"
        while key in used:
            key += "+"
        used.add(key)
        yield Rejection(
            stage=CrawlStage.name,
            item_key=key,
            reason=fault.reason,
            detail=f"{fault.detail}; the picture is kept as unlabelled",
            sample_id=identity,
            source=item.source,
            derived=True,
        )


def _rejection(item: SourceItem, fault: ItemFault) -> Rejection:
    return Rejection(
        stage=CrawlStage.name,
        item_key=item.key,
        reason=fault.reason,
        detail=str(fault),
        source=item.source,
        retryable=fault.retryable,
        tries=fault.tries,
    )
