"""LabelMe files: masks exact, polygons as LabelMe fills them, opened and saved by LabelMe itself."""

from __future__ import annotations

import base64
import io
import json
import warnings
from types import SimpleNamespace

import numpy as np
import PIL.Image
import pytest
from PIL import Image

from dataset_tools.core.labels import Label
from dataset_tools.core.masks import rle_to_mask
from dataset_tools.core.record import Split
from dataset_tools.formats.labelme import OURS, read_labelme, write_labelme, write_labelme_polygons
from dataset_tools.formats.outlines import outlines
from dataset_tools.formats.reading import ReadOptions


@pytest.fixture(scope="session")
def labelme() -> SimpleNamespace:
    """LabelMe's own functions."""
    limit = PIL.Image.MAX_IMAGE_PIXELS
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("labelme")
        from labelme._label_file import read_label_file, write_label_file
        from labelme.app import _shape_to_dict, _shapes_from_dicts
        from labelme.utils import shape_to_mask
    PIL.Image.MAX_IMAGE_PIXELS = limit  # LabelMe switches Pillow's guard off for the whole process

    def read(path):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)  # LabelMe leaves the picture open
            return read_label_file(str(path))

    def save(path, change=lambda shapes: None):
        """Open a file, change its shapes and save it, as LabelMe does without a window."""
        content = read(path)
        shapes = _shapes_from_dicts(shape_dicts=content.shapes, label_flags=None)
        change(shapes)
        stated = json.loads(path.read_text())
        write_label_file(
            str(path),
            shapes=[_shape_to_dict(shape) for shape in shapes],
            image_path=content.image_path,
            image_height=stated["imageHeight"],
            image_width=stated["imageWidth"],
            flags=content.flags,
            other_data=content.other_data,
        )

    return SimpleNamespace(read=read, save=save, shape_to_mask=shape_to_mask)


def photo(value: int = 90) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (80, 70), (value, 120, 60)).save(buffer, "PNG")
    return buffer.getvalue()


def shape(label: str, points: list, kind: str = "polygon", **more) -> dict:
    return {"label": label, "points": points, "group_id": None, "shape_type": kind, "flags": {}} | more


def box(left: int, top: int, right: int, bottom: int) -> list[list[int]]:
    return [[left, top], [right, top], [right, bottom], [left, bottom]]


def file(path, shapes: list, picture: bytes | None = None, **more) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "version": "5.0.1", "flags": {}, "shapes": shapes, "imagePath": f"{path.stem}.png",
        "imageData": None, "imageHeight": 70, "imageWidth": 80,
    } | more  # fmt: skip
    path.write_text(json.dumps(content))
    path.with_suffix(".png").write_bytes(picture or photo())


@pytest.mark.parametrize("writer", [write_labelme, write_labelme_polygons])
def test_everything_that_is_known_comes_back(trips, job, tmp_path, writer):
    folder = trips.write(writer, job, tmp_path / "out")
    assert {path.name for path in folder.iterdir()} == {"train", "val", "test"}
    trips.assert_kept(job, trips.read_all(read_labelme, folder))


def labelme_pixels(labelme, shapes: list, group: int, size_hw) -> np.ndarray:
    """One instance as LabelMe's own functions fill its shapes, one after the other."""
    total = np.zeros(size_hw, bool)
    for one in shapes:
        if one["group_id"] != group:
            continue
        if one["shape_type"] == "mask":
            (left, top), (right, bottom) = one["points"]
            total[int(top) : int(bottom) + 1, int(left) : int(right) + 1] |= one["mask"]
            continue
        pixels = labelme.shape_to_mask(size_hw, one["points"], one["shape_type"])
        total = total & ~pixels if one["label"] == "hole" else total | pixels
    return total


@pytest.mark.parametrize("writer", [write_labelme, write_labelme_polygons])
def test_labelme_itself_opens_it_and_shows_the_same_pixels(labelme, trips, job, tmp_path, writer):
    folder = trips.write(writer, job, tmp_path / "out")
    holes = 0
    for sample in job.samples():
        content = labelme.read(folder / sample.split.value / f"{sample.id}.json")
        labels = [one["label"] for one in content.shapes if one["label"] not in ("hole", "face_box")]
        assert set(labels) == {item.label.value for item in sample.instances}
        assert sum(one["label"] == "face_box" for one in content.shapes) == len(sample.faces)
        holes += sum(one["label"] == "hole" for one in content.shapes)
        for number, item in enumerate(sample.instances):
            found = labelme_pixels(labelme, content.shapes, number, sample.image.size_hw)
            np.testing.assert_array_equal(found, rle_to_mask(item.mask))
    assert (holes > 0) == (writer is write_labelme_polygons)


def test_what_labelme_saves_keeps_where_everything_came_from(labelme, trips, job, tmp_path):
    folder = trips.write(write_labelme, job, tmp_path / "out")
    for path in folder.rglob("*.json"):
        labelme.save(path)
    trips.assert_kept(job, trips.read_all(read_labelme, folder))


def test_a_choice_that_was_changed_in_labelme_counts(labelme, trips, job, tmp_path):
    folder = trips.write(write_labelme, job, tmp_path / "out")
    sample = next(one for one in job.samples() if one.provenance.item_key == "astronaut")

    def change(shapes):
        mask = next(one for one in shapes if one.label == "face_mask")
        mask.flags |= {"mask_type: cloth": False, "mask_type: kn95": True, "wearing_state: correct": False}

    labelme.save(folder / sample.split.value / f"{sample.id}.json", change)
    labels = trips.read_all(read_labelme, folder).by_sample()[sample.id][1]
    (item,) = (one for one in labels.instances if one.label is Label.FACE_MASK)
    assert item.attributes == (("mask_type", "kn95"),)


