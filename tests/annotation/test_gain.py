from __future__ import annotations

import dataclasses
import random
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotation.gain import batch_names, expected_gain, is_easy, order_for_review
from dataset_tools.core.labels import Label, Wearing
from dataset_tools.core.masks import mask_to_rle
from dataset_tools.core.record import Face, ImageRef, Instance, Provenance, Sample

EASY_FROM = 0.9
SIZE = (20, 20)


def face(wearing: Wearing = Wearing.MASKED) -> Face:
    return Face((0.0, 0.0, 10.0, 20.0), 0.9, wearing, "d@1")


def proposal(
    confidence: float = 0.95,
    disagreement: float | None = None,
    *,
    face: int = 0,
    label: Label = Label.FACE_MASK,
    side: int = 5,
    kind: str = "",
) -> Instance:
    mask = np.zeros(SIZE, bool)
    mask[:side, :side] = True
    notes = {"mask_type": kind} if kind else {}
    if disagreement is not None:
        notes["disagreement"] = f"{disagreement:.4f}"
    return Instance(
        f"proposal-{face}-{label.value}",
        label,
        mask_to_rle(mask),
        "model:m@1",
        confidence,
        face,
        attributes=tuple(sorted(notes.items())),
    )


def sample(
    number: int = 0, *instances: Instance, faces: tuple[Face, ...] = (), labelled: bool = False
) -> Sample:
    return Sample(
        id=f"{number:032d}",
        image=ImageRef(f"{number:064d}", SIZE, "png"),
        provenance=Provenance("folder", f"{number}.png", "CC0-1.0"),
        group=str(number),
        faces=faces,
        instances=instances,
        is_labelled=labelled,
    )


@pytest.mark.parametrize(
    ("shown", "gain"),
    [
        (sample(0, proposal(1.0), faces=(face(),)), 0.0),
        (sample(0, proposal(0.7), faces=(face(),)), 0.3),
        (sample(0, proposal(0.9, 0.2), faces=(face(),)), 1 - 0.9 * 0.8),
        (sample(0, proposal(0.9, 0.0), proposal(0.6, label=Label.FACE), faces=(face(),)), 0.4),
        # A mask that the detector saw and the model did not, or drew on the other face.
        (sample(0, faces=(face(),)), 1.0),
        (sample(0, faces=(face(Wearing.INCORRECT),)), 1.0),
        (sample(0, proposal(label=Label.FACE), faces=(face(),)), 1.0),
        (sample(0, proposal(1.0), faces=(face(), face())), 1.0),
        # A model that looks at whole pictures names no face; its mask counts for the face it lies on.
        (sample(0, proposal(0.8, face=-1), faces=(face(),)), 0.2),
        (
            sample(0, proposal(0.8, face=-1), faces=(dataclasses.replace(face(), box_xyxy=(10, 0, 20, 20)),)),
            1.0,
        ),
        (sample(0, faces=(face(Wearing.UNKNOWN),)), 0.5),
        (sample(0, faces=(face(Wearing.UNMASKED),)), 0.1),
        (sample(0), 0.5),
        (sample(0, proposal(0.2), faces=(face(),), labelled=True), 0.0),
    ],
)
def test_expected_gain_by_hand(shown, gain):
    assert expected_gain(shown) == pytest.approx(gain)


@given(
    st.lists(st.tuples(st.floats(0, 1), st.none() | st.floats(0, 1)), max_size=4),
    st.lists(st.sampled_from(Wearing), max_size=3),
    st.booleans(),
)
def test_the_gain_is_a_share_and_falls_when_a_proposal_gets_surer(proposals, wearing, labelled):
    shown = sample(0, *(proposal(*values) for values in proposals), faces=tuple(map(face, wearing)))
    gain = expected_gain(dataclasses.replace(shown, is_labelled=labelled))
    assert 0 <= gain <= 1
    surer = tuple(dataclasses.replace(item, confidence=1.0, attributes=()) for item in shown.instances)
    assert expected_gain(dataclasses.replace(shown, instances=surer)) <= expected_gain(shown) + 1e-12


@pytest.mark.parametrize(
    ("shown", "easy"),
    [
        (sample(0, proposal(0.9, 0.05), faces=(face(),)), True),
        (sample(0, proposal(0.9), faces=(face(),)), True),
        (sample(0, proposal(0.89), faces=(face(),)), False),
        (sample(0, proposal(0.99, 0.06), faces=(face(),)), False),
        (sample(0, proposal(0.99), proposal(0.5, label=Label.FACE), faces=(face(),)), False),
        (sample(0, proposal(0.99), faces=(face(), face())), False),
        (sample(0, proposal(0.99), faces=(face(), face(Wearing.UNMASKED))), True),
        (sample(0, faces=(face(Wearing.UNMASKED),)), True),
        (sample(0, faces=(face(Wearing.UNKNOWN),)), False),
        (sample(0, proposal(0.99, face=-1)), True),
        (sample(0), False),
        (sample(0, proposal(0.99), faces=(face(),), labelled=True), False),
    ],
)
def test_easy_is_what_a_glance_can_accept(shown, easy):
    assert is_easy(shown, EASY_FROM) is easy


