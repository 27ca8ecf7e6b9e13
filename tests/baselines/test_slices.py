"""What is known of a crop, and the figures of crops that share it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from baselines.metrics import METRICS, score_image, summarise
from baselines.slices import FACTS, crop_facts, pose_bin, slice_scores
from dataset_tools.core.errors import DataError
from dataset_tools.core.labels import Label, Wearing
from dataset_tools.core.masks import mask_to_rle
from dataset_tools.core.record import Face, ImageRef, Instance, Provenance, Sample

MASK = mask_to_rle(np.ones((4, 4), dtype=bool))


def face(*pose_deg: float) -> Face:
    return Face((0.0, 0.0, 4.0, 4.0), 0.9, Wearing.MASKED, "drawn@1", pose_deg=pose_deg)


def worn(index: int, kind: str = "", state: str = "", *, drawn_by: str = "synth:1") -> Instance:
    pairs = (("mask_type", kind), ("wearing_state", state))
    attributes = tuple(pair for pair in pairs if pair[1])
    return Instance(f"m{index}{drawn_by}", Label.FACE_MASK, MASK, drawn_by, face=index, attributes=attributes)


def sample(faces: tuple[Face, ...], instances: tuple[Instance, ...], parent: str = "") -> Sample:
    provenance = Provenance(source="drawn", item_key="a", licence="CC0-1.0", parent_id=parent)
    return Sample("a", ImageRef("a" * 64, (4, 4), "png"), provenance, "a", faces=faces, instances=instances)


def test_facts_of_one_rendered_face() -> None:
    one = sample((face(-20.0, 3.0, 0.0),), (worn(0, "cloth", "nose_out"),), parent="p")
    expected = {
        "mask_type": "cloth",
        "wearing_state": "nose_out",
        "pose": "yaw 15-30",
        "origin": "synthetic",
    }
    assert crop_facts(one, 0) == expected
    assert crop_facts(one, -1) == expected
    assert tuple(expected) == FACTS


def test_each_face_of_a_picture_has_its_own_facts_and_the_whole_has_several() -> None:
    both = sample((face(0, 0, 0), face(50, 0, 0)), (worn(0, "n95"), worn(1, "cloth")))
    assert [crop_facts(both, index)["mask_type"] for index in (0, 1, -1)] == ["n95", "cloth", "several"]
    assert [crop_facts(both, index)["pose"] for index in (0, 1, -1)] == ["yaw 0-15", "yaw 45-60", "several"]
    assert crop_facts(both, 0)["wearing_state"] == "unknown"


def test_what_nobody_knows_is_unknown_and_what_is_not_there_is_no_mask() -> None:
    bare = sample((face(),), ())
    assert crop_facts(bare, 0) == {
        "mask_type": "no mask",
        "wearing_state": "no mask",
        "pose": "unknown",
        "origin": "real",
    }
    published = sample((), (worn(-1, drawn_by="published:drawn"),))
    assert crop_facts(published, -1)["mask_type"] == "unknown"
    assert crop_facts(published, -1)["pose"] == "unknown"
    proposed = sample((face(0, 0, 0),), (worn(0, "cloth", drawn_by="model:x@1"),))
    assert crop_facts(proposed, 0)["mask_type"] == "no mask"


def test_published_masks_without_a_face_may_be_any_faces() -> None:
    loose = dataclasses.replace(worn(-1, "scarf"), face=-1)
    both = sample((face(0, 0, 0), face(0, 0, 0)), (worn(0, "n95"), loose))
    assert [crop_facts(both, index)["mask_type"] for index in (0, 1)] == ["n95", "scarf"]


@pytest.mark.parametrize(
    ("yaw", "name"),
    [(0, "yaw 0-15"), (-15, "yaw 15-30"), (59.9, "yaw 45-60"), (90, "yaw 60+"), (180, "yaw 60+")],
)
def test_pose_bins_count_both_sides(yaw: float, name: str) -> None:
    assert pose_bin(yaw) == name


def test_slices_hold_every_crop_once_and_have_the_figures_of_their_crops() -> None:
    rng = np.random.default_rng(1)
    scores, facts = [], []
    for index in range(12):
        truth = np.zeros((8, 8), dtype=bool) if index == 0 else rng.random((8, 8)) < 0.5
        scores.append(score_image(rng.random((8, 8)), truth))
        facts.append({"mask_type": "cloth" if index % 3 else "n95", "origin": "real"})
    found = slice_scores(scores, facts, [str(index // 2) for index in range(12)])
    for fact in FACTS:
        assert sum(one.crops for one in found if one.fact == fact) == 12
    assert [(one.fact, one.value) for one in found][:2] == [("mask_type", "cloth"), ("mask_type", "n95")]
    n95 = found[1]
    assert (n95.crops, n95.empty_labels) == (4, 1)
    chosen = [one for one, fact in zip(scores, facts, strict=True) if fact["mask_type"] == "n95"]
    assert {name: one.value for name, one in n95.figures.items()} == pytest.approx(summarise(chosen))
    assert n95.figures.keys() == {name for name, _ in METRICS}
    assert n95.figures["iou"].low <= n95.figures["iou"].value <= n95.figures["iou"].high


def test_every_crop_needs_facts_and_a_group() -> None:
    one = score_image(np.zeros((2, 2)), np.zeros((2, 2), dtype=bool))
    with pytest.raises(DataError, match="1 crops, but facts of 0"):
        slice_scores([one], [], ["a"])
