"""How a stage runs: over shards, on one process or many, resumable at any shard.

A stage is a small object: it may look at all samples once (`plan`), then handles one shard at a time
(`run`). `run_stage` does the rest: skips finished shards, writes new ones atomically, checks that no
item vanished, writes the header last. Where the shards run is the executor's business; a cluster engine
needs only `map_shards`.
"""

from __future__ import annotations

import dataclasses
import logging
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, Self

from dataset_tools.core.engine import Executor, LocalExecutor, beat
from dataset_tools.core.errors import ItemFault, ServiceError, SuiteError
from dataset_tools.core.images import ImageStore
from dataset_tools.core.manifest import (
    Manifest,
    ShardCounts,
    count_shard_rows,
    read_shard_counts,
    read_shard_samples,
    shard_is_done,
    write_header,
    write_shard,
)
from dataset_tools.core.progress import Progress, ProgressFactory, silent
from dataset_tools.core.reasons import Reason
from dataset_tools.core.record import Rejection, Sample

_log = logging.getLogger(__name__)


class Item(Protocol):
    """What a shard is made of: samples, or the crawl's source items."""

    @property
    def key(self) -> str:
        """Unique within the run."""


class Stage(Protocol):
    """One step from manifest to manifest. Must be picklable; heavy models load on first use.

    Attributes:
        name: the stage word, e.g. "filter".
        version: changes whenever the same input would give other rows.
        parallel: False when one process must see all shards (a crawl's per-host politeness).
    """

    name: str
    version: str
    parallel: bool

    @property
    def config(self) -> dict[str, Any]:
        """Everything but name and version that decides the rows, as plain JSON values."""
        ...

    def plan(self, samples: Iterable[Sample]) -> Any:
        """One streaming look at the whole input; what it returns is given to every `run`."""

    def run(
        self, items: Sequence[Any], *, plan: Any, images: ImageStore, progress: Progress
    ) -> Iterator[Sample | Rejection]:
        """Handle one shard: every item ends in one sample or one rejection; children may be added."""


@dataclass(frozen=True, slots=True)
class Shard:
    """A unit of work: either the items themselves or the parent's shard file."""

    index: int
    items: tuple[Any, ...] = ()
    path: Path | None = None

    def load(self) -> Sequence[Any]:
        """Its items."""
        return self.items if self.path is None else read_shard_samples(self.path)


def item_key(item: Any) -> str:
    """Unique key of a sample or a source item."""
    return item.provenance.item_key if isinstance(item, Sample) else str(item.key)


def reject(sample: Sample, stage: str, reason: Reason, detail: str, **more: Any) -> Rejection:
    """The rejection of a sample by a stage."""
    return Rejection(
        stage=stage,
        item_key=sample.provenance.item_key,
        reason=reason,
        detail=detail,
        sample_id=sample.id,
        source=sample.provenance.source,
        **more,
    )


def each(
    samples: Iterable[Sample],
    stage: str,
    handle: Callable[[Sample], Iterable[Sample | Rejection]],
    progress: Progress,
) -> Iterator[Sample | Rejection]:
    """Handle samples one by one; a fault of one sample becomes its rejection and the rest go on.

    An unexpected exception is our own bug: it is logged with its traceback and counted as `internal`.
    """
    for sample in samples:
        try:
            results = list(handle(sample))
        except ItemFault as fault:
            results = [
                reject(
                    sample,
                    stage,
                    fault.reason,
                    str(fault),
                    retryable=fault.retryable,
                    tries=fault.tries,
                )
            ]
        except SuiteError:
            raise
        except Exception as error:  # one bad item must not end a run of millions
            _log.exception("%s failed on %s", stage, sample.id)
            results = [reject(sample, stage, Reason.INTERNAL, f"{type(error).__name__}: {error}")]
        yield from results
        progress.advance()


@dataclass(frozen=True, slots=True)
class StageReport:
    """What one stage did.

    Attributes:
        stage: its name.
        counts: over all shards.
        reasons: rejections by reason, derived ones included.
        seconds: wall time of this call.
        resumed_shards: shards that were already there.
        directory: where the manifest lies.
    """

    stage: str
    counts: ShardCounts
    reasons: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    resumed_shards: int = 0
    directory: str = ""


def report_values(report: StageReport) -> dict[str, Any]:
    """A report as plain JSON values."""
    return dataclasses.asdict(report)


