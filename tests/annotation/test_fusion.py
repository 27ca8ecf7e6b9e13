from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from annotation.fusion import majority, staple, staple_probabilities
from dataset_tools.core.errors import MaskShapeError


def disc(radius: float, size_hw=(120, 130), centre_xy=(64, 60)) -> np.ndarray:
    y, x = np.mgrid[: size_hw[0], : size_hw[1]]
    return (x - centre_xy[0]) ** 2 + (y - centre_xy[1]) ** 2 <= radius**2


def radius_of(mask: np.ndarray) -> float:
    return float(np.sqrt(mask.sum() / np.pi))


masks_of_one_picture = st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 5)).flatmap(
    lambda size: st.lists(arrays(bool, size[:2]), min_size=size[2], max_size=size[2])
)


def shape_average_by_brute_force(masks: list[np.ndarray]) -> np.ndarray:
    """Straight from the paper's definition, pixel by pixel; only ties ask for it."""
    height, width = masks[0].shape
    pixels = list(itertools.product(range(height), range(width)))
    result = np.zeros((height, width), bool)
    for y, x in pixels:
        votes = sum(int(mask[y, x]) for mask in masks)
        total = 0.0
        for mask in masks:
            others = [np.hypot(y - v, x - u) for v, u in pixels if mask[v, u] != mask[y, x]]
            away = min(others, default=np.hypot(height, width))
            total += away if mask[y, x] else -away
        result[y, x] = total >= -1e-9 if 2 * votes == len(masks) else 2 * votes > len(masks)
    return result


@settings(deadline=None, max_examples=60)
@given(masks_of_one_picture)
def test_majority_is_the_vote_with_ties_broken_by_signed_distances(masks):
    assert np.array_equal(majority(masks), shape_average_by_brute_force(masks))


@settings(deadline=None, max_examples=60)
@given(masks_of_one_picture, st.randoms(use_true_random=False))
def test_the_order_of_people_changes_neither_majority_nor_staple(masks, random):
    order = list(range(len(masks)))
    random.shuffle(order)
    shuffled = [masks[index] for index in order]
    assert np.array_equal(majority(masks), majority(shuffled))
    (one, sensitivity, specificity), (two, *other) = staple(masks), staple(shuffled)
    assert np.array_equal(one, two)
    assert np.array_equal(sensitivity[order], other[0])
    assert np.array_equal(specificity[order], other[1])


@settings(deadline=None, max_examples=60)
@given(arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))), st.integers(1, 4))
def test_identical_masks_give_that_mask(mask, count):
    assert np.array_equal(majority([mask] * count), mask)
    fused, sensitivities, specificities = staple([mask] * count)
    assert np.array_equal(fused, mask)
    assert sensitivities.tolist() == specificities.tolist() == [1.0] * count


@pytest.mark.parametrize(("small", "large"), [(20, 30), (33, 50), (10, 11)])
def test_two_concentric_discs_average_to_the_disc_of_the_mean_radius(small, large):
    fused = majority([disc(small), disc(large)])
    assert radius_of(fused) == pytest.approx((small + large) / 2, abs=0.75)
    assert (disc(small) <= fused).all()
    assert (fused <= disc(large)).all()


def test_a_disc_moved_sideways_averages_to_the_middle():
    fused = majority([disc(30, centre_xy=(60, 60)), disc(30, centre_xy=(66, 60))])
    _, columns = np.nonzero(fused)
    assert columns.mean() == pytest.approx(63, abs=0.05)


def test_shape_averages_do_not_take_the_edge_of_the_picture_for_an_outline():
    near, far = np.zeros((40, 60), bool), np.zeros((40, 60), bool)
    near[:, :20], far[:, :30] = True, True
    assert majority([near, far])[:, :25].all()
    assert not majority([near, far])[:, 26:].any()


def test_two_of_three_outvote_the_third_whatever_the_distances():
    wild = np.zeros((120, 130), bool)
    wild[:, :5] = True
    assert np.array_equal(majority([disc(20), disc(20), wild]), disc(20))


def test_what_one_of_two_did_not_draw_at_all_is_not_there():
    assert not majority([disc(20), np.zeros((120, 130), bool)]).any()


