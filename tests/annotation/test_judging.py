from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from annotation.consensus import CONSENSUS, Decision, Outcome, decide
from annotation.drawing import Drawing, FaceBox, Region
from annotation.judging import PROPOSED_BY, apply_decision, judge
from annotation.label_studio.codec import decode_results, encode_results
from annotation.settings import ConsensusSettings
from annotation.verdict import Verdict
from dataset_tools.core.errors import ItemFault
from dataset_tools.core.labels import Label
from dataset_tools.core.masks import mask_to_rle, rle_to_mask
from dataset_tools.core.reasons import Reason
from dataset_tools.core.record import ImageRef, Instance, Review, ReviewState


def shown(sample):
    return decode_results(
        encode_results(sample.instances, sample.faces, sample.image.size_hw), sample.image.size_hw
    )


def with_first_region(drawing, **changes):
    first, *rest = drawing.regions
    return dataclasses.replace(drawing, regions=(dataclasses.replace(first, **changes), *rest))


def verdict_of(sample, drawing, name="ann") -> Verdict:
    state, instances = judge(sample, drawing, name)
    moment = "2026-01-01T00:00:00Z"
    return Verdict(
        sample.id, sample.provenance.item_key, state, name, "", moment, moment, drawing.note, instances,
        drawing.boxes, 1, 1,
    )  # fmt: skip


def apply_alone(sample, verdict):
    """What the verdict of the only annotator makes of a sample."""
    return apply_decision(sample, decide(sample, [verdict], ConsensusSettings(), 1))


def one_pixel_off(rle):
    mask = rle_to_mask(rle)
    mask[0, 0] ^= True
    return mask_to_rle(mask)


def test_an_untouched_proposal_is_accepted_bit_for_bit_and_becomes_the_reviewers(make_sample):
    sample = make_sample()
    reviewed = apply_alone(sample, verdict_of(sample, shown(sample)))
    assert reviewed.review.state is ReviewState.ACCEPTED
    assert reviewed.review.reviewers == ("ann",)
    assert reviewed.is_labelled
    assert [item.mask for item in reviewed.instances] == [item.mask for item in sample.instances]
    for before, after in zip(sample.instances, reviewed.instances, strict=True):
        assert after.drawn_by == "human:ann"
        assert after.confidence is None
        assert not after.is_proposal
        assert after.attribute(PROPOSED_BY) == before.drawn_by
        assert after.face == 0
    assert reviewed.instances[0].attribute("mask_type") == "cloth"
    assert reviewed.faces == sample.faces


def test_one_changed_pixel_is_a_correction(make_sample):
    sample = make_sample()
    drawing = shown(sample)
    mask = one_pixel_off(drawing.regions[0].mask)
    reviewed = apply_alone(sample, verdict_of(sample, with_first_region(drawing, mask=mask)))
    assert reviewed.review.state is ReviewState.CORRECTED
    assert reviewed.instances[0].mask == mask


@pytest.mark.parametrize(
    "change",
    [
        {"label": Label.OCCLUDER},
        {"attributes": (("mask_type", "n95"), ("wearing_state", "nose_out"))},
        {"attributes": ()},
    ],
    ids=["label", "choice", "choice taken back"],
)
def test_a_changed_label_or_choice_is_a_correction(make_sample, change):
    sample = make_sample()
    state, instances = judge(sample, with_first_region(shown(sample), **change), "ann")
    assert state is ReviewState.CORRECTED
    attributes = dict(instances[0].attributes)
    attributes.pop(PROPOSED_BY)
    assert attributes == dict(change.get("attributes", sample.instances[0].attributes))


def test_a_removed_region_is_a_correction(make_sample):
    sample = make_sample()
    drawing = shown(sample)
    state, instances = judge(sample, dataclasses.replace(drawing, regions=drawing.regions[:1]), "ann")
    assert state is ReviewState.CORRECTED
    assert len(instances) == 1