def test_outlines_filled_one_after_the_other_give_any_mask_back(labelme):
    from scipy import ndimage

    from dataset_tools.formats.labelme import _polygon_shapes

    random = np.random.default_rng(3)
    parts = 0
    for trial in range(60):
        noise = random.random(random.integers(1, 48, 2))
        mask = (ndimage.gaussian_filter(noise, trial % 4) if trial % 4 else noise) > np.median(noise)
        total = np.zeros_like(mask)
        for one in _polygon_shapes(mask):
            pixels = labelme.shape_to_mask(mask.shape, one["points"], "polygon")
            total = total & ~pixels if one.get("label") == "hole" else total | pixels
        np.testing.assert_array_equal(total, mask)
        parts += len(outlines(mask))
    assert parts > 500


def test_a_foreign_file_is_read_with_its_groups_holes_and_mapped_classes(trips, tmp_path):
    shapes = [
        shape("mask on face", box(10, 10, 40, 40), group_id=3),
        shape("mask on face", box(50, 10, 60, 20), group_id=3),
        shape("hole", box(20, 20, 30, 30), group_id=3),
        shape("person", box(0, 0, 79, 69)),
        shape("hand", [[5, 60], [15, 68]], "rectangle", flags=None),
    ]
    file(tmp_path / "w/test/a.json", shapes, imagePath="..\\test\\a.png")
    (tmp_path / "w/b.png").write_bytes(photo(7))
    options = ReadOptions(
        "published:w", "MIT", {"mask on face": Label.FACE_MASK, "person": None, "hand": Label.OCCLUDER}
    )
    said = trips.read_all(read_labelme, tmp_path / "w", options)
    assert said.problems == [] and list(said.pictures) == ["test/a.png", "b.png"]
    assert said.labels["b.png"] is None and said.pictures["b.png"].facts.licence == "MIT"
    mask, hand = said.instances("test/a.png")
    wanted = np.zeros((70, 80), bool)
    wanted[10:41, 10:41] = wanted[10:21, 50:61] = True  # LabelMe fills the line too
    wanted[20:31, 20:31] = False
    np.testing.assert_array_equal(rle_to_mask(mask.mask), wanted)
    assert (mask.drawn_by, hand.label, hand.mask.area_px) == ("published:w", Label.OCCLUDER, 11 * 9)
    assert said.pictures["test/a.png"].annotation.split is Split.TEST


def test_a_picture_inside_the_file_comes_before_the_one_it_names(trips, tmp_path):
    inner = photo(200)
    file(tmp_path / "w/a.json", [], imageData=base64.b64encode(inner).decode())
    said = trips.read_all(read_labelme, tmp_path / "w")
    assert said.pictures["a.json"].content.read(10**6) == inner
    assert said.labels["a.json"].is_complete and said.labels["a.json"].instances == ()
    with pytest.raises(Exception, match="more than 50 bytes"):
        said.pictures["a.json"].content.read(50)


def test_all_that_is_wrong_is_said_with_its_place_and_the_rest_is_read(trips, tmp_path):
    root = tmp_path / "w"
    (tmp_path / "canary.png").write_bytes(photo(3))
    good = shape("face_mask", box(10, 10, 40, 40))
    bad = [
        good,
        shape("hat", box(1, 1, 9, 9)),
        shape("face", [[1, 1], [float("nan"), 2], [3, 3]]),
        shape("face", [[1, 1], [9, 9]]),
        shape("hole", box(20, 20, 30, 30), group_id=9),
        shape("strap", box(1, 1, 9, 9), "line"),
        shape("strap", [[1, 1], [9, 9]], "mask", mask=base64.b64encode(photo()).decode()),
        shape("face_mask", box(1, 1, 9, 9), **{OURS: {"drawn_by": "bob"}}),
        shape("occluder", box(1, 1, 9, 9), group_id=4),
        shape("occluder", box(10**6, 1, 9, 9), group_id=4),  # its other half is no instance either
        "text",
    ]
    file(root / "good.json", [good])
    file(root / "many.json", bad)
    file(root / "outside.json", [good], imagePath="../canary.png")
    file(root / "absolute.json", [good], imagePath=str(tmp_path / "canary.png"))
    file(root / "missing.json", [good], imagePath="nothing.png")
    file(root / "size.json", [good], imageHeight=700)
    file(root / "twice.json", [good], imagePath="good.png")
    (root / "torn.json").write_text('{"shapes": [')
    (root / "deep.json").write_text('{"shapes": ' + "[" * 100_000)
    (root / "other.json").write_text("[]")
    (root / "link.json").symlink_to(root / "good.json")
    said = trips.read_all(read_labelme, root)
    assert said.problems == [
        ("absolute.json", "unsafe_path"),
        ("deep.json", "json"),
        ("link.json", "unsafe_path"),
        ("missing.json", "missing_image"),
        ("other.json", "schema"),
        ("outside.json", "unsafe_path"),
        ("size.png", "size_mismatch"),
        ("torn.json", "json"),
        ("twice.json", "duplicate_id"),
    ]
    assert len(said.instances("good.png")) == 1
    assert said.faults("many.png") == [
        ("shapes[1] hat", "unknown_label"),
        ("shapes[2] face", "not_finite"),
        ("shapes[3] face", "degenerate"),
        ("shapes[5] strap", "no_area"),
        ("shapes[6] strap", "mask_size"),
        ("shapes[9] occluder", "out_of_bounds"),
        ("shapes[10]", "schema"),
        ("shapes[4] hole", "dangling_reference"),
        ("shapes[7] face_mask", "schema"),
    ]
    assert len(said.labels["many.png"].instances) == 1
