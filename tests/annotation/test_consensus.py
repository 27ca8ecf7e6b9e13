from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotation.consensus import CONSENSUS, Outcome, decide, draft_of
from annotation.drawing import FaceBox
from annotation.fusion import majority, staple
from annotation.settings import ConsensusSettings
from annotation.verdict import Role, Verdict
from dataset_tools.core.errors import ItemFault
from dataset_tools.core.labels import Label
from dataset_tools.core.masks import mask_to_rle, rle_to_mask
from dataset_tools.core.reasons import Reason
from dataset_tools.core.record import ImageRef, Instance, Provenance, ReviewState, Sample

SIZE_HW = (60, 80)
SETTINGS = ConsensusSettings()
BOX = FaceBox(0, (10.0, 5.0, 70.0, 55.0))
CHOICES = (("mask_type", "cloth"), ("wearing_state", "correct"))


def pixels(y0, y1, x0, x1) -> np.ndarray:
    mask = np.zeros(SIZE_HW, bool)
    mask[y0:y1, x0:x1] = True
    return mask


MASK = pixels(20, 50, 20, 60)  # 1200 px
WIDER = pixels(20, 50, 20, 61)  # IoU with it 40/41
PROPOSAL = Instance("p0", Label.FACE_MASK, mask_to_rle(MASK), "model:unet@1", 0.8, 0, None, CHOICES)
SAMPLE = Sample(
    "f" * 32,
    ImageRef("a" * 64, SIZE_HW, "png"),
    Provenance("folder", "x.png", "CC0-1.0"),
    "g",
    instances=(PROPOSAL,),
)


def drawn(mask=MASK, label=Label.FACE_MASK, key="p0", name="ann", **changes) -> Instance:
    attributes = CHOICES if label is Label.FACE_MASK else ()
    face = -1 if key.startswith("drawn-") else 0
    made = Instance(key, label, mask_to_rle(mask), f"human:{name}", None, face, None, attributes)
    return dataclasses.replace(made, **changes)


def verdict(name="ann", instances=None, state=ReviewState.CORRECTED, **changes) -> Verdict:
    if instances is None:
        instances = () if state in (ReviewState.REJECTED, ReviewState.NOT_SEEN) else (drawn(name=name),)
    said = ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z", "")  # made, changed, note
    made = Verdict(
        SAMPLE.id, "x.png", state, name.title(), f"{name}@x", *said, tuple(instances), (BOX,), 1, 1, lane=name
    )
    return dataclasses.replace(made, **changes)


def two(first, second, settings=SETTINGS):
    """The decision on what Ann and Bob drew, the same in either order."""
    people = [verdict("ann", first), verdict("bob", second)]
    decision = decide(SAMPLE, people, settings, 2)
    assert decide(SAMPLE, people[::-1], settings, 2) == decision
    return decision


def test_one_of_two_people_is_waiting_and_says_who_has_looked():
    decision = decide(SAMPLE, [verdict("ann", note="hm")], SETTINGS, 2)
    assert decision.outcome is Outcome.WAITING
    assert (decision.reviewers, decision.note, decision.reviewed_at) == (
        ("Ann",),
        "hm",
        "2026-01-01T00:00:00Z",
    )
    assert (decision.state, decision.instances, decision.method) == (ReviewState.NOT_SEEN, (), "")
    assert decision.agreement is None


@pytest.mark.parametrize("state", [ReviewState.ACCEPTED, ReviewState.CORRECTED, ReviewState.REJECTED])
def test_where_one_person_is_enough_their_word_stands(state):
    only = verdict("ann", state=state)
    decision = decide(SAMPLE, [only], SETTINGS, 1)
    assert (decision.outcome, decision.state, decision.method) == (Outcome.AGREED, state, "single")
    assert (decision.instances, decision.boxes, decision.decided_by) == (only.instances, only.boxes, "Ann")
    assert decision.agreement is None


