"""A user's table of labels is untrusted: every problem is named with its row, all at once, in one line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image

from baselines.attributes.coding import UNKNOWN_GENDER
from baselines.attributes.table import LabelTable, read_labels
from dataset_tools.core.errors import DataError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    pictures = tmp_path / "pictures"
    (pictures / "anna").mkdir(parents=True)
    for index, name in enumerate(("a.png", "b.png", "anna/c.jpg")):
        Image.new("RGB", (40, 40), (index * 80, 0, 0)).save(pictures / name)
    Image.new("RGB", (40, 40), (9, 9, 9)).save(tmp_path / "secret.png")
    return pictures


def read(folder: Path, text: str | bytes, *, with_gender: bool = True, top_value: int = 10) -> LabelTable:
    path = folder.parent / "labels.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_labels(path, folder, top_value=top_value, with_gender=with_gender)


def complaint(folder: Path, text: str | bytes, **options: bool) -> str:
    with pytest.raises(DataError) as caught:
        read(folder, text, **options)
    said = str(caught.value)
    assert "\n" not in said and said.isprintable()
    assert str(folder.parent) not in said.replace("labels.csv", "")
    return said


def test_a_proper_table_is_read_in_file_order(folder: Path) -> None:
    table = read(folder, "\ufeffimage, feature ,gender,group\r\na.png,3,female,x\r\n\r\nanna/c.jpg,10,,\r\n")
    first, second = table.pictures
    assert (first.feature, first.gender, first.group) == (3, 0, "x")
    assert (second.feature, second.gender, second.group) == (10, UNKNOWN_GENDER, "")
    assert table.has_gender and first.read().shape == (40, 40, 3)


def test_the_gender_column_is_not_looked_at_unless_asked_for(folder: Path) -> None:
    table = read(folder, "image,feature,gender\na.png,3,whatever\n", with_gender=False)
    assert table.pictures[0].gender == UNKNOWN_GENDER and not table.has_gender
    assert not read(folder, "image,feature\na.png,3\n").has_gender


def test_the_digest_follows_pictures_and_labels_alone(folder: Path) -> None:
    first = read(folder, "image,feature\na.png,3\nb.png,4\n").digest()
    assert first == read(folder, "feature,image\n4,b.png\n3,anna/../a.png\n".replace("anna/../", "")).digest()
    assert first != read(folder, "image,feature\na.png,4\nb.png,3\n").digest()


def test_all_problems_are_told_at_once_with_their_rows(folder: Path) -> None:
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and then nothing")
    (folder / "page.jpg").write_text("<html>")
    Image.new("RGB", (8, 8)).save(folder / "tiny.png")
    said = complaint(
        folder,
        "image,feature,gender\na.png,3,female\nb.png,eleven,male\ngone.png,3,\nbroken.png,1,\npage.jpg,12,man\n"
        "a.png,4,\nb.png,1\ntiny.png,-1,\n",
    )
    assert "labels.csv: 7 bad row(s)" in said
    for part in (
        "row 3: feature 'eleven' is not a whole number from 0 to 10",
        "row 4: image 'gone.png': No such file or directory",
        "row 5: image 'broken.png': PNG: ",
        "row 6: feature '12' is not a whole number from 0 to 10, gender 'man' is neither female nor male",
        "image 'page.jpg': an HTML, XML or SVG page, not a picture",
        "row 7: the same picture as row 2",
        "row 8: 2 fields, the header has 3",
        "row 9: feature '-1'",
        "image 'tiny.png': 8x8 pixels, side at least 32",
    ):
        assert part in said


@pytest.mark.parametrize(
    "name",
    [
        "../secret.png",
        "/etc/hostname",
        "anna/../../secret.png",
        "..",
        "link.png",
        "nul\x00.png",
        "..\\secret.png",
    ],
)
def test_nothing_outside_the_folder_is_read(folder: Path, name: str) -> None:
    (folder / "link.png").symlink_to(folder.parent / "secret.png")
    said = complaint(folder, f"image,feature\n{name},3\n")
    assert "row 2: image" in said
    assert any(part in said for part in ("leads outside", "not a path"))


def test_a_link_inside_the_folder_is_followed(folder: Path) -> None:
    (folder / "also.png").symlink_to(folder / "a.png")
    assert len(read(folder, "image,feature\nalso.png,3\n").pictures) == 1


def test_a_pipe_or_folder_is_no_picture(folder: Path) -> None:
    os.mkfifo(folder / "pipe.png")
    said = complaint(folder, "image,feature\npipe.png,3\nanna,3\n,3\n")
    assert said.count("not an ordinary file") == 2 and "row 4: image '': no path" in said


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "is empty"),
        ("image,feature\n", "has a header but no row"),
        (
            "image,featur\na.png,3\n",
            "row 1: column 'feature' is missing; unknown column 'featur'; did you mean feature?",
        ),
        ("image,feature,feature\n", "row 1: column 'feature' stands twice"),
        ("image,feature,race\n", "unknown column 'race'; only image, feature, gender, group belong here"),
        (b"image,feature\na.png,3\n\xff\xfe,4\n", "row 3: not UTF-8 text"),
        ('image,feature\n"a.png,3\n', "row 2: unexpected end of data"),
        ("image,feature\n" + "x" * 200_000 + ",3\n", "row 2: field larger than field limit"),
        ("image,feature\na.png,\u0663\n", "row 2: feature"),
        ("image,feature\na.png," + "9" * 5000 + "\n", "row 2: feature"),
        ("image,feature\na\x1b[31m.png,3\n", "row 2: image"),
    ],
)
def test_hostile_tables_end_in_one_line(folder: Path, text: str | bytes, expected: str) -> None:
    assert expected in complaint(folder, text)


def test_long_lists_of_problems_are_cut(folder: Path) -> None:
    said = complaint(folder, "image,feature\n" + "a.png,x\n" * 500)
    assert "500 bad row(s)" in said and said.endswith("and 480 more") and len(said) < 2500


def test_a_missing_table_is_named(folder: Path) -> None:
    with pytest.raises(DataError, match="cannot read"):
        read_labels(folder / "none.csv", folder, top_value=10, with_gender=False)
