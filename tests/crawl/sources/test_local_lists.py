"""Sources `folder`, `url_list` and `pairs`: what they list, and what they say of bad input."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from dataset_tools.core.errors import ConfigError, DataError, ItemFault
from dataset_tools.core.images import DEFAULT_LIMITS
from dataset_tools.core.labels import Label
from dataset_tools.core.record import Split
from dataset_tools.core.settings import parse_settings
from dataset_tools.crawl.items import SourceItem
from dataset_tools.crawl.listing import list_items, listing_digest
from dataset_tools.crawl.settings import CrawlSettings, resolve_paths
from dataset_tools.crawl.sources import SOURCES
from dataset_tools.crawl.sources.pairs import decode_mask


def listed(*sources: dict) -> list[SourceItem]:
    return list_items(parse_settings(CrawlSettings, {"sources": list(sources)}, "test.yaml"))


def reason(item: SourceItem) -> str:
    return item.fault.reason.value if item.fault else ""


def config_error(*sources: dict) -> str:
    with pytest.raises(ConfigError) as caught:
        listed(*sources)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def png(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()


# settings


def test_settings_name_the_wrong_key_and_near_ones():
    source = {"type": "folder", "name": "a", "pth": "x", "licence": "CC0-1.0"}
    assert "did you mean path?" in config_error(source)
    assert "did you mean folder?" in config_error({"type": "foldr", "name": "a"})
    assert "used twice" in config_error(
        {"type": "url_list", "name": "a", "path": "x"}, {"type": "url_list", "name": "a", "path": "y"}
    )
    assert "mapping" in config_error("photos")
    assert "no sources" in config_error()


def test_a_contact_cannot_smuggle_a_header():
    with pytest.raises(ConfigError):
        parse_settings(CrawlSettings, {"contact": "me\r\nX-Evil: 1"}, "test.yaml")


def test_settings_survive_a_round_trip_through_json(tmp_path):
    values = {
        "sources": [
            {"type": "folder", "name": "a", "path": "a", "licence": "CC0-1.0"},
            {
                "type": "coco",
                "name": "b",
                "annotations": "b.json",
                "images": "b",
                "categories": {"mask": "face_mask", "hat": None},
            },
        ]
    }
    settings = parse_settings(CrawlSettings, values, "test.yaml")
    again = CrawlSettings.model_validate(json.loads(settings.model_dump_json()))
    assert again == settings


def test_every_source_survives_a_round_trip_through_json():
    needed = {
        "archive": {"path": "/a.zip"},
        "coco": {"annotations": "/b.json", "images": "/b"},
        "dataset": {"path": "/a", "categories": {"mask": "face_mask", "hair": None}},
        "folder": {"path": "/a", "licence": "CC0-1.0"},
        "hf_dataset": {"dataset": "user/name"},
        "pairs": {"images": "/i", "masks": "/m", "licence": "MIT"},
        "url_list": {"path": "/u.csv"},
        "web_pages": {"start": ["http://example.org/"]},
    }
    searches = {"queries": ["a"], "combine": [{"subjects": ["b"], "terms": ["c"]}]}
    sources = [{"type": kind, "name": kind, **needed.get(kind, searches)} for kind in SOURCES]
    settings = parse_settings(CrawlSettings, {"sources": sources}, "test.yaml")
    assert CrawlSettings.model_validate(json.loads(settings.model_dump_json())) == settings
    for source in settings.sources:
        assert type(source).__doc__


def test_relative_paths_start_at_the_given_folder(tmp_path):
    values = {"sources": [{"type": "folder", "name": "a", "path": "./photos", "licence": "CC0-1.0"}]}
    settings = resolve_paths(parse_settings(CrawlSettings, values, "test.yaml"), tmp_path)
    assert settings.sources[0].path == tmp_path / "photos"


def test_a_missing_path_is_one_line():
    for source in (
        {"type": "folder", "name": "a", "path": "/no/such", "licence": "x"},
        {"type": "url_list", "name": "a", "path": "/no/such.csv"},
        {"type": "pairs", "name": "a", "images": "/no/such", "masks": "/no/such", "licence": "x"},
        {"type": "coco", "name": "a", "images": "/no/such", "annotations": "/no/such.json"},
    ):
        assert "/no/such" in config_error(source)


# folder


def test_a_folder_lists_every_file_once_and_needs_a_licence(tmp_path):
    (tmp_path / "anna").mkdir()
    for name in ("anna/2.png", "anna/1.png", "b.png"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "link.png").symlink_to("b.png")
    os.mkfifo(tmp_path / "pipe.png")
    source = {"type": "folder", "name": "mine", "path": str(tmp_path), "licence": "CC0-1.0", "author": "Anna"}
    items = listed({**source, "group_by": "parent-folder"})
    assert [(item.key, reason(item), item.group) for item in items] == [
        ("mine/anna/1.png", "", "mine/anna"),
        ("mine/anna/2.png", "", "mine/anna"),
        ("mine/b.png", "", "mine/"),
        ("mine/link.png", "unsafe_path", "mine/"),
        ("mine/pipe.png", "not_a_file", "mine/"),
    ]
    assert {(item.licence, item.author) for item in items} == {("CC0-1.0", "Anna")}
    for licence in ("", "   ", None):
        assert "licence" in config_error({**source, "licence": licence})


# url_list


ROWS = [
    {"url": "http://example.org/a.png", "licence": "CC0-1.0", "author": "Anna", "person": "p1"},
    {"url": "http://EXAMPLE.org:80/bü.png#top", "licence": "", "author": "", "person": "p1"},
    {"url": "http://example.org/a.png", "licence": "CC0-1.0", "author": "Anna", "person": ""},
    {"url": "file:///etc/hostname", "licence": "CC0-1.0", "author": "", "person": ""},
    {"url": "", "licence": "CC0-1.0", "author": "", "person": ""},
    {"url": "http://u:hunter2@example.org/", "licence": "CC0-1.0", "author": "", "person": ""},
]


def write_rows(path: Path) -> Path:
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(ROWS), path)
    elif path.suffix == ".jsonl":
        path.write_text("\n".join(json.dumps(row) for row in ROWS) + "\n\n")
    else:
        delimiter = "\t" if path.suffix == ".tsv" else ","
        lines = [delimiter.join(row[key] for key in ROWS[0]) for row in ROWS]
        path.write_text("\ufeff" + "\n".join([delimiter.join(ROWS[0]), *lines]), encoding="utf-8")
    return path


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_every_row_of_a_url_table_is_accounted_for(tmp_path, suffix):
    path = write_rows(tmp_path / f"urls{suffix}")
    items = listed({"type": "url_list", "name": "web", "path": str(path), "group_column": "person"})
    assert [(item.key, reason(item), item.group) for item in items] == [
        ("http://example.org/a.png", "", "web/p1"),
        ("http://example.org/b%C3%BC.png", "licence", "web/p1"),
        ("http://example.org/a.png#2", "duplicate", ""),
        ("web#row4", "unsafe_url", ""),
        ("web#row5", "unsafe_url", ""),
        ("web#row6", "unsafe_url", ""),
    ]
    assert "hunter2" not in repr(items)
    assert (items[0].licence, items[0].author, items[0].name) == ("CC0-1.0", "Anna", "a.png")


def test_a_source_wide_licence_fills_rows_that_state_none(tmp_path):
    path = write_rows(tmp_path / "urls.csv")
    items = listed({"type": "url_list", "name": "web", "path": str(path), "licence": "CC-BY-4.0"})
    assert [item.licence for item in items[:2]] == ["CC0-1.0", "CC-BY-4.0"]
    assert reason(items[1]) == ""


def test_the_american_spelling_of_the_column_is_read(tmp_path):
    path = tmp_path / "urls.csv"
    path.write_text("url,license\nhttp://example.org/a.png,CC0-1.0\n")
    (item,) = listed({"type": "url_list", "name": "web", "path": str(path)})
    assert item.licence == "CC0-1.0"


def test_a_repeated_url_without_licence_does_not_hide_the_good_row(tmp_path):
    path = tmp_path / "urls.csv"
    path.write_text("url,licence\nhttp://example.org/a.png,\nhttp://example.org/a.png,CC0-1.0\n")
    items = listed({"type": "url_list", "name": "web", "path": str(path)})
    assert [reason(item) for item in items] == ["licence", ""]
    assert items[1].key == "http://example.org/a.png#2"


def test_a_url_listed_by_two_sources_is_a_duplicate_in_the_second(tmp_path):
    path = tmp_path / "urls.txt"
    path.write_text("# mine\n\nhttp://example.org/a.png\n")
    source = {"type": "url_list", "path": str(path), "licence": "CC0-1.0"}
    items = listed({**source, "name": "one"}, {**source, "name": "two"})
    assert [(item.source, reason(item)) for item in items] == [("one", ""), ("two", "duplicate")]


def test_bad_json_lines_are_items_with_a_fault(tmp_path):
    path = tmp_path / "urls.jsonl"
    path.write_text('{"url": "http://example.org/a.png"}\n{cut\n[1]\n' + "[" * 100_000 + "\n")
    items = listed({"type": "url_list", "name": "web", "path": str(path), "licence": "CC0-1.0"})
    assert [reason(item) for item in items] == ["", "json", "schema", "json"]


def test_unreadable_tables_are_one_line_errors(tmp_path):
    path = tmp_path / "urls.csv"
    path.write_text("link,licence\nhttp://example.org/a.png,CC0-1.0\n")
    source = {"type": "url_list", "name": "web", "path": str(path)}
    assert "no column 'url'; it has link, licence" in config_error(source)
    (tmp_path / "urls.xls").write_text("")
    assert "must end in" in config_error({**source, "path": str(tmp_path / "urls.xls")})
    for name, content in (("bad.csv", b"url\n\xff\xfe"), ("bad.parquet", b"PAR1")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=name):
            listed({**source, "path": str(tmp_path / name)})


def test_the_listing_digest_follows_the_listing(tmp_path):
    path = tmp_path / "urls.txt"
    path.write_text("http://example.org/a.png\n")
    source = {"type": "url_list", "name": "web", "path": str(path), "licence": "CC0-1.0"}
    first = listing_digest(listed(source))
    assert first == listing_digest(listed(source))
    path.write_text("http://example.org/b.png\n")
    assert first != listing_digest(listed(source))


# pairs


@pytest.fixture
def pair_folders(tmp_path, make_picture) -> dict:
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    for name in ("a.jpg", "lonely.jpg", "twice.jpg", "twice.png", "unsure.png"):
        (tmp_path / "images" / name).write_bytes(make_picture(1, kind="JPEG"))
    mask = np.zeros((96, 96), np.uint8)
    mask[10:20, 30:50] = 255
    for name in ("a.png", "orphan.png", "twice.png", "unsure.png", "unsure.bmp"):
        (tmp_path / "masks" / name).write_bytes(png(mask))
    return {
        "type": "pairs",
        "name": "p",
        "images": str(tmp_path / "images"),
        "masks": str(tmp_path / "masks"),
        "licence": "MIT",
    }


def test_pairs_are_matched_by_stem_and_nothing_vanishes(pair_folders):
    items = listed(pair_folders)
    assert [(item.key, reason(item)) for item in items] == [
        ("p/a.jpg", ""),
        ("p/lonely.jpg", "dangling_reference"),
        ("p/twice.jpg", ""),
        ("p/twice.png", "duplicate_id"),
        ("p/unsure.png", "duplicate_id"),
        ("p/masks/orphan.png", "missing_image"),
    ]


def test_a_pair_gives_one_published_instance(pair_folders):
    item = listed({**pair_folders, "split": "test", "wearing_state": "nose_out", "mask_type": "cloth"})[0]
    assert item.annotation.split is Split.TEST
    (instance,) = item.annotation.read((96, 96), DEFAULT_LIMITS).instances
    assert (instance.label, instance.drawn_by) == (Label.FACE_MASK, "published:p")
    assert instance.attributes == (("mask_type", "cloth"), ("wearing_state", "nose_out"))
    assert instance.mask.area_px == 200
    assert instance.mask.box_xyxy == (30, 10, 50, 20)
    with pytest.raises(ItemFault) as caught:
        item.annotation.read((96, 97), DEFAULT_LIMITS)
    assert caught.value.reason == "size_mismatch"


def mask_reason(data: bytes, *, is_grey: bool = False) -> str:
    with pytest.raises(ItemFault) as caught:
        decode_mask(data, DEFAULT_LIMITS, is_grey=is_grey)
    return caught.value.reason.value


def test_masks_must_be_black_and_white_unless_binarised():
    grey = np.tile(np.arange(96, dtype=np.uint8) * 2, (96, 1))
    assert mask_reason(png(grey)) == "schema"
    assert np.array_equal(decode_mask(png(grey), DEFAULT_LIMITS, is_grey=True), grey > 127)
    coloured = np.zeros((96, 96, 3), np.uint8)
    coloured[:, :, 0] = 255
    assert mask_reason(png(coloured)) == "schema"
    buffer = io.BytesIO()
    Image.fromarray((grey > 90).astype(np.uint8) * 255).save(buffer, "JPEG")
    assert mask_reason(buffer.getvalue()) == "format_not_allowed"
    cut = decode_mask(buffer.getvalue(), DEFAULT_LIMITS, is_grey=True)
    assert np.array_equal(cut, grey > 90)


def test_one_bit_masks_are_exact():
    mask = np.random.default_rng(0).random((70, 90)) > 0.5
    buffer = io.BytesIO()
    Image.fromarray(mask).save(buffer, "PNG")
    assert np.array_equal(decode_mask(buffer.getvalue(), DEFAULT_LIMITS, is_grey=False), mask)


def test_class_numbers_are_not_taken_for_an_empty_mask():
    classes = np.zeros((96, 96), np.uint8)
    classes[5:9] = 1
    assert mask_reason(png(classes)) == "schema"
    assert mask_reason(png(classes), is_grey=True) == "schema"