def describe_report(report: StageReport) -> str:
    """One line about a finished stage, for people."""
    counts = report.counts
    parts = [f"{counts.inputs} in", f"{counts.kept} kept"]
    if counts.derived:
        parts.append(f"{counts.derived} made")
    dropped = counts.rejected + counts.derived_rejected
    if dropped:
        why = ", ".join(f"{reason} {count}" for reason, count in sorted(report.reasons.items()))
        parts.append(f"{dropped} rejected ({why})")
    if report.resumed_shards:
        parts.append(f"{report.resumed_shards} shard(s) were done before")
    is_timed = report.seconds > 0.05 and not report.resumed_shards
    rate = f", {counts.inputs / report.seconds:.1f}/s" if is_timed else ""
    return f"{report.stage:<9} {', '.join(parts)}; {report.seconds:.1f} s{rate}"


class _Pulse:
    """Progress in a worker process: shows nothing, tells the engine that the worker is alive."""

    def advance(self, count: int = 1) -> None:
        beat()

    def note(self, text: str) -> None:
        beat()


@dataclass(frozen=True)
class _ShardWork:
    """As `core.engine.ShardWork`.

    Attributes:
        lost: the items that ended their process, and how; None while the stage gets whole shards.
    """

    stage: Stage
    plan: Any
    directory: Path
    images_root: Path
    progress: Progress | None = None  # only in the calling process: a bar cannot travel
    lost: Mapping[int, str] | None = None

    def __call__(self, shard: Shard) -> ShardCounts:
        items = shard.load()
        self._note(shard, "")
        results = self._run(items) if self.lost is None else self._run_one_by_one(items, shard)
        counts = self.finish(shard, items, results)
        self._note_path(shard).unlink(missing_ok=True)
        return counts

    def begin(self, shard: Shard) -> tuple[Sequence[Any], Iterator[Sample | Rejection]]:
        """Its items and what becomes of them; a stage that is no generator has done its work by then."""
        items = shard.load()
        return items, self._run(items)

    def finish(
        self, shard: Shard, items: Sequence[Any], results: Iterator[Sample | Rejection]
    ) -> ShardCounts:
        """Write what became of the items."""
        samples: list[Sample] = []
        rejections: list[Rejection] = []
        for result in results:
            if isinstance(result, Sample):
                samples.append(result)
            else:
                rejections.append(result)
        keys = [item_key(item) for item in items]
        return write_shard(self.directory, shard.index, keys, samples, rejections)

    def is_under_way(self, shard: Shard) -> bool:
        return self._note_path(shard).exists()

    def item_under_way(self, shard: Shard) -> int | None:
        try:
            return int(self._note_path(shard).read_text())
        except (OSError, ValueError):
            return None

    def one_by_one(self, lost: Mapping[int, str]) -> Self:
        return dataclasses.replace(self, lost=lost)

    def _run(self, items: Sequence[Any]) -> Iterator[Sample | Rejection]:
        images = ImageStore(self.images_root)
        return self.stage.run(items, plan=self.plan, images=images, progress=self.progress or _Pulse())

    def _run_one_by_one(self, items: Sequence[Any], shard: Shard) -> Iterator[Sample | Rejection]:
        assert self.lost is not None
        if len(items) == len(self.lost) > 1:
            raise ServiceError(f"{self.lost[0]}, with every item: it is not the items' fault")
        for number, item in enumerate(items):
            if number in self.lost:
                yield _lose(item, self.stage.name, self.lost[number])
                continue
            self._note(shard, str(number))
            yield from self._run([item])

    def _note(self, shard: Shard, text: str) -> None:
        if self.stage.parallel:  # others know how to look after their own work
            self.directory.mkdir(parents=True, exist_ok=True)
            self._note_path(shard).write_text(text)

    def _note_path(self, shard: Shard) -> Path:
        return self.directory / f"under-way-{shard.index:05d}"


def _lose(item: Any, stage: str, detail: str) -> Rejection:
    if isinstance(item, Sample):
        return reject(item, stage, Reason.WORKER_LOST, detail, retryable=True, tries=2)
    return Rejection(
        stage=stage,
        item_key=item_key(item),
        reason=Reason.WORKER_LOST,
        detail=detail,
        retryable=True,
        tries=2,
    )


def shards_of_items(items: Sequence[Any], shard_size: int) -> list[Shard]:
    """Source items cut into shards of `shard_size`; always at least one shard."""
    starts = range(0, max(len(items), 1), shard_size)
    return [
        Shard(index, items=tuple(items[start : start + shard_size])) for index, start in enumerate(starts)
    ]


