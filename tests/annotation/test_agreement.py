from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotation.agreement import assign, cohens_kappa, compare, label_boundary_iou, label_iou, mask_iou, match
from annotation.verdict import Verdict
from dataset_tools.core.errors import MaskShapeError
from dataset_tools.core.labels import Label
from dataset_tools.core.masks import mask_to_rle
from dataset_tools.core.record import Instance, ReviewState


def strip(start: int, stop: int, label: Label = Label.FACE_MASK, key: str = "", **changes) -> Instance:
    mask = np.zeros((1, 12), bool)
    mask[0, start:stop] = True
    return Instance(key or f"{label}{start}", label, mask_to_rle(mask), "human:a", **changes)


def verdict(name: str, instances=(), state=ReviewState.CORRECTED, sample="s") -> Verdict:
    return Verdict(sample, "s.png", state, name, "", "", "", "", tuple(instances), (), 1, 1)


def test_iou_takes_the_instances_of_one_label_together():
    # 0-3 and 3-6 against 2-8: 4 of 8 pixels shared.
    assert label_iou([strip(0, 3), strip(3, 6)], [strip(2, 8)], (1, 12)) == {Label.FACE_MASK: 0.5}


def test_a_label_only_one_person_used_scores_zero_and_an_unused_one_is_left_out():
    assert label_iou([strip(0, 3, Label.STRAP)], [], (1, 12)) == {Label.STRAP: 0.0}


@pytest.mark.parametrize("measure", [label_iou, label_boundary_iou])
def test_masks_of_another_size_are_an_error(measure):
    with pytest.raises(MaskShapeError):
        measure([strip(0, 3)], [strip(0, 3)], (12, 1))


@pytest.mark.parametrize("measure", [label_iou, label_boundary_iou])
def test_equal_labellings_score_one_and_an_empty_mask_is_no_labelling(measure):
    assert measure([strip(0, 3)], [strip(0, 3)], (1, 12)) == {Label.FACE_MASK: 1.0}
    assert measure([strip(3, 3)], [strip(3, 3)], (1, 12)) == {}
    assert measure([strip(3, 3)], [], (1, 12)) == {}


def test_boundary_iou_is_blind_to_interiors():
    full, hollow = np.zeros((40, 40), bool), np.zeros((40, 40), bool)
    full[5:35, 5:35] = hollow[5:35, 5:35] = True
    hollow[15:25, 15:25] = False
    (first, second) = ([Instance("a", Label.FACE, mask_to_rle(mask), "human:a")] for mask in (full, hollow))
    # Bands of one pixel: 116 along the outer outline; the hole adds the 12 x 12 - 10 x 10 around it.
    assert label_boundary_iou(first, second, (40, 40)) == {Label.FACE: 116 / (116 + 44)}
    assert label_iou(first, second, (40, 40)) == {Label.FACE: 800 / 900}


def test_instances_of_one_shown_instance_belong_together_wherever_they_lie():
    first = [strip(0, 3, key="p"), strip(6, 9, key="q")]
    second = [strip(6, 9, key="p"), strip(0, 3, key="q")]
    assert match(first, second) == ((0, 0), (1, 1))


def test_drawn_instances_are_matched_by_overlap_within_their_label():
    first = [strip(0, 3, key="drawn-1"), strip(6, 9, key="drawn-2"), strip(0, 3, Label.FACE, "drawn-3")]
    second = [strip(5, 9, key="drawn-1"), strip(1, 4, key="drawn-9"), strip(9, 12, key="drawn-7")]
    assert match(first, second) == ((0, 1), (1, 0))
    assert match(second, first) == ((0, 1), (1, 0))


def test_a_shown_instance_whose_label_was_changed_is_matched_anew():
    first = [strip(0, 3, key="p"), strip(4, 8, Label.FACE, "q")]
    second = [strip(0, 3, Label.FACE, "p"), strip(0, 4, key="drawn-1"), strip(4, 8, Label.FACE, "q")]
    assert match(first, second) == ((0, 1), (1, 2))


