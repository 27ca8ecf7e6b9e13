from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from annotation.codec import decode_results, encode_results
from annotation.judging import PROPOSED_BY, apply_verdict, judge
from annotation.verdict import Verdict
from dataset_tools.core.errors import ItemFault
from dataset_tools.core.labels import Label
from dataset_tools.core.masks import mask_to_rle, rle_to_mask
from dataset_tools.core.reasons import Reason
from dataset_tools.core.record import ImageRef, ReviewState


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


def one_pixel_off(rle):
    mask = rle_to_mask(rle)
    mask[0, 0] ^= True
    return mask_to_rle(mask)


def test_an_untouched_proposal_is_accepted_bit_for_bit_and_becomes_the_reviewers(make_sample):
    sample = make_sample()
    reviewed = apply_verdict(sample, verdict_of(sample, shown(sample)))
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
    reviewed = apply_verdict(sample, verdict_of(sample, with_first_region(drawing, mask=mask)))
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
    reviewed = apply_verdict(sample, verdict_of(sample, drawing))
    assert reviewed.review.state is ReviewState.CORRECTED
    assert [item.face for item in reviewed.instances] == [0, 0, 0, -1]
    assert len({item.id for item in reviewed.instances}) == 4


def test_a_moved_box_loses_its_landmarks_and_an_added_one_becomes_a_face(make_sample):
    sample = make_sample()
    drawing = shown(sample)
    moved = dataclasses.replace(drawing.boxes[0], box_xyxy=(50.0, 40.0, 150.0, 170.0))
    added = dataclasses.replace(moved, face=-1, box_xyxy=(0.0, 0.0, 200.0, 250.0))
    reviewed = apply_verdict(sample, verdict_of(sample, dataclasses.replace(drawing, boxes=(moved, added))))
    assert reviewed.review.state is ReviewState.CORRECTED
    large, small = reviewed.faces
    assert (large.box_xyxy, large.detector) == (added.box_xyxy, "human:ann")
    assert (small.box_xyxy, small.landmarks_xyz) == (moved.box_xyxy, ())
    assert [item.face for item in reviewed.instances] == [1, 1]


def test_rejected_samples_leave_with_the_reviewers_note(make_sample):
    sample = make_sample()
    verdict = verdict_of(sample, dataclasses.replace(shown(sample), verdict="reject", note="a drawing"))
    assert verdict.state is ReviewState.REJECTED
    with pytest.raises(ItemFault, match="rejected by ann: a drawing") as caught:
        apply_verdict(sample, verdict)
    assert caught.value.reason is Reason.REVIEW_REJECTED


def test_fix_without_a_change_leaves_the_sample_a_proposal(make_sample):
    sample = make_sample()
    verdict = verdict_of(sample, dataclasses.replace(shown(sample), verdict="fix", note="strap missing"))
    reviewed = apply_verdict(sample, verdict)
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
    assert apply_verdict(sample, verdict_of(sample, drawing)).instances == rendered
    changed = with_first_region(drawing, mask=one_pixel_off(drawing.regions[0].mask))
    first, second = apply_verdict(sample, verdict_of(sample, changed)).instances
    assert (first.drawn_by, first.soft) == ("human:ann", None)
    assert second == rendered[1]


def test_an_empty_picture_accepted_is_a_ground_truth_without_instances(make_sample):
    sample = make_sample(instances=(), faces=())
    reviewed = apply_verdict(sample, verdict_of(sample, shown(sample)))
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
        apply_verdict(other, verdict_of(sample, shown(sample)))
    assert caught.value.reason is Reason.SIZE_MISMATCH
