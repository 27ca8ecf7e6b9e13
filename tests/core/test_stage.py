from __future__ import annotations

import logging
import multiprocessing
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from dataset_tools.core.engine import STALL_S, LocalExecutor
from dataset_tools.core.errors import ManifestError, ServiceError
from dataset_tools.core.manifest import Manifest, shard_is_done
from dataset_tools.core.reasons import Reason
from dataset_tools.core.record import Rejection, Sample
from dataset_tools.core.stage import run_stage, shards_of_items, shards_of_manifest
from dataset_tools.core.workspace import Workspace

Kinds = dict[str, type]
COUNT = 33


def run_make(
    kinds: Kinds,
    root: Path,
    *,
    workers: int = 1,
    shard_size: int = 4,
    stall_s: float = STALL_S,
    **trouble: Any,
) -> Manifest:
    workspace = Workspace(root)
    shards = shards_of_items([kinds["item"](number) for number in range(COUNT)], shard_size)
    run_stage(
        kinds["make"](**trouble),
        shards,
        root / "manifests" / "make",
        key="k",
        parent_key="",
        images=workspace.images,
        executor=LocalExecutor(workers, stall_s),
    )
    return Manifest(root / "manifests" / "make")


def run_faulty(kinds: Kinds, root: Path, parent: Manifest, *, loses: bool) -> Manifest:
    run_stage(
        kinds["faulty"](loses=loses),
        shards_of_manifest(parent),
        root / "manifests" / "faulty",
        key="k2",
        parent_key="k",
        images=Workspace(root).images,
        parent=parent,
    )
    return Manifest(root / "manifests" / "faulty")


def test_kept_and_rejected_add_up_to_the_input(stages: Kinds, tmp_path: Path) -> None:
    manifest = run_make(stages, tmp_path)
    counts = manifest.counts
    assert (counts.inputs, counts.kept, counts.rejected) == (COUNT, 26, 7)
    assert len(list(manifest.samples())) == 26
    assert {item.reason for item in manifest.rejections()} == {Reason.EMPTY}


def test_worker_count_changes_nothing(stages: Kinds, tmp_path: Path) -> None:
    one = run_make(stages, tmp_path / "one")
    two = run_make(stages, tmp_path / "two", workers=2)
    assert one.canonical_digest() == two.canonical_digest()


def _run_and_die(kinds: Kinds, root: Path, die_at: int) -> None:
    run_make(kinds, root, die_at=die_at)


@pytest.mark.parametrize("die_at", [0, 1, 9, 17, COUNT - 1])
def test_killed_at_any_item_and_rerun_gives_the_undisturbed_rows(
    stages: Kinds, tmp_path: Path, die_at: int
) -> None:
    process = multiprocessing.get_context("spawn").Process(
        target=_run_and_die, args=(stages, tmp_path / "killed", die_at)
    )
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    with pytest.raises(ManifestError):
        Manifest(tmp_path / "killed" / "manifests" / "make")
    resumed = run_make(stages, tmp_path / "killed")
    undisturbed = run_make(stages, tmp_path / "whole")
    assert resumed.canonical_digest() == undisturbed.canonical_digest()
    objects = [
        sorted(path.name for path in (tmp_path / name / "objects").rglob("*.png"))
        for name in ("killed", "whole")
    ]
    assert objects[0] == objects[1]


def rows_without(manifest: Manifest, numbers: set[int]) -> list[tuple[str, str]]:
    """Item and fate of everything that is not one of the numbers."""
    fates = [(one.provenance.item_key, one.id) for one in manifest.samples()]
    fates += [(one.item_key, one.reason.value) for one in manifest.rejections()]
    return sorted(fate for fate in fates if fate[0] not in {f"item{number}" for number in numbers})


# The first item of a shard and the last, one that is alone in its shard, two of one shard, and of two.
@pytest.mark.parametrize("deadly", [{16}, {COUNT - 1}, {18, 19}, {3, 8}])
def test_items_that_kill_their_process_are_rejected_and_nothing_else_is_touched(
    stages: Kinds, tmp_path: Path, deadly: set[int]
) -> None:
    manifest = run_make(stages, tmp_path / "deadly", workers=2, die_at=tuple(deadly))
    lost = [one for one in manifest.rejections() if one.reason is Reason.WORKER_LOST]
    assert {one.item_key for one in lost} == {f"item{number}" for number in deadly}
    assert {(one.stage, one.retryable, one.tries) for one in lost} == {("make", True, 2)}
    assert {one.detail for one in lost} == {"a worker process was killed (out of memory?)"}
    assert manifest.counts.inputs == manifest.counts.kept + manifest.counts.rejected == COUNT
    assert rows_without(manifest, deadly) == rows_without(run_make(stages, tmp_path / "whole"), deadly)
    assert not list(manifest.directory.glob("under-way*"))


def test_an_item_that_hangs_is_rejected_too(stages: Kinds, tmp_path: Path) -> None:
    manifest = run_make(stages, tmp_path, workers=2, die_at=6, hangs=True, stall_s=3.0)
    [lost] = [one for one in manifest.rejections() if one.reason is Reason.WORKER_LOST]
    assert (lost.item_key, lost.detail) == ("item6", "no worker process finished an item in 3 s")
    assert manifest.counts.inputs == COUNT