def test_one_person_asking_for_a_fix_is_contested():
    decision = decide(SAMPLE, [verdict("ann", state=ReviewState.NOT_SEEN)], SETTINGS, 1)
    assert (decision.outcome, decision.reason) == (Outcome.CONTESTED, "Ann asks for a fix")
    assert decision.state is ReviewState.NOT_SEEN


def test_one_person_in_two_lanes_is_one_opinion_the_later_one():
    early = verdict("ann", lane="a")
    late = verdict("ann", [drawn(WIDER)], lane="b", updated_at="2026-01-01T00:01:00Z", reviewer_email="ANN@x")
    assert decide(SAMPLE, [late, early], SETTINGS, 2).outcome is Outcome.WAITING
    assert decide(SAMPLE, [late, early], SETTINGS, 1).instances == late.instances
    nameless = [dataclasses.replace(item, reviewer_email="") for item in (early, late)]
    assert decide(SAMPLE, nameless, SETTINGS, 1).instances == late.instances


def test_two_people_of_one_name_are_two():
    namesake = verdict("bob", [drawn(name="ann")], reviewer="Ann")
    decision = decide(SAMPLE, [verdict("ann"), namesake], SETTINGS, 2)
    assert (decision.outcome, decision.reviewers) == (Outcome.AGREED, ("Ann", "Ann"))


def test_gold_verdicts_are_as_good_as_none():
    gold = [verdict(name, role=Role.GOLD) for name in ("ann", "bob")]
    for verdicts in ([], gold):
        decision = decide(SAMPLE, verdicts, SETTINGS, 2)
        assert (decision.outcome, decision.reviewers, decision.reviewed_at) == (Outcome.WAITING, (), "")


def test_equal_masks_stay_bit_for_bit_and_belong_to_both():
    decision = two([drawn()], [drawn(name="bob")])
    (merged,) = decision.instances
    assert merged == dataclasses.replace(drawn(), drawn_by="human:Ann+Bob")
    assert (decision.outcome, decision.state, decision.method) == (
        Outcome.AGREED,
        ReviewState.CORRECTED,
        "majority",
    )
    assert (decision.agreement, decision.boxes, decision.decided_by) == (1.0, (BOX,), "Ann+Bob")
    assert (decision.reason, decision.reviewers) == ("", ("Ann", "Bob"))


def test_it_is_accepted_only_when_everybody_accepted():
    people = [verdict(name, state=ReviewState.ACCEPTED) for name in ("ann", "bob")]
    assert decide(SAMPLE, people, SETTINGS, 2).state is ReviewState.ACCEPTED
    people[1] = verdict("bob")
    assert decide(SAMPLE, people, SETTINGS, 2).state is ReviewState.CORRECTED


@pytest.mark.parametrize(
    ("method", "fuse"), [("majority", majority), ("staple", lambda masks: staple(masks)[0])]
)
def test_masks_that_differ_a_little_are_fused_and_say_how(method, fuse):
    taller = pixels(19, 50, 20, 60)
    decision = two([drawn(WIDER)], [drawn(taller, name="bob")], ConsensusSettings(method=method))
    (merged,) = decision.instances
    assert np.array_equal(rle_to_mask(merged.mask), fuse([WIDER, taller]))
    assert merged.attribute(CONSENSUS) == decision.method == method
    assert (merged.id, merged.drawn_by, merged.face) == ("p0", "human:Ann+Bob", 0)
    assert merged.attributes == (("consensus", method), *CHOICES)
    assert decision.agreement == pytest.approx(1200 / 1270)


def test_three_people_vote_pixel_by_pixel():
    people = [verdict("ann"), verdict("bob", [drawn(WIDER)]), verdict("cleo", [drawn(WIDER)])]
    for order in itertools.permutations(people):
        decision = decide(SAMPLE, order, SETTINGS, 2)
        assert decision.instances[0].mask == mask_to_rle(WIDER)
        assert decision.decided_by == "Ann+Bob+Cleo"


