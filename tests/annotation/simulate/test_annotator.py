"""A simulated person at one picture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from annotation.judging import judge
from annotation.label_studio.codec import decode_results
from annotation.simulate.annotator import act
from annotation.simulate.errors import ErrorModel, drawn, flawed
from annotation.simulate.shapes import diameter_px, mask_iou
from annotation.simulate.submit import simulated_results
from annotation.simulate.work import TimeModel, count_strokes
from dataset_tools.core.labels import Label
from dataset_tools.core.masks import mask_to_rle, rle_to_mask
from dataset_tools.core.record import Instance, ReviewState, Sample
from dataset_tools.core.seeds import derive_seed

MODEL = "model:unet@0123456789ab"
STEADY = ErrorModel(boundary_px=0, miss_hole=0, miss_instance=0, wrong_choice=0, wrong_class=0, laziness=0)
SampleMaker = Callable[..., Sample]


@pytest.fixture
def truth(make_sample: SampleMaker) -> tuple[Instance, ...]:
    """Face mask with a hole and choices, and the face round it."""
    return tuple(replace(item, drawn_by="published:x", confidence=None) for item in make_sample().instances)


def proposal(truth: tuple[Instance, ...]) -> tuple[Instance, ...]:
    return tuple(replace(item, drawn_by=MODEL, confidence=0.9) for item in truth)


def test_a_perfect_proposal_is_accepted_without_a_stroke(
    make_sample: SampleMaker, truth: tuple[Instance, ...]
) -> None:
    clumsy = ErrorModel(boundary_px=9, miss_hole=1, miss_instance=1, wrong_choice=1, wrong_class=1, eye=1)
    sample = make_sample(instances=proposal(truth))
    for seed in range(20):
        made = act(sample, truth, clumsy, seed)
        assert (made.strokes, made.is_unchanged) == (0, True)
        assert judge(sample, made.drawing, "x")[0] is ReviewState.ACCEPTED
    assert made.seconds == TimeModel().look_s + TimeModel().click_s


def test_without_a_proposal_the_picture_is_painted_from_nothing(
    make_sample: SampleMaker, truth: tuple[Instance, ...]
) -> None:
    sample = make_sample(instances=())
    model = ErrorModel(miss_instance=0, laziness=1.0)  # nothing is shown: there is nothing to accept
    made = act(sample, truth, model, 3)
    own = derive_seed(3, sample.id, "annotator")
    expected = drawn(truth, sample.image.size_hw, model, own)
    assert [region.mask for region in made.drawing.regions] == [item.mask for item in expected]
    assert not any(region.instance_id for region in made.drawing.regions)
    assert not made.is_unchanged
    # The mask in 8 strokes; the face is a crescent of two parts and costs what its parts cost.
    clicks = 2 + 2 + 1  # two labels, two choices, submit
    assert made.seconds == pytest.approx(TimeModel().seconds(looks=1, strokes=made.strokes, clicks=clicks))
    only_mask = act(sample, truth[:1], replace_model(model, wrong_choice=0.0), 3)
    assert only_mask.strokes == 8


def replace_model(model: ErrorModel, **changes: float) -> ErrorModel:
    return model.model_copy(update=changes)


def test_a_useless_proposal_costs_one_deletion_more_than_none(
    make_sample: SampleMaker, truth: tuple[Instance, ...]
) -> None:
    corner = np.zeros(make_sample().image.size_hw, dtype=bool)
    corner[:12, :12] = True
    stray = Instance("stray", Label.FACE_MASK, mask_to_rle(corner), MODEL, 0.5)
    from_nothing = act(make_sample(instances=()), truth, STEADY, 1)
    with_stray = act(make_sample(instances=(stray,)), truth, STEADY, 1)
    assert with_stray.drawing == from_nothing.drawing
    assert with_stray.strokes == from_nothing.strokes
    assert with_stray.seconds == pytest.approx(from_nothing.seconds + TimeModel().click_s)


def test_a_lazy_person_submits_what_is_shown(make_sample: SampleMaker, truth: tuple[Instance, ...]) -> None:
    sample = make_sample(instances=flawed(truth, make_sample().image.size_hw, 1, MODEL))
    made = act(sample, truth, replace_model(STEADY, laziness=1.0), 1)
    assert (made.is_unchanged, made.strokes, made.seconds) == (True, 0, TimeModel().click_s)
    assert judge(sample, made.drawing, "x")[0] is ReviewState.ACCEPTED


def test_the_eye_decides_from_where_a_difference_is_seen(
    make_sample: SampleMaker, truth: tuple[Instance, ...]
) -> None:
    mask = rle_to_mask(truth[0].mask)
    shifted = np.roll(mask, 2, axis=1)
    overlap = mask_iou(mask, shifted)
    shown = (replace(proposal(truth)[0], mask=mask_to_rle(shifted)), proposal(truth)[1])
    sample = make_sample(instances=shown)
    blunt = act(sample, truth, replace_model(STEADY, eye=overlap - 0.01), 1)
    assert blunt.is_unchanged
    sharp = act(sample, truth, replace_model(STEADY, eye=overlap + 0.01), 1)
    assert sharp.strokes > 0
    (found,) = (region for region in sharp.drawing.regions if region.label is Label.FACE_MASK)
    assert mask_iou(rle_to_mask(found.mask), mask) > overlap


def test_one_noticed_lump_is_mended_and_the_rest_stays_the_proposals(
    make_sample: SampleMaker, truth: tuple[Instance, ...]
) -> None:
    mask = rle_to_mask(truth[0].mask)
    (x0, y0, _, _) = truth[0].mask.box_xyxy
    lumpy = mask.copy()
    lumpy[y0 + 8 : y0 + 48, x0 - 12 : x0 + 6] = True
    lump = lumpy & ~mask
    lumpy[-1, -1] = True  # below anybody's notice
    shown = (replace(proposal(truth)[0], mask=mask_to_rle(lumpy)), proposal(truth)[1])
    made = act(make_sample(instances=shown), truth, replace_model(STEADY, eye=0.9), 1)
    assert made.strokes == count_strokes(lump, diameter_px(mask)) < 8
    left = np.zeros_like(mask)
    left[-1, -1] = True
    assert (rle_to_mask(made.drawing.regions[0].mask) == (mask | left)).all()


def test_a_filled_hole_is_noticed_whatever_its_share(
    make_sample: SampleMaker, truth: tuple[Instance, ...]
) -> None:
    mask = rle_to_mask(truth[0].mask)
    x0, y0, x1, y1 = truth[0].mask.box_xyxy
    filled = mask.copy()
    filled[y0 + 15 : y1 - 15, x0 + 15 : x1 - 15] = True
    shown = (replace(proposal(truth)[0], mask=mask_to_rle(filled)), proposal(truth)[1])
    sample = make_sample(instances=shown)
    seeing = act(sample, truth, replace_model(STEADY, eye=0.8), 1)
    assert seeing.drawing.regions[0].mask == truth[0].mask
    assert seeing.strokes == 1
    blind = act(sample, truth, replace_model(STEADY, eye=0.8, miss_hole=1.0), 1)
    assert blind.is_unchanged


def test_a_wrong_label_and_a_missing_choice_cost_a_click_each(
    make_sample: SampleMaker, truth: tuple[Instance, ...]
) -> None:
    wrong = replace(proposal(truth)[0], label=Label.OCCLUDER, attributes=(("mask_type", "cloth"),))
    sample = make_sample(instances=(wrong, proposal(truth)[1]))
    made = act(sample, truth, STEADY, 1)
    assert made.strokes == 0
    assert not made.is_unchanged
    assert made.seconds == pytest.approx(TimeModel().seconds(looks=1, strokes=0, clicks=3))
    state, instances = judge(sample, made.drawing, "x")
    assert state is ReviewState.CORRECTED
    assert instances[0].label is Label.FACE_MASK
    assert instances[0].attributes == (
        ("mask_type", "cloth"),
        ("proposed_by", MODEL),
        ("wearing_state", "nose_out"),
    )


def test_the_same_seed_gives_the_same_act_and_another_one_differs(
    make_sample: SampleMaker, truth: tuple[Instance, ...]
) -> None:
    sample = make_sample(instances=flawed(truth, make_sample().image.size_hw, 2, MODEL))
    model = ErrorModel(boundary_px=2.0)
    assert act(sample, truth, model, 1) == act(sample, truth, model, 1)
    assert act(sample, truth, model, 1) != act(sample, truth, model, 2)


@pytest.mark.parametrize("number", range(4))
def test_what_is_submitted_is_read_back_as_the_same_drawing(
    make_sample: SampleMaker, truth: tuple[Instance, ...], number: int
) -> None:
    instances = () if number == 0 else flawed(truth, make_sample().image.size_hw, number, MODEL)
    sample = make_sample(instances=instances)
    made = act(sample, truth, ErrorModel(laziness=0.0), number)
    said = replace(made.drawing, verdict="fix", note="hard light") if number == 3 else made.drawing
    back = decode_results(simulated_results(said, sample.image.size_hw), sample.image.size_hw)
    assert judge(sample, back, "x") == judge(sample, said, "x")
    assert [(one.instance_id, one.label, one.mask, one.attributes) for one in back.regions] == [
        (one.instance_id, one.label, one.mask, one.attributes) for one in said.regions
    ]
    assert (back.verdict, back.note) == (said.verdict, said.note)
    assert [box.face for box in back.boxes] == [box.face for box in said.boxes]