@st.composite
def sessions(draw):
    """Samples of all kinds, and which of them are gold."""
    kinds = draw(st.lists(st.sampled_from(["easy", "hard", "bare", "check", "gold"]), max_size=120))
    found = []
    for number, kind in enumerate(kinds):
        confidence = 0.95 if kind == "easy" else draw(st.sampled_from([0.1, 0.5, 0.5, 0.8]))
        item = proposal(confidence, side=draw(st.integers(2, 15)), kind=draw(st.sampled_from(["", "cloth"])))
        instances = () if kind == "bare" else (item,)
        found.append(sample(number, *instances, faces=(face(),), labelled=kind in ("check", "gold")))
    return found, frozenset(one.id for one, kind in zip(found, kinds, strict=True) if kind == "gold")


@given(sessions(), st.integers(0, 5), st.randoms())
@settings(max_examples=60)
def test_every_sample_comes_once_whatever_the_order_they_were_given_in(
    session, seed, shuffler: random.Random
):
    samples, gold = session
    ordered = order_for_review(samples, EASY_FROM, gold, seed)
    assert Counter(one.id for one in ordered) == Counter(one.id for one in samples)
    shuffled = list(samples)
    shuffler.shuffle(shuffled)
    assert order_for_review(iter(shuffled), EASY_FROM, gold, seed) == ordered


@given(sessions(), st.integers(0, 5))
@settings(max_examples=60)
def test_doubtful_samples_come_first_by_gain_and_easy_ones_last_by_look(session, seed):
    samples, gold = session
    ordered = [one for one in order_for_review(samples, EASY_FROM, gold, seed) if not one.is_labelled]
    easy = [is_easy(one, EASY_FROM) for one in ordered]
    assert easy == sorted(easy)
    hard = [one for one in ordered if not is_easy(one, EASY_FROM)]
    assert [(-expected_gain(one), one.id) for one in hard] == sorted(
        (-expected_gain(one), one.id) for one in hard
    )
    kinds = [one.instances[0].attribute("mask_type") for one in ordered[len(hard) :]]
    assert kinds == sorted(kinds)


@given(sessions(), st.integers(0, 5))
@settings(max_examples=60)
def test_samples_of_known_truth_are_one_in_each_equal_stretch(session, seed):
    samples, gold = session
    ordered = order_for_review(samples, EASY_FROM, gold, seed)
    places = [index for index, one in enumerate(ordered) if one.is_labelled]
    for number, place in enumerate(places):
        assert number * len(ordered) // len(places) <= place < (number + 1) * len(ordered) // len(places)


def test_the_seed_moves_the_gold_samples_and_their_place_tells_nothing_about_them():
    others = [sample(number, proposal(number / 100), faces=(face(),)) for number in range(90)]
    known = [sample(number, proposal(0.5), faces=(face(),), labelled=True) for number in range(90, 100)]
    gold = frozenset(one.id for one in known[:5])
    places = []
    for seed in range(200):
        ordered = order_for_review([*others, *known], EASY_FROM, gold, seed)
        places.append([index for index, one in enumerate(ordered) if one.id in gold])
    assert len({tuple(found) for found in places}) == 200
    # Gold and checks are drawn alike, so over many sessions a gold sample is equally often in each tenth.
    tenths = Counter(place // 10 for found in places for place in found)
    assert set(tenths) == set(range(10))
    assert max(tenths.values()) < 1.5 * 100 and min(tenths.values()) > 0.5 * 100


def test_easy_samples_are_batched_by_fifty_with_those_of_one_look_together():
    hard = [sample(number, proposal(0.5), faces=(face(),)) for number in range(3)]
    easy = [
        sample(number, proposal(0.95, kind=("cloth", "n95")[number % 2]), faces=(face(),))
        for number in range(10, 130)
    ]
    ordered = order_for_review([*easy, *hard], EASY_FROM, frozenset(), 0)
    names = batch_names(ordered, EASY_FROM)
    assert [names.get(one.id, "") for one in ordered] == (
        [""] * 3 + ["easy-001"] * 50 + ["easy-002"] * 50 + ["easy-003"] * 20
    )
    kinds = [one.instances[0].attribute("mask_type") for one in ordered[3:]]
    assert kinds == ["cloth"] * 60 + ["n95"] * 60


def test_labelled_samples_among_easy_ones_belong_to_their_batch():
    easy = [sample(number, proposal(), faces=(face(),)) for number in range(45)]
    known = [sample(number, proposal(0.2), faces=(face(),), labelled=True) for number in range(45, 55)]
    ordered = order_for_review([*easy, *known], EASY_FROM, frozenset(one.id for one in known), 0)
    names = batch_names(ordered, EASY_FROM)
    assert [names[one.id] for one in ordered] == ["easy-001"] * 50 + ["easy-002"] * 5


def test_without_easy_samples_there_is_no_batch():
    hard = sample(0, proposal(0.1), faces=(face(),))
    known = sample(1, proposal(1.0), faces=(face(),), labelled=True)
    for shown in ([], [hard], [known], [hard, known]):
        assert batch_names(order_for_review(shown, EASY_FROM, frozenset(), 0), EASY_FROM) == {}