def test_below_the_labels_threshold_people_disagree():
    narrow = drawn(pixels(20, 50, 20, 55))  # 35 of 40 columns
    decision = two([drawn()], [narrow])
    assert (decision.outcome, decision.reason) == (Outcome.CONTESTED, "face_mask: IoU 0.87 < 0.9")
    assert (decision.agreement, decision.instances, decision.method) == (0.875, (), "")
    assert two([drawn()], [narrow], ConsensusSettings(agree_iou={Label.FACE_MASK: 0.875})).method
    strap = [drawn(pixels(0, 4, 0, 30), Label.STRAP, "s"), drawn(pixels(0, 4, 10, 30), Label.STRAP, "s")]
    assert two(strap[:1], strap[1:]).outcome is Outcome.AGREED


def test_a_figure_just_below_the_threshold_is_not_rounded_up_to_it():
    nearly = pixels(20, 50, 20, 60)
    nearly[20, 20:60] = nearly[21:49, 20:23] = False  # 1076 of 1200
    assert two([drawn()], [drawn(nearly)]).reason == "face_mask: IoU 0.89 < 0.9"


def test_agreement_is_the_least_over_labels_and_pairs():
    skin = Label.FACE
    people = [
        verdict("ann", [drawn(), drawn(pixels(0, 20, 0, 40), skin, "f")]),
        verdict("bob", [drawn(WIDER), drawn(pixels(0, 20, 0, 38), skin, "f")]),
        verdict("cleo", [drawn(), drawn(pixels(0, 20, 0, 36), skin, "f")]),
    ]
    decision = decide(SAMPLE, people, SETTINGS, 2)
    assert (decision.outcome, decision.agreement) == (Outcome.AGREED, 0.9)


def test_pictures_that_both_left_empty_are_agreed():
    decision = two([], [])
    assert (decision.outcome, decision.instances, decision.agreement) == (Outcome.AGREED, (), 1.0)


@pytest.mark.parametrize(
    ("states", "reason"),
    [
        ("RA", "Ann rejects, Bob does not"),
        ("AR", "Bob rejects, Ann does not"),
        ("NA", "Ann asks for a fix"),
        ("NN", "Ann, Bob ask for a fix"),
        ("RN", "Ann rejects; Bob asks for a fix"),
        ("RRA", "Ann, Bob reject, Cleo does not"),
        ("RAA", "Ann rejects, Bob, Cleo do not"),
        ("RNA", "Ann rejects, Cleo does not; Bob asks for a fix"),
    ],
)
def test_different_verdicts_are_contested(states, reason):
    words = {"R": ReviewState.REJECTED, "A": ReviewState.ACCEPTED, "N": ReviewState.NOT_SEEN}
    people = [
        verdict(name, state=words[key]) for name, key in zip(("ann", "bob", "cleo"), states, strict=False)
    ]
    decision = decide(SAMPLE, people, SETTINGS, 2)
    assert (decision.outcome, decision.reason) == (Outcome.CONTESTED, reason)


def test_what_all_reject_is_rejected_with_everybodys_note():
    people = [
        verdict("bob", state=ReviewState.REJECTED, note="no face", reviewed_at="2026-01-02T00:00:00Z"),
        verdict("ann", state=ReviewState.REJECTED, note="a drawing"),
    ]
    decision = decide(SAMPLE, people, SETTINGS, 2)
    assert (decision.outcome, decision.state) == (Outcome.AGREED, ReviewState.REJECTED)
    assert decision.note == "Ann: a drawing; Bob: no face"
    assert (decision.decided_by, decision.reviewed_at) == ("Ann+Bob", "2026-01-02T00:00:00Z")


def test_choices_that_differ_are_contested():
    other = drawn(attributes=(("mask_type", "surgical"),))
    decision = two([drawn()], [other])
    assert decision.outcome is Outcome.CONTESTED
    assert decision.reason == "mask_type: cloth / surgical; wearing_state: correct / none"


