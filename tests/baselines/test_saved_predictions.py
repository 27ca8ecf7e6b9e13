"""Folders of masks: ours come back as they were, odd ones are named, none passes in silence."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from baselines.crops import Window, image_window
from baselines.metrics import score_image
from baselines.saved_predictions import (
    INDEX_FILE,
    PredictionFolder,
    SavedPredictions,
    Wanted,
    crop_name,
    encode_mask,
    mask_names,
)
from dataset_tools.core.errors import DataError

SIZE = (20, 30)


def whole(name: str, *others: str, size_hw: tuple[int, int] = SIZE) -> Wanted:
    return Wanted(name, -1, (name, *others), size_hw, image_window(size_hw))


def png(array: np.ndarray, mode: str | None = None, **options: object) -> bytes:
    buffer = io.BytesIO()
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(buffer, "PNG", **options)
    return buffer.getvalue()


def disc() -> np.ndarray:
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    return (rows - 10) ** 2 + (columns - 14) ** 2 < 50


def disc_png() -> bytes:
    return png(disc().astype(np.uint8) * 255)


def test_soft_masks_come_back_within_half_a_level_and_decide_the_same(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    maps = {f"p{index}": rng.random(SIZE).astype(np.float32) for index in range(3)}
    folder = PredictionFolder(tmp_path, "unet@1")
    for name, values in maps.items():
        folder.add(name, values)
    folder.finish()
    read = SavedPredictions(tmp_path, [whole(name) for name in maps])
    assert (read.made_by, read.form, read.findings) == ("unet@1", "soft", ())
    for name, values in maps.items():
        again = read.probability(whole(name))
        assert again.dtype == np.float32
        assert np.abs(again - values).max() <= 0.5 / 255 + 1e-6
        assert score_image(again, disc()).counts == score_image(values, disc()).counts


@settings(max_examples=300, deadline=None)
@given(st.floats(0.49, 0.51), st.sampled_from(["soft", "hard"]), st.booleans())
def test_no_pixel_crosses_the_threshold_by_being_written(value: float, form: str, is_single: bool) -> None:
    chance = np.full((1, 1), value, dtype=np.float32 if is_single else np.float64)
    with Image.open(io.BytesIO(encode_mask(chance, form))) as opened:  # type: ignore[arg-type]
        assert (np.asarray(opened)[0, 0] > 127) == (chance[0, 0] >= 0.5)


def test_hard_masks_hold_two_values(tmp_path: Path) -> None:
    folder = PredictionFolder(tmp_path, "unet@1", "hard")
    path = folder.add("sub/a.png", np.where(disc(), 0.6, 0.2))
    folder.finish()
    assert path == tmp_path / "sub" / "a.png"
    with Image.open(path) as opened:
        assert (opened.mode, set(np.unique(np.asarray(opened)))) == ("L", {0, 255})
    read = SavedPredictions(tmp_path, [whole("sub/a")])
    assert read.form == "hard"
    assert (read.probability(whole("sub/a")) == disc()).all()


def test_a_folder_is_written_once_each_and_only_inside(tmp_path: Path) -> None:
    folder = PredictionFolder(tmp_path / "out", "unet@1")
    folder.add("a", np.zeros(SIZE))
    with pytest.raises(DataError, match=r"two pictures would be written to a\.png"):
        folder.add("a.png", np.zeros(SIZE))
    for name in ("../a", "/tmp/a", "b/../../a"):
        with pytest.raises(DataError, match="leads out"):
            folder.add(name, np.zeros(SIZE))
    with pytest.raises(DataError, match="not a map of probabilities"):
        folder.add("b", np.full(SIZE, 1.5))
    with pytest.raises(DataError, match="not a map of probabilities"):
        folder.add("b", np.full(SIZE, np.nan))
    assert not (tmp_path / "out" / INDEX_FILE).exists()


def test_masks_are_named_like_their_pictures() -> None:
    assert mask_names(["b.jpg", "sub/b.jpeg"]) == {"b.jpg": "b.png", "sub/b.jpeg": "sub/b.png"}
    met = mask_names(["a.jpg", "a.PNG", "a.jpg.jpg"])
    assert len({name.casefold() for name in met.values()}) == 3
    assert met["a.jpg"] == "a.jpg.png"
    assert [crop_name("a", -1), crop_name("a", 2)] == ["a", "a_2"]


def test_crops_are_read_from_their_own_files_or_cut_from_the_pictures(tmp_path: Path) -> None:
    window = Window(10, -5, 16)  # rows 0 to 10, columns 10 to 25 are inside the picture
    crop = Wanted("a", 0, ("a",), SIZE, window)
    assert crop.visible_hw == (11, 16)
    (tmp_path / "a.png").write_bytes(disc_png())
    assert (SavedPredictions(tmp_path, [crop]).probability(crop) == disc()[:11, 10:26]).all()
    own = np.random.default_rng(1).integers(0, 2, (11, 16)).astype(np.uint8) * 255
    (tmp_path / "a_0.png").write_bytes(png(own))
    read = SavedPredictions(tmp_path, [crop])
    assert (read.probability(crop) * 255 == own).all()
    assert [one.what for one in read.findings] == ["1 PNG files belong to none of the 1 crops"]


def test_a_picture_named_like_another_pictures_crop_is_not_taken_for_it(tmp_path: Path) -> None:
    crop = Wanted("a", 1, ("a",), SIZE, image_window(SIZE))
    other = whole("a_1")
    (tmp_path / "a_1.png").write_bytes(disc_png())
    with pytest.raises(DataError, match=r"a\.png: is missing"):
        SavedPredictions(tmp_path, [crop, other])


def test_original_names_serve_unless_two_pictures_share_one(tmp_path: Path) -> None:
    (tmp_path / "IMG 1.png").write_bytes(disc_png())
    assert SavedPredictions(tmp_path, [whole("a", "IMG 1")]).form == "hard"
    with pytest.raises(DataError, match=r"a\.png: is missing; b\.png: is missing"):
        SavedPredictions(tmp_path, [whole("a", "IMG 1"), whole("b", "IMG 1")])


def rgb_png(colour: bool) -> bytes:
    pixels = np.repeat(disc().astype(np.uint8)[..., None] * 255, 3, axis=2)
    if colour:
        pixels[..., 0] = 255
    return png(pixels)


def see_through_png() -> bytes:
    pixels = np.dstack([disc().astype(np.uint8) * 255] * 3 + [np.full(SIZE, 255, np.uint8)])
    pixels[0, 0, 3] = 100
    return png(pixels)


def jpeg() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(disc().astype(np.uint8) * 255).save(buffer, "JPEG")
    return buffer.getvalue()


def animated_png() -> bytes:
    frames = [Image.fromarray(np.full(SIZE, level, np.uint8)) for level in (0, 255)]
    buffer = io.BytesIO()
    frames[0].save(buffer, "PNG", save_all=True, append_images=frames[1:])
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (png(np.zeros((20, 31), np.uint8)), "is 31x20 pixels, the picture is 30x20"),
        (rgb_png(colour=True), r"is a colour picture \(RGB\)"),
        (see_through_png(), "is partly transparent"),
        (jpeg(), "is JPEG inside, which is lossy"),
        (b"", "is not a PNG"),
        (b"<html>no</html>", "is not a PNG"),
        (disc_png()[:60], "cannot be read"),
        (b"\x89PNG\r\n\x1a\n" + bytes(50), "cannot be read"),
        (animated_png(), "is animated"),
        (png(disc().astype(np.uint8)), "no value of the folder is above 1"),
        (png(disc().astype(np.uint16) * 255), "no value of the folder is above 1"),
    ],
)
def test_files_that_are_no_mask_of_the_picture_stop_the_scoring(
    tmp_path: Path, data: bytes, said: str
) -> None:
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(DataError, match=rf"a\.png: .*{said}"):
        SavedPredictions(tmp_path, [whole("a")])


def test_a_giant_picture_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    giant = bytearray(disc_png())
    giant[16:24] = (9000).to_bytes(4, "big") * 2
    (tmp_path / "a.png").write_bytes(bytes(giant))
    with pytest.raises(DataError, match=r"a\.png: "):
        SavedPredictions(tmp_path, [whole("a")])


@pytest.mark.parametrize(
    "data",
    [
        rgb_png(colour=False),
        png(disc().astype(np.uint8) * 255, "1"),
        png(disc().astype(np.uint8) * 255, "RGBA"),
        png(disc().astype(np.uint8) * 255, "LA"),
        png(disc().astype(np.uint8) * 255, "P"),
        png(disc().astype(np.uint16) * 65535),
    ],
)
def test_masks_in_other_modes_are_read_alike(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.png").write_bytes(data)
    read = SavedPredictions(tmp_path, [whole("a")])
    assert (read.probability(whole("a")) == disc()).all()
    assert read.form == "hard"
    assert all("equal channels" in one.what for one in read.findings)


def test_missing_files_are_counted_and_named(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(disc_png())
    with pytest.raises(DataError, match=r"b0\.png: is missing; b1\.png.*b2\.png: is missing; and 2 more$"):
        SavedPredictions(tmp_path, [whole("a"), *(whole(f"b{index}") for index in range(5))])
    with pytest.raises(DataError, match="not a folder"):
        SavedPredictions(tmp_path / "nowhere", [whole("a")])


def test_masks_that_were_jpeg_and_files_too_many_are_pointed_out(tmp_path: Path) -> None:
    with Image.open(io.BytesIO(jpeg())) as opened:
        (tmp_path / "a.png").write_bytes(png(np.asarray(opened)))
    (tmp_path / "b.jpg").write_bytes(jpeg())
    (tmp_path / "c.png").write_bytes(disc_png())
    (tmp_path / "notes.txt").write_text("hello")
    read = SavedPredictions(tmp_path, [whole("a")])
    assert read.form == "soft"
    said = {one.file: one.what for one in read.findings}
    assert "read as probabilities; masks that once were JPEG" in said["1 of 1 files"]
    assert said["b.jpg"] == "1 pictures are not PNG and were not read"
    assert said["c.png"] == "1 PNG files belong to none of the 1 crops"
    assert len(said) == 3


def test_the_index_vouches_for_its_files(tmp_path: Path) -> None:
    folder = PredictionFolder(tmp_path, "unet@1", "hard")
    folder.add("a", disc().astype(float))
    index = folder.finish()
    first = SavedPredictions(tmp_path, [whole("a")])
    (tmp_path / "a.png").write_bytes(png(np.zeros(SIZE, np.uint8)))
    with pytest.raises(DataError, match="changed while it was being scored"):
        first.probability(whole("a"))
    with pytest.raises(DataError, match="not the file the index speaks of"):
        SavedPredictions(tmp_path, [whole("a")])
    index.unlink()
    assert SavedPredictions(tmp_path, [whole("a")]).sha256 != first.sha256


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"files": 3}', '{"files": {"a.png": 3}}', "null"])
def test_a_damaged_index_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.png").write_bytes(disc_png())
    (tmp_path / INDEX_FILE).write_text(text)
    with pytest.raises(DataError, match=r"predictions\.json: is damaged"):
        SavedPredictions(tmp_path, [whole("a")])


def test_a_folder_that_calls_itself_hard_holds_two_values_only(tmp_path: Path) -> None:
    folder = PredictionFolder(tmp_path, "unet@1", "soft")
    folder.add("a", np.full(SIZE, 0.3))
    index = folder.finish()
    values = json.loads(index.read_text())
    index.write_text(json.dumps(values | {"form": "hard"}))
    with pytest.raises(DataError, match="should hold 0 and 255 only, 600 pixels are others"):
        SavedPredictions(tmp_path, [whole("a")])


def test_a_new_writing_takes_the_old_index_away(tmp_path: Path) -> None:
    old = PredictionFolder(tmp_path, "unet@1")
    old.add("a", np.zeros(SIZE))
    old.finish()
    PredictionFolder(tmp_path, "unet@2").add("a", np.ones(SIZE))
    assert SavedPredictions(tmp_path, [whole("a")]).made_by == ""