def shards_of_manifest(manifest: Manifest) -> list[Shard]:
    """One shard of work per shard of the parent."""
    return [Shard(index, path=path) for index, path in enumerate(manifest.shard_paths())]


def run_stage(
    stage: Stage,
    shards: Sequence[Shard],
    directory: Path,
    *,
    key: str,
    parent_key: str,
    images: ImageStore,
    parent: Manifest | None = None,
    executor: Executor | None = None,
    progress: ProgressFactory = silent,
    dataset: str = "",
) -> StageReport:
    """Run a stage over its shards, or do what is missing of an earlier run.

    Args:
        stage: what to do.
        shards: the work, from `shards_of_items` or `shards_of_manifest`.
        directory: where the new manifest goes; finished shards of the same work found there are kept.
        key: digest of stage, config and parent; stands in the header.
        parent_key: key of the parent manifest, "" for a crawl.
        images: picture store of the workspace.
        parent: the parent manifest, for the stage's `plan`; None for a crawl.
        executor: where the shards run; one local process by default.
        progress: opens the progress display.
        dataset: its name, for people; decides nothing.

    Returns:
        The report; the manifest is complete when this returns.

    Raises:
        ManifestError: the stage lost an item.
        ServiceError: a worker was killed.
    """
    started = time.monotonic()
    if not _fit_together(directory, shards):
        # Cut into shards of another size before: finished work has the same rows, unfinished work is void.
        if _is_whole(directory):
            whole = Manifest(directory)
            return _report(whole, started, resumed=len(whole.shard_paths()))
        shutil.rmtree(directory)
    unfinished = [shard for shard in shards if not shard_is_done(directory, shard.index)]
    if unfinished:
        plan = stage.plan(parent.samples() if parent is not None else iter(()))
        chosen: Executor = executor if executor is not None and stage.parallel else LocalExecutor()
        work = _ShardWork(stage, plan, directory, images.root)
        is_inline = isinstance(chosen, LocalExecutor) and chosen.is_inline(work, unfinished)
        with progress(stage.name, sum(map(_size, unfinished))) as bar:
            if is_inline:
                work = dataclasses.replace(work, progress=bar)
            done = chosen.map_shards(work, unfinished) if stage.parallel else _one_behind(work, unfinished)
            for counts in done:
                if not is_inline:
                    bar.advance(counts.inputs)
    counts = sum((read_shard_counts(directory, shard.index) for shard in shards), start=ShardCounts())
    header = {
        "dataset": dataset,
        "stage": stage.name,
        "stage_version": stage.version,
        "config": stage.config,
        "key": key,
        "parent": parent_key,
        "shards": len(shards),
        "counts": dataclasses.asdict(counts),
    }
    return _report(write_header(directory, header), started, resumed=len(shards) - len(unfinished))


def _one_behind(work: _ShardWork, shards: Iterable[Shard]) -> Iterator[ShardCounts]:
    """Shards in turn in this process; while one is worked on, the rows of the one before it are written.

    A shard that was worked on is written even when the next one is interrupted.
    """
    with ThreadPoolExecutor(1, "rows") as writer:
        before: Future[ShardCounts] | None = None
        for shard in shards:
            begun = work.begin(shard)
            if before is not None:
                yield before.result()
            before = writer.submit(work.finish, shard, *begun)
        if before is not None:
            yield before.result()


def _size(shard: Shard) -> int:
    return len(shard.items) if shard.path is None else count_shard_rows(shard.path)


def _fit_together(directory: Path, shards: Sequence[Shard]) -> bool:
    """True when the shards found there are parts of this very work."""
    done = [shard for shard in shards if shard_is_done(directory, shard.index)]
    return not shard_is_done(directory, len(shards)) and all(
        read_shard_counts(directory, shard.index).inputs == _size(shard) for shard in done
    )


def _is_whole(directory: Path) -> bool:
    return (directory / "header.json").exists() and all(
        path.exists() for path in Manifest(directory).shard_paths()
    )


def _report(manifest: Manifest, started: float, *, resumed: int) -> StageReport:
    return StageReport(
        stage=manifest.stage,
        counts=manifest.counts,
        reasons=dict(Counter(item.reason.value for item in manifest.rejections())),
        seconds=time.monotonic() - started,
        resumed_shards=resumed,
        directory=str(manifest.directory),
    )