def test_a_region_the_reviewer_drew_goes_to_the_face_it_lies_in(make_sample):
    sample = make_sample()
    drawing = shown(sample)
    strap = np.zeros(sample.image.size_hw, bool)
    strap[100:104, 60:90] = True
    drawn = dataclasses.replace(
        drawing.regions[0],
        instance_id="",
        region_id="x1",
        label=Label.STRAP,
        mask=mask_to_rle(strap),
        attributes=(),
    )
    far = dataclasses.replace(drawn, region_id="x2", mask=mask_to_rle(np.roll(strap, 110, axis=0)))
    drawing = dataclasses.replace(drawing, regions=(*drawing.regions, drawn, far))
    reviewed = apply_alone(sample, verdict_of(sample, drawing))
    assert reviewed.review.state is ReviewState.CORRECTED
    assert [item.face for item in reviewed.instances] == [0, 0, 0, -1]
    assert len({item.id for item in reviewed.instances}) == 4


def test_a_moved_box_loses_its_landmarks_and_an_added_one_becomes_a_face(make_sample):
    sample = make_sample()
    drawing = shown(sample)
    moved = dataclasses.replace(drawing.boxes[0], box_xyxy=(50.0, 40.0, 150.0, 170.0))
    added = dataclasses.replace(moved, face=-1, box_xyxy=(0.0, 0.0, 200.0, 250.0))
    reviewed = apply_alone(sample, verdict_of(sample, dataclasses.replace(drawing, boxes=(moved, added))))
    assert reviewed.review.state is ReviewState.CORRECTED
    large, small = reviewed.faces
    assert (large.box_xyxy, large.detector) == (added.box_xyxy, "human:ann")
    assert (small.box_xyxy, small.landmarks_xyz) == (moved.box_xyxy, ())
    assert [item.face for item in reviewed.instances] == [1, 1]


def test_a_box_moved_by_half_a_pixel_has_been_moved(make_sample):
    sample = make_sample()
    drawing = shown(sample)
    x0, y0, x1, y1 = sample.faces[0].box_xyxy
    for shift, state in ((0.5, ReviewState.CORRECTED), (1e-9, ReviewState.ACCEPTED)):
        moved = dataclasses.replace(drawing.boxes[0], box_xyxy=(x0 + shift, y0, x1, y1))
        assert judge(sample, dataclasses.replace(drawing, boxes=(moved,)), "ann")[0] is state


def test_rejected_samples_leave_with_the_reviewers_note(make_sample):
    sample = make_sample()
    verdict = verdict_of(sample, dataclasses.replace(shown(sample), verdict="reject", note="a drawing"))
    assert verdict.state is ReviewState.REJECTED
    with pytest.raises(ItemFault, match="rejected by ann: a drawing") as caught:
        apply_alone(sample, verdict)
    assert caught.value.reason is Reason.REVIEW_REJECTED


def test_fix_without_a_change_leaves_the_sample_a_proposal(make_sample):
    sample = make_sample()
    verdict = verdict_of(sample, dataclasses.replace(shown(sample), verdict="fix", note="strap missing"))
    reviewed = apply_alone(sample, verdict)
    assert not reviewed.is_labelled
    assert reviewed.instances == sample.instances
    assert (reviewed.review.state, reviewed.review.note) == (ReviewState.NOT_SEEN, "strap missing")


def test_fix_with_a_change_is_a_correction(make_sample):
    sample = make_sample()
    drawing = dataclasses.replace(shown(sample), verdict="fix")
    changed = with_first_region(drawing, mask=one_pixel_off(drawing.regions[0].mask))
    assert judge(sample, changed, "ann")[0] is ReviewState.CORRECTED


