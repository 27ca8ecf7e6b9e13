"""Large JSON files read entry by entry: the same values as from the whole text, and the same faults."""

from __future__ import annotations

import copy
import json
import os
import pickle
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dataset_tools.core.errors import ItemFault
from dataset_tools.core.images import DEFAULT_LIMITS
from dataset_tools.core.record import Split
from dataset_tools.formats.coco_index import IdNumbers, identity
from dataset_tools.formats.coco_tables import CocoPicture, read_pictures
from dataset_tools.formats.json_tables import TableWalk
from dataset_tools.formats.reading import ReadOptions, read_json

OPTIONS = ReadOptions("published:test", "CC0-1.0")

texts = st.text(st.characters(codec="utf-8"), max_size=6)
numbers = st.one_of(
    st.integers(), st.floats(), st.sampled_from([0, -0.0, 1e300, 10**400, float("nan"), float("-inf")])
)
values = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, texts, st.just('😀 \\ " é')),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)),
    max_leaves=8,
)
objects = st.dictionaries(
    st.one_of(st.sampled_from(["images", "annotations", "ä"]), texts), values, max_size=5
)
spaces = st.text(st.sampled_from(" \t\r\n"), max_size=2)
blocks = st.one_of(st.integers(1, 5), st.integers(6, 400))


@st.composite
def spelled(draw, value):
    """The JSON text of a value, with any white space and with or without escapes."""
    if isinstance(value, dict):
        members = [
            f"{draw(spaces)}{draw(spelled(key))}{draw(spaces)}:{draw(spaces)}{draw(spelled(one))}"
            for key, one in value.items()
        ]
        return "{" + ",".join(f"{member}{draw(spaces)}" for member in members) + draw(spaces) + "}"
    if isinstance(value, list):
        entries = [f"{draw(spaces)}{draw(spelled(one))}{draw(spaces)}" for one in value]
        return "[" + ",".join(entries) + draw(spaces) + "]"
    return json.dumps(value, ensure_ascii=draw(st.booleans()))


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("walk") / "labels.json"


def walked(path: Path, block_bytes: int = 1 << 18) -> tuple[dict, TableWalk]:
    """The tables as they stream by."""
    walk = TableWalk(path, block_bytes)
    entries = list(walk)
    found = {key: [] if start is not None else None for key, start in walk.places.items()}
    for entry in entries:
        assert entry.number == len(found[entry.table])
        found[entry.table].append(entry.value)
    return found, walk


def fault_of(read, path: Path) -> tuple[str, str] | None:
    try:
        read(path)
    except ItemFault as fault:
        return fault.reason.value, str(fault)
    return None


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data(), content=objects, mark=st.booleans(), block_bytes=blocks)
def test_streamed_tables_are_those_of_the_whole_text(place, data, content, mark, block_bytes):
    text = data.draw(spaces) + data.draw(spelled(content)) + data.draw(spaces)
    place.write_bytes(("\ufeff" * mark + text).encode())
    whole = json.loads(text)
    found, walk = walked(place, block_bytes)
    lists = {key: value if isinstance(value, list) else None for key, value in whole.items()}
    assert repr(found) == repr(lists)  # NaN equals nothing
    entries = list(TableWalk(place, block_bytes))
    raw = place.read_bytes()
    for entry in entries:
        assert repr(json.loads(raw[entry.start : entry.end])) == repr(entry.value)
    again = walk.file.load([(entry.start, entry.end) for entry in entries])
    assert repr(again) == repr([entry.value for entry in entries])
    for key, start in walk.places.items():
        if start is not None:
            assert repr(list(walk.file.entries(start, block_bytes))) == repr(whole[key])


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data(), content=objects, block_bytes=blocks)
def test_a_spoilt_text_is_refused_exactly_when_the_whole_is_and_in_its_words(
    place, data, content, block_bytes
):
    raw = bytearray(json.dumps(content, ensure_ascii=False).encode())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(raw)))
        kind = data.draw(st.sampled_from(["cut", "put", "drop"]))
        if kind == "cut":
            del raw[at:]
        elif kind == "put":
            raw[at:at] = data.draw(
                st.sampled_from([b",", b"]", b"}", b"[", b"{", b'"', b".", b"e", b"\xff", b":", b"1"])
            )
        else:
            del raw[at : at + 1]
    place.write_bytes(raw)
    said = fault_of(lambda path: list(TableWalk(path, block_bytes)), place)
    expected = fault_of(read_json, place)
    if expected is None and not isinstance(read_json(place), dict):
        kind = type(read_json(place)).__name__
        expected = ("schema", f"a COCO file is a JSON object, found {kind}")
    assert said == expected
    if said is None:
        whole = read_json(place)
        lists = {key: value if isinstance(value, list) else None for key, value in whole.items()}
        assert repr(walked(place, block_bytes)[0]) == repr(lists)


