"""WebDataset shards: exact, the same bytes each time, open in the usual loaders; foreign and hostile ones."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import subprocess
import sys
import tarfile

import numpy as np
import pytest
from PIL import Image

from dataset_tools.core.images import decode_photo
from dataset_tools.core.labels import LABEL_IDS, Label
from dataset_tools.core.masks import rle_to_mask
from dataset_tools.core.record import Split
from dataset_tools.formats.job import ExportJob, paint_index
from dataset_tools.formats.reading import ReadOptions
from dataset_tools.formats.webdataset import read_webdataset, write_webdataset


def png(value: int = 90, size: tuple[int, int] = (80, 70)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, (value, 120, 60)).save(buffer, "PNG")
    return buffer.getvalue()


def grey_png(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array.astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def shard(path, members: list[tuple[str, bytes]]):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def test_everything_that_is_known_comes_back(trips, job, tmp_path):
    folder = trips.write(write_webdataset, job, tmp_path / "out")
    trips.assert_kept(job, trips.read_all(read_webdataset, folder))


def test_the_picture_beside_the_masks_holds_the_label_ids(job, trips, tmp_path):
    folder = trips.write(write_webdataset, job, tmp_path / "out")
    found = {}
    for path in folder.iterdir():
        with tarfile.open(path) as tar:
            found |= {name: tar.extractfile(name).read() for name in tar.getnames()}
    for sample in job.samples():
        with Image.open(io.BytesIO(found[f"{sample.id}.mask.png"])) as opened:
            np.testing.assert_array_equal(np.asarray(opened), paint_index(sample))


def test_a_shard_is_no_larger_than_said_and_no_sample_is_torn(trips, job, tmp_path):
    folder = trips.write(write_webdataset, job, tmp_path / "out", shard_bytes=100_000)
    names = sorted(path.name for path in folder.iterdir())
    train = [name for name in names if name.startswith("train")]
    assert len(train) > 1 and train == [f"train-{number:06d}.tar" for number in range(len(train))]
    for name in names:
        with tarfile.open(folder / name) as tar:
            keys = [member.partition(".")[0] for member in tar.getnames()]
        assert all(keys.count(key) == 3 for key in keys)
        assert (folder / name).stat().st_size <= 110_000 or len(keys) == 3  # and the end mark
    trips.assert_kept(job, trips.read_all(read_webdataset, folder))


def test_equal_samples_give_equal_bytes_without_clock_or_user(trips, job, tmp_path):
    first, second = (trips.write(write_webdataset, job, tmp_path / name) for name in ("a", "b"))
    for path in first.iterdir():
        assert path.read_bytes() == (second / path.name).read_bytes()
        with tarfile.open(path) as tar:
            for info in tar.getmembers():
                assert (info.mtime, info.uid, info.gid, info.uname, info.mode) == (0, 0, 0, "", 0o644)


# As its users would run it: a fresh process that may not ask the network.
LOADER = """
import json, sys
import numpy as np
from datasets import load_dataset
found = {}
for streaming in (False, True):
    for name, split in load_dataset("webdataset", data_dir=sys.argv[1], streaming=streaming).items():
        for row in split:
            rows = found.setdefault(row["__key__"], [])
            stated = row["json"]
            rows.append([name, sorted(row), np.asarray(row["jpg"].convert("RGB")).sum().item(),
                         np.unique(np.asarray(row["mask.png"])).tolist(), stated["licence"],
                         json.loads(stated["instances"])])
