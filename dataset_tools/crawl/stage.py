"""The crawl stage: source items in, stored pictures with provenance out."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataset_tools.core.decoding import WorkerPool, WorkLimits
from dataset_tools.core.errors import FetchFault, ItemFault, ServiceError, SuiteError
from dataset_tools.core.images import ImageStore, original_path
from dataset_tools.core.interruptible import run_interruptible
from dataset_tools.core.progress import Progress
from dataset_tools.core.reasons import Reason
from dataset_tools.core.record import Rejection, Sample
from dataset_tools.core.tombstones import Tombstones, current_tombstones
from dataset_tools.crawl.hosts import Backlog, CrawlMemory
from dataset_tools.crawl.items import SourceItem
from dataset_tools.crawl.keeping import STAGE, Keeper, Result, Syncer, sample_of
from dataset_tools.crawl.settings import CrawlSettings

if TYPE_CHECKING:
    from dataset_tools.crawl.fetch import Fetcher

STREAM_READERS = 4  # items out of a stream that are in memory at once
_SYNC_LIMITS = WorkLimits(cpu_s=600.0, wall_s=600.0)  # a disk may be slow

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Workers:
    keeper: WorkerPool
    syncer: WorkerPool


class CrawlStage:
    """Fetches, decodes and stores pictures.

    Not parallel over processes: one process keeps the promises made to each host. Within it, downloads
    run together; pictures are decoded and stored by disposable worker processes.

    Args:
        settings: what to collect and how.
        seed: of the run.
        listing: `listing_digest` of the items, so that a run over changed sources is another run.
        stores: False to look at the pictures only and keep none.
    """

    name = STAGE
    version = "3"
    parallel = False

    def __init__(self, settings: CrawlSettings, seed: int, listing: str = "", *, stores: bool = True) -> None:
        self.settings = settings
        self.stores = stores
        self.seed = seed
        self.listing = listing
        self._memory = CrawlMemory()
        self._pools: dict[Path, _Workers] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_memory": CrawlMemory(), "_pools": {}}  # both belong to this process

    @property
    def config(self) -> dict[str, Any]:
        """Settings that decide the rows, the seed and the listing; not how many run at once."""
        settings = self.settings.model_dump(
            mode="json",
            exclude={
                "contact": True,
                "decode": {"workers"},
                "fetch": {"concurrency"},
                "keep_originals": True,
            },
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
        """Fetch one shard, at once; results come in the order of the items.

        Before the first result is handed out all pictures are durable: that is waited for, and rows are
        written, while the next shard is fetched.
        """
        if any(item.fault is None for item in items):
            self._workers(images.root).keeper.prepare()
        found = run_interruptible(self._crawl(items, images, progress))
        return self._durable(found, images.root)

    def _durable(self, found: Sequence[Sequence[Result]], root: Path) -> Iterator[Result]:
        if names := list(self._written(found)):
            try:
                asyncio.run(self._workers(root).syncer.run(names))
            except ItemFault as fault:  # the process that syncs was lost
                raise ServiceError(
                    f"pictures cannot be made durable: {fault}; run again to resume"
                ) from fault
        for results in found:
            yield from results

    async def _crawl(
        self, items: Sequence[SourceItem], images: ImageStore, progress: Progress
    ) -> list[list[Result]]:
        # Imported here: `build-dataset --help` must not pay for the HTTP client.
        from dataset_tools.crawl.fetch import Fetcher

        backlog = Backlog()
        stones = current_tombstones(images.root)
        pool = self._workers(images.root).keeper
        async with Fetcher(self.settings, self.seed, self._memory, backlog=backlog) as fetcher:
            readers = asyncio.Semaphore(STREAM_READERS)
            is_work = any(item.fault is None for item in items)
            warming = asyncio.create_task(pool.warm() if is_work else asyncio.sleep(0))
            warming.add_done_callback(_looked_at)  # whoever needs a worker is told as well
            found = await asyncio.gather(
                *(self._one(item, fetcher, pool, backlog, stones, progress, readers) for item in items)
            )
            await warming
            return found

    def _written(self, found: Iterable[Sequence[Result]]) -> Iterator[str]:
        for result in (one for results in found for one in results):
            if isinstance(result, Sample) and self.stores:
                yield result.image.path
                if self.settings.keep_originals:
                    yield original_path(result.provenance.content_sha256)

    def _workers(self, root: Path) -> _Workers:
        """Those that store under `root`; they outlive a shard and end with the stage object."""
        if root not in self._pools:
            decode = self.settings.decode
            limits = WorkLimits(decode.cpu_s, decode.wall_s, decode.memory_mb << 20)
            keeper = Keeper(root, self.settings.image_limits, self.settings.keep_originals, self.stores)
            self._pools[root] = _Workers(
                WorkerPool(keeper, decode.workers, limits), WorkerPool(Syncer(root), 1, _SYNC_LIMITS)
            )
        return self._pools[root]

    async def _one(
        self,
        item: SourceItem,
        fetcher: Fetcher,
        pool: WorkerPool,
        backlog: Backlog,
        stones: Tombstones,
        progress: Progress,
        readers: asyncio.Semaphore,
    ) -> list[Result]:
        try:
            if item.fault is not None:
                raise FetchFault(item.fault.reason, item.fault.detail)
            if item.content is not None and item.is_streamed:
                async with readers:
                    held = await asyncio.to_thread(item.held, self.settings.image_limits.max_bytes)
                    return list(await pool.run(held, None, ()))
            if not item.is_remote:
                return list(await pool.run(item, None, ()))
            stones.refuse_url(item.uri)
            fetched = await fetcher.fetch(item.uri)
            with backlog.holding(len(fetched.body)):
                if item.annotation is not None:
                    return list(await pool.run(item, fetched.body, fetched.evidence))
                stored = await pool.run(None, fetched.body, ())  # the least to hand over
            return [sample_of(item, True, fetched.evidence, stored)]
        except ItemFault as fault:
            return [_rejection(item, fault)]
        except SuiteError:
            raise
        except Exception as error:  # one bad item must not end a run of millions
            _log.exception("crawl failed on %s", item.key)
            return [_rejection(item, ItemFault(Reason.INTERNAL, f"{type(error).__name__}: {error}"))]
        finally:
            progress.advance()


def _looked_at(task: asyncio.Task[None]) -> None:
    if not task.cancelled():
        task.exception()


def _rejection(item: SourceItem, fault: ItemFault) -> Rejection:
    return Rejection(
        stage=STAGE,
        item_key=item.key,
        reason=fault.reason,
        detail=str(fault),
        source=item.source,
        retryable=fault.retryable,
        tries=fault.tries,
        due=fault.due,
    )
