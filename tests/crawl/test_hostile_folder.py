"""Entries of a folder that are not what they seem, and names that are more than names, through the crawl."""

from __future__ import annotations

import os
import socket
import unicodedata
from pathlib import Path

import pytest

from dataset_tools.core.reasons import Reason
from dataset_tools.crawl.settings import CrawlSettings

ODD_NAMES = (
    unicodedata.normalize("NFC", "Zoë é.png"),
    unicodedata.normalize("NFD", "Zoë é.png"),
    "ü" * 125 + "a.png",  # 255 bytes
    os.fsdecode(b"not-utf8-\xff\xfe.png"),
    "new\nline\r.png",
    "-rf",
    "--help",
    "=cmd|' calc'!A0.png",
    "@SUM(1).png",
    "\u202egnp.exe",
    "CON.png",
    "..%2f..%2fcanary.png",
    "<script>alert(1)</script>.png".replace("/", ""),
    " leading and trailing ",
    "\x1b[31mred\x07.png",
)


def settings_for(folder: Path) -> CrawlSettings:
    source = {"type": "folder", "name": "f", "path": str(folder), "licence": "CC0-1.0"}
    return CrawlSettings.model_validate({"sources": [source]})


def test_odd_names_are_data_and_never_a_path(tmp_path, crawl, make_picture):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, name in enumerate(ODD_NAMES):
        (folder / name).write_bytes(make_picture(number))
    crawled = crawl(settings_for(folder))
    assert crawled.reasons == {}
    told = {os.fsencode(name).decode("utf-8", "backslashreplace") for name in ODD_NAMES}
    assert len(told) == len(ODD_NAMES)  # neither spelling of an accent swallows the other
    names = {dict(one.provenance.evidence)["name"] for one in crawled.samples.values()}
    assert names == told == {key.removeprefix("f/") for key in crawled.samples}
    hashes = {one.image.sha256 for one in crawled.samples.values()}
    objects = [path for path in tmp_path.rglob("objects/*/*") if path.is_file()]
    assert {path.stem for path in objects} == hashes
    assert list(tmp_path.rglob("canary*")) == []


def test_no_entry_is_followed_out_of_the_folder_or_waited_for(tmp_path, crawl, make_picture):
    folder = tmp_path / "photos"
    folder.mkdir()
    (tmp_path / "outside.png").write_bytes(make_picture(1))
    links = {
        "loop": folder,
        "round": Path("round"),
        "gone.jpg": Path("nowhere"),
        "passwd.jpg": Path("/etc/passwd"),
        "zero.jpg": Path("/dev/zero"),
        "outside.png": Path("../outside.png"),
    }
    for name, target in links.items():
        (folder / name).symlink_to(target)
    os.mkfifo(folder / "fifo.jpg")
    with (folder / "sparse.jpg").open("wb") as stream:
        stream.truncate(20 << 30)
    with socket.socket(socket.AF_UNIX) as made, pytest.MonkeyPatch.context() as patched:
        patched.chdir(folder)  # the path of a socket must be short
        made.bind("socket.jpg")
    (folder / "good.jpg").write_bytes(make_picture(2))
    crawled = crawl(settings_for(folder))
    special = {
        "fifo.jpg": Reason.NOT_A_FILE,
        "socket.jpg": Reason.NOT_A_FILE,
        "sparse.jpg": Reason.TOO_MANY_BYTES,
    }
    expected = special | dict.fromkeys(links, Reason.UNSAFE_PATH)
    assert crawled.reasons == {f"f/{name}": reason.value for name, reason in expected.items()}
    assert set(crawled.samples) == {"f/good.jpg"}


def test_a_device_is_not_read(tmp_path, crawl, make_picture):
    folder = tmp_path / "photos"
    folder.mkdir()
    try:
        os.mknod(folder / "zero.jpg", 0o020666, os.makedev(1, 5))
    except OSError as error:
        pytest.skip(f"devices are made by root only: {error}")
    assert crawl(settings_for(folder)).reasons == {"f/zero.jpg": Reason.NOT_A_FILE.value}
