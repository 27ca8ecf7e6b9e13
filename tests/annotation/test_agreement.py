from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotation.agreement import cohens_kappa, label_iou
from dataset_tools.core.errors import MaskShapeError
from dataset_tools.core.labels import Label
from dataset_tools.core.masks import mask_to_rle
from dataset_tools.core.record import Instance


def strip(start: int, stop: int, label: Label = Label.FACE_MASK) -> Instance:
    mask = np.zeros((1, 12), bool)
    mask[0, start:stop] = True
    return Instance(f"{label}{start}", label, mask_to_rle(mask), "human:a")


def test_iou_takes_the_instances_of_one_label_together():
    # 0-3 and 3-6 against 2-8: 4 of 8 pixels shared.
    assert label_iou([strip(0, 3), strip(3, 6)], [strip(2, 8)], (1, 12)) == {Label.FACE_MASK: 0.5}


def test_a_label_only_one_person_used_scores_zero_and_an_unused_one_is_left_out():
    assert label_iou([strip(0, 3, Label.STRAP)], [], (1, 12)) == {Label.STRAP: 0.0}


def test_iou_of_masks_of_another_size_is_an_error():
    with pytest.raises(MaskShapeError):
        label_iou([strip(0, 3)], [strip(0, 3)], (12, 1))


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