def test_an_untouched_rendered_label_keeps_its_origin_and_soft_label(make_sample):
    sample = make_sample()
    soft = ImageRef("ab" * 32, sample.image.size_hw, "png")
    rendered = tuple(
        dataclasses.replace(item, drawn_by="synth:r1", confidence=None, soft=soft)
        for item in sample.instances
    )
    sample = dataclasses.replace(sample, instances=rendered, is_labelled=True)
    drawing = shown(sample)
    assert apply_alone(sample, verdict_of(sample, drawing)).instances == rendered
    changed = with_first_region(drawing, mask=one_pixel_off(drawing.regions[0].mask))
    first, second = apply_alone(sample, verdict_of(sample, changed)).instances
    assert (first.drawn_by, first.soft) == ("human:ann", None)
    assert second == rendered[1]


def test_an_empty_picture_accepted_is_a_ground_truth_without_instances(make_sample):
    sample = make_sample(instances=(), faces=())
    reviewed = apply_alone(sample, verdict_of(sample, shown(sample)))
    assert (reviewed.review.state, reviewed.is_labelled, reviewed.instances) == (
        ReviewState.ACCEPTED,
        True,
        (),
    )


def test_two_regions_for_one_instance_are_refused(make_sample):
    sample = make_sample()
    drawing = shown(sample)
    twice = dataclasses.replace(drawing, regions=(*drawing.regions, drawing.regions[0]))
    with pytest.raises(ItemFault) as caught:
        judge(sample, twice, "ann")
    assert caught.value.reason is Reason.DUPLICATE_ID


def test_a_verdict_on_another_picture_size_is_refused(make_sample):
    sample, other = make_sample(0), make_sample(10)
    with pytest.raises(ItemFault) as caught:
        apply_alone(other, verdict_of(sample, shown(sample)))
    assert caught.value.reason is Reason.SIZE_MISMATCH


@pytest.mark.parametrize("outcome", [Outcome.WAITING, Outcome.CONTESTED])
def test_while_people_wait_or_disagree_the_sample_only_says_who_has_looked(make_sample, outcome):
    sample = make_sample()
    moment = "2026-01-01T00:00:00Z"
    decision = Decision(outcome, reviewers=("Ann", "Bob"), reviewed_at=moment, note="hm", agreement=0.5)
    review = Review(ReviewState.NOT_SEEN, ("Ann", "Bob"), moment, "hm", "", 0.5)
    assert apply_decision(sample, decision) == dataclasses.replace(sample, review=review)


def test_nobodys_word_changes_nothing(make_sample):
    sample = make_sample(review=Review(ReviewState.ACCEPTED, ("Cleo",)))
    assert apply_decision(sample, Decision(Outcome.WAITING)) is sample


@pytest.mark.parametrize("outcome", [Outcome.AGREED, Outcome.SETTLED])
def test_a_decision_becomes_the_labelling_and_says_how_it_came_about(make_sample, outcome):
    sample = make_sample()
    moved = FaceBox(0, (50.0, 40.0, 150.0, 170.0))
    decision = Decision(
        outcome, ReviewState.CORRECTED, sample.instances[:1], (moved,), "Ann+Bob", ("Ann", "Bob", "Cleo"),
        "2026-01-01T00:00:00Z", "hm", "staple", 0.93,
    )  # fmt: skip
    reviewed = apply_decision(sample, decision)
    assert reviewed.is_labelled
    assert reviewed.instances == sample.instances[:1]
    assert reviewed.faces[0].detector == "human:Ann+Bob"
    assert reviewed.review == Review(
        ReviewState.CORRECTED, ("Ann", "Bob", "Cleo"), "2026-01-01T00:00:00Z", "hm", "staple", 0.93
    )


def test_a_changed_draft_is_nobodys_consensus_any_more(make_sample):
    sample = make_sample()
    merged = tuple(
        dataclasses.replace(
            item, drawn_by="human:Ann+Bob", confidence=None, attributes=((CONSENSUS, "majority"),)
        )
        for item in sample.instances
    )
    sample = dataclasses.replace(sample, instances=merged)
    mask = one_pixel_off(merged[0].mask)
    _, (changed, kept) = judge(sample, with_first_region(shown(sample), mask=mask), "cleo")
    assert (changed.drawn_by, changed.attribute(CONSENSUS)) == ("human:cleo", "")
    assert kept == merged[1]


