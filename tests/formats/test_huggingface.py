"""Parquet: opens offline, pictures and masks exact, the same bytes every time; foreign and hostile files."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from dataset_tools.core.files import sha256_file
from dataset_tools.core.labels import LABEL_IDS, PAINT_ORDER, Label
from dataset_tools.core.masks import rle_to_mask
from dataset_tools.core.record import Split
from dataset_tools.core.segmentation import coco_to_rle
from dataset_tools.export.dataset import export_dataset
from dataset_tools.export.settings import ExportSettings
from dataset_tools.formats.entries import licence_url
from dataset_tools.formats.huggingface import CLASS_NAMES, read_huggingface, write_huggingface
from dataset_tools.formats.job import ExportJob, paint_index
from dataset_tools.formats.reading import ReadOptions

# Runs as its users would run it: a fresh process that may not ask the network.
READER = """
import io, json, sys
import numpy as np
from datasets import load_dataset
found, streamed = {}, {}
for rows, streaming in ((found, False), (streamed, True)):
    for name, split in load_dataset(sys.argv[1], streaming=streaming).items():
        names = split.features["instances"].feature["label"].names
        for row in split:
            mask, image = np.array(row["mask"]), np.array(row["image"])
            np.savez(f"{sys.argv[2]}/{row['id']}.npz", mask=mask, image=image)
            del row["mask"], row["image"]
            rows[row["id"]] = {**row, "split": name, "names": names}
