"""The folder that goes up: what is in it, what is left out, and a workspace packed beside it."""

from __future__ import annotations

import hashlib
import json
import tarfile

import pyarrow.parquet as pq
import pytest
import yaml

from dataset_tools.core.errors import DataError
from dataset_tools.export.hub_plan import git_digest, prepare, read_plan
from dataset_tools.export.hub_tars import pack_workspace, safe_path, unpack_workspace


def tree(folder) -> dict[str, bytes | None]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


def test_the_prepared_folder_holds_card_facts_and_rows_and_no_other_format(exported, tmp_path):
    plan = prepare(exported[0], tmp_path / "publish", complete=lambda folder: (folder / "more").touch())
    names = {item.path for item in plan.files}
    assert {"README.md", "dataset.json", "more", "data/train-00000-of-00001.parquet"} <= names
    assert not any(name.startswith(("coco/", "mfsd/")) for name in names)
    assert plan.version == "1.2.0" and plan.size == sum(item.size for item in plan.files)
    for item in plan.files:
        assert hashlib.sha256((plan.folder / item.path).read_bytes()).hexdigest() == item.sha256


def test_a_folder_that_is_no_dataset_is_refused(tmp_path):
    with pytest.raises(DataError, match="run export first"):
        prepare(tmp_path, tmp_path / "publish")
    with pytest.raises(DataError, match="not a prepared dataset"):
        read_plan(tmp_path)


def test_a_small_file_has_the_name_that_git_gives_it(tmp_path):
    (tmp_path / "hello").write_bytes(b"hello\n")
    # `echo hello | git hash-object --stdin`
    assert git_digest(tmp_path / "hello") == "ce013625030ba8dba906f756967f9e9ca394464a"


def test_without_images_no_byte_of_a_picture_goes_up_and_the_labels_stay(exported, tmp_path):
    whole = prepare(exported[0], tmp_path / "whole")
    bare = prepare(exported[0], tmp_path / "bare", with_images=False)
    everything = b"".join((bare.folder / item.path).read_bytes() for item in bare.files)
    for path in sorted(bare.folder.glob("data/*.parquet")):
        before, after = (pq.read_table(folder / "data" / path.name) for folder in (whole.folder, bare.folder))
        assert "image" not in after.column_names
        for old, new in zip(before.to_pylist(), after.to_pylist(), strict=True):
            picture = old.pop("image")["bytes"]
            assert new.pop("image_sha256") == hashlib.sha256(picture).hexdigest()
            old.pop("image_sha256", None)
            assert new == old
            assert picture not in everything and len(picture) > 100
        assert pq.read_table(exported[0] / "data" / path.name).equals(before)  # the export is as it was


def test_the_card_of_a_copy_without_images_says_so_and_names_no_image_column(exported, tmp_path):
    folder = prepare(exported[0], tmp_path / "bare", with_images=False).folder
    text = (folder / "README.md").read_text()
    assert "holds labels only" in text
    head = yaml.safe_load(text.split("---\n")[1])
    info = head.get("dataset_info", {})
    assert "image" not in [item["name"] for item in info.get("features", [])]
    facts = json.loads((folder / "dataset.json").read_text())
    assert facts["with_images"] is False and facts["missing"] == facts["missing_without_images"]
    assert not (folder / "croissant.json").exists()
    sheet = (folder / "DATASHEET.md").read_text()
    assert "No pictures in this copy" in sheet and "those of the version with pictures" in sheet


def test_a_copy_without_images_opens_with_the_library_people_use(exported, tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    folder = prepare(exported[0], tmp_path / "bare", with_images=False).folder
    opened = datasets.load_dataset(str(folder), cache_dir=str(tmp_path / "cache"))
    assert opened["train"].num_rows == exported[1].samples["train"]
    row = opened["train"][0]
    assert len(row["image_sha256"]) == 64 and row["mask"].size == (row["width"], row["height"])


def test_a_packed_workspace_comes_back_byte_for_byte(chain, tmp_path, monkeypatch):
    import dataset_tools.export.hub_tars as hub_tars

    monkeypatch.setattr(hub_tars, "BYTES_PER_ARCHIVE", 50_000)
    root = chain[0].root
    (root / "empty" / "folder").mkdir(parents=True)
    (root / ".tmp-half").write_text("x")
    (root / "publish").mkdir()
    (root / "link").symlink_to(root / "objects")
    before = {name: data for name, data in tree(root).items() if name not in (".tmp-half", "publish", "link")}
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        pack_workspace(root, tmp_path / name, leave_out=tmp_path / name)
    assert tree(tmp_path / "one") == tree(tmp_path / "two")
    assert len(list((tmp_path / "one" / "workspace").iterdir())) > 1
    (tmp_path / "out").mkdir()
    files = unpack_workspace(tmp_path / "one", tmp_path / "out")
    assert tree(tmp_path / "out") == before
    assert files == sum(data is not None for data in before.values())
    assert {path.stat().st_mode & 0o077 for path in (tmp_path / "out").rglob("*")} == {0}


@pytest.mark.parametrize(
    "name",
    [
        "../canary",
        "/canary",
        "a/../../canary",
        "a\\canary",
        "C:/canary",
        "//host/canary",
        "a//b",
        "nul.txt",
        "a\nb",
        "",
    ],
)
def test_a_name_that_leaves_the_folder_is_refused(name):
    with pytest.raises(DataError, match="no path inside"):
        safe_path(name)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_only_plain_files_leave_an_archive(tmp_path, kind):
    (tmp_path / "workspace").mkdir()
    with tarfile.open(tmp_path / "workspace" / "part-00000.tar", "w") as archive:
        member = tarfile.TarInfo("canary")
        member.type, member.linkname = kind, "/etc/passwd"
        archive.addfile(member)
    (tmp_path / "out").mkdir()
    with pytest.raises(DataError, match="no plain file"):
        unpack_workspace(tmp_path, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_repository_without_a_workspace_says_how_one_gets_there(tmp_path):
    with pytest.raises(DataError, match="--with-workspace"):
        unpack_workspace(tmp_path, tmp_path)
