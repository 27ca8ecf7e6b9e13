from __future__ import annotations

import logging
import multiprocessing
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dataset_tools.core.engine import LocalExecutor
from dataset_tools.core.errors import ManifestError, ServiceError
from dataset_tools.core.manifest import Manifest
from dataset_tools.core.reasons import Reason
from dataset_tools.core.stage import run_stage, shards_of_items, shards_of_manifest
from dataset_tools.core.workspace import Workspace

Kinds = dict[str, type]
COUNT = 33


def run_make(
    kinds: Kinds, root: Path, *, workers: int = 1, die_at: int = -1, shard_size: int = 4
) -> Manifest:
    workspace = Workspace(root)
    shards = shards_of_items([kinds["item"](number) for number in range(COUNT)], shard_size)
    run_stage(
        kinds["make"](die_at=die_at),
        shards,
        root / "manifests" / "make",
        key="k",
        parent_key="",
        images=workspace.images,
        executor=LocalExecutor(workers),
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


def test_a_killed_worker_process_is_reported_and_finished_shards_stay(stages: Kinds, tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match="run the same command again"):
        run_make(stages, tmp_path, workers=2, die_at=COUNT - 1)
    assert run_make(stages, tmp_path).counts.inputs == COUNT


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
