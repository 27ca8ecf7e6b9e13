"""A workspace is for its owner alone, whatever the shell it was made from allows."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dataset_tools.core.workspace import Workspace


@pytest.fixture
def open_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def rights(root: Path) -> dict[int, set[int]]:
    """Access rights of files and of folders under a folder, itself included."""
    found: dict[int, set[int]] = {stat.S_IFREG: set(), stat.S_IFDIR: set()}
    for path in (root, *root.rglob("*")):
        mode = path.stat().st_mode
        found[stat.S_IFMT(mode)].add(stat.S_IMODE(mode))
    return found


def test_everything_in_a_build_is_for_its_owner_alone(tmp_path: Path, astronaut_rgb: np.ndarray) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    Image.fromarray(astronaut_rgb).save(photos / "a.png")
    source = "{type: folder, name: mine, path: photos, licence: CC0-1.0}"
    config = tmp_path / "config.yaml"
    config.write_text(
        f"name: toy\nworkspace: deep/work\ncrawl: {{keep_originals: true, sources: [{source}]}}\n"
    )
    for command in ("crawl", "stats"):  # the second writes without the lock
        line = [sys.executable, "-m", "dataset_tools.cli", command, str(config), "--quiet"]
        subprocess.run(line, check=True, capture_output=True, umask=0)
    root = tmp_path / "deep" / "work"
    assert {path.name for path in root.iterdir()} >= {"objects", "originals", "manifests", "report"}
    assert rights(root) == {stat.S_IFREG: {0o600}, stat.S_IFDIR: {0o700}}


def test_the_umask_is_given_back(tmp_path: Path, open_umask: None) -> None:
    with Workspace(tmp_path / "work").lock():
        assert os.umask(0o077) == 0o077
    assert os.umask(0) == 0


def test_a_listing_made_before_the_first_lock_becomes_private(tmp_path: Path, open_umask: None) -> None:
    (tmp_path / "work" / "listings").mkdir(parents=True)
    (tmp_path / "work" / "listings" / "a.jsonl").write_text("{}")
    with Workspace(tmp_path / "work").lock():
        pass
    assert rights(tmp_path / "work") == {stat.S_IFREG: {0o600}, stat.S_IFDIR: {0o700}}


def test_a_folder_of_ones_own_and_a_workspace_opened_to_others_stay_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    tmp_path.chmod(0o755)
    with Workspace(tmp_path).lock():
        pass
    made = Workspace(tmp_path / "work")
    with made.lock():
        pass
    made.root.chmod(0o750)
    with made.lock():
        pass
    assert [stat.S_IMODE(path.stat().st_mode) for path in (tmp_path, made.root)] == [0o755, 0o750]
