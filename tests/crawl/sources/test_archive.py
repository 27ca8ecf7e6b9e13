"""Pictures from archives: what is listed, what is refused, and that reading gives the very bytes."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import random
import struct
import tarfile
import warnings
import zipfile

import pytest

from dataset_tools.core import archives
from dataset_tools.core.errors import ConfigError, FetchFault
from dataset_tools.crawl.settings import CrawlSettings

MANY = 10**9


def source(path, **more) -> dict:
    return {"type": "archive", "name": "a", "path": str(path), "licence": "CC0-1.0", **more}


@pytest.fixture(params=["zip", "stored.zip", "bz2.zip", "tar", "tar.gz"])
def pack(request, make_tar, make_zip):
    """The same members in each kind of archive."""
    methods = {
        "zip": zipfile.ZIP_DEFLATED,
        "stored.zip": zipfile.ZIP_STORED,
        "bz2.zip": zipfile.ZIP_BZIP2,
    }
    if request.param in methods:
        return lambda *members: make_zip(*members, method=methods[request.param])
    return lambda *members: make_tar(*members, mode="w:gz" if request.param == "tar.gz" else "w")


def test_every_member_is_listed_and_reads_as_its_own_bytes(tmp_path, pack, make_picture, list_with, reason):
    content = {f"{number % 3}/{number}.png": make_picture(number) for number in range(12)}
    path = tmp_path / "set.bin"
    path.write_bytes(pack(*content.items()))
    items = list_with(source(path, group_by="parent-folder"))
    assert [item.key for item in items] == [f"a/{name}" for name in content]
    assert {item.group for item in items} == {"a/0", "a/1", "a/2"}
    assert not any(map(reason, items))
    random.Random(1).shuffle(items)
    for item in pickle.loads(pickle.dumps(items)):
        assert item.content.read(MANY) == content[item.name]
        with pytest.raises(FetchFault, match="at most 10 allowed"):
            item.content.read(10)


def test_a_crawl_keeps_pictures_of_an_archive_and_rejects_the_rest(
    tmp_path, pack, make_picture, crawl, make_tar
):
    path = tmp_path / "set.bin"
    members = [("a.png", make_picture(1)), ("notes.txt", b"hello"), ("b.jpg", make_picture(2, kind="JPEG"))]
    path.write_bytes(pack(*members, ("innocent.png", make_tar(("x.png", make_picture(3))))))
    crawled = crawl(CrawlSettings.model_validate({"sources": [source(path)]}))
    assert set(crawled.samples) == {"a/a.png", "a/b.jpg"}
    assert crawled.reasons == {"a/notes.txt": "not_an_image", "a/innocent.png": "nested_archive"}
    provenance = crawled.samples["a/a.png"].provenance
    assert (provenance.licence, provenance.url) == ("CC0-1.0", "")
    assert dict(provenance.evidence)["name"] == "a.png"


HOSTILE = {
    "../up.png": "unsafe_path",
    "/etc/passwd": "unsafe_path",
    "sub/../../up.png": "unsafe_path",
    "C:\\windows\\x.png": "unsafe_path",
    "C:x.png": "unsafe_path",
    "..\\up.png": "unsafe_path",
    "inner.zip": "nested_archive",
    "good.png": "",
    "./good.png": "duplicate_member",
    "GOOD.png": "",
    "cafe\u0301.png": "",
    "caf\u00e9.png": "duplicate_member",
}


def test_hostile_names_are_refused_one_by_one_and_nothing_is_written(
    tmp_path, pack, make_picture, list_with, reason
):
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / "set.bin"
    path.write_bytes(pack(*((name, make_picture(1)) for name in HOSTILE)))
    items = list_with(source(path))
    assert [reason(item) for item in items] == list(HOSTILE.values())
    assert len({item.key for item in items}) == len(HOSTILE)
    for item in items:
        assert (item.content is None) == bool(item.fault)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["in", "set.bin"]


def test_links_and_devices_in_a_tar_are_refused(tmp_path, make_tar, make_picture, list_with, reason):
    members = []
    for number, kind in enumerate((tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE)):
        info = tarfile.TarInfo(f"{number}.png")
        info.type, info.linkname = kind, "/etc/passwd"
        members.append((info, b""))
    folder = tarfile.TarInfo("folder")
    folder.type = tarfile.DIRTYPE
    path = tmp_path / "set.tar"
    path.write_bytes(make_tar(*members, (folder, b""), ("folder/good.png", make_picture(1))))
    assert [reason(item) for item in list_with(source(path))] == ["special_file"] * 4 + [""]


def test_links_and_locked_members_of_a_zip_are_refused(tmp_path, make_zip, make_picture, list_with, reason):
    link = zipfile.ZipInfo("link.png")
    link.external_attr = 0o120777 << 16
    data = bytearray(make_zip((link, b"/etc/passwd"), ("locked.png", make_picture(1)), ("folder/", b"")))
    entry = data.rindex(b"PK\x01\x02", 0, data.rindex(b"PK\x01\x02"))
    data[entry + 8] |= 1  # the flag of an encrypted member
    path = tmp_path / "set.zip"
    path.write_bytes(data)
    assert [reason(item) for item in list_with(source(path))] == ["special_file", "encrypted"]


def test_a_zip_member_that_inflates_too_much_is_a_bomb(tmp_path, make_zip, list_with, reason):
    path = tmp_path / "set.zip"
    path.write_bytes(make_zip(("zeros.png", bytes(5_000_000)), ("small.txt", bytes(100_000))))
    assert [reason(item) for item in list_with(source(path))] == ["archive_bomb", ""]
    path.write_bytes(make_zip(("noise.png", os.urandom(9000)), ("more.png", os.urandom(9000))))
    items = list_with(source(path, max_total_bytes=10_000))
    assert [reason(item) for item in items] == ["", "archive_bomb"]


def test_a_zip_member_that_lies_about_its_size_is_stopped_there(tmp_path, make_zip, list_with):
    data = bytearray(make_zip(("a.png", bytes(600_000))))
    entry = data.rindex(b"PK\x01\x02")
    struct.pack_into("<I", data, entry + 24, 1000)
    path = tmp_path / "set.zip"
    path.write_bytes(data)
    (item,) = list_with(source(path))
    with pytest.raises(FetchFault) as caught:
        item.content.read(MANY)
    assert caught.value.reason == "archive_bomb"


def test_zip_members_that_share_their_bytes_are_a_bomb(tmp_path, make_zip, make_picture, list_with, reason):
    data = bytearray(make_zip(("a.png", make_picture(1)), ("b.png", make_picture(2))))
    second = data.rindex(b"PK\x01\x02")
    first = data.rindex(b"PK\x01\x02", 0, second)
    # a.png now claims to reach over b.png.
    size = struct.unpack_from("<I", data, second + 42)[0]
    struct.pack_into("<I", data, first + 20, size + 20)
    path = tmp_path / "set.zip"
    path.write_bytes(data)
    assert [reason(item) for item in list_with(source(path))] == ["archive_bomb", ""]


def test_a_flipped_byte_in_a_zip_is_found(tmp_path, make_zip, list_with):
    data = bytearray(make_zip(("a.png", os.urandom(1000)), method=zipfile.ZIP_STORED))
    data[500] ^= 1
    path = tmp_path / "set.zip"
    path.write_bytes(data)
    (item,) = list_with(source(path))
    with pytest.raises(FetchFault) as caught:
        item.content.read(MANY)
    assert caught.value.reason == "corrupt"


def test_a_huge_member_is_refused_unread(tmp_path, make_tar, list_with, reason, monkeypatch):
    monkeypatch.setattr(archives, "MEMBER_MAX_BYTES", 1000)
    path = tmp_path / "set.tar"
    path.write_bytes(make_tar(("a.png", bytes(1001)), ("b.png", bytes(1000))))
    assert [reason(item) for item in list_with(source(path))] == ["too_many_bytes", ""]


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_a_cut_tar_gives_what_came_before_and_says_that_it_is_cut(
    tmp_path, make_tar, list_with, reason, mode
):
    random_bytes = random.Random(3).randbytes
    whole = make_tar(*((f"{number}.png", random_bytes(20_000)) for number in range(5)), mode=mode)
    path = tmp_path / "set.tar"
    for length in (len(whole) // 2, 3 * 20_992 if mode == "w" else len(whole) - 12):
        path.write_bytes(whole[:length])
        items = list_with(source(path))
        assert items[-1].key == "a"
        assert reason(items[-1]) == "truncated"
        # The member that the cut goes through is listed too; reading it fails.
        assert all(reason(item) == "" for item in items[:-1])
        assert 2 <= len(items) <= 6


def test_garbage_in_a_tar_does_not_end_it_in_silence(tmp_path, make_tar, make_picture, list_with, reason):
    data = bytearray(make_tar(("a.png", make_picture(1)), ("b.png", make_picture(2))))
    header = data.index(b"b.png")
    data[header : header + 512] = b"\xff" * 512
    path = tmp_path / "set.tar"
    path.write_bytes(data)
    assert [reason(item) for item in list_with(source(path))] == ["", "corrupt"]


def test_a_tar_header_that_claims_gigabytes_is_a_bomb(tmp_path, make_tar, list_with, reason):
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, 2**33
    path = tmp_path / "set.tar"
    path.write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(10_240))
    assert [reason(item) for item in list_with(source(path))] == ["archive_bomb"]


def test_a_packed_tar_of_zeros_is_a_bomb(tmp_path, make_tar, list_with, reason, monkeypatch):
    path = tmp_path / "set.tar.gz"
    members = ((f"{number}.bmp", bytes(30_000_000)) for number in range(4))
    path.write_bytes(make_tar(*members, mode="w:gz"))
    assert [reason(item) for item in list_with(source(path))][-1] == "archive_bomb"


def test_a_folder_of_archives_goes_on_after_a_bad_one(
    tmp_path, make_tar, make_zip, make_picture, list_with, reason
):
    folder = tmp_path / "shards"
    folder.mkdir()
    good = make_zip(("x.png", make_picture(1)))
    (folder / "0.tar").write_bytes(make_tar(("x.png", make_picture(1))))
    (folder / "1.zip").write_bytes(good[: len(good) // 2])
    (folder / "2.txt").write_text("no archive")
    (folder / "3.zip").write_bytes(good)
    (folder / "4.tar").write_bytes(b"")
    (folder / "5.tar").symlink_to("0.tar")
    items = list_with(source(folder))
    assert [(item.key, reason(item)) for item in items] == [
        ("a/0.tar/x.png", ""),
        ("a/1.zip", "truncated"),
        ("a/2.txt", "format_not_allowed"),
        ("a/3.zip/x.png", ""),
        ("a/4.tar", "format_not_allowed"),
        ("a/5.tar", "unsafe_path"),
    ]


def test_webdataset_siblings_state_licence_author_and_caption(
    tmp_path, pack, make_picture, list_with, reason
):
    facts = {"license": "CC-BY-4.0", "author": "Anna", "url": "http://example.org/1.jpg"}
    path = tmp_path / "set.bin"
    path.write_bytes(
        pack(
            ("d/1.jpg", make_picture(1)),
            ("d/1.json", json.dumps(facts).encode()),
            ("d/1.txt", b"ein Gesicht\n"),
            ("d/1.cls", b"7"),
            ("d/2.jpg", make_picture(2)),
            ("d/3.json", b"{cut"),
            ("d/3.jpg", make_picture(3)),
            ("d/4.txt", b"alone"),
        )
    )
    items = list_with(source(path, layout="webdataset", licence=""))
    assert [(item.key, reason(item)) for item in items] == [
        ("a/d/1.jpg", ""),
        ("a/d/2.jpg", "licence"),
        ("a/d/3.jpg", "json"),
        ("a/d/4", "missing_image"),
    ]
    assert (items[0].licence, items[0].author) == ("CC-BY-4.0", "Anna")
    assert dict(items[0].evidence) == {
        "caption": "ein Gesicht",
        "class": "7",
        "stated_url": "http://example.org/1.jpg",
    }
    assert reason(list_with(source(path, layout="webdataset"))[1]) == ""


def test_archives_that_are_missing_or_changed_are_said_so(tmp_path, make_tar, make_picture, list_with):
    with pytest.raises(ConfigError, match="neither an archive nor a folder"):
        list_with(source(tmp_path / "no.zip"))
    path = tmp_path / "set.tar"
    path.write_bytes(make_tar(("a.png", make_picture(1))))
    (item,) = list_with(source(path))
    path.write_bytes(path.read_bytes()[:600])
    with pytest.raises(FetchFault, match="ends inside"):
        item.content.read(MANY)
    path.unlink()
    with pytest.raises(FetchFault, match="cannot open the archive"):
        item.content.read(MANY)


def test_mutated_archives_never_raise_and_never_hang(tmp_path, pack, list_with):
    """Every listing ends, every item is good or has a fault, every read gives bytes or a fault."""
    dice = random.Random(7)
    whole = pack(*((f"{number}.png", dice.randbytes(700)) for number in range(4)))
    path = tmp_path / "set.bin"
    for _ in range(150):
        data = bytearray(whole)
        for _ in range(dice.randint(1, 8)):
            data[dice.randrange(len(data))] = dice.randrange(256)
        if dice.random() < 0.3:
            del data[dice.randrange(len(data)) :]
        path.write_bytes(data)
        for item in list_with(source(path)):
            assert (item.content is None) == (item.fault is not None)
            if item.content is not None:
                try:
                    assert isinstance(item.content.read(MANY), bytes)
                except FetchFault as fault:
                    assert str(fault)


def test_a_name_that_is_no_text_is_shown_escaped(tmp_path, make_tar, make_picture, list_with):
    path = tmp_path / "set.tar"
    path.write_bytes(make_tar(("caf\udce9\n.png", make_picture(1))))
    (item,) = list_with(source(path))
    item.key.encode()
    assert item.key.isprintable()
    assert item.content.read(MANY) == make_picture(1)


def test_a_zip_with_the_same_name_twice_counts_both(tmp_path, make_picture, list_with, reason):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        archive.writestr("a.png", make_picture(1))
        archive.writestr("a.png", make_picture(2))
    path = tmp_path / "set.zip"
    path.write_bytes(buffer.getvalue())
    items = list_with(source(path))
    assert [(item.key, reason(item)) for item in items] == [
        ("a/a.png", ""),
        ("a/a.png#2", "duplicate_member"),
    ]
    assert items[0].content.read(MANY) == make_picture(1)


def test_real_photos_come_out_of_an_archive_as_out_of_their_folder(shared_data, tmp_path, pack, crawl):
    folder = shared_data / "mfsd_dev" / "image"
    files = sorted(folder.iterdir())[:10]
    path = tmp_path / "set.bin"
    path.write_bytes(pack(*((file.name, file.read_bytes()) for file in files)))
    crawled = crawl(CrawlSettings.model_validate({"sources": [source(path)]}))
    assert crawled.reasons == {}
    found = {sample.provenance.content_sha256 for sample in crawled.samples.values()}
    assert found == {hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