def test_with_one_worker_the_second_run_rejects_what_ended_the_first(stages: Kinds, tmp_path: Path) -> None:
    process = multiprocessing.get_context("spawn").Process(target=_run_and_die, args=(stages, tmp_path, 9))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    manifest = run_make(stages, tmp_path, die_at=9)
    assert [one.item_key for one in manifest.rejections() if one.reason is Reason.WORKER_LOST] == ["item9"]


@pytest.mark.parametrize(("shard_size", "lost"), [(4, 4), (30, 12)])
def test_when_every_item_or_very_many_kill_their_process_the_machine_is_to_blame(
    stages: Kinds, tmp_path: Path, shard_size: int, lost: int
) -> None:
    with pytest.raises(ServiceError, match="killed"):
        run_make(stages, tmp_path, workers=2, shard_size=shard_size, die_at=tuple(range(8, 8 + lost)))
    whole = run_make(stages, tmp_path, shard_size=shard_size)
    assert Reason.WORKER_LOST not in {one.reason for one in whole.rejections()}
    assert whole.counts.inputs == COUNT


@dataclass(frozen=True)
class EagerStage:
    """Works when `run` is called, hands out later; is interrupted at its third shard."""

    inner: Any
    began: list[str]
    parallel: bool = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def run(self, items: Sequence[Any], **options: Any) -> Iterator[Sample | Rejection]:
        if len(self.began) == 2:
            raise KeyboardInterrupt
        self.began.append(items[0].key)
        return iter(list(self.inner.run(items, **options)))


def test_a_shard_that_was_worked_on_is_written_although_the_next_one_is_interrupted(
    stages: Kinds, tmp_path: Path
) -> None:
    shards = shards_of_items([stages["item"](number) for number in range(12)], 4)
    directory = tmp_path / "manifests" / "make"
    stage = EagerStage(stages["make"](), [])
    with pytest.raises(KeyboardInterrupt):
        run_stage(stage, shards, directory, key="k", parent_key="", images=Workspace(tmp_path).images)
    assert [shard_is_done(directory, shard.index) for shard in shards] == [True, True, False]
    stage.began.clear()
    report = run_stage(stage, shards, directory, key="k", parent_key="", images=Workspace(tmp_path).images)
    assert (stage.began, report.resumed_shards, report.counts.inputs) == (["item8"], 2, 12)


def test_a_second_run_does_nothing_again(stages: Kinds, tmp_path: Path) -> None:
    manifest = run_make(stages, tmp_path)
    stamps = {path: path.stat().st_mtime_ns for path in manifest.shard_paths()}
    run_make(stages, tmp_path, die_at=1)  # would die if it did any work
    assert {path: path.stat().st_mtime_ns for path in manifest.shard_paths()} == stamps


@pytest.mark.parametrize("shard_size", [1, 5, COUNT, 100])
def test_another_shard_size_loses_nothing_of_a_finished_stage(
    stages: Kinds, tmp_path: Path, shard_size: int
) -> None:
    before = run_make(stages, tmp_path).canonical_digest()
    again = run_make(stages, tmp_path, shard_size=shard_size, die_at=1)  # would die if it did any work
    assert again.canonical_digest() == before
    assert again.counts.inputs == COUNT


@pytest.mark.parametrize("shard_size", [1, 5, COUNT])
def test_another_shard_size_starts_an_unfinished_stage_anew(
    stages: Kinds, tmp_path: Path, shard_size: int
) -> None:
    whole = run_make(stages, tmp_path / "whole")
    started = run_make(stages, tmp_path / "started")
    (started.directory / "header.json").unlink()
    started.shard_paths()[-1].unlink()
    again = run_make(stages, tmp_path / "started", shard_size=shard_size)
    assert again.counts == whole.counts
    assert again.canonical_digest() == whole.canonical_digest()


def test_worker_processes_end_when_their_parent_is_killed() -> None:
    # The workers inherit standard output, so that it only ends when the last of them is gone.
    code = (
        "import os, signal\n"
        "from dataset_tools.core.engine import LocalExecutor\n"
        "for _ in LocalExecutor(2).map_shards(str, [1, 2, 3, 4]):\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, timeout=60)
    assert done.returncode == -signal.SIGKILL


def test_a_fault_and_a_bug_become_rejections_and_the_rest_go_on(
    stages: Kinds, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    parent = run_make(stages, tmp_path)
    with caplog.at_level(logging.CRITICAL):
        manifest = run_faulty(stages, tmp_path, parent, loses=False)
    reasons = {item.item_key: item for item in manifest.rejections()}
    assert reasons["item1"].reason is Reason.NO_FACE
    assert reasons["item1"].detail == "one of 26"  # what `plan` counted
    assert reasons["item1"].retryable
    assert reasons["item2"].reason is Reason.INTERNAL
    assert "ZeroDivisionError" in reasons["item2"].detail
    assert (manifest.counts.kept, manifest.counts.derived, manifest.counts.rejected) == (24, 1, 2)


def test_a_stage_that_loses_an_item_is_stopped(stages: Kinds, tmp_path: Path) -> None:
    parent = run_make(stages, tmp_path)
    with pytest.raises(ManifestError, match="item3"):
        run_faulty(stages, tmp_path, parent, loses=True)


def test_an_empty_input_still_gives_a_manifest(stages: Kinds, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    run_stage(
        stages["make"](),
        shards_of_items([], 4),
        tmp_path / "m",
        key="k",
        parent_key="",
        images=workspace.images,
    )
    assert list(Manifest(tmp_path / "m").samples()) == []
    assert [path.name for path in (tmp_path / "m" / "samples").iterdir()] == ["part-00000.parquet"]