@pytest.mark.parametrize("label", [Label.FACE_MASK, Label.OCCLUDER])
def test_an_object_that_only_one_person_drew_is_contested_however_small(label):
    large, speck = drawn(MASK, label), drawn(pixels(0, 2, 0, 2), label, "drawn-9")
    decision = two([large], [large, speck])
    assert decision.agreement > 0.99
    assert (decision.outcome, decision.reason) == (Outcome.CONTESTED, f"{label}: one drawn only by Bob")


def test_a_label_only_one_person_used_is_contested_once():
    decision = two([drawn()], [drawn(), drawn(pixels(0, 9, 0, 9), Label.STRAP, "drawn-1")])
    assert decision.reason == "strap: IoU 0.00 < 0.5"


def test_one_object_in_two_regions_and_in_one_is_the_same_object():
    halves = [
        drawn(pixels(0, 10, 0, 30), Label.OCCLUDER, "h1"),
        drawn(pixels(10, 30, 0, 30), Label.OCCLUDER, "drawn-2"),
    ]
    whole = [drawn(pixels(0, 30, 0, 30), Label.OCCLUDER, "drawn-7")]
    for first, second in ((halves, whole), (whole, halves), (halves[::-1], whole)):
        decision = two(first, second)
        (merged,) = decision.instances
        assert (decision.outcome, merged.mask) == (Outcome.AGREED, whole[0].mask)
        assert (merged.id, merged.attribute(CONSENSUS)) == ("h1", "")


def test_a_region_half_outside_of_anothers_object_is_an_object_of_its_own():
    large = drawn(MASK, Label.OCCLUDER, "drawn-1")
    outside, inside = pixels(20, 24, 59, 61), pixels(20, 24, 58, 61)  # 4 of 8 and 8 of 12 pixels lie in it
    first, second = [large], [large, drawn(outside, Label.OCCLUDER, "drawn-2")]
    assert two(first, second).reason == "occluder: one drawn only by Bob"
    (merged,) = two(first, [large, drawn(inside, Label.OCCLUDER, "drawn-2")]).instances
    assert np.array_equal(rle_to_mask(merged.mask), majority([MASK, MASK | inside]))


def test_one_face_mask_over_two_faces_is_not_two_masks():
    halves = [drawn(pixels(0, 30, 0, 30)), drawn(pixels(0, 30, 30, 60), key="drawn-2")]
    decision = two(halves, [drawn(pixels(0, 30, 0, 60))])
    assert (decision.outcome, decision.reason) == (Outcome.CONTESTED, "face_mask: one drawn only by Ann")


def test_what_people_started_themselves_is_matched_by_place():
    left, right = pixels(20, 50, 5, 35), pixels(20, 50, 45, 75)
    first = [drawn(left, key="drawn-1"), drawn(right, key="drawn-2")]
    second = [drawn(right, key="drawn-1"), drawn(left, key="drawn-2")]
    decision = two(first, second)
    assert decision.outcome is Outcome.AGREED
    assert [item.mask for item in decision.instances] == [mask_to_rle(left), mask_to_rle(right)]
    assert len({item.id for item in decision.instances}) == 2


def test_ids_stay_distinct_when_two_tools_gave_the_same():
    left, right = pixels(20, 50, 5, 35), pixels(20, 50, 45, 75)
    people = [drawn(left, Label.OCCLUDER, "drawn-1"), drawn(right, Label.STRAP, "drawn-1")]
    assert [item.id for item in two(people, people).instances] == ["drawn-1", "drawn-1-2"]


def test_what_nobody_changed_keeps_its_origin_and_soft_label():
    soft = ImageRef("b" * 64, SIZE_HW, "png")
    rendered = drawn(drawn_by="synth:r1", soft=soft)
    assert two([rendered], [rendered]).instances == (rendered,)
    (merged,) = two([rendered], [drawn(WIDER, name="bob")]).instances
    assert (merged.drawn_by, merged.soft) == ("human:Ann+Bob", None)


