"""CelebAMask-HQ folders: part files out and in, and the original dataset's habits."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from dataset_tools.core.labels import Label
from dataset_tools.core.masks import rle_to_mask
from dataset_tools.core.record import Split
from dataset_tools.formats.celebamask import LABEL_OF_PART, PART_OF_LABEL, read_celebamask, write_celebamask
from dataset_tools.formats.job import ExportJob
from dataset_tools.formats.reading import ReadOptions

# As the dataset's own page lists them.
PUBLISHED = (
    "skin",
    "nose",
    "eye_g",
    "l_eye",
    "r_eye",
    "l_brow",
    "r_brow",
    "l_ear",
    "r_ear",
    "mouth",
    "u_lip",
    "l_lip",
    "hair",
    "hat",
    "ear_r",
    "neck_l",
    "neck",
    "cloth",
)


@pytest.fixture
def trips(load_fake):
    return load_fake("trips")


@pytest.fixture
def job(chain):
    workspace, manifests = chain
    return ExportJob(manifests["split"], workspace.images, include_proposals=True)


def test_all_eighteen_parts_have_a_meaning():
    assert len(PUBLISHED) == 18
    assert set(LABEL_OF_PART) == set(PUBLISHED) | {"mask", "occluder", "strap"}


def test_overlaps_come_back_and_instances_of_one_label_are_joined(trips, job, tmp_path):
    said = trips.read_all(read_celebamask, trips.write(write_celebamask, job, tmp_path / "out"))
    assert said.problems == []
    for sample in job.samples():
        found, labels = said.by_sample()[sample.id]
        assert (found.annotation.split, labels.faults) == (sample.split, ())
        assert labels.is_complete == sample.is_labelled
        assert {item.label for item in labels.instances} == {item.label for item in sample.instances}
        for item in labels.instances:
            own = [one for one in sample.instances if one.label is item.label]
            np.testing.assert_array_equal(
                rle_to_mask(item.mask), np.any([rle_to_mask(one.mask) for one in own], axis=0)
            )
            kept = ("id", "drawn_by", "confidence", "face", "attributes")
            assert [getattr(item, name) for name in kept] == [getattr(own[0], name) for name in kept]


def test_files_lie_where_the_dataset_has_them(trips, job, tmp_path):
    folder = trips.write(write_celebamask, job, tmp_path / "out")
    rows = [line.split() for line in (folder / "CelebA-HQ-to-CelebA-mapping.txt").read_text().splitlines()]
    assert rows[0] == ["idx", "orig_idx", "orig_file"]
    files = set()
    for sample, (number, _, name) in zip(job.samples(), rows[1:], strict=True):
        assert name.startswith(sample.id)
        picture = folder / "CelebA-HQ-img" / f"{number}.png"
        assert picture.read_bytes() == job.images.read_bytes(sample.image)
        for label in {item.label for item in sample.instances}:
            files.add(f"0/{int(number):05d}_{PART_OF_LABEL[label]}.png")
    masks = folder / "CelebAMask-HQ-mask-anno"
    assert {path.relative_to(masks).as_posix() for path in masks.rglob("*.png")} == files
    with Image.open(masks / sorted(files)[0]) as opened:
        assert set(np.unique(np.asarray(opened))) <= {0, 255}


def original(tmp_path, **parts: np.ndarray):
    """A dataset like the original: masks half as large, grey in three channels."""
    (tmp_path / "CelebA-HQ-img").mkdir()
    (tmp_path / "CelebAMask-HQ-mask-anno/0").mkdir(parents=True)
    Image.fromarray(np.zeros((160, 200, 3), np.uint8)).save(tmp_path / "CelebA-HQ-img/7.jpg")
    for name, mask in parts.items():
        values = np.repeat(mask.astype(np.uint8)[:, :, None] * 255, 3, axis=2)
        Image.fromarray(values).save(tmp_path / f"CelebAMask-HQ-mask-anno/0/00007_{name}.png")
    return tmp_path


def square(left: int, size_hw=(80, 100)) -> np.ndarray:
    mask = np.zeros(size_hw, bool)
    mask[10:20, left : left + 10] = True
    return mask


OPTIONS = ReadOptions("published:celeba", "other")


def test_the_original_parts_become_face_and_occluder(trips, tmp_path):
    parts = {
        "skin": square(10),
        "nose": square(30),
        "hair": square(50),
        "eye_g": square(70),
        "hat": square(0),
    }
    said = trips.read_all(read_celebamask, original(tmp_path, **parts), OPTIONS)
    face, glasses = said.instances("CelebA-HQ-img/7.jpg")
    assert (face.label, glasses.label) == (Label.FACE, Label.OCCLUDER)
    assert (face.mask.area_px, face.mask.box_xyxy) == (800, (20, 20, 80, 40))
    assert glasses.mask.box_xyxy == (140, 20, 160, 40)
    assert face.drawn_by == "published:celeba"
    assert said.pictures["CelebA-HQ-img/7.jpg"].annotation.split is Split.UNASSIGNED


def test_the_user_may_map_parts_otherwise(trips, tmp_path):
    folder = original(tmp_path, skin=square(10), eye_g=square(70), hat=square(0))
    options = ReadOptions("published:c", "other", {"hat": Label.OCCLUDER, "eye_g": None})
    items = trips.read_all(read_celebamask, folder, options).instances("CelebA-HQ-img/7.jpg")
    assert [(item.label, item.mask.box_xyxy[0]) for item in items] == [(Label.FACE, 20), (Label.OCCLUDER, 0)]


def test_parts_that_are_no_masks_are_faults(trips, tmp_path):
    folder = original(tmp_path, skin=square(10), tail=square(0), nose=square(0, (81, 100)))
    masks = folder / "CelebAMask-HQ-mask-anno/0"
    Image.fromarray(square(0).astype(np.uint8)).save(masks / "00007_mouth.png")
    (masks / "00007_u_lip.png").write_bytes((masks / "00007_skin.png").read_bytes()[:60])
    Image.fromarray(square(0).astype(np.uint8)).convert("RGB").save(masks / "00007_l_lip.png", "JPEG")
    said = trips.read_all(read_celebamask, folder, OPTIONS)
    assert len(said.labels["CelebA-HQ-img/7.jpg"].instances) == 1
    assert sorted(said.faults("CelebA-HQ-img/7.jpg")) == [
        ("l_lip", "format_not_allowed"),
        ("mouth", "schema"),
        ("nose", "mask_size"),
        ("tail", "unknown_label"),
        ("u_lip", "truncated"),
    ]


def test_names_that_do_not_fit_are_problems(trips, tmp_path):
    folder = original(tmp_path, skin=square(10))
    (folder / "CelebAMask-HQ-mask-anno/1").mkdir()
    data = (folder / "CelebAMask-HQ-mask-anno/0/00007_skin.png").read_bytes()
    for name in ("00007_skin.png", "00008_skin.png", "skin.png", "readme.txt"):
        (folder / "CelebAMask-HQ-mask-anno/1" / name).write_bytes(data)
    (folder / "CelebA-HQ-img/face.jpg").write_bytes(b"x")
    (folder / "CelebA-HQ-img/07.jpg").symlink_to(folder / "CelebA-HQ-img/7.jpg")
    masks = "CelebAMask-HQ-mask-anno"
    assert trips.read_all(read_celebamask, folder, OPTIONS).problems == [
        (f"{masks}/1/00007_skin.png", "duplicate_id"),
        (f"{masks}/1/readme.txt", "schema"),
        (f"{masks}/1/skin.png", "schema"),
        ("CelebA-HQ-img/07.jpg", "unsafe_path"),
        ("CelebA-HQ-img/face.jpg", "schema"),
        (f"{masks}: 00008", "missing_image"),
    ]


def test_damaged_notes_are_problems_with_their_line(trips, job, tmp_path):
    folder = trips.write(write_celebamask, job, tmp_path / "out")
    path = folder / "pictures.jsonl"
    lines = path.read_text().splitlines()
    path.write_text(
        "\n".join([lines[0], lines[0], "{", '{"stem": 3}', '{"stem": "9", "instances": [1]}', ""])
    )
    said = trips.read_all(read_celebamask, folder, OPTIONS)
    assert said.problems == [
        ("pictures.jsonl:2", "duplicate_id"),
        ("pictures.jsonl:3", "json"),
        ("pictures.jsonl:4", "schema"),
        ("pictures.jsonl:5", "schema"),
    ]
    assert len(said.pictures) == 6


def test_a_folder_without_pictures_is_a_fatal_problem(tmp_path):
    (problem,) = list(read_celebamask(tmp_path, OPTIONS))
    assert problem.is_fatal
