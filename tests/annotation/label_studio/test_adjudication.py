from __future__ import annotations

import dataclasses
import io
import itertools
import json

import numpy as np
import pytest
from label_studio_sdk.label_interface import LabelInterface
from PIL import Image

from annotation.drawing import FaceBox
from annotation.label_studio.adjudication import (
    REASON,
    VIEWS,
    adjudication_config,
    adjudication_task,
    views,
)
from annotation.label_studio.client import Task
from annotation.label_studio.codec import decode_results
from annotation.label_studio.labelling import ITEM_KEY, SAMPLE_ID
from annotation.label_studio.sending import is_outdated
from annotation.verdict import Verdict
from dataset_tools.core.labels import LABEL_COLOURS, Label
from dataset_tools.core.masks import mask_to_rle
from dataset_tools.core.record import Instance, ReviewState

SIZE = (40, 40)
GREEN, BLUE, ORANGE, PURPLE = (90, 200, 120), (0, 60, 190), (255, 170, 0), (190, 60, 150)
ADDRESSES = {"image": "/data/upload/1/p.png"} | {name: f"/data/upload/1/{name}.png" for name in VIEWS}

# Machado, Oliveira and Fernandes, "A physiologically-based model for simulation of color vision deficiency",
# IEEE TVCG 15(6), 2009, table 1, severity 1.0; on linear RGB.
DEFICIENCIES = {
    "none": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}


def read(png):
    with Image.open(io.BytesIO(png)) as opened:
        return np.asarray(opened.convert("RGB"))


def instance(box, label=Label.FACE_MASK):
    mask = np.zeros(SIZE, dtype=bool)
    mask[box[1] : box[3], box[0] : box[2]] = True
    return Instance(f"{label}-{box}", label, mask_to_rle(mask), "human:x")


def verdict(sample, lane, instances, boxes=()):
    return Verdict(
        sample_id=sample.id,
        item_key=sample.provenance.item_key,
        state=ReviewState.CORRECTED,
        reviewer=f"Secret {lane} Name",
        reviewer_email=f"secret-{lane}@example.com",
        reviewed_at="2026-01-01T00:00:00Z",
        updated_at="2026-01-01T00:00:00Z",
        note="what I think",
        instances=tuple(instances),
        boxes=tuple(boxes),
        annotation_id=1,
        project_id=1,
        lane=lane,
    )


def over_grey(colour, weight, grey=100):
    return [round(grey + weight * (channel - grey)) for channel in colour]


def test_the_difference_says_for_every_pixel_who_labelled_it():
    photo = np.full((*SIZE, 3), 100, dtype=np.uint8)
    first = [instance((4, 4, 20, 36)), instance((20, 4, 24, 36), Label.FACE)]
    second = [instance((12, 4, 24, 36)), instance((24, 4, 36, 36), Label.STRAP)]
    shown = read(views(photo, first, second, size=160)["difference"])  # four pixels for each of the photo's

    def at(x, y):
        return shown[4 * y + 2, 4 * x + 2].tolist()

    assert at(8, 20) == over_grey(BLUE, 0.7)
    assert at(16, 20) == over_grey(GREEN, 0.45)
    assert at(22, 20) == over_grey(PURPLE, 0.7)
    assert at(30, 20) == over_grey(ORANGE, 0.7)
    assert at(38, 20) == [100, 100, 100]
    assert shown.shape[1] == 160
    legend = shown[160:].reshape(-1, 3)
    for colour in (GREEN, BLUE, ORANGE, PURPLE):
        assert (legend == colour).all(axis=1).any()


def test_the_views_of_a_and_b_show_each_ones_own_labels_on_the_darkened_photo():
    photo = np.full((*SIZE, 3), 100, dtype=np.uint8)
    made = views(photo, [instance((4, 4, 20, 36))], [instance((20, 4, 36, 36), Label.STRAP)], size=160)
    one, two = read(made["a"]), read(made["b"])
    assert one.shape == two.shape == (160, 160, 3)
    assert one[80, 120].tolist() == two[80, 50].tolist() == [55, 55, 55]
    assert (one == LABEL_COLOURS[Label.FACE_MASK]).all(axis=2).any()
    assert (two == LABEL_COLOURS[Label.STRAP]).all(axis=2).any()
    assert one[80, 50].tolist() == over_grey(LABEL_COLOURS[Label.FACE_MASK], 0.45, 55)