HOSTILE = {
    "empty": b"",
    "white space": b" \n",
    "cut in a list": b'{"images": [{"id": 1}, {"id"',
    "cut behind an entry": b'{"images": [{"id": 1}',
    "cut behind a comma": b'{"images": [1,',
    "cut behind a list": b'{"images": [1]',
    "cut in a key": b'{"ima',
    "no comma": b'{"images": [{} {}]}',
    "two commas": b'{"images": [1,,2]}',
    "last comma in a list": b'{"images": [1,]}',
    "last comma in the object": b'{"images": [1],}',
    "comma for a colon": b'{"images", []}',
    "key without quotes": b"{images: []}",
    "text behind the end": b'{"images": []} x',
    "a second object": b"{}{}",
    "table twice": b'{"images": [], "annotations": [], "images": []}',
    "key twice in an entry": b'{"images": [{"id": 1, "id": 2}]}',
    "key twice deep inside": b'{"info": {"a": [{"b": {"c": 1, "c": 1}}]}}',
    "key twice, then cut": b'{"images": [{"id": 1, "id": 2}], "annotations": [',
    "key twice, then bytes that are no text": b'{"images": [{"id": 1, "id": 2}], "info": "\xe9"}',
    "Latin-1": b'{"images": [{"file_name": "caf\xe9.png"}]}',
    "cut in a character": '{"images": ["é'.encode()[:-1],
    "surrogate as bytes": b'{"images": ["\xed\xa0\x80"]}',
    "control character": b'{"images": ["a\nb"]}',
    "bad escape": b'{"images": ["\\x"]}',
    "two marks": b"\xef\xbb\xbf\xef\xbb\xbf{}",
    "half a mark": b"\xef\xbb{}",
    "UTF-16": '{"images": []}'.encode("utf-16"),
    "huge number": b'{"images": [' + b"9" * 5000 + b"]}",
    "huge number in an entry": b'{"images": [{"id": ' + b"9" * 5000 + b"}]}",
    "deep list": b"[" * 100_000,
    "deep entry": b'{"images": [' + b"[" * 100_000 + b"]" * 100_000 + b"]}",
    "deep object": b'{"images": [' + b'{"a":' * 100_000,
    "a list": b'[{"images": []}]',
    "a number": b"7",
    "nothing": b"null",
    "a text": b'"images"',
    "bad literals": b'{"images": [NaN, Infinit]}',
    "a bare minus": b'{"images": [-]}',
    "leading zero": b'{"images": [01]}',
    "a point at the end": b'{"images": [1.]}',
}


@pytest.mark.parametrize("block_bytes", [1, 7, 1 << 18])
@pytest.mark.parametrize("raw", HOSTILE.values(), ids=HOSTILE.keys())
def test_what_is_no_json_object_is_refused_in_the_words_of_the_whole_text(place, raw, block_bytes):
    if block_bytes == 1 and len(raw) > 10_000:
        pytest.skip("long texts are begun anew too often")
    place.write_bytes(raw)
    said = fault_of(lambda path: list(TableWalk(path, block_bytes)), place)
    expected = fault_of(read_json, place)
    if expected is None:
        expected = ("schema", f"a COCO file is a JSON object, found {type(read_json(place)).__name__}")
    assert said == expected


def test_not_a_number_and_a_long_float_are_values_like_others(place):
    place.write_text('{"images": [NaN, -Infinity, ' + "9" * 5000 + ".5, 1e5, 12]}")
    found, _ = walked(place, 3)
    assert repr(found) == repr(json.loads(place.read_text()))


def test_what_is_no_ordinary_file_is_refused_like_every_file(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "link")
    os.mkfifo(tmp_path / "pipe")
    for name in ("missing", "link", "pipe", ".", "\0"):
        path = tmp_path / name
        said = fault_of(lambda path: list(TableWalk(path)), path)
        assert said is not None
        assert said == fault_of(read_json, path)


def test_a_file_that_was_written_to_is_not_read_on(tmp_path):
    path = tmp_path / "labels.json"
    path.write_text('{"images": [{"id": 1}, {"id": 2}]}')
    _, walk = walked(path)
    (first, second) = list(TableWalk(path))
    file = pickle.loads(pickle.dumps(walk.file))
    assert file.load([(second.start, second.end)]) == [{"id": 2}]
    path.write_text('{"images": [{"id": 1}, {"id": 22}]}')
    for read in (
        lambda: file.load([(first.start, first.end)]),
        lambda: list(file.entries(walk.places["images"])),
    ):
        with pytest.raises(ItemFault) as caught:
            read()
        assert caught.value.reason == "json"
        assert str(caught.value).startswith("labels.json was changed while it was read")
    path.unlink()
    with pytest.raises(ItemFault):
        pickle.loads(pickle.dumps(file)).load([(first.start, first.end)])