assert found == streamed
print(json.dumps(found))
"""


def test_load_dataset_opens_the_folder_offline_with_exact_masks(exported, chain, tmp_path):
    environment = {
        **os.environ,
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(tmp_path / "home"),
        "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    }
    (tmp_path / "arrays").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", READER, str(exported[0]), str(tmp_path / "arrays")],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    rows = json.loads(done.stdout.splitlines()[-1])
    assert set(rows) == set(exported[2])
    for name, sample in exported[2].items():
        row = rows[name]
        assert row["split"] == {"train": "train", "val": "validation", "test": "test"}[sample.split.value]
        arrays = np.load(tmp_path / "arrays" / f"{name}.npz")
        np.testing.assert_array_equal(arrays["image"], chain[0].images.read(sample.image))
        np.testing.assert_array_equal(arrays["mask"], paint_index(sample))
        assert row["licence"] == sample.provenance.licence
        assert row["url"] == sample.provenance.url
        assert row["retrieved_at"] == sample.provenance.retrieved_at
        assert row["licence_url"].startswith("https://creativecommons.org/")
        assert row["group"] != sample.group and len(row["group"]) == 16
        assert row["is_synthetic"] == sample.is_synthetic
        assert row["parent_id"] == sample.provenance.parent_id
        for entry, item in zip(row["instances"], sample.instances, strict=True):
            assert coco_to_rle(entry["segmentation"]) == item.mask
            assert row["names"][entry["label"]] == item.label.value
            assert entry["label"] == LABEL_IDS[item.label]
            assert {pair["key"]: pair["value"] for pair in entry["attributes"]} == dict(item.attributes)
            assert entry["mask_type"] == item.attribute("mask_type")
            assert entry["drawn_by"] == item.drawn_by


def test_where_labels_overlap_the_nearer_one_is_painted(exported):
    overlapping = next(s for s in exported[2].values() if s.is_synthetic)
    index = paint_index(overlapping)
    masks = {item.label: rle_to_mask(item.mask) for item in overlapping.instances}
    assert (masks[Label.FACE] & masks[Label.FACE_MASK]).any()
    assert (index[masks[Label.FACE_MASK]] == LABEL_IDS[Label.FACE_MASK]).all()
    assert set(PAINT_ORDER) == set(LABEL_IDS)


def test_the_same_manifest_gives_the_same_bytes(exported, chain, tmp_path):
    workspace, manifests = chain
    settings = ExportSettings(
        name="test faces", version="1.2.0", contact="removal@example.org", description="A test set."
    )
    export_dataset(manifests["split"], workspace.images, settings, tmp_path / "again")
    first, second = (
        {
            path.relative_to(root).as_posix(): sha256_file(path)
            for path in sorted(root.rglob("*"))
            if path.is_file()
        }
        for root in (exported[0], tmp_path / "again")
    )
    assert first == second


def png(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array.astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def photo(value: int) -> bytes:
    return png(np.full((70, 80, 3), value))


def table(path, rows: list[dict], rows_per_group: int = 3) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=rows_per_group)


def test_everything_that_is_known_comes_back(trips, chain, tmp_path):
    job = ExportJob(chain[1]["split"], chain[0].images, include_proposals=True)
    folder = trips.write(write_huggingface, job, tmp_path / "out")
    trips.assert_kept(job, trips.read_all(read_huggingface, folder))


def test_a_dataset_that_the_library_saved_again_comes_back_too(trips, chain, tmp_path):
    from datasets import Dataset, disable_progress_bars

    disable_progress_bars()
    job = ExportJob(chain[1]["split"], chain[0].images)
    folder = trips.write(write_huggingface, job, tmp_path / "out")
    for path in (folder / "data").iterdir():
        saved = Dataset.from_parquet(str(path), cache_dir=str(tmp_path / "cache"))
        saved.to_parquet(str(tmp_path / "again" / path.name))
    trips.assert_kept(job, trips.read_all(read_huggingface, tmp_path / "again"))


def test_the_numbers_of_the_classes_are_the_label_ids():
    assert [CLASS_NAMES[LABEL_IDS[label]] for label in Label] == [label.value for label in Label]


def test_of_a_foreign_set_the_mask_column_is_read_by_the_classes_that_are_mapped(trips, tmp_path):
    index = np.zeros((70, 80))
    index[10:30, 10:30], index[40:60, 40:60] = 1, 2
    binary = np.where(index == 1, 255, 0)
    masks = [png(index if n < 7 else binary) for n in range(9)]
    rows = [
        {"pixels": {"bytes": photo(7 * n), "path": None}, "id": n, "label": {"bytes": mask, "path": "x.png"}}
        for n, mask in enumerate(masks)
    ]
    table(tmp_path / "w/data/validation-00000-of-00001.parquet", rows)
    mapped = ReadOptions("published:w", "MIT", {"1": Label.FACE_MASK, "2": None})
    said = trips.read_all(read_huggingface, tmp_path / "w", mapped)
    assert said.problems == [] and len(said.pictures) == 9
    for key, found in said.pictures.items():
        (item,) = said.instances(key)
        np.testing.assert_array_equal(rle_to_mask(item.mask), index == 1)
        assert (item.label, item.drawn_by) == (Label.FACE_MASK, "published:w")
        assert found.annotation.split is Split.VAL and found.facts.licence == "MIT"
    said = trips.read_all(read_huggingface, tmp_path / "w")
    keys = list(said.pictures)
    assert said.faults(keys[0]) == [("class 1", "unknown_label"), ("class 2", "unknown_label")]
    assert len(said.instances(keys[-1])) == 1  # 0 and 255 alone are a face mask


def test_all_that_is_wrong_is_said_with_its_row_and_the_rest_is_read(trips, tmp_path):
    (tmp_path / "canary.png").write_bytes(photo(1))
    root = tmp_path / "w"
    entry = {"id": "a", "label": "face_mask", "segmentation": {"size": [70, 80], "counts": [10, 20, 5570]}}
    rows = [
        {"image": {"bytes": photo(1), "path": "1.png"}, "id": "one", "instances": [entry]},
        {"image": {"bytes": photo(2), "path": "2.png"}, "id": "one", "instances": [entry]},
        {"image": {"bytes": photo(3), "path": "3.png"}, "id": "three", "instances": [entry, entry]},
        {"image": {"bytes": photo(4), "path": "4.png"}, "id": "", "instances": [entry]},
        {
            "image": {"bytes": photo(5), "path": "5.png"},
            "id": "five",
            "instances": [{**entry, "label": "hat"}],
        },
    ]
    table(root / "train-0.parquet", rows)
    for name in ("../canary.png", str(tmp_path / "canary.png")):
        table(root / "x" / "paths.parquet", [{"image": {"bytes": None, "path": name}}])
        (item,) = (found for found in read_huggingface(root / "x", trips.OPTIONS))
        with pytest.raises(Exception, match="leads outside"):
            item.content.read(10**6)
    (root / "x" / "paths.parquet").unlink()
    (root / "x" / "cut.parquet").write_bytes((root / "train-0.parquet").read_bytes()[:-40])
    (root / "x" / "link.parquet").symlink_to(root / "train-0.parquet")
    table(root / "x" / "words.parquet", [{"text": "no picture"}])
    said = trips.read_all(read_huggingface, root)
    assert said.problems == [
        ("train-0.parquet: row 1", "duplicate_id"),
        ("train-0.parquet: row 3", "schema"),
        ("x/cut.parquet", "corrupt"),
        ("x/link.parquet", "unsafe_path"),
        ("x/words.parquet", "schema"),
    ]
    assert len(said.instances("one")) == 1
    assert said.faults("three") == [("instances[1] a", "duplicate_id")]
    assert said.faults("five") == [("instances[0] a", "unknown_label")]


@pytest.mark.parametrize("rows_per_group", [3, 40])
def test_cells_are_read_in_any_order(trips, tmp_path, rows_per_group):
    rows = [{"image": photo(5 * n)} for n in range(40)]
    table(tmp_path / "w/a.parquet", rows, rows_per_group)
    found = list(read_huggingface(tmp_path / "w", trips.OPTIONS))
    for number in (0, 39, 3, 38, 2, 1, 20, 21):
        assert found[number].content.read(10**6) == rows[number]["image"]
        assert found[number].content.held(10**6).data == rows[number]["image"]
    with pytest.raises(Exception, match="at most 10 allowed"):
        found[0].content.read(10)


@pytest.mark.parametrize(
    ("licence", "url"),
    [
        ("CC0-1.0", "https://creativecommons.org/publicdomain/zero/1.0/"),
        ("CC-BY-4.0", "https://creativecommons.org/licenses/by/4.0/"),
        ("CC-BY-NC-SA-2.0", "https://creativecommons.org/licenses/by-nc-sa/2.0/"),
        ("Apache-2.0", "https://spdx.org/licenses/Apache-2.0.html"),
        ("ask the photographer", ""),
        ("CC-", ""),
    ],
)
def test_a_known_licence_has_the_address_of_its_text(licence, url):
    assert licence_url(licence) == url
