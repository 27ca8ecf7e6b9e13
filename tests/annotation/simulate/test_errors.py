"""The error model does what its figures say."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest

from annotation.simulate.errors import ErrorModel, displaced, drawn, flawed, seen
from annotation.simulate.shapes import holes, mask_iou, signed_distance, smooth_noise
from dataset_tools.core.errors import MaskShapeError
from dataset_tools.core.labels import MASK_TYPES, Label
from dataset_tools.core.masks import BoolMask, mask_to_rle, rle_to_mask
from dataset_tools.core.record import Instance

SIZE_HW = (180, 200)
PERFECT = ErrorModel(
    boundary_px=0, miss_hole=0, miss_instance=0, wrong_choice=0, wrong_class=0, laziness=0, eye=1
)


def ring(hole_px: int = 12) -> BoolMask:
    y, x = np.mgrid[: SIZE_HW[0], : SIZE_HW[1]]
    away = np.hypot((x - 100) / 1.3, y - 90)
    return (away < 50) & ~(np.hypot(x - 100, y - 95) < hole_px)


def one(mask: BoolMask, label: Label = Label.FACE_MASK, name: str = "m", **more: object) -> Instance:
    attributes = (("mask_type", "cloth"), ("wearing_state", "correct"))
    return Instance(name, label, mask_to_rle(mask), "published:x", attributes=attributes, **more)  # type: ignore[arg-type]


def within(count: int, tries: int, chance: float) -> bool:
    """Inside five standard deviations of the binomial: a right figure fails once in two million."""
    return abs(count - tries * chance) <= 5 * math.sqrt(tries * chance * (1 - chance))


def test_a_perfect_person_draws_the_truth_exactly() -> None:
    truth = (one(ring()), one(np.eye(*SIZE_HW, dtype=bool), Label.STRAP, "s"))
    for instance, copy in zip(truth, drawn(truth, SIZE_HW, PERFECT, 1), strict=True):
        assert (copy.id, copy.label, copy.mask, copy.attributes) == (
            instance.id,
            instance.label,
            instance.mask,
            instance.attributes,
        )


def test_overlap_falls_with_the_boundary_error() -> None:
    means = []
    for boundary_px in (0.0, 0.5, 1.0, 2.0, 4.0, 8.0):
        model = PERFECT.model_copy(update={"boundary_px": boundary_px})
        made = [drawn((one(ring()),), SIZE_HW, model, seed)[0] for seed in range(20)]
        means.append(np.mean([mask_iou(rle_to_mask(item.mask), ring()) for item in made]))
    assert means[0] == 1.0
    assert all(later < earlier for earlier, later in itertools.pairwise(means))


def test_the_outline_moves_as_far_as_the_model_says() -> None:
    disc = ring(hole_px=0)
    diameter = math.sqrt(4 * disc.sum() / math.pi)
    widths = []
    for seed in range(200):
        moved = displaced(disc, 2.0, 3.0, np.random.default_rng(seed))
        widths.append((float(moved.sum()) - float(disc.sum())) / (math.pi * diameter))
    # Averaged over the outline and many hands, the area grows by the bias times the outline.
    assert np.mean(widths) == pytest.approx(0.03 * diameter, rel=0.15)


def test_noise_has_unit_deviation_and_moves_together_within_its_length() -> None:
    fields = np.stack([smooth_noise((60, 80), 12.0, np.random.default_rng(seed)) for seed in range(400)])
    assert fields.std() == pytest.approx(1.0, abs=0.05)
    assert abs(fields.mean()) < 0.05
    near = np.mean(fields[:, 30, 20] * fields[:, 30, 23])
    far = np.mean(fields[:, 30, 5] * fields[:, 30, 75])
    # White noise blurred with a Gaussian of deviation s correlates as exp(-d^2 / (4 s^2)).
    assert near == pytest.approx(math.exp(-9 / (4 * 144)), abs=0.12)
    assert abs(far) < 0.2


def test_signed_distance_has_the_sign_of_the_mask_and_counts_from_the_outline() -> None:
    mask = np.zeros((9, 9), dtype=bool)
    mask[:, :4] = True
    distance = signed_distance(mask)
    assert distance[4].tolist() == [3.5, 2.5, 1.5, 0.5, -0.5, -1.5, -2.5, -3.5, -4.5]
    assert ((distance > 0) == mask).all()


def test_over_painting_narrows_the_hole_and_widens_the_rest() -> None:
    model = PERFECT.model_copy(update={"bias_px": 3.0})
    mask = rle_to_mask(drawn((one(ring()),), SIZE_HW, model, 0)[0].mask)
    (before,), (after,) = holes(ring()), holes(mask)
    assert 0 < after.sum() < before.sum()
    assert mask.sum() > ring().sum()
    assert (mask & ring()).sum() == ring().sum()


def test_holes_instances_classes_and_choices_go_wrong_at_the_stated_rates() -> None:
    model = PERFECT.model_copy(
        update={"miss_hole": 0.3, "miss_instance": 0.2, "wrong_class": 0.15, "wrong_choice": 0.25}
    )
    tries = 600
    truth = one(ring())
    found = [item for seed in range(tries) for item in seen((truth,), model, seed)]
    assert within(tries - len(found), tries, 0.2)
    assert within(sum(item.mask == mask_to_rle(ring(0)) for item in found), len(found), 0.3)
    assert within(sum(item.label is Label.OCCLUDER for item in found), len(found), 0.15)
    assert within(sum(item.attribute("mask_type") != "cloth" for item in found), len(found), 0.25)
    assert {item.attribute("mask_type") for item in found} == set(MASK_TYPES)


def test_what_a_proposal_shows_right_is_not_missed() -> None:
    model = PERFECT.model_copy(
        update={"miss_hole": 1.0, "miss_instance": 1.0, "wrong_class": 1.0, "wrong_choice": 1.0}
    )
    truth = one(ring())
    assert seen((truth,), model, 0) == ()
    (found,) = seen((truth,), model, 0, {"m": truth})
    assert found == truth
    filled = replace(truth, mask=mask_to_rle(ring(0)), attributes=())
    (fooled,) = seen((truth,), model, 0, {"m": filled})
    assert fooled.mask == filled.mask
    assert fooled.attribute("mask_type") not in ("", "cloth")


def test_what_one_instance_gets_does_not_depend_on_the_others() -> None:
    model = ErrorModel(miss_instance=0.0)
    first, second = one(ring(), name="a"), one(ring(5), name="b")
    together = {item.id: item for item in drawn((first, second), SIZE_HW, model, 3)}
    assert drawn((second,), SIZE_HW, model, 3) == (together["b"],)
    assert drawn((second, first), SIZE_HW, model, 3) == (together["b"], together["a"])
    assert drawn((first,), SIZE_HW, model, 4) != (together["a"],)


def test_a_mask_without_outline_stays_and_another_size_is_refused() -> None:
    full = np.ones(SIZE_HW, dtype=bool)
    (kept,) = drawn((one(full),), SIZE_HW, ErrorModel(miss_instance=0.0), 0)
    assert kept.mask == mask_to_rle(full)
    for function in (
        lambda: drawn((one(full),), (5, 5), PERFECT, 0),
        lambda: flawed((one(full),), (5, 5), 0, "model:m@1"),
    ):
        with pytest.raises(MaskShapeError, match=r"\(180, 200\)"):
            function()


def test_a_flawed_proposal_is_visibly_but_not_absurdly_wrong() -> None:
    made = [flawed((one(ring()),), SIZE_HW, seed, "model:unet@1")[0] for seed in range(150)]
    overlaps = np.array([mask_iou(rle_to_mask(item.mask), ring()) for item in made])
    assert overlaps.min() > 0.5
    assert overlaps.max() < 1.0
    low, middle, high = np.percentile(overlaps, [5, 50, 95])
    assert 0.6 < low < 0.8
    assert 0.78 < middle < 0.92
    assert 0.88 < high < 0.96
    assert within(sum(not holes(rle_to_mask(item.mask)) for item in made), 150, 0.5)


def test_a_flawed_proposal_looks_like_any_other() -> None:
    soft = one(ring(), face=2)
    (made,) = flawed((soft,), SIZE_HW, 5, "model:unet@0123456789ab")
    assert made.is_proposal
    assert made.drawn_by == "model:unet@0123456789ab"
    assert (made.id, made.label, made.attributes, made.face) == ("m", Label.FACE_MASK, soft.attributes, 2)
    assert made.soft is None
    assert made.confidence is not None
    assert 0.5 <= made.confidence <= 0.98
    assert flawed((soft,), SIZE_HW, 5, "model:unet@0123456789ab") == (made,)