# Strokes: on a picture of 100 x 200 with a face in either half.

LEFT, RIGHT = FaceBox(0, (0.0, 0.0, 100.0, 100.0)), FaceBox(-1, (100.0, 0.0, 200.0, 100.0))


def stroke(key, x0, x1, y0=10, y1=20, label=Label.FACE_MASK, shown_as="", **chosen) -> Region:
    mask = np.zeros((100, 200), bool)
    mask[y0:y1, x0:x1] = True
    return Region(shown_as, key, label, mask_to_rle(mask), tuple(sorted(chosen.items())))


def joined(make_sample, *regions, instances=(), boxes=(LEFT, RIGHT)):
    """Ids and horizontal extents of the instances that the regions make."""
    sample = make_sample(instances=instances, faces=())
    state, found = judge(sample, Drawing(regions, boxes), "ann")
    pixels = sum(region.mask.area_px for region in regions)
    assert sum(item.mask.area_px for item in found) <= pixels
    assert state is ReviewState.CORRECTED
    return {item.id: item.mask.box_xyxy[::2] for item in found}


@pytest.mark.parametrize("label", Label)
@pytest.mark.parametrize("start", [50, 59, 60], ids=["overlapping", "overlapping by one", "side by side"])
def test_two_strokes_that_touch_are_one_instance(make_sample, label, start):
    strokes = [stroke("1", 40, 60, label=label), stroke("2", start, 80, label=label)]
    assert joined(make_sample, *strokes) == {"drawn-1": (40, 80)}
    assert joined(make_sample, *strokes[::-1]) == {"drawn-2": (40, 80)}


def test_strokes_that_touch_at_a_corner_are_one_instance(make_sample):
    strokes = [stroke("1", 40, 60, 10, 20, Label.STRAP), stroke("2", 60, 80, 20, 30, Label.STRAP)]
    assert joined(make_sample, *strokes) == {"drawn-1": (40, 80)}


@pytest.mark.parametrize("label", [Label.OCCLUDER, Label.STRAP, Label.FACE])
def test_strokes_apart_stay_two(make_sample, label):
    strokes = [stroke("1", 40, 60, label=label), stroke("2", 61, 80, label=label)]
    assert joined(make_sample, *strokes) == {"drawn-1": (40, 60), "drawn-2": (61, 80)}


def test_one_face_wears_one_mask_in_however_many_strokes(make_sample):
    strokes = [stroke("1", 10, 20), stroke("2", 40, 60), stroke("3", 80, 90)]
    assert joined(make_sample, *strokes) == {"drawn-1": (10, 90)}
    assert len(joined(make_sample, *strokes, boxes=())) == 3


@pytest.mark.parametrize("label", [Label.FACE_MASK, Label.FACE, Label.STRAP])
def test_strokes_on_two_faces_stay_two_also_where_they_meet(make_sample, label):
    strokes = [stroke("1", 80, 100, label=label), stroke("2", 100, 120, label=label)]
    assert joined(make_sample, *strokes) == {"drawn-1": (80, 100), "drawn-2": (100, 120)}


def test_a_stroke_between_two_faces_joins_only_one_of_them(make_sample):
    boxes = (FaceBox(0, (0.0, 0.0, 90.0, 100.0)), FaceBox(1, (110.0, 0.0, 200.0, 100.0)))
    strokes = [stroke("1", 70, 90), stroke("2", 90, 110), stroke("3", 110, 130)]
    assert joined(make_sample, *strokes, boxes=boxes) == {"drawn-1": (70, 110), "drawn-3": (110, 130)}