def test_a_copy_of_a_file_is_the_same_file_and_another_content_is_not(tmp_path):
    path = tmp_path / "labels.json"
    said = []
    for text in ('{"images": []}', '{"images": []}', '{"images": [] }'):
        path.write_text(text)
        said.append(repr(walked(path)[1].file))
    assert said[0] == said[1] != said[2]


def document(pictures: int) -> dict:
    """Pictures with two annotations each, the second of all of them after the first of all of them."""
    return {
        "annotations": [
            {
                "id": number,
                "image_id": number % pictures,
                "category_id": 1,
                "segmentation": [[1, 1, 9, 1, 9, 9]],
            }
            for number in range(2 * pictures)
        ],
        "images": [
            {"id": number, "file_name": f"é{number}.png", "width": 20, "height": 20, "license": 3}
            for number in range(pictures)
        ],
        "categories": [{"id": 1, "name": "face_mask"}],
        "licenses": [{"id": 3, "name": "CC0-1.0"}],
    }


def outcome(path: Path) -> list:
    """Everything that reading a COCO file comes to."""
    said: list = []
    for found in read_pictures(path, OPTIONS, Split.TRAIN):
        if isinstance(found, CocoPicture):
            labels = found.labels.read((20, 20), DEFAULT_LIMITS)
            said.append((found.where, found.file_name, found.licence, found.fault, labels))
        else:
            said.append(found)
    return said


def test_tables_may_stand_in_any_order(tmp_path):
    content = document(5)
    content["annotations"] += [
        {"id": 0, "image_id": 1, "category_id": 1, "segmentation": []},
        {"id": 77, "image_id": 99, "category_id": 1},
        {"id": 78, "image_id": 1, "category_id": 1, "area": -1, "segmentation": [[1, 1, 9, 1, 9, 9]]},
        [],
    ]
    orders = (list(content), list(reversed(content)), ["images", "licenses", "categories", "annotations"])
    path = tmp_path / "labels.json"
    said = []
    for order in orders:
        path.write_text(json.dumps({"info": {}, **{key: content[key] for key in order}}), encoding="utf-8")
        said.append(outcome(path))
    assert said[0] == said[1] == said[2]
    assert [len(row[4].instances) for row in said[0][:5]] == [2, 3, 2, 2, 2]
    assert [fault.reason for _, fault in said[0][1][4].faults] == ["duplicate_id"]
    assert [stray.where for stray in said[0][5:]] == [f"annotations[{number}]" for number in (11, 12, 13)]


@given(
    st.lists(st.one_of(st.integers(-3, 3), st.sampled_from(["1", "01", "-0", "0", "x", "", True, None, 1.5])))
)
def test_ids_are_one_number_exactly_when_their_texts_are_one(ids):
    edges = [*ids, 2**62, -(2**62), 2**62 - 1, str(2**62 - 1), str(2**62), str(1 - 2**62), 2**63, 10**30, "٣"]
    of = IdNumbers().of
    for one in edges:
        for other in edges:
            assert (of(one) == of(other)) == (identity(one) == identity(other))
    assert all(-(2**63) <= of(one) < 2**63 for one in edges)


@contextmanager
def peak_bytes() -> Iterator[list[int]]:
    found: list[int] = []
    tracemalloc.start()
    try:
        yield found
        found.append(tracemalloc.get_traced_memory()[1])
    finally:
        tracemalloc.stop()


def test_listing_takes_numbers_for_an_annotation_and_not_its_text(tmp_path):
    peaks, sizes = [], []
    for pictures in (500, 3000):
        content = document(pictures)
        for row in content["annotations"]:
            row["segmentation"] = {"size": [20, 20], "counts": "0" * 1000}
        path = tmp_path / f"{pictures}.json"
        path.write_text(json.dumps(content))
        del content
        sizes.append(path.stat().st_size)
        with peak_bytes() as found:
            assert sum(1 for _ in read_pictures(path, OPTIONS, Split.TRAIN)) == pictures
        peaks += found
    more = 2 * (3000 - 500)
    assert sizes[1] - sizes[0] > 1000 * more
    assert peaks[1] - peaks[0] < 150 * more


def test_what_travels_of_a_picture_is_small_and_reads_the_same(tmp_path):
    content = document(3)
    path = tmp_path / "labels.json"
    path.write_text(json.dumps(content))
    first, *_ = read_pictures(path, OPTIONS, Split.TRAIN)
    packed = pickle.dumps(first.labels)
    assert len(packed) < 2000
    assert pickle.loads(packed).read((20, 20), DEFAULT_LIMITS) == first.labels.read((20, 20), DEFAULT_LIMITS)
    other = copy.deepcopy(content)
    other["annotations"][0]["segmentation"][0][0] = 2
    path.write_text(json.dumps(other))
    changed, *_ = read_pictures(path, OPTIONS, Split.TRAIN)
    assert repr(changed.labels) != repr(first.labels)
