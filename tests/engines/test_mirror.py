"""A workspace pushed to a remote path and fetched again, with everything that can go wrong between."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from click.testing import CliRunner

from dataset_tools.core.errors import ConfigError, DataError, ServiceError
from dataset_tools.core.images import perceptual_hash
from dataset_tools.core.manifest import Manifest, ShardCounts, write_header, write_shard
from dataset_tools.core.reasons import Reason
from dataset_tools.core.record import Provenance, Rejection, Sample, sample_id
from dataset_tools.core.tombstones import Tombstone, Tombstones
from dataset_tools.core.workspace import Workspace
from dataset_tools.engines.mirror import fetch_workspace, push_workspace
from dataset_tools.engines.mirror_cli import fetch_command, push_command

NAME = "crawl-0123456789ab"


def fill(root: Path) -> Workspace:
    """A workspace with one finished manifest of 3 shards and 9 pictures, and half of another."""
    workspace = Workspace(root)
    counts = ShardCounts()
    for index in range(3):
        samples = []
        for number in range(3):
            rgb = np.random.default_rng(3 * index + number).integers(0, 255, (20, 30, 3)).astype(np.uint8)
            image = workspace.images.put_array(rgb)
            origin = Provenance(source="s", item_key=f"{index}/{number}", licence="CC0-1.0")
            samples.append(Sample(sample_id(image), image, origin, "g", perceptual_hash(rgb)))
        lost = Rejection("crawl", f"{index}/x", Reason.EMPTY, "nothing")
        keys = [*(sample.provenance.item_key for sample in samples), lost.item_key]
        counts += write_shard(root / "manifests" / NAME, index, keys, samples, [lost])
    numbers = {"inputs": 12, "kept": 9, "derived": 0, "rejected": 3, "derived_rejected": 0}
    header = {"stage": "crawl", "key": NAME[6:], "parent": "", "shards": 3, "config": {}, "counts": numbers}
    write_header(root / "manifests" / NAME, header)
    write_shard(root / "manifests" / "filter-0123456789ab", 0, [], [], [])
    (root / "objects" / "00").mkdir(exist_ok=True)
    (root / "objects" / "00" / ".tmp-left.png").write_bytes(b"half")
    return workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return fill(tmp_path / "work")


@pytest.fixture(params=["memory", "file"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "memory":
        return f"memory://{uuid.uuid4().hex}/set"
    return f"file://{tmp_path}/remote/set"


def finished_files(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes()
        for folder in ("objects", f"manifests/{NAME}")
        for path in (root / folder).rglob("*")
        if path.is_file() and not path.name.startswith(".tmp-")
    }


def test_what_is_fetched_is_what_was_pushed_byte_for_byte(
    workspace: Workspace, url: str, tmp_path: Path
) -> None:
    pushed = push_workspace(workspace, url)
    assert (pushed.files, pushed.copied) == (16, 16)  # 9 pictures, 3 + 3 shard files, 1 header
    other = Workspace(tmp_path / "other")
    assert fetch_workspace(url, other).copied == 16
    assert finished_files(other.root) == finished_files(workspace.root)
    digests = {Manifest(item.root / "manifests" / NAME).canonical_digest() for item in (workspace, other)}
    assert len(digests) == 1
    assert not (other.root / "manifests" / "filter-0123456789ab").exists()
    assert not list(other.root.rglob(".tmp-*"))


def test_a_second_push_and_a_second_fetch_copy_nothing(
    workspace: Workspace, url: str, tmp_path: Path
) -> None:
    push_workspace(workspace, url)
    assert push_workspace(workspace, url).copied == 0
    other = Workspace(tmp_path / "other")
    fetch_workspace(url, other)
    assert fetch_workspace(url, other).copied == 0


@pytest.mark.parametrize("breaks_at", [0, 4, 9, 12, 15])
def test_a_push_that_breaks_off_leaves_no_index_and_the_next_one_completes_it(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, breaks_at: int
) -> None:
    url = f"memory://{uuid.uuid4().hex}/set"
    remote = fsspec.filesystem("memory")
    send: Callable[..., Any] = type(remote).put_file
    calls = []

    def break_off(self: Any, source: str, target: str, **more: Any) -> Any:
        calls.append(target)
        if len(calls) > breaks_at:
            raise ConnectionResetError("the line is dead")
        return send(self, source, target, **more)

    with monkeypatch.context() as patched:
        patched.setattr(type(remote), "put_file", break_off)
        with pytest.raises(ServiceError, match=r"the line is dead.*run again"):
            push_workspace(workspace, url)
    with pytest.raises(DataError, match="no finished push"):
        fetch_workspace(url, Workspace(tmp_path / "other"))
    assert push_workspace(workspace, url).copied <= 16 - min(breaks_at, 9)  # pictures are not sent again
    fetch_workspace(url, Workspace(tmp_path / "other"))
    assert finished_files(tmp_path / "other") == finished_files(workspace.root)


def test_a_changed_byte_in_the_copy_is_found_and_nothing_torn_appears(
    workspace: Workspace, url: str, tmp_path: Path
) -> None:
    push_workspace(workspace, url)
    remote, root = fsspec.core.url_to_fs(url)
    victim = next(path for path in remote.find(root) if path.endswith(".png"))
    data = bytearray(remote.cat_file(victim))
    data[30] ^= 1
    remote.pipe_file(victim, bytes(data))
    other = Workspace(tmp_path / "other")
    with pytest.raises(DataError, match="not what the index says"):
        fetch_workspace(url, other)
    assert not list(other.root.rglob("header.json"))
    assert Path(victim).name not in {path.name for path in other.root.rglob("*")}


@pytest.mark.parametrize(
    "path", ["../canary", "/canary", "objects/../canary", "objects/aa/" + "b" * 64 + ".png", "config.yaml"]
)
def test_an_index_that_names_other_places_is_refused(
    workspace: Workspace, url: str, tmp_path: Path, path: str
) -> None:
    push_workspace(workspace, url)
    remote, root = fsspec.core.url_to_fs(url)
    remote.pipe_file(f"{root}/index.json", json.dumps({"files": {path: [3, "c" * 64]}}).encode())
    with pytest.raises(DataError, match="no file of a workspace"):
        fetch_workspace(url, Workspace(tmp_path / "other"))
    assert not list(tmp_path.rglob("canary*"))


def test_another_manifest_of_the_same_name_is_not_written_over(
    workspace: Workspace, url: str, tmp_path: Path
) -> None:
    push_workspace(workspace, url)
    other = fill(tmp_path / "other")
    header = other.root / "manifests" / NAME / "header.json"
    header.write_text(header.read_text().replace('"dataset"', '"x"') + "\n")
    with pytest.raises(DataError, match="another manifest"):
        fetch_workspace(url, other)


def test_what_was_taken_down_is_pruned_and_never_fetched_back(
    workspace: Workspace, url: str, tmp_path: Path
) -> None:
    push_workspace(workspace, url)
    other = Workspace(tmp_path / "other")
    fetch_workspace(url, other)
    gone = next((workspace.root / "objects").rglob("[0-9a-f]*.png"))
    stone = Tombstone("2026-01-31", "asked", sha256=gone.stem)
    Tombstones([stone]).write(workspace.root)
    gone.unlink()
    assert push_workspace(workspace, url).removed == 0  # only on request
    third = Workspace(tmp_path / "third")
    fetch_workspace(url, third)
    assert not (third.root / gone.relative_to(workspace.root)).exists()
    assert Tombstones.read(third.root).has(stone)
    assert push_workspace(workspace, url, prune=True).removed == 1
    remote, root = fsspec.core.url_to_fs(url)
    assert not [path for path in remote.find(root) if gone.stem in path]
    with pytest.raises(DataError, match="fetch-workspace first"):
        push_workspace(other, url)


@pytest.mark.parametrize("bad", ["nope://x/y", "s3://me:secret@x/y"])
def test_a_url_that_cannot_be_used_is_a_usage_error_without_its_password(
    workspace: Workspace, bad: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        push_workspace(workspace, bad)
    assert "secret" not in str(caught.value)


def test_the_commands_say_what_travelled(workspace: Workspace, tmp_path: Path) -> None:
    runner = CliRunner()
    copy, other = str(tmp_path / "copy"), str(tmp_path / "other")
    result = runner.invoke(push_command, [str(workspace.root), copy])
    assert result.output.startswith("pushed 16 of 16 files")
    result = runner.invoke(fetch_command, [copy, other, "--json"])
    assert json.loads(result.output)["copied"] == 16
    result = runner.invoke(fetch_command, [str(tmp_path / "nothing"), other])
    assert result.exit_code == 1
    assert "no finished push" in result.stderr
