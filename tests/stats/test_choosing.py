"""A fair draw that depends on nothing but the pictures, with the doubtful and the rare ones added."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataset_tools.core.masks import mask_to_rle
from dataset_tools.core.record import ImageRef, Provenance, Sample
from dataset_tools.stats.choosing import OF_EACH_VALUE, Chooser
from dataset_tools.stats.noise import PixelCounts
from dataset_tools.stats.opinions import Opinion


def sample(number: int) -> Sample:
    name = hashlib.sha256(str(number).encode()).hexdigest()
    source = "rare" if number == 77 else "common"
    return Sample(
        name[:32],
        ImageRef(name, (4, 4), "png"),
        Provenance(source, f"k{number}", "CC0-1.0"),
        "g",
        is_labelled=True,
    )


SAMPLES = [sample(number) for number in range(300)]


def opinion(disagreement: float) -> Opinion:
    # Of 100 labelled pixels so many are not predicted.
    missed = round(100 * disagreement)
    counts = PixelCounts(np.array([0.0, 1.0]), np.array([[50, 0], [missed, 100 - missed]]))
    return Opinion(counts, mask_to_rle(np.ones((4, 4), bool)), ("m@1",))


def choose(samples, limit, doubts=None) -> list[str]:
    chooser = Chooser(limit)
    for item in samples:
        chooser.add(item, opinion(doubts[item.id]) if doubts and item.id in doubts else None)
    return [entry.sample_id for entry in chooser.chosen()]


def test_all_pictures_are_shown_when_there_are_not_too_many():
    assert choose(SAMPLES, 300) == sorted(item.id for item in SAMPLES)


def test_of_many_pictures_those_with_the_smallest_ids_are_drawn():
    common = [item for item in SAMPLES if item.provenance.source == "common"]
    assert choose(common, 40) == sorted(item.id for item in common)[:40]


def test_a_rare_value_is_never_left_out():
    assert SAMPLES[77].id in choose(SAMPLES, OF_EACH_VALUE + 1)
    assert len(choose(SAMPLES, 40)) == 40


def test_the_most_doubtful_are_always_shown():
    last = sorted(item.id for item in SAMPLES)[-20:]
    assert set(last) <= set(choose(SAMPLES, 60, dict.fromkeys(last, 0.4)))


@pytest.mark.parametrize("limit", [1, 25, 299, 300])
@settings(max_examples=20, deadline=None)
@given(random=st.randoms(use_true_random=False))
def test_the_order_in_which_pictures_come_changes_nothing(limit, random):
    doubts = {item.id: int(item.id[:2], 16) / 256 for item in SAMPLES[::2]}
    shuffled = list(SAMPLES)
    random.shuffle(shuffled)
    assert choose(shuffled, limit, doubts) == choose(SAMPLES, limit, doubts)
