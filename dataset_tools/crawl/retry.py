"""Tries the failed items of a finished crawl again, and nothing else.

The manifest keeps its directory and key: its rows are then those of a crawl in which these items had fared
better. A shard's new rows are first written aside and given their final name in one rename
(`retried/part-00000`); only then do they replace the old ones. A kill before that rename changes nothing, one
after it is made good by `finish_retries`, which every retry, and every crawl, runs first.
"""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from dataset_tools.core.errors import ManifestError
from dataset_tools.core.images import ImageStore
from dataset_tools.core.manifest import (
    Manifest,
    ShardCounts,
    read_shard_counts,
    shard_is_done,
    write_header,
    write_shard,
)
from dataset_tools.core.progress import ProgressFactory, silent
from dataset_tools.core.reasons import Reason
from dataset_tools.core.record import Rejection, Sample
from dataset_tools.core.stage import Shard
from dataset_tools.core.tombstones import STAND_IN
from dataset_tools.crawl.keeping import utc_now
from dataset_tools.crawl.stage import CrawlStage

_ASIDE = "retried"
_BEFORE = "before-retry"
_MADE_BY_A_BUILD = re.compile(r"-[0-9a-f]{12}(\.json)?$")


@dataclass(frozen=True, slots=True)
class RetryReport:
    """What a retry did.

    Attributes:
        tried: items asked for again.
        kept: of these, pictures we have now.
        put_off: retryable items left alone because their host named a time that has not come.
        shards: shards that were rewritten.
        reasons: why the rest of the tried ones was rejected again.
        stale: what followed from the old rows: manifests, which were removed, and models, which were moved
            to `models/before-retry/`.
    """

    tried: int = 0
    kept: int = 0
    put_off: int = 0
    shards: int = 0
    reasons: dict[str, int] = dataclasses.field(default_factory=dict)
    stale: tuple[str, ...] = ()


def retry_failed(
    stage: CrawlStage,
    shards: Sequence[Shard],
    directory: Path,
    *,
    images: ImageStore,
    reasons: Collection[Reason] = (),
    progress: ProgressFactory = silent,
) -> RetryReport:
    """Ask again for the rejected items of a finished crawl that may succeed now.

    Tried are items marked as retryable whose due time, if their host named one, has come; with `reasons`
    exactly the items with one of these reasons, retryable or not, and due or not where the reason was named.

    Args:
        stage: the crawl with the settings of the manifest.
        shards: its items, cut as they were.
        directory: the finished manifest.
        images: picture store of the workspace.
        reasons: reason words to try again; empty for everything retryable.
        progress: opens the progress display.

    Raises:
        ManifestError: the crawl has not finished, or the shards are not those of the manifest.
        ServiceError: pictures cannot be stored; finished shards stay.
    """
    stale = finish_retries(directory)
    manifest = Manifest(directory)
    again, put_off = _plan(manifest, shards, frozenset(reasons))
    report = RetryReport(put_off=put_off)
    with progress("retry", sum(len(keys) for keys in again.values())) as bar:
        for shard, rows in zip(shards, manifest.shards(), strict=True):
            if keys := again.get(shard.index):
                items = [item for item in shard.items if item.key in keys]
                results = list(stage.run(items, plan=None, images=images, progress=bar))
                stale += _replace_shard(directory, shard, rows, keys, results)
                report = _added(report, keys, results)
    return dataclasses.replace(report, stale=tuple(stale))


def finish_retries(directory: Path) -> list[str]:
    """Put shards in place that a retry had written, and bring the header up to date, if any.

    Returns:
        What followed from the old rows and is no longer in its place, see `RetryReport.stale`.
    """
    aside = directory / _ASIDE
    if not aside.exists():
        return []
    stale = []
    for folder in sorted(aside.iterdir()):
        if not folder.name.startswith(".tmp-"):
            # Before the rows change: nobody must find new rows and what was made of the old ones.
            if _has_gained(folder, directory):
                stale += _remove_followers(directory)
            _put_in_place(folder, directory)
        shutil.rmtree(folder)
    if (directory / "header.json").exists():
        header = Manifest(directory).header
        counts = [read_shard_counts(directory, index) for index in range(int(header["shards"]))]
        values = dataclasses.asdict(sum(counts, start=ShardCounts()))
        write_header(directory, {**header, "counts": values})
    aside.rmdir()
    return stale


def _has_gained(folder: Path, directory: Path) -> bool:
    """True when the shard has pictures that the old one lacks; later stages do not see rejected items."""
    index = int(folder.name.removeprefix("part-"))
    is_there = shard_is_done(folder, index) and shard_is_done(directory, index)
    return is_there and read_shard_counts(folder, index).kept > read_shard_counts(directory, index).kept


def _put_in_place(folder: Path, directory: Path) -> None:
    name = f"{folder.name}.parquet"
    for kind in ("rejections", "samples"):  # a file that is no longer here was moved before the kill
        if (folder / kind / name).exists():
            (folder / kind / name).replace(directory / kind / name)


