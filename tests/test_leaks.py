"""A planted leak between two datasets is found, whatever form either comes in; strangers raise no alarm."""

from __future__ import annotations

import dataclasses
import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from dataset_tools.core.errors import DataError
from dataset_tools.core.face_prints import FacePrint, with_face_prints
from dataset_tools.core.manifest import Manifest, ShardCounts, write_header, write_shard
from dataset_tools.leaks import Leak, Opened, Picture, find_leaks, open_pictures
from dataset_tools.leaks_cli import leaks as command


def kinds(first: Opened, second: Opened) -> list[tuple[str, str, str]]:
    return [(leak.kind, leak.first, leak.second) for leak in find_leaks(first, second)]


@pytest.fixture
def planted(tmp_path: Path, astronaut_rgb: np.ndarray) -> tuple[Path, Path]:
    """Two folders of different crops, and four pictures of the first planted in the second."""
    ours, theirs = tmp_path / "ours" / "image", tmp_path / "theirs"
    for folder in (ours, theirs, tmp_path / "ours" / "mask"):
        folder.mkdir(parents=True)
    crops = [
        np.ascontiguousarray(astronaut_rgb[y : y + 128, x : x + 128])
        for y in range(0, 512, 128)
        for x in range(0, 512, 128)
    ]
    for number, crop in enumerate(crops[:8]):
        Image.fromarray(crop).save(ours / f"{number}.png")
        Image.fromarray(crop).save(tmp_path / "ours" / "mask" / f"{number}.png")
    for number, crop in enumerate(crops[8:]):
        Image.fromarray(crop).save(theirs / f"other{number}.png")
    (theirs / "same.png").write_bytes((ours / "0.png").read_bytes())
    Image.fromarray(crops[1]).resize((200, 200)).save(theirs / "<b>small.jpg", quality=70)
    Image.fromarray(np.ascontiguousarray(crops[2][:, ::-1])).save(theirs / "turned.jpg", quality=85)
    (theirs / "broken.jpg").write_bytes(b"\xff\xd8\xff no picture")
    return tmp_path / "ours", theirs


def test_planted_copies_are_found_and_nothing_else(planted: tuple[Path, Path]) -> None:
    first, second = map(open_pictures, planted)
    assert kinds(first, second) == [
        ("content", "image/0.png", "same.png"),
        ("near", "image/1.png", "<b>small.jpg"),
        ("mirrored", "image/2.png", "turned.jpg"),
    ]
    assert [line.split(":")[0] for line in second.unreadable] == ["broken.jpg"]
    assert {(b, a) for _, a, b in kinds(first, second)} == {(a, b) for _, a, b in kinds(second, first)}


def test_a_dataset_and_a_folder_of_its_pictures_are_the_same(build_erasable: Any, tmp_path: Path) -> None:
    made = build_erasable(tmp_path / "work", photos=6)
    copies = tmp_path / "copies"
    copies.mkdir()
    for sample in made.photos[:4]:
        (copies / f"{sample.provenance.seed}.png").write_bytes(made.pictures[sample.id])
    found = find_leaks(open_pictures(copies), open_pictures(made.workspace.root))
    assert [(leak.kind, leak.first) for leak in found] == [("content", f"{n}.png") for n in range(4)]


def test_a_rendered_child_of_a_photo_in_the_other_set_is_a_leak(build_erasable: Any, tmp_path: Path) -> None:
    made = build_erasable(tmp_path / "work", photos=3)
    everything = open_pictures(Manifest(made.chain["synth"].directory).directory)
    split = {one.id: one for one in everything.pictures}
    photo, child, stranger = split[made.photos[0].id], split[made.children[0].id], split[made.children[1].id]
    far = [dataclasses.replace(one, phash=None, groups=()) for one in (photo, child, stranger)]
    photos, rendered = Opened("photos", tuple(far[:1])), Opened("rendered", tuple(far[1:]))
    expected = [("parent", child.name, photo.name)]
    assert kinds(rendered, photos) == expected
    assert kinds(photos, rendered) == [("parent", photo.name, child.name)]
    sibling = dataclasses.replace(far[1], id="other", name="sibling", digests=())
    assert kinds(rendered, Opened("more", (sibling,))) == [("parent", child.name, "sibling")]
    grouped = [dataclasses.replace(one, parent_id="", groups=("album",)) for one in far]
    assert kinds(Opened("a", tuple(grouped[:1])), Opened("b", tuple(grouped[2:]))) == [
        ("group", photo.name, stranger.name)
    ]