def test_an_occluder_may_lie_over_two_faces(make_sample):
    strokes = [stroke("1", 80, 100, label=Label.OCCLUDER), stroke("2", 100, 120, label=Label.OCCLUDER)]
    assert joined(make_sample, *strokes) == {"drawn-1": (80, 120)}


def test_strokes_of_different_labels_never_join(make_sample):
    strokes = [stroke("1", 40, 60), stroke("2", 50, 70, label=Label.OCCLUDER)]
    assert joined(make_sample, *strokes) == {"drawn-1": (40, 60), "drawn-2": (50, 70)}


def test_a_stroke_between_two_begun_objects_makes_them_one(make_sample):
    strokes = [stroke(key, x, x + 20, label=Label.STRAP) for key, x in (("1", 0), ("2", 40), ("3", 20))]
    assert joined(make_sample, *strokes) == {"drawn-1": (0, 60)}


def proposed(key, region: Region, face=-1) -> Instance:
    return Instance(key, region.label, region.mask, "model:unet@1", 0.9, face, None, region.attributes)


def test_a_stroke_that_touches_a_proposal_extends_it(make_sample):
    region = stroke("instance-p", 40, 60, shown_as="p", mask_type="cloth")
    more = stroke("1", 60, 80, mask_type="n95", wearing_state="correct")
    sample = make_sample(instances=(proposed("p", region),), faces=())
    for regions in ((region, more), (more, region)):
        state, (instance,) = judge(sample, Drawing(regions), "ann")
        assert (state, instance.id, instance.mask.box_xyxy) == (ReviewState.CORRECTED, "p", (40, 10, 80, 20))
        assert instance.attributes == (
            ("mask_type", "cloth"),
            (PROPOSED_BY, "model:unet@1"),
            ("wearing_state", "correct"),
        )


def test_a_stroke_within_a_proposal_changes_nothing(make_sample):
    region = stroke("instance-p", 40, 60, shown_as="p")
    sample = make_sample(instances=(proposed("p", region),), faces=())
    state, (instance,) = judge(sample, Drawing((region, stroke("1", 45, 50))), "ann")
    assert (state, instance.mask) == (ReviewState.ACCEPTED, region.mask)


def test_two_proposals_stay_two_whatever_is_drawn_between_them(make_sample):
    regions = [
        stroke(f"instance-{key}", x, x + 20, label=Label.STRAP, shown_as=key)
        for key, x in (("p", 0), ("q", 40))
    ]
    instances = tuple(proposed(region.instance_id, region) for region in regions)
    between = stroke("1", 20, 40, label=Label.STRAP)
    assert joined(make_sample, *regions, between, instances=instances) == {"p": (0, 40), "q": (40, 60)}


def test_a_proposal_belongs_to_its_own_face_wherever_its_pixels_lie(make_sample):
    region = stroke("instance-p", 110, 120, shown_as="p")
    instances = (proposed("p", region, face=0),)
    assert joined(make_sample, region, stroke("1", 30, 60), instances=instances) == {"p": (30, 120)}
    assert joined(make_sample, region, stroke("1", 120, 160), instances=instances) == {
        "p": (110, 120),
        "drawn-1": (120, 160),
    }


def test_what_touches_comes_before_what_lies_on_the_same_face(make_sample):
    regions = [stroke(f"instance-{key}", x, x + 10, shown_as=key) for key, x in (("p", 10), ("q", 40))]
    instances = tuple(proposed(region.instance_id, region) for region in regions)
    assert joined(make_sample, *regions, stroke("1", 50, 60), instances=instances) == {
        "p": (10, 20),
        "q": (40, 60),
    }


def test_a_stroke_lies_on_the_smaller_of_two_faces_that_hold_it(make_sample):
    inner = FaceBox(-1, (60.0, 0.0, 100.0, 100.0))
    strokes = [stroke("1", 65, 75), stroke("2", 20, 30)]
    for boxes in ((LEFT, inner), (inner, LEFT)):
        assert len(joined(make_sample, *strokes, boxes=boxes)) == 2
