"""Source `coco`: what it lists, and what it says of bad input."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dataset_tools.core.errors import DataError, ItemFault
from dataset_tools.core.images import DEFAULT_LIMITS
from dataset_tools.core.labels import Label
from dataset_tools.core.masks import rle_to_mask
from dataset_tools.core.settings import parse_settings
from dataset_tools.crawl.items import SourceItem
from dataset_tools.crawl.listing import list_items
from dataset_tools.crawl.settings import CrawlSettings


def listed(*sources: dict) -> list[SourceItem]:
    return list_items(parse_settings(CrawlSettings, {"sources": list(sources)}, "test.yaml"))


def reason(item: SourceItem) -> str:
    return item.fault.reason.value if item.fault else ""


def coco_file(tmp_path: Path, **tables) -> dict:
    (tmp_path / "img").mkdir(exist_ok=True)
    content = {
        "images": [{"id": 0, "file_name": "a.png", "width": 96, "height": 80}],
        "annotations": [],
        "categories": [{"id": 0, "name": "face_mask"}, {"id": 7, "name": "hat"}],
        **tables,
    }
    path = tmp_path / "instances.json"
    path.write_text("\ufeff" + json.dumps(content), encoding="utf-8")
    return {
        "type": "coco",
        "name": "c",
        "annotations": str(path),
        "images": str(tmp_path / "img"),
        "licence": "MIT",
    }


def annotation(number: int, segmentation=None, **more) -> dict:
    square = [[10, 10, 20, 10, 20, 30, 10, 30]]
    return {
        "id": number,
        "image_id": 0,
        "category_id": 0,
        "segmentation": square if segmentation is None else segmentation,
        **more,
    }


def labels_of(source: dict):
    return listed(source)[0].annotation.read((80, 96), DEFAULT_LIMITS)


def test_good_annotations_become_instances_even_with_id_zero(tmp_path):
    rle = {"size": [80, 96], "counts": [80 * 96 - 5, 5]}
    source = coco_file(tmp_path, annotations=[annotation(0), annotation(1, rle, iscrowd=1)])
    labels = labels_of(source)
    assert labels.faults == ()
    first, second = labels.instances
    assert rle_to_mask(first.mask)[10:30, 10:20].all()
    assert first.mask.area_px == 200
    assert (second.mask.area_px, second.attributes) == (5, (("iscrowd", "1"),))
    assert {instance.drawn_by for instance in labels.instances} == {"published:c"}


def test_each_bad_annotation_is_a_fault_and_the_good_one_stays(tmp_path):
    rows = [
        annotation(1),
        annotation(1),
        annotation(2, {"size": [80, 96], "counts": [1]}),
        annotation(3, [[0, 0, 1, float("nan"), 5, 5]]),
        annotation(4, category_id=7),
        annotation(5, category_id=99),
        annotation(None),
        annotation(6, []),
    ]
    labels = labels_of(coco_file(tmp_path, annotations=rows))
    assert [instance.id for instance in labels.instances] == ["a1"]
    assert [(name, fault.reason.value) for name, fault in labels.faults] == [
        ("annotations[1]", "duplicate_id"),
        ("a2", "rle_sum"),
        ("a3", "not_finite"),
        ("annotations[4]", "unknown_label"),
        ("annotations[5]", "unknown_label"),
        ("annotations[6]", "schema"),
        ("a6", "schema"),
    ]


def test_categories_map_by_name_and_null_leaves_one_out(tmp_path):
    source = coco_file(tmp_path, annotations=[annotation(1), annotation(2, category_id=7)])
    labels = labels_of({**source, "categories": {"hat": "occluder"}})
    assert [instance.label for instance in labels.instances] == [Label.FACE_MASK, Label.OCCLUDER]
    labels = labels_of({**source, "categories": {"hat": None}})
    assert (len(labels.instances), labels.faults) == (1, ())


def test_an_ambiguous_category_id_is_not_guessed(tmp_path):
    categories = [{"id": 0, "name": "face_mask"}, {"id": 0, "name": "face"}]
    labels = labels_of(coco_file(tmp_path, annotations=[annotation(1)], categories=categories))
    assert [fault.reason.value for _, fault in labels.faults] == ["unknown_label"]


def test_bad_pictures_and_stray_annotations_are_items_with_faults(tmp_path):
    (tmp_path / "secret.png").write_bytes(b"x")
    images = [
        {"id": 0, "file_name": "a.png"},
        {"id": 0, "file_name": "b.png"},
        {"id": 1, "file_name": "../secret.png"},
        {"id": 2, "file_name": "/etc/hostname"},
        {"id": 3, "file_name": "sub/../c.png"},
        {"id": True, "file_name": "d.png"},
        {"id": 5},
        "text",
        {"id": 6, "file_name": "e.png", "width": -1, "height": 5},
    ]
    rows = [annotation(1, image_id=77), annotation(2, image_id=None), [1]]
    items = listed(coco_file(tmp_path, images=images, annotations=rows))
    assert [(item.key, reason(item)) for item in items] == [
        ("c/a.png", ""),
        ("c/b.png", "duplicate_id"),
        ("c/../secret.png", "unsafe_path"),
        ("c//etc/hostname", "unsafe_path"),
        ("c/sub/../c.png", ""),
        ("c#images[5]", "schema"),
        ("c#images[6]", "schema"),
        ("c#images[7]", "schema"),
        ("c/e.png", "schema"),
        ("c#annotations[0]", "dangling_reference"),
        ("c#annotations[1]", "schema"),
        ("c#annotations[2]", "schema"),
    ]


def test_lone_surrogates_in_a_coco_file_do_not_stop_the_crawl(tmp_path):
    bad = "\ud800"
    images = [{"id": bad, "file_name": "a.png", "license": 1}]
    file = coco_file(
        tmp_path,
        images=images,
        annotations=[annotation(bad, image_id=bad)],
        licenses=[{"id": 1, "name": bad}],
    )
    (item,) = listed(file)
    assert (item.key, item.licence) == ("c/a.png", "?")
    assert [lost.id for lost in item.annotation.annotations] == ["a?"]


def test_the_licence_of_a_picture_comes_from_the_file_first(tmp_path):
    tables = {
        "images": [
            {"id": 0, "file_name": "a.png", "license": 1},
            {"id": 1, "file_name": "b.png", "license": 2},
        ],
        "licenses": [{"id": 1, "name": "CC BY 2.0"}],
    }
    source = coco_file(tmp_path, **tables)
    assert [item.licence for item in listed(source)] == ["CC BY 2.0", "MIT"]
    assert [reason(item) for item in listed({**source, "licence": ""})] == ["", "licence"]


def test_a_picture_of_another_size_than_stated_is_refused(tmp_path):
    item = listed(coco_file(tmp_path, annotations=[annotation(1)]))[0]
    with pytest.raises(ItemFault) as caught:
        item.annotation.read((96, 80), DEFAULT_LIMITS)
    assert caught.value.reason == "size_mismatch"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{cut",
        "[]",
        "7",
        "{}",
        '{"images": {}, "annotations": [], "categories": []}',
        '{"images": [], "annotations": [], "annotations": [], "categories": []}',
        "[" * 100_000,
        '{"images": [' + "9" * 5000 + '], "annotations": [], "categories": []}',
    ],
)
def test_a_coco_file_that_is_none_is_a_one_line_error(tmp_path, text):
    source = coco_file(tmp_path)
    Path(source["annotations"]).write_text(text)
    with pytest.raises(DataError) as caught:
        listed(source)
    assert "\n" not in str(caught.value)


def test_a_real_coco_file_of_boxes_keeps_pictures_and_refuses_boxes(shared_data):
    folder = shared_data / "mask_boxes_voc"
    source = {
        "type": "coco",
        "name": "boxes",
        "annotations": str(folder / "instances.json"),
        "images": str(folder),
        "licence": "CC0-1.0",
        "categories": {"with_mask": "face_mask", "without_mask": None, "mask_weared_incorrect": "face_mask"},
    }
    items = listed(source)
    assert len(items) == 75
    assert not any(map(reason, items))
