"""Reading files that may not be what they seem."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dataset_tools.core.errors import FetchFault
from dataset_tools.core.local_files import inside, read_local, walk


def reason_of(path: Path, max_bytes: int = 100) -> str:
    with pytest.raises(FetchFault) as caught:
        read_local(path, max_bytes)
    return caught.value.reason.value


def test_an_ordinary_file_is_read_whole(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"x" * 100)
    assert read_local(path, 100) == b"x" * 100


def test_everything_else_has_its_reason(tmp_path):
    (tmp_path / "big").write_bytes(b"x" * 101)
    (tmp_path / "link").symlink_to(tmp_path / "big")
    os.mkfifo(tmp_path / "pipe")
    assert reason_of(tmp_path / "big") == "too_many_bytes"
    assert reason_of(tmp_path / "link") == "unsafe_path"
    assert reason_of(tmp_path / "pipe") == "not_a_file"
    assert reason_of(tmp_path) == "not_a_file"
    assert reason_of(Path("/dev/zero")) == "not_a_file"
    assert reason_of(tmp_path / "missing") == "missing_image"
    assert reason_of(tmp_path / ("n" * 300)) == "missing_image"
    assert reason_of(Path("a\0b")) == "not_a_file"


def test_a_sparse_giant_is_refused_unread(tmp_path):
    path = tmp_path / "sparse"
    with path.open("wb") as stream:
        stream.truncate(20 * 1024**3)
    assert reason_of(path) == "too_many_bytes"


def test_walking_names_every_entry_sorted_and_follows_no_link(tmp_path):
    (tmp_path / "b").mkdir()
    for name in ("b/2.png", "b/10.png", "a.png", "-rf", "new\nline", "ü.png"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "loop").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.png")).write_bytes(b"")
    entries = {entry.name: entry.fault.reason.value if entry.fault else "" for entry in walk(tmp_path)}
    assert entries == {
        "-rf": "",
        "\\xff.png": "",
        "a.png": "",
        "b/10.png": "",
        "b/2.png": "",
        "loop": "unsafe_path",
        "new\nline": "",
        "pipe": "not_a_file",
        "ü.png": "",
    }
    assert [entry.name for entry in walk(tmp_path)] == sorted(entries)


def test_paths_from_data_stay_inside_the_root(tmp_path):
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    (root / "out").symlink_to(tmp_path)
    assert inside(root, "sub/../a.png") == root / "a.png"
    for name in ("../a.png", "/etc/hostname", "out/a.png", "sub/../../a.png", "a\0b"):
        with pytest.raises(FetchFault) as caught:
            inside(root, name)
        assert caught.value.reason == "unsafe_path"