def test_the_sum_of_overlaps_counts_not_the_first_come():
    # The best single pair, (0, 0), would leave nothing for the second row.
    assert assign([[0.9, 0.8], [0.7, 0.0]]) == [(0, 1), (1, 0)]
    assert assign([[0.0, 0.0], [0.0, 0.5]]) == [(1, 1)]
    assert assign([[0.0]]) == assign([]) == assign([[]]) == []
    assert assign([[0.1]]) == [(0, 0)]


def test_iou_of_two_masks():
    assert mask_iou(strip(0, 4).mask, strip(2, 6).mask) == 2 / 6
    assert mask_iou(strip(0, 4).mask, strip(0, 4).mask) == 1.0
    assert mask_iou(strip(2, 2).mask, strip(2, 2).mask) == 0.0


def test_two_verdicts_side_by_side():
    cloth, surgical = (("mask_type", "cloth"), ("wearing_state", "correct")), (("mask_type", "surgical"),)
    first = verdict("Ann", [strip(0, 4, key="p", attributes=cloth), strip(6, 8, Label.STRAP, "s")])
    second = verdict("Bob", [strip(0, 3, key="p", attributes=surgical), strip(6, 8, Label.STRAP, "s")])
    found = compare((1, 12), first, second)
    assert (found.sample_id, found.people) == ("s", ("Ann", "Bob"))
    assert found.states == (ReviewState.CORRECTED, ReviewState.CORRECTED)
    assert found.iou == {Label.FACE_MASK: 0.75, Label.STRAP: 1.0}
    assert found.boundary_iou == {Label.FACE_MASK: 0.75, Label.STRAP: 1.0}
    assert found.choices == (("mask_type", "cloth", "surgical"), ("wearing_state", "correct", ""))
    assert found.equal_choices == {"mask_type": False, "wearing_state": False}
    assert (found.worst, found.mean_iou) == (0.75, 0.875)


def test_a_choice_is_equal_only_when_it_is_for_every_object():
    masks = [
        strip(0, 4, key="p", attributes=(("mask_type", "cloth"),)),
        strip(6, 9, key="q", attributes=(("mask_type", "n95"),)),
    ]
    others = [masks[0], strip(6, 9, key="q", attributes=(("mask_type", "kn95"),))]
    assert compare((1, 12), verdict("a", masks), verdict("b", masks)).equal_choices == {"mask_type": True}
    for one, two in ((masks, others), (masks[::-1], others[::-1])):
        assert compare((1, 12), verdict("a", one), verdict("b", two)).equal_choices == {"mask_type": False}


@pytest.mark.parametrize("state", [ReviewState.REJECTED, ReviewState.NOT_SEEN])
def test_without_two_labellings_there_is_nothing_to_compare(state):
    pair = (verdict("Ann", [strip(0, 3)]), verdict("Bob", state=state))
    for one, other in (pair, pair[::-1]):
        found = compare((1, 12), one, other)
        assert (found.iou, found.boundary_iou, found.choices) == ({}, {}, ())
        assert (found.worst, found.mean_iou) == (None, None)
        assert found.states == (one.state, other.state)


def test_verdicts_on_different_samples_are_not_compared():
    with pytest.raises(ValueError, match="on s and t"):
        compare((1, 12), verdict("Ann"), verdict("Bob", sample="t"))


choices = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abc")), min_size=2, max_size=30)


@settings(deadline=None)
@given(choices.filter(lambda pairs: len({value for pair in pairs for value in pair}) > 1))
def test_kappa_equals_that_of_scikit_learn(pairs):
    from sklearn.metrics import cohen_kappa_score

    first, second = zip(*pairs, strict=True)
    assert cohens_kappa(first, second) == pytest.approx(cohen_kappa_score(first, second))


def test_kappa_is_undefined_when_nobody_had_a_choice():
    assert math.isnan(cohens_kappa([], []))
    assert math.isnan(cohens_kappa(["a", "a"], ["a", "a"]))


def test_kappa_needs_choices_for_the_same_items():
    with pytest.raises(ValueError, match="2 choices against 1"):
        cohens_kappa(["a", "b"], ["a"])
