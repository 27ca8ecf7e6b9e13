"""Yield, kinds and skin tones counted from a small manifest whose answer is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dataset_tools.core.images import ImageStore
from dataset_tools.core.labels import MASK_TYPE, SKIN_ITA, WEARING_STATE, Label, Wearing
from dataset_tools.core.manifest import Manifest, write_header, write_shard
from dataset_tools.core.masks import mask_to_rle
from dataset_tools.core.reasons import Reason
from dataset_tools.core.record import Face, Instance, Provenance, Rejection, Sample, sample_id, sorted_pairs
from dataset_tools.stats.rendered import collect_rendered, sheet_cells, yaw_bins, yaw_name
from dataset_tools.stats.rendered_page import crop_face, render_overlay
from dataset_tools.stats.skin import ita_class


def face(yaw: float, *, pose: bool = True) -> Face:
    return Face((8, 8, 40, 40), 0.9, Wearing.UNMASKED, "d@1", pose_deg=(yaw, 0.0, 0.0) if pose else ())


def photo(images: ImageStore, key: str, *faces: Face) -> Sample:
    value = sum(key.encode()) % 251
    image = images.put_array(np.full((48, 64, 3), value, dtype=np.uint8))
    return Sample(sample_id(image), image, Provenance("s", key, "CC0-1.0"), key, faces=faces)


def child(images: ImageStore, parent: Sample, number: int, *worn: tuple[int, str, str, str]) -> Sample:
    image = images.put_array(np.full((48, 64, 3), 250 - number, dtype=np.uint8))
    solid = np.zeros((48, 64), bool)
    solid[20:30, 20:30] = True
    instances = tuple(
        Instance(
            f"mask-{index}",
            Label.FACE_MASK,
            mask_to_rle(solid),
            "synth:x@1",
            face=index,
            attributes=sorted_pairs({MASK_TYPE: kind, WEARING_STATE: state, SKIN_ITA: ita}),
        )
        for index, kind, state, ita in worn
    )
    origin = Provenance(
        "synth", f"{parent.provenance.item_key}#synth{number}", "CC0-1.0", parent_id=parent.id
    )
    return replace(parent, id=sample_id(image), image=image, provenance=origin, instances=instances)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    root = tmp_path_factory.mktemp("rendered")
    images = ImageStore(root)
    one = photo(images, "a", face(3), face(-47))
    two = photo(images, "b", face(-90, pose=False), face(88))
    made = [
        child(images, one, 0, (0, "cloth", "correct", "60.0"), (1, "n95", "correct", "-40.0")),
        child(images, one, 1, (0, "cloth", "nose_out", "60.0")),
    ]

    def refused(key: str, reason: Reason) -> Rejection:
        return Rejection("synth", key, reason, "why", sample_id=one.id, derived=True)

    rows = [
        refused("a#synth1/face1", Reason.MASK_OFF_IMAGE),
        refused("a#synth0/face0/occluder", Reason.POSE),  # the mask is there all the same
        refused("b#synth0", Reason.POSE),
    ]
    directory = root / "manifests" / "synth"
    counts = write_shard(directory, 0, ["a", "b"], [one, two, *made], rows)
    write_header(directory, {"counts": vars_of(counts), "shards": 1})
    return images, collect_rendered(Manifest(directory))


def vars_of(counts) -> dict[str, int]:
    return {name: getattr(counts, name) for name in counts.__dataclass_fields__}


def test_every_face_of_every_child_is_counted_by_its_yaw(built):
    facts = built[1]
    assert dict(facts.yields) == {
        0: {"dressed": 2},
        -50: {"dressed": 1, "mask_off_image": 1},
        None: {"pose": 1},
        80: {"pose": 1},
    }
    assert facts.overall == {"dressed": 3, "mask_off_image": 1, "pose": 2}
    assert [yaw_name(low) for low in yaw_bins(facts.yields)] == ["-50…-40°", "0…10°", "80…90°", "not known"]


def test_kinds_and_skin_tones_are_counted_by_mask(built):
    facts = built[1]
    assert facts.kinds == {
        ("cloth", "correct", "front"): 1,
        ("cloth", "nose_out", "front"): 1,
        ("n95", "correct", "profile"): 1,
    }
    assert facts.skin_tones == {"very light": 2, "dark": 1}
    assert sheet_cells(facts) == [
        ("cloth", "correct", "front"),
        ("cloth", "nose_out", "front"),
        ("n95", "correct", "profile"),
    ]


@pytest.mark.parametrize(
    ("degrees", "name"),
    [
        (70, "very light"),
        (55, "light"),
        (41, "intermediate"),
        (28, "tan"),
        (10, "brown"),
        (-30, "dark"),
        (-90, "dark"),
    ],
)
def test_the_classes_of_skin_tone_are_chardons(degrees, name):
    assert ita_class(degrees) == name


def test_the_section_shows_one_picture_of_each_kind(built):
    images, facts = built
    section = render_overlay(facts, images)
    assert section.count("data:image/jpeg") == 3
    assert "50.0%" in section  # of the faces that look half to the left
    assert "-50…-40°" in section


def test_a_crop_is_centred_on_the_face_and_grey_beyond_the_photo():
    picture = np.zeros((40, 40, 3), np.uint8)
    picture[10:30, 10:30] = 255
    crop = crop_face(picture, Face((10, 10, 30, 30), 1.0, Wearing.UNKNOWN, "d@1"))
    assert crop.shape == (128, 128, 3)
    assert (crop[64, 64] == 255).all()
    assert crop[5:10, 64].max() < 10
    beyond = crop_face(picture, Face((20, 20, 40, 40), 1.0, Wearing.UNKNOWN, "d@1"))
    assert (beyond[-4:, -4:] == 128).all()