def test_what_a_model_proposed_stays_known():
    proposed = drawn(attributes=(*CHOICES[:1], ("proposed_by", "model:unet@1"), *CHOICES[1:]))
    (merged,) = two([proposed], [drawn(WIDER)]).instances
    assert merged.attribute("proposed_by") == "model:unet@1"


def test_a_merged_mask_without_pixels_is_dropped():
    lines = [drawn(pixels(10, 11, 0, 60), Label.STRAP, "s"), drawn(pixels(30, 31, 0, 60), Label.STRAP, "s")]
    decision = two(lines[:1], lines[1:], ConsensusSettings(agree_iou={Label.STRAP: 0.0}))
    assert (decision.outcome, decision.instances) == (Outcome.AGREED, ())


def with_boxes(*by_person):
    people = [
        verdict(name, boxes=boxes) for name, boxes in zip(("ann", "bob", "cleo"), by_person, strict=False)
    ]
    return decide(SAMPLE, people, SETTINGS, 2)


def test_boxes_that_nearly_agree_meet_in_the_middle():
    moved = FaceBox(0, (12.0, 5.0, 72.0, 55.0))
    decision = with_boxes((BOX,), (moved,))
    assert decision.boxes == (FaceBox(0, (11.0, 5.0, 71.0, 55.0)),)
    assert with_boxes((BOX,), (BOX,)).boxes == (BOX,)


def test_boxes_are_matched_by_face_and_then_by_place():
    small, redrawn = FaceBox(1, (0.0, 0.0, 9.0, 9.0)), FaceBox(-1, (0.0, 0.0, 9.0, 8.0))
    decision = with_boxes((BOX, small), (redrawn, BOX))
    assert decision.boxes == (BOX, FaceBox(1, (0.0, 0.0, 9.0, 8.5)))
    assert with_boxes((BOX, redrawn), (redrawn, BOX)).boxes[1].face == -1


@pytest.mark.parametrize(
    ("boxes", "reason"),
    [
        ((), "face boxes: 1 / 0"),
        ((BOX, FaceBox(-1, (0.0, 0.0, 5.0, 5.0))), "face boxes: 1 / 2"),
        ((FaceBox(0, (10.0, 5.0, 70.0, 44.0)),), "face box: IoU 0.78 < 0.8"),
        ((FaceBox(-1, (0.0, 0.0, 5.0, 4.0)),), "face box: IoU 0.00 < 0.8"),
    ],
)
def test_boxes_that_differ_are_contested(boxes, reason):
    decision = with_boxes((BOX,), boxes)
    assert (decision.outcome, decision.reason) == (Outcome.CONTESTED, reason)


def test_a_third_persons_box_is_held_against_everybodys():
    boxes = [FaceBox(0, (x, 5.0, x + 60.0, 55.0)) for x in (10.0, 16.0, 4.0)]  # 54/66, 48/72
    assert with_boxes(*([box] for box in boxes[:2])).outcome is Outcome.AGREED
    assert with_boxes(*([box] for box in boxes)).reason == "face box: IoU 0.66 < 0.8"


def test_an_adjudicators_word_is_final():
    far = pixels(0, 20, 0, 30)
    people = [verdict("ann"), verdict("bob", [drawn(far)], note="there")]
    last = verdict("cleo", [drawn(WIDER, name="cleo")], role=Role.ADJUDICATOR, lane="adjudication")
    decision = decide(SAMPLE, [*people, last], SETTINGS, 2)
    assert (decision.outcome, decision.method, decision.state) == (
        Outcome.SETTLED,
        "adjudicated",
        ReviewState.CORRECTED,
    )
    assert (decision.instances, decision.boxes, decision.decided_by) == (last.instances, last.boxes, "Cleo")
    assert (decision.reviewers, decision.note) == (("Ann", "Bob", "Cleo"), "Bob: there")
    assert decision.agreement == 0.0


