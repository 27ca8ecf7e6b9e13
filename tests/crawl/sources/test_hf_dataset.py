"""Datasets through the real `datasets` library, from local folders; no Hub is asked."""

from __future__ import annotations

import io
import json
import pickle
import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from dataset_tools.core.errors import ConfigError, FetchFault
from dataset_tools.core.masks import rle_to_mask
from dataset_tools.core.record import Split
from dataset_tools.crawl.settings import CrawlSettings
from dataset_tools.crawl.sources import hf_dataset

datasets = pytest.importorskip("datasets")
constants = pytest.importorskip("huggingface_hub.constants")

MANY = 10**9


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "hf"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    datasets.disable_progress_bars()


@pytest.fixture(params=[False, True], ids=["prepared", "streaming"])
def source(request, tmp_path):
    def make(**more) -> dict:
        base = {"type": "hf_dataset", "name": "hf", "dataset": str(tmp_path / "set"), "licence": "MIT"}
        return {**base, "streaming": request.param, **more}

    return make


def mask_png(area: int) -> bytes:
    mask = np.zeros((96, 96), np.uint8)
    mask.reshape(-1)[:area] = 255
    buffer = io.BytesIO()
    Image.fromarray(mask).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def table(tmp_path, make_picture) -> list[bytes]:
    """A Parquet dataset of 12 rows; gives the pictures' bytes."""
    pictures = [make_picture(number) for number in range(12)]
    columns = {
        "image": [{"bytes": data, "path": f"{number}.png"} for number, data in enumerate(pictures)],
        "mask": [{"bytes": mask_png(100 * number), "path": None} for number in range(12)],
        "terms": ["CC0-1.0", None] * 6,
        "who": ["Anna"] * 12,
        "person": [number // 4 for number in range(12)],
    }
    features = {
        "image": datasets.Image(),
        "mask": datasets.Image(),
        "terms": datasets.Value("string"),
        "who": datasets.Value("string"),
        "person": datasets.Value("int64"),
    }
    (tmp_path / "set").mkdir()
    made = datasets.Dataset.from_dict(columns, features=datasets.Features(features))
    made.to_parquet(str(tmp_path / "set" / "train.parquet"))
    return pictures


def test_rows_are_listed_and_read_as_their_own_bytes_in_any_order(source, table, list_with, reason):
    columns = {"licence_column": "terms", "author_column": "who", "group_column": "person"}
    items = list_with(source(**columns))
    assert [item.key for item in items] == [f"hf/{number:08d}" for number in range(12)]
    assert [item.licence for item in items[:2]] == ["CC0-1.0", "MIT"]
    assert ({item.author for item in items}, items[5].group) == ({"Anna"}, "hf/1")
    numbered = list(enumerate(pickle.loads(pickle.dumps(items))))
    random.Random(2).shuffle(numbered)
    for number, item in numbered:
        assert item.content.read(MANY) == table[number]
    with pytest.raises(FetchFault, match="at most 10 allowed"):
        items[0].content.read(10)
    items = list_with(source(licence="", licence_column="terms"))
    assert [reason(item) for item in items] == ["", "licence"] * 6


def test_a_mask_column_becomes_published_ground_truth(source, table, crawl):
    settings = source(mask_column="mask", published_split="test")
    crawled = crawl(CrawlSettings.model_validate({"sources": [settings]}), shard_size=5)
    assert crawled.report.counts.kept == 12
    for number in range(12):
        sample = crawled.samples[f"hf/{number:08d}"]
        assert (sample.is_labelled, sample.split) == (True, Split.TEST)
        assert sum(int(rle_to_mask(one.mask).sum()) for one in sample.instances) == 100 * number
        assert {one.drawn_by for one in sample.instances} <= {"published:hf"}


def test_an_image_folder_with_metadata_works_as_it_is(source, tmp_path, make_picture, list_with):
    folder = tmp_path / "set" / "train"
    folder.mkdir(parents=True)
    for number in range(3):
        (folder / f"{number}.png").write_bytes(make_picture(number))
    rows = [{"file_name": f"{number}.png", "terms": "CC0-1.0"} for number in range(3)]
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    items = list_with(source(licence="", licence_column="terms"))
    assert [item.content.read(MANY) for item in items] == [make_picture(number) for number in range(3)]


def test_a_row_cannot_name_a_file_outside_the_dataset(source, tmp_path, make_picture, list_with):
    (tmp_path / "secret.png").write_bytes(make_picture(9))
    (tmp_path / "set").mkdir()
    paths = [str(tmp_path / "secret.png"), "../secret.png", "zip://a.png::http://127.0.0.1/x.zip", "", None]
    rows = [{"image": {"bytes": None, "path": path}} for path in paths] + [{"image": None}]
    schema = datasets.Features({"image": datasets.Image()}).arrow_schema
    pq.write_table(pa.Table.from_pylist(rows, schema), tmp_path / "set" / "train.parquet")
    found = []
    for item in list_with(source()):
        with pytest.raises(FetchFault) as caught:
            item.content.read(MANY)
        found.append(caught.value.reason.value)
    assert found == ["unsafe_path"] * 2 + ["missing_image"] * 4


def test_columns_and_datasets_that_are_not_there_are_named(source, table, list_with, tmp_path):
    for wrong, said in (
        ({"image_column": "photo"}, "no column 'photo'; it has image, mask"),
        ({"licence_column": "licence"}, "no column 'licence'"),
        ({"split": "test"}, "test"),
        ({"dataset": str(tmp_path / "nothing")}, "is not a folder"),
    ):
        with pytest.raises(ConfigError, match=said) as caught:
            list_with(source(**wrong))
        assert "\n" not in str(caught.value)


def test_files_of_a_hub_dataset_are_read_from_its_own_downloads_only(tmp_path):
    home = tmp_path / "hub" / "datasets--user--name"
    (home / "blobs").mkdir(parents=True)
    (home / "snapshots").mkdir()
    (home / "blobs" / "ab").write_bytes(b"picture")
    (home / "snapshots" / "1.png").symlink_to("../blobs/ab")
    other = tmp_path / "hub" / "datasets--other--private"
    other.mkdir()
    (other / "1.png").write_bytes(b"secret")
    (tmp_path / "hub" / "token").write_bytes(b"secret")
    read = hf_dataset._read_path
    table = hf_dataset.Table("user/name", "", "train", "", False, ("image",))
    assert read(table, str(home / "snapshots" / "1.png"), 100) == b"picture"
    for path in (other / "1.png", tmp_path / "hub" / "token"):
        with pytest.raises(FetchFault, match="outside the dataset"):
            read(table, str(path), 100)


def test_a_column_of_text_holds_no_pictures(source, table, list_with):
    (item, *_) = list_with(source(image_column="who"))
    with pytest.raises(FetchFault, match="no pictures"):
        item.content.read(MANY)


def test_a_relative_folder_starts_at_the_configuration(source, tmp_path):
    (parsed,) = CrawlSettings.model_validate({"sources": [source(dataset="./set")]}).sources
    assert parsed.resolve_paths(tmp_path).dataset == str(tmp_path / "set")
    (parsed,) = CrawlSettings.model_validate({"sources": [source(dataset="user/name")]}).sources
    assert parsed.resolve_paths(tmp_path).dataset == "user/name"


def test_a_stream_that_shrank_says_so(tmp_path, table, list_with):
    base = {"type": "hf_dataset", "name": "hf", "dataset": str(tmp_path / "set"), "licence": "MIT"}
    items = list_with({**base, "streaming": True, "revision": ""})
    parquet = Path(tmp_path / "set" / "train.parquet")
    datasets.Dataset.from_dict({"image": [b"x"]}).to_parquet(str(parquet))
    with pytest.raises(FetchFault, match="ends before row 7"):
        items[7].content.read(MANY)