def test_an_export_keeps_group_and_descent(build_erasable: Any, tmp_path: Path) -> None:
    from dataset_tools.export.dataset import export_dataset
    from dataset_tools.export.settings import ExportSettings

    made = build_erasable(tmp_path / "work", photos=4)
    settings = ExportSettings(name="toy", formats=("coco",))
    export_dataset(Manifest(made.chain["split"].directory), made.workspace.images, settings, tmp_path / "out")
    exported = open_pictures(tmp_path / "out")
    whole = open_pictures(made.workspace.root)
    assert len(exported.pictures) == len(whole.pictures) == 8
    assert {leak.kind for leak in find_leaks(exported, whole)} == {"content"}
    unseen = [dataclasses.replace(one, digests=(), phash=None) for one in exported.pictures]
    assert len(find_leaks(Opened("out", tuple(unseen)), whole)) == 8


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)


def test_the_command_says_what_it_found_and_exits_with_three(
    planted: tuple[Path, Path], tmp_path: Path
) -> None:
    page = tmp_path / "leaks.html"
    done = CliRunner().invoke(command, [*map(str, planted), "--json", "--out", str(page)])
    assert done.exit_code == 3
    values = json.loads(done.output)
    assert values["counts"] == {"content": 1, "near": 1, "mirrored": 1, "face": 0, "parent": 0, "group": 0}
    parsed = Tags()
    parsed.feed(page.read_text())
    assert parsed.tags.count("img") == 6
    assert "b" not in parsed.tags and "script" not in parsed.tags
    assert "&lt;b&gt;small.jpg" in page.read_text()

    for name in ("same.png", "<b>small.jpg", "turned.jpg"):
        (planted[1] / name).unlink()
    done = CliRunner().invoke(command, list(map(str, planted)))
    assert (done.exit_code, done.output.splitlines()[-1]) == (
        0,
        "8 pictures against 8; leaks: none; 1 files could not be read; faces not compared, which needs a "
        "manifest of detect or later on both sides",
    )


def test_a_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="neither a manifest nor pictures"):
        open_pictures(tmp_path)


def test_a_picture_is_named_once_by_the_strongest_kind(planted: tuple[Path, Path]) -> None:
    first = open_pictures(planted[0])
    found = find_leaks(first, first)
    assert found == [Leak("content", one.name, one.name) for one in first.pictures]


def test_another_cut_of_one_shot_is_told_by_its_face_and_only_once() -> None:
    def picture(name: str, phash: int, *faces: tuple[int, int]) -> Picture:
        return Picture(name, Path(name), (name,), phash, faces=tuple(FacePrint(*face) for face in faces))

    far = [0x9E3779B97F4A7C15 * odd % 2**64 for odd in range(1, 21, 2)]  # unrelated to each other
    first = Opened("first", (picture("a", far[0], (far[1], far[2]), (far[3], far[4])), picture("b", far[5])))
    second = Opened(
        "second",
        (
            picture("mirrored", far[6], (far[4] ^ 0b11, far[3] ^ 0b111)),
            picture("cut", far[8], (far[1] ^ 0b1, far[2])),
            picture("same", far[5] ^ 0b1, (far[9], far[0])),
        ),
    )
    expected = [Leak("near", "b", "same", 1), Leak("face", "a", "cut", 1)]
    assert find_leaks(first, second) == expected
    back = [Leak("near", "same", "b", 1), Leak("face", "cut", "a", 1), Leak("face", "mirrored", "a", 2)]
    assert find_leaks(second, first) == back
    assert find_leaks(first, second, face_distance=None) == expected[:1]
    assert (first.with_faces, second.with_faces) == (1, 3)


def test_faces_come_along_with_a_manifest(build_erasable: Any, tmp_path: Path) -> None:
    made = build_erasable(tmp_path / "work", photos=2)
    face = FacePrint(5, 2**63)
    sample = made.photos[0]
    evidence = with_face_prints(sample.provenance.evidence, [face])
    sample = dataclasses.replace(sample, provenance=dataclasses.replace(sample.provenance, evidence=evidence))
    folder = tmp_path / "work" / "manifests" / "detect-0"
    write_shard(folder, 0, [sample.provenance.item_key], [sample], [])
    counts = dataclasses.asdict(ShardCounts(inputs=1, kept=1))
    write_header(folder, {"key": "k", "stage": "detect", "shards": 1, "counts": counts})
    assert [one.faces for one in open_pictures(folder).pictures] == [(face,)]
    assert all(one.faces == () for one in open_pictures(made.workspace.root).pictures)
