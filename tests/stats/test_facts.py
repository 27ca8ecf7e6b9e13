"""Counts equal those made by hand, and come out the same in every order."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataset_tools.core.labels import Wearing
from dataset_tools.core.record import Face, Review, ReviewState
from dataset_tools.stats.facts import IMAGE_EDGES_PX, bin_name, bin_names, collect_facts, pose_name
from dataset_tools.stats.skin import noted_class


@pytest.fixture(scope="module")
def facts(report, labelled):
    return collect_facts(report[1], labelled.REJECTIONS)


def test_counts_of_the_small_dataset_are_those_made_by_hand(facts):
    assert (facts.photos, facts.synthetic, facts.labelled) == (5, 1, 5)
    assert (facts.faces, facts.masked_faces, facts.proposals) == (2, 5, 1)
    assert facts.masks_per_image == {"0": 1, "1": 3, "2": 1}
    assert facts.mask_types == {"cloth": 1, "surgical": 1, "n95": 1, "not known": 2}
    assert facts.wearing_states == {"correct": 1, "not known": 4}
    assert facts.drawn_by == {"human": 4, "synth": 3, "published": 1, "model": 1}
    assert facts.labels == {"face_mask": 5, "face": 2, "strap": 1}
    assert facts.image_shapes == {"square": 3, "landscape": 3}
    assert facts.image_sizes == {"< 256": 6}
    assert facts.face_sizes == {"64–127": 2}
    assert facts.poses == {"right-front": 2}
    assert facts.sources == {"nasa": 1, "synth": 1, "cats & more": 1, "cups": 2, "coins": 1}
    assert facts.licences == {"CC0-1.0": 5, "CC-BY-4.0": 1}
    assert facts.mean_size_wh == pytest.approx(((160 + 160 + 200 + 170 + 170 + 128) / 6, 888 / 6))
    assert facts.rejections == {("crawl", "http_4xx"): 1, ("crawl", "truncated"): 1}
    assert facts.faces_per_image == {"1": 2, "0": 4}
    # 160, 200 x 140, 170 x 150 and 128 px, to the nearest half power of two.
    assert facts.size_map == {(15, 15): 2, (15, 14): 3, (14, 14): 1}


def test_pictures_are_counted_by_every_attribute(facts):
    assert facts.pictures_by("mask_type") == {
        "cloth": 1, "surgical": 1, "n95": 1, "not known": 2, "no face mask": 1, "not labelled": 1,
    }  # fmt: skip
    assert facts.pictures_by("kind") == {"real": 5, "synthetic": 1}
    assert facts.pictures_by("pose") == {"right-front": 2, "no face found": 4}
    assert facts.pictures_by("origin") == {
        "people": 3, "renderer": 1, "published": 1, "model, not confirmed": 1, "nobody": 1,
    }  # fmt: skip
    assert sum(count for (facet, _, _), count in facts.cells.items() if facet == "split") == 6


def test_who_drew_is_told_by_name_but_for_people(facts):
    assert facts.drawers == {
        ("human", ""): 4, ("synth", "surgical"): 3, ("published", "cats"): 1, ("model", "unet@1"): 1,
    }  # fmt: skip


def test_agreement_is_counted_where_several_people_looked(report):
    seen = [
        dataclasses.replace(
            sample, review=Review(ReviewState.ACCEPTED, names, method=method, agreement=value)
        )
        for sample, names, method, value in zip(
            report[1],
            [("a",), ("a", "b"), ("b", "c"), ("a", "c")],
            ["single", "majority", "majority", "adjudicated"],
            [None, 0.95, 0.3, 0.85],
            strict=False,
        )
    ]
    facts = collect_facts(seen)
    assert facts.agreements == {"≥ 0.95": 1, "< 0.50": 1, "0.80–0.90": 1}
    assert facts.mean_agreement == pytest.approx(0.7)
    assert facts.people == {"a", "b", "c"}
    assert facts.methods == {"single": 1, "majority": 2, "adjudicated": 1}
    assert collect_facts(report[1]).mean_agreement is None


@pytest.mark.parametrize("note", ["", "bright", "nan", "inf", "1e999"])
def test_a_skin_tone_that_is_no_number_is_not_known(note):
    assert noted_class(note) == ""


@given(st.randoms(use_true_random=False))
def test_the_order_of_samples_changes_no_fact(report, random):
    shuffled = list(report[1])
    random.shuffle(shuffled)
    assert collect_facts(shuffled).as_json() == collect_facts(report[1]).as_json()


def test_no_samples_are_no_error():
    facts = collect_facts([])
    assert facts.pictures == 0
    assert facts.mean_size_wh == (0.0, 0.0)


@given(st.floats(0, 1e6))
def test_every_size_falls_into_exactly_one_bin(value):
    assert bin_names(IMAGE_EDGES_PX).count(bin_name(value, IMAGE_EDGES_PX)) == 1


@pytest.mark.parametrize(
    ("value", "name"), [(0, "< 256"), (255.9, "< 256"), (256, "256–511"), (511, "256–511"), (2048, "≥ 2048")]
)
def test_an_edge_belongs_to_the_bin_above_it(value, name):
    assert bin_name(value, IMAGE_EDGES_PX) == name


@pytest.mark.parametrize(
    ("pose", "name"),
    [
        ((), "not known"),
        ((0.0, 0.0, 0.0), "front"),
        ((-14.9, 40.0, 0.0), "front"),
        ((15.0, 0.0, 0.0), "right-front"),
        ((-30.0, 0.0, 0.0), "left-front"),
        ((45.0, 0.0, 0.0), "right"),
        ((-80.0, 0.0, 0.0), "left"),
    ],
)
def test_poses_are_named_by_yaw(pose, name):
    assert pose_name(Face((0, 0, 1, 1), 1.0, Wearing.UNKNOWN, "d@1", pose_deg=pose)) == name