def _plan(
    manifest: Manifest, shards: Sequence[Shard], reasons: frozenset[Reason]
) -> tuple[dict[int, frozenset[str]], int]:
    """Keys to try by shard index, and how many were put off."""
    if len(manifest.shard_paths()) != len(shards):
        raise ManifestError(f"{manifest.directory} was cut into shards of another size; set shard_size back")
    now = utc_now()
    again: dict[int, frozenset[str]] = {}
    put_off = 0
    for index, (_, rejections) in enumerate(manifest.shards()):
        wanted = [item for item in rejections if not item.derived and _may_go(item, reasons)]
        due = [item for item in wanted if item.due <= now or reasons]
        put_off += len(wanted) - len(due)
        keys = frozenset(item.item_key for item in due)
        missing = keys - {item.key for item in shards[index].items}
        if missing:
            raise ManifestError(f"the sources no longer list {min(missing)!r}; crawl them anew")
        if keys:
            again[index] = keys
    return again, put_off


def _may_go(item: Rejection, reasons: frozenset[Reason]) -> bool:
    if item.item_key.startswith(STAND_IN):
        return False  # it was taken down, and nothing tells what it was
    return item.reason in reasons if reasons else item.retryable


def _replace_shard(
    directory: Path,
    shard: Shard,
    rows: tuple[list[Sample], list[Rejection]],
    keys: frozenset[str],
    results: Sequence[Sample | Rejection],
) -> list[str]:
    name = f"part-{shard.index:05d}"
    samples, rejections = rows
    stays = [item for item in rejections if item.derived or item.item_key not in keys]
    fresh = directory / _ASIDE / f".tmp-{name}"
    shutil.rmtree(fresh, ignore_errors=True)
    write_shard(
        fresh,
        shard.index,
        [item.key for item in shard.items],
        [*samples, *(item for item in results if isinstance(item, Sample))],
        [*stays, *(item for item in results if isinstance(item, Rejection))],
    )
    fresh.rename(directory / _ASIDE / name)
    return finish_retries(directory)


def _added(report: RetryReport, keys: frozenset[str], results: Sequence[Sample | Rejection]) -> RetryReport:
    again = Counter(report.reasons)
    again.update(item.reason.value for item in results if isinstance(item, Rejection) and not item.derived)
    return dataclasses.replace(
        report,
        tried=report.tried + len(keys),
        kept=report.kept + sum(isinstance(item, Sample) for item in results),
        shards=report.shards + 1,
        reasons=dict(again),
    )


def _remove_followers(directory: Path) -> list[str]:
    """Remove every manifest made from this one, directly or not; its rows are about to change.

    A stage run that has not finished does not say what it was made from, so it goes too.
    """
    manifests = directory.parent
    following: list[Manifest] = []
    pending = [Manifest(directory).key]
    while pending:
        parent = pending.pop(0)
        children = [one for one in _finished(manifests) if one.header.get("parent") == parent]
        following += [one for one in children if one.key not in ("", parent)]
        pending += [one.key for one in children if one.key not in ("", parent)]
    stale = _set_models_aside(manifests.parent / "models", {one.key for one in following})
    folders = [one.directory for one in reversed(following)]  # a later stage must not outlive an earlier one
    folders += [
        folder
        for folder in sorted(manifests.glob("*"))
        if folder != directory and folder.is_dir() and not (folder / "header.json").exists()
    ]
    for folder in folders:
        # The header first: without it a folder half removed is unfinished, never wrong.
        (folder / "header.json").unlink(missing_ok=True)
        shutil.rmtree(folder)
    return sorted(stale + [folder.name for folder in folders])


def _set_models_aside(models: Path, keys: set[str]) -> list[str]:
    """Move what a build trained or calibrated on these manifests; a new one would have the same name."""
    moved = []
    for path in sorted(models.glob("*")):
        if not _MADE_BY_A_BUILD.search(path.name) or not _may_be_of(path, keys):
            continue
        target = models / _BEFORE / path.name
        target.parent.mkdir(exist_ok=True)
        number = 1
        while target.exists():
            number += 1
            target = target.with_name(f"{path.name}.{number}")
        path.rename(target)
        moved.append(f"models/{path.name}")
    return moved


def _may_be_of(path: Path, keys: set[str]) -> bool:
    try:
        record = json.loads((path / "training.json").read_bytes())
    except (OSError, ValueError):
        return True  # unfinished, or a calibration, which does not say of what
    return isinstance(record, dict) and record.get("dataset_key") in keys


def _finished(manifests: Path) -> Iterator[Manifest]:
    for header in sorted(manifests.glob("*/header.json")):
        try:
            yield Manifest(header.parent)
        except ManifestError:
            continue  # of another version, or torn: not ours to judge
