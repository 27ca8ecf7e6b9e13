"""The formats by name, and how one is told from another on disk."""

from __future__ import annotations

import json

import pytest

from dataset_tools.core.errors import ConfigError, UnknownName
from dataset_tools.core.images import ImageStore
from dataset_tools.formats.detect import detect_format
from dataset_tools.formats.registry import FORMATS, find_format


@pytest.fixture(scope="module")
def written(load_fake, tmp_path_factory):
    """Format -> a dataset folder in it."""
    matrix = load_fake("matrix")
    root = tmp_path_factory.mktemp("formats")
    store = ImageStore(root / "store", syncs=False)
    samples = matrix.hard_samples(store)[:3]
    return {name: matrix.write_samples(name, samples, store, root / name) for name in FORMATS}


def test_the_issues_formats_are_all_there_each_in_a_folder_of_its_own():
    assert set(FORMATS) == {
        "coco",
        "panoptic",
        "mfsd",
        "labelme",
        "labelme_polygons",
        "label_studio",
        "yolo",
        "voc",
        "celebamask",
        "webdataset",
        "huggingface",
    }
    folders = [found.folder for found in FORMATS.values()]
    assert len(set(folders)) == len(folders)


def test_what_is_said_of_a_format_is_a_sentence():
    for found in FORMATS.values():
        for said in (found.loses, found.others_lose):
            assert said == "" or (said[0].isupper() and said.endswith("."))


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_every_format_is_told_by_its_files(written, name):
    # Both kinds of LabelMe shapes are read by one reader.
    assert detect_format(written[name]) == ("labelme" if name == "labelme_polygons" else name)


def test_a_single_file_is_a_dataset_too(written, tmp_path):
    assert detect_format(next(written["coco"].glob("annotations/instances_*.json"))) == "coco"
    assert detect_format(next(written["panoptic"].glob("annotations/*.json"))) == "panoptic"
    assert detect_format(next(written["huggingface"].rglob("*.parquet"))) == "huggingface"
    assert detect_format(next(written["webdataset"].rglob("*.tar"))) == "webdataset"
    tasks = tmp_path / "tasks.json"
    tasks.write_text(json.dumps([{"data": {"image": "a.png"}, "annotations": []}]))
    assert detect_format(tasks) == "label_studio"


def test_a_link_is_not_looked_into(written, tmp_path):
    (tmp_path / "labels.json").symlink_to(next(written["coco"].glob("annotations/*.json")))
    with pytest.raises(ConfigError, match="looks like no dataset format"):
        detect_format(tmp_path)


def test_an_unknown_format_names_its_neighbours():
    with pytest.raises(UnknownName, match="did you mean yolo"):
        find_format("yollo")