def test_a_full_mask_and_an_empty_one_are_as_far_from_every_outline():
    assert majority([np.ones((5, 7), bool), np.zeros((5, 7), bool)]).all()


def noisy(kind: str, count: int, rng: np.random.Generator) -> list[np.ndarray]:
    if kind == "random":
        truth = rng.random((30, 40)) < 0.4
        return [truth ^ (rng.random(truth.shape) < rng.uniform(0.05, 0.25)) for _ in range(count)]
    y, x = np.mgrid[:80, :90]
    return [
        ((y - rng.normal(40, 2)) / rng.normal(20, 2)) ** 2
        + ((x - rng.normal(45, 2)) / rng.normal(25, 2)) ** 2
        < 1
        for _ in range(count)
    ]


def box_looked_at(masks: list[np.ndarray]) -> tuple[slice, slice]:
    rows, columns = np.nonzero(np.any(masks, axis=0))
    margin = max(round(0.1 * max(np.ptp(rows) + 1, np.ptp(columns) + 1)), 1)
    return (
        slice(max(rows.min() - margin, 0), rows.max() + 1 + margin),
        slice(max(columns.min() - margin, 0), columns.max() + 1 + margin),
    )


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("count", [2, 3, 5])
@pytest.mark.parametrize("kind", ["random", "ellipses"])
def test_staple_equals_simple_itk_on_the_same_crop(kind, count, seed):
    import SimpleITK

    masks = noisy(kind, count, np.random.default_rng(seed))
    box = box_looked_at(masks)
    reference = SimpleITK.STAPLEImageFilter()
    reference.SetForegroundValue(1)
    images = [SimpleITK.GetImageFromArray(mask[box].astype(np.uint8)) for mask in masks]
    expected = SimpleITK.GetArrayFromImage(reference.Execute(images))

    probabilities, sensitivities, specificities = staple_probabilities(masks)
    assert np.abs(probabilities[box] - expected).max() < 1e-3
    is_decided = np.abs(expected - 0.5) > 1e-3
    assert np.array_equal(staple(masks)[0][box][is_decided], (expected > 0.5)[is_decided])
    assert sensitivities == pytest.approx(reference.GetSensitivity(), abs=1e-5)
    assert specificities == pytest.approx(reference.GetSpecificity(), abs=1e-5)
    outside = np.ones(masks[0].shape, bool)
    outside[box] = False
    assert not probabilities[outside].any()


def test_staple_trusts_the_careful_more_than_the_careless():
    rng = np.random.default_rng(0)
    truth = disc(50)
    careless = [truth ^ (rng.random(truth.shape) < 0.2) for _ in range(2)]
    careful = truth ^ (rng.random(truth.shape) < 0.01)
    fused, sensitivities, specificities = staple([*careless, careful])
    assert sensitivities.argmax() == specificities.argmax() == 2
    assert (fused != truth).mean() < 0.02 < (majority([*careless, careful]) != truth).mean()


def test_with_two_people_staple_goes_with_the_larger_of_what_both_claim_and_both_leave_out():
    one, other = np.zeros((60, 60), bool), np.zeros((60, 60), bool)
    one[10:50, 10:48], other[10:50, 12:50] = True, True
    assert np.array_equal(staple([one, other])[0], one | other)
    one[12:48, 14:46] = other[12:48, 14:46] = False
    assert np.array_equal(staple([one, other])[0], one & other)


def test_where_staple_cannot_decide_between_two_people_shapes_are_averaged():
    fused, *_ = staple([disc(20), disc(30)])
    assert np.array_equal(fused, majority([disc(20), disc(30)]))


def test_staple_of_empty_masks_is_empty():
    fused, sensitivities, specificities = staple([np.zeros((4, 5), bool)] * 2)
    assert not fused.any()
    assert sensitivities.tolist() == specificities.tolist() == [1.0, 1.0]


@pytest.mark.parametrize("fuse", [majority, staple])
def test_masks_have_to_be_there_and_of_one_size(fuse):
    with pytest.raises(ValueError, match="no masks"):
        fuse([])
    with pytest.raises(MaskShapeError, match="shapes"):
        fuse([np.zeros((4, 5), bool), np.zeros((5, 4), bool)])