def test_an_adjudicator_may_reject_and_may_be_one_of_the_annotators():
    last = verdict("ann", state=ReviewState.REJECTED, role=Role.ADJUDICATOR, lane="adjudication")
    decision = decide(SAMPLE, [verdict("ann"), verdict("bob"), last], SETTINGS, 2)
    assert (decision.outcome, decision.state) == (Outcome.SETTLED, ReviewState.REJECTED)
    assert decision.reviewers == ("Ann", "Bob")


def test_an_adjudicator_who_asks_for_a_fix_settles_nothing():
    last = verdict("cleo", state=ReviewState.NOT_SEEN, role=Role.ADJUDICATOR, note="too dark")
    people = [verdict("ann"), verdict("bob", state=ReviewState.REJECTED)]
    decision = decide(SAMPLE, [*people, last], SETTINGS, 2)
    assert (decision.outcome, decision.note) == (Outcome.CONTESTED, "Cleo: too dark")


def test_a_verdict_on_a_picture_of_another_size_is_a_fault_of_that_item():
    other = drawn(np.ones((5, 5), bool))
    with pytest.raises(ItemFault) as caught:
        decide(SAMPLE, [verdict("ann"), verdict("bob", [other])], SETTINGS, 2)
    assert caught.value.reason is Reason.SIZE_MISMATCH


def test_the_draft_holds_what_anybody_drew_and_leaves_disputed_choices_open():
    speck = drawn(pixels(0, 2, 0, 2), Label.OCCLUDER, "drawn-9", name="bob")
    other = drawn(WIDER, name="bob", attributes=(("mask_type", "surgical"), ("wearing_state", "correct")))
    opinions = [verdict("ann"), verdict("bob", [other, speck])]
    mask, kept = draft_of(SAMPLE, opinions, SETTINGS)
    assert mask.attributes == (("consensus", "majority"), ("wearing_state", "correct"))
    assert np.array_equal(rle_to_mask(mask.mask), majority([MASK, WIDER]))
    assert kept == speck


def test_the_draft_is_what_is_left_when_others_reject_and_else_what_was_shown():
    rejects = verdict("bob", state=ReviewState.REJECTED)
    only = verdict("ann", [drawn(WIDER)])
    assert draft_of(SAMPLE, [only, rejects], SETTINGS) == only.instances
    assert draft_of(SAMPLE, [rejects], SETTINGS) == SAMPLE.instances


rectangles = st.tuples(st.integers(0, 40), st.integers(5, 20), st.integers(0, 50), st.integers(5, 30)).map(
    lambda box: pixels(box[0], box[0] + box[1], box[2], box[2] + box[3])
)
labellings = st.lists(
    st.tuples(rectangles, st.sampled_from(Label), st.sampled_from(["p0", "p1", "drawn-1", "drawn-2"])),
    max_size=3,
).map(
    lambda rows: [
        drawn(mask, label, key) for key, (mask, label) in {key: (m, la) for m, la, key in rows}.items()
    ]
)


@settings(deadline=None, max_examples=80)
@given(labellings, labellings)
def test_whatever_two_people_draw_order_does_not_matter_and_nothing_is_invented(first, second):
    decision = two(first, second, ConsensusSettings(agree_iou=dict.fromkeys(Label, 0.0)))
    claimed = np.zeros(SIZE_HW, bool)
    for item in (*first, *second):
        claimed |= rle_to_mask(item.mask)
    for item in decision.instances:
        assert (rle_to_mask(item.mask) <= claimed).all()
    assert len({item.id for item in decision.instances}) == len(decision.instances)
    draft = draft_of(SAMPLE, [verdict("ann", first), verdict("bob", second)], SETTINGS)
    assert len({item.id for item in draft}) == len(draft)


@settings(deadline=None, max_examples=40)
@given(labellings)
def test_people_who_draw_the_same_agree_and_deciding_again_changes_nothing(instances):
    decision = two(instances, instances)
    assert decision.outcome is Outcome.AGREED
    assert {(item.label, item.mask) for item in decision.instances} == {
        (item.label, item.mask) for item in instances
    }
    again = two(decision.instances, decision.instances)
    assert again.instances == decision.instances
