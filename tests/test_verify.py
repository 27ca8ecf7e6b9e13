"""A check finds every damaged file, raises no false alarm, and goes on where it was cut off."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dataset_tools import verify as checking
from dataset_tools.core.errors import DataError, ManifestError
from dataset_tools.core.manifest import Manifest
from dataset_tools.core.workspace import Workspace
from dataset_tools.references import stored_files
from dataset_tools.verify import CHECKPOINT, QUARANTINE, reopen, verify

Build = Callable[..., Any]


def flip_a_byte(path: Path, rng: np.random.Generator) -> None:
    data = bytearray(path.read_bytes())
    data[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
    path.write_bytes(data)


def test_a_hundred_flipped_bytes_are_a_hundred_findings(tmp_path: Path, build_erasable: Build) -> None:
    workspace = build_erasable(tmp_path / "work", photos=100).workspace
    files = list(stored_files(workspace.root))
    rng = np.random.default_rng(0)
    damaged = sorted(rng.choice(files, 100, replace=False).tolist())
    assert len(files) > 250
    for path in damaged:
        flip_a_byte(workspace.root / path, rng)
    found = verify(workspace)
    assert (found.checked, list(found.damaged)) == (len(files), damaged)
    assert (found.missing, found.orphans, found.broken) == ((), (), ())
    assert [item.path for item in found.lost] == damaged
    assert {item.stage for item in found.lost} == {"crawl", "synth"}
    assert all((workspace.root / QUARANTINE / path).is_file() for path in damaged)
    assert not any((workspace.root / path).exists() for path in damaged)
    again = verify(workspace)
    assert (again.damaged, list(again.missing)) == ((), damaged)


def test_a_sound_workspace_gives_no_alarm(tmp_path: Path, build_erasable: Build) -> None:
    found = verify(build_erasable(tmp_path / "work", photos=3).workspace)
    assert found.is_whole
    assert (found.orphans, found.lost) == ((), ())


def test_what_nothing_refers_to_is_an_orphan_and_no_loss(tmp_path: Path, build_erasable: Build) -> None:
    workspace = build_erasable(tmp_path / "work", photos=2).workspace
    ref = workspace.images.put_array(np.zeros((70, 70, 3), np.uint8))
    (workspace.root / "objects" / "zz").mkdir()
    (workspace.root / "objects" / "zz" / "notes.txt").write_text("mine")
    (workspace.root / "objects" / "zz" / ".tmp-left.png").write_bytes(b"half")
    found = verify(workspace)
    assert (found.missing, found.lost) == ((), ())
    assert found.orphans == (ref.path,)
    assert found.damaged == ("objects/zz/notes.txt",)


def test_a_check_that_was_cut_off_goes_on_where_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, build_erasable: Build
) -> None:
    monkeypatch.setattr(checking, "EVERY", 10)
    workspace = build_erasable(tmp_path / "work", photos=30).workspace
    files = list(stored_files(workspace.root))
    damaged = [files[4], files[70]]
    for path in damaged:
        flip_a_byte(workspace.root / path, np.random.default_rng(1))

    class Killed(BaseException):
        pass

    def kill(checked: int) -> None:
        if checked == 40:
            raise Killed

    with pytest.raises(Killed):
        verify(workspace, noted=kill)
    hashed: list[str] = []
    real = checking.sha256_file
    monkeypatch.setattr(checking, "sha256_file", lambda path: hashed.append(path.name) or real(path))
    found = verify(workspace, resume=True)
    assert len(hashed) == len(files) - 40
    assert (found.checked, list(found.damaged)) == (len(files), damaged)
    assert not (workspace.root / CHECKPOINT).exists()


def test_a_lost_photo_comes_back_from_its_source(tmp_path: Path, astronaut_path: Path) -> None:
    from dataset_tools.config import BuildConfig
    from dataset_tools.core.settings import parse_settings
    from dataset_tools.pipeline import Pipeline

    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "a.png").write_bytes(astronaut_path.read_bytes())
    source = {"type": "folder", "name": "mine", "path": folder, "licence": "CC0-1.0"}
    values = {"name": "toy", "workspace": tmp_path / "work", "crawl": {"sources": [source]}}
    build = Pipeline(parse_settings(BuildConfig, values, "test"))
    build.run("crawl")
    before = build.manifest("crawl").canonical_digest()
    (picture,) = stored_files(build.workspace.root)
    flip_a_byte(build.workspace.root / picture, np.random.default_rng(2))
    found = verify(build.workspace)
    assert [(item.item_key, item.stage) for item in found.lost] == [("mine/a.png", "crawl")]
    assert len(reopen(build.workspace, found)) == 1
    with pytest.raises(ManifestError):
        build.manifest("crawl")
    build.run("crawl")
    assert build.manifest("crawl").canonical_digest() == before
    assert verify(build.workspace).is_whole


def test_a_manifest_that_cannot_be_read_is_named(tmp_path: Path, build_erasable: Build) -> None:
    made = build_erasable(tmp_path / "work", photos=2)
    shard = Manifest(made.chain["filter"].directory).shard_paths()[0]
    shard.write_bytes(shard.read_bytes()[:100])
    found = verify(made.workspace)
    assert found.broken == (f"{shard.parent.parent.name}/{shard.name}",)
    assert not found.is_whole
    assert reopen(made.workspace, found) == list(found.broken)


def test_no_workspace_is_no_success(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not there"):
        verify(Workspace(tmp_path / "nothing"))


def test_an_original_is_hashed_too_and_none_is_missed(tmp_path: Path, build_erasable: Build) -> None:
    made = build_erasable(tmp_path / "work", photos=3)
    images = made.workspace.images
    kept = [images.put_original(photo.provenance.url.encode()) for photo in made.photos[:2]]
    assert verify(made.workspace).is_whole
    flip_a_byte(made.workspace.root / kept[1], np.random.default_rng(3))
    found = verify(made.workspace)
    assert (found.damaged, found.missing, found.orphans) == ((kept[1],), (), ())