print(json.dumps(found))
"""


def mixed_dataset(labelled, root):
    """Six negatives, then a JPEG with a proposal and its confidence: what trips inferred columns."""
    from dataset_tools.core.workspace import Workspace

    workspace = Workspace(root)
    rgb = labelled.picture("coffee.png")
    samples = [
        labelled._sample(workspace.images, rgb[:100, at : at + 120], f"n{at:03d}", "cups", "CC0-1.0",
                         is_labelled=True, split=Split.TRAIN, group="one")
        for at in range(0, 60, 10)
    ]  # fmt: skip
    buffer = io.BytesIO()
    Image.fromarray(rgb[:100, 200:330]).save(buffer, "JPEG")
    image = workspace.images.put_photo(decode_photo(buffer.getvalue()))
    assert image.format == "jpeg"
    disc = labelled.disc((100, 130), (60, 60), 25)
    proposal = labelled.instance("p", Label.FACE_MASK, disc, drawn_by="model:unet@1")
    last = labelled._sample(workspace.images, rgb[:100, 300:430], "z", "cups", "CC0-1.0",
                            split=Split.TRAIN, group="one", instances=(proposal,))  # fmt: skip
    samples.append(dataclasses.replace(last, id=image.sha256[:32], image=image))
    manifest = labelled.write_crawl(workspace, sorted(samples, key=lambda item: item.provenance.item_key))
    return ExportJob(manifest, workspace.images, include_proposals=True)


def test_load_dataset_opens_it_offline_and_as_a_stream(labelled, trips, tmp_path):
    job = mixed_dataset(labelled, tmp_path / "work")
    folder = trips.write(write_webdataset, job, tmp_path / "out")
    home = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "home")}
    done = subprocess.run(
        [sys.executable, "-c", LOADER, str(folder)],
        env={**os.environ, **home}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    rows = json.loads(done.stdout.splitlines()[-1])
    samples = {sample.id: sample for sample in job.samples()}
    assert set(rows) == set(samples) and len(rows) == 7
    for name, sample in samples.items():
        assert rows[name][0] == rows[name][1]  # as files and as a stream
        split, columns, pixels, numbers, licence, instances = rows[name][0]
        assert (split, columns) == ("train", ["__key__", "__url__", "jpg", "json", "mask.png"])
        assert pixels == int(job.images.read(sample.image).sum(dtype=np.int64))
        assert set(numbers) - {0} == {LABEL_IDS[item.label] for item in sample.instances}
        assert licence == "CC0-1.0"
        assert [entry["confidence"] for entry in instances] == [item.confidence for item in sample.instances]


def test_the_webdataset_library_reads_the_three_members_of_every_sample(trips, job, tmp_path):
    webdataset = pytest.importorskip("webdataset")
    folder = trips.write(write_webdataset, job, tmp_path / "out")
    paths = sorted(map(str, folder.iterdir()))
    rows = list(webdataset.WebDataset(paths, shardshuffle=False).decode("rgb8"))
    assert {row["__key__"] for row in rows} == {sample.id for sample in job.samples()}
    assert all(row["mask.png"].shape[:2] == row["png"].shape[:2] for row in rows)


def test_foreign_class_numbers_count_only_where_they_are_mapped(trips, tmp_path):
    index = np.zeros((70, 80))
    index[10:30, 10:30], index[40:60, 40:60] = 1, 7
    shard(tmp_path / "w/test-0.tar", [("x/a.png", png()), ("x/a.seg.png", grey_png(index))])
    said = trips.read_all(read_webdataset, tmp_path / "w")
    assert said.faults("x/a") == [("class 1", "unknown_label"), ("class 7", "unknown_label")]
    mapped = ReadOptions("published:w", categories={"1": Label.FACE_MASK, "7": None})
    said = trips.read_all(read_webdataset, tmp_path / "w", mapped)
    (item,) = said.instances("x/a")
    assert (item.label, item.drawn_by) == (Label.FACE_MASK, "published:w")
    np.testing.assert_array_equal(rle_to_mask(item.mask), index == 1)
    assert said.pictures["x/a"].annotation.split is Split.TEST


def test_all_that_is_wrong_is_said_with_its_place_and_the_rest_is_read(trips, tmp_path):
    secret = tmp_path / "canary.png"
    secret.write_bytes(png())
    good = {"id": "a", "label": "face_mask", "segmentation": {"size": [70, 80], "counts": [10, 20, 5570]}}
    bad = [
        good,
        {**good, "id": "b", "segmentation": {"size": [70, 80], "counts": [10, 20]}},
        {**good, "id": "c", "area": -1},
        {**good, "id": "d", "confidence": float("nan")},
        {**good, "id": "e", "label": "hat"},
        good,
        7,
        {**good, "id": "f", "confidence": 1.5},
    ]
    path = shard(
        tmp_path / "w/train-0.tar",
        [
            ("good.png", png(1)),
            ("good.json", json.dumps({"instances": [good], "licence": "MIT"}).encode()),
            ("../canary.png", png(2)),
            ("/etc/passwd.png", png(2)),
            ("broken.png", png(3)),
            ("broken.json", b'{"instances": '),
            ("many.png", png(4)),
            ("many.json", json.dumps({"instances": bad}).encode()),
            ("alone.json", b"{}"),
            ("two.png", png(5)),
            ("two.jpg", png(6)),
            ("wrong.png", png(7)),
            ("wrong.json", json.dumps({"width": 5, "height": 5, "instances": [good]}).encode()),
            ("list.png", png(8)),
            ("list.json", b"[]"),
        ],
    )
    with tarfile.open(path, "a") as tar:
        link = tarfile.TarInfo("link.png")
        link.type, link.linkname = tarfile.SYMTYPE, str(secret)
        tar.addfile(link)
    (tmp_path / "w/zcut.tar").write_bytes(path.read_bytes()[:700])
    (tmp_path / "w/link.tar").symlink_to(path)
    said = trips.read_all(read_webdataset, tmp_path / "w")
    assert sorted(said.problems) == [
        ("link.tar", "unsafe_path"),
        ("train-0.tar: ../canary.png", "unsafe_path"),
        ("train-0.tar: /etc/passwd.png", "unsafe_path"),
        ("train-0.tar: alone", "missing_image"),
        ("train-0.tar: broken", "json"),
        ("train-0.tar: link.png", "special_file"),
        ("train-0.tar: list", "schema"),
        ("train-0.tar: two", "duplicate_id"),
        ("wrong", "size_mismatch"),
        ("zcut.tar", "truncated"),
        ("zcut.tar: good", "duplicate_id"),
    ]
    assert said.pictures["good"].facts.licence == "MIT"
    assert [item.id for item in said.instances("good")] == ["a"]
    assert said.faults("many") == [
        ("instances[1] b", "rle_sum"),
        ("instances[2] c", "out_of_bounds"),
        ("instances[3] d", "not_finite"),
        ("instances[4] e", "unknown_label"),
        ("instances[5] a", "duplicate_id"),
        ("instances[6]", "schema"),
        ("instances[7] f", "out_of_bounds"),
    ]
    assert [item.id for item in said.labels["many"].instances] == ["a"]


def test_a_folder_without_shards_is_no_dataset(tmp_path):
    (problem,) = read_webdataset(tmp_path, ReadOptions("published:x"))
    assert problem.is_fatal