def test_all_three_pictures_show_the_same_enlarged_part_of_a_large_photo():
    photo = np.full((1000, 2000, 3), 100, dtype=np.uint8)
    mask = np.zeros((1000, 2000), dtype=bool)
    mask[400:500, 900:1000] = True
    small = Instance("i", Label.FACE_MASK, mask_to_rle(mask), "human:x")
    made = {name: read(png) for name, png in views(photo, [small], [small], size=300).items()}
    agreed = (made["difference"] == over_grey(GREEN, 0.45)).all(axis=2)
    assert abs(int(agreed.sum()) - 200 * 200) < 1000  # 100 px and a quarter on each side, on 300
    assert made["a"].shape == made["b"].shape == (300, 300, 3)


@pytest.mark.parametrize(("first", "second"), [([], []), ([instance((4, 4, 9, 9))], [])])
def test_opinions_without_labels_have_views_too(first, second):
    made = views(np.full((*SIZE, 3), 100, dtype=np.uint8), first, second)
    assert sorted(made) == sorted(VIEWS)


@pytest.mark.parametrize("deficiency", DEFICIENCIES)
def test_the_colours_of_the_difference_are_told_apart_with_any_kind_of_colour_vision(deficiency):
    seen = [as_seen(colour, DEFICIENCIES[deficiency]) for colour in (GREEN, BLUE, ORANGE, PURPLE)]
    for one, two in itertools.combinations(seen, 2):
        assert np.linalg.norm(one - two) > 80


def as_seen(colour, matrix):
    share = np.array(colour) / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    mixed = np.clip(np.array(matrix) @ linear, 0, 1)
    return 255 * np.where(mixed <= 0.0031308, mixed * 12.92, 1.055 * mixed ** (1 / 2.4) - 0.055)


@pytest.fixture
def case(make_sample):
    """A sample with a draft, two opinions, and the task made of them."""
    shown = make_sample()
    box = shown.faces[0].box_xyxy
    opinions = [
        verdict(shown, "a", shown.instances[:1], [FaceBox(0, box)]),
        verdict(shown, "b", shown.instances[1:], [FaceBox(0, box), FaceBox(-1, (5.0, 5.0, 20.0, 20.0))]),
    ]
    drafted = dataclasses.replace(shown, instances=shown.instances[:1])
    task = adjudication_task(drafted, opinions, shown.instances, ADDRESSES, "face_mask: 0.71 < 0.9")
    return drafted, opinions, shown, task


def test_a_task_holds_every_opinion_as_a_valid_prediction_and_ends_with_the_draft(case):
    drafted, opinions, shown, task = case
    versions = {item["model_version"]: item["result"] for item in task["predictions"]}
    assert list(versions) == ["proposal", "B", "A", "draft"]
    interface = LabelInterface(adjudication_config())
    for item in task["predictions"]:
        assert interface.validate_prediction(item, return_errors=True) == []
    size_hw = shown.image.size_hw
    for version, expected in (
        ("draft", drafted),
        ("proposal", shown),
        ("A", opinions[0]),
        ("B", opinions[1]),
    ):
        drawing = decode_results(versions[version], size_hw)
        assert [(region.instance_id, region.mask) for region in drawing.regions] == [
            (item.id, item.mask) for item in expected.instances
        ]
    assert [box.face for box in decode_results(versions["B"], size_hw).boxes] == [0, -1]


def test_a_task_carries_our_keys_the_reason_and_where_its_pictures_are(case):
    drafted, _, shown, task = case
    data = task["data"]
    assert data[SAMPLE_ID] == shown.id
    assert data[ITEM_KEY] == shown.provenance.item_key
    assert data[REASON] == "face_mask: 0.71 < 0.9"
    assert data["image"] == ADDRESSES["image"]
    for name in VIEWS:
        assert ADDRESSES[name] in data[name]
    assert not is_outdated(Task(1, data), drafted)
    assert is_outdated(Task(1, data), shown)


def test_nobodys_name_is_in_a_task(case):
    assert "ecret" not in json.dumps(case[3])
