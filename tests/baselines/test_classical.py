"""Closed forms and independent references for the methods without gradient steps."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.filters import threshold_otsu

from baselines.classical import spectral
from baselines.classical.compensation import (
    COMPENSATIONS,
    back_projection,
    combined,
    grey_world,
    illuminant,
    improved_grey_world,
    inhibition,
)
from baselines.classical.components import closed, components, filled, largest
from baselines.classical.connectivity import Candidate, candidates, is_kept, local_variance
from baselines.classical.edge import canny_levels, edge_mask
from baselines.classical.fuzzy import fuzzy_c_means, memberships, standardised
from baselines.classical.grabcut import grabcut, grabcut_rectangle
from baselines.classical.level_set import chan_vese_within
from baselines.classical.lower_face import Box, back_to, fit_lower_face, lower_face
from baselines.classical.otsu import above_otsu, otsu_level, otsu_mask
from baselines.classical.pipeline import SpectralOptions, fit_spectral, prepared, spectral_mask
from baselines.classical.prior import average_mask, fit_average_mask
from dataset_tools.core.errors import ConfigError


def colour(red: int, green: int, blue: int, side: int = 8) -> np.ndarray:
    return np.full((side, side, 3), (red, green, blue), dtype=np.uint8)


def noise(seed: int, side: int = 64) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3)).astype(np.uint8)


def half(side: int = 8) -> np.ndarray:
    mask = np.zeros((side, side), dtype=bool)
    mask[side // 2 :] = True
    return mask


@pytest.mark.parametrize(
    ("rgb", "expected"),
    [((0, 90, 255), 1), ((255, 90, 0), -1), ((80, 10, 80), 0), ((0, 0, 0), 0), ((50, 9, 150), 0.5)],
)
def test_nbri_is_the_share_by_which_blue_outweighs_red(rgb: tuple[int, int, int], expected: float) -> None:
    assert spectral.nbri(colour(*rgb)) == pytest.approx(expected, abs=1e-5)


def test_nmri_follows_saturation_minus_intensity() -> None:
    # R, G, B = 1, .5, 0: I = .5 and S = 1 - 0 / .5 = 1, so NMRI = .5 / 1.5.
    saturation, intensity = spectral.saturation_and_intensity(np.full((2, 2, 3), (204, 102, 0), np.uint8))
    assert saturation == pytest.approx(1)
    assert intensity == pytest.approx(0.4)
    assert spectral.nmri(colour(204, 102, 0)) == pytest.approx(0.6 / 1.4, abs=1e-5)
    assert spectral.nmri(colour(255, 255, 255)) == pytest.approx(-1, abs=1e-5)
    assert spectral.nmri(colour(0, 0, 0)) == pytest.approx(1, abs=1e-5)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_indices_stay_between_minus_one_and_one(seed: int) -> None:
    rgb = noise(seed, 8)
    for index in (spectral.nbri(rgb), spectral.nmri(rgb)):
        assert index.dtype == np.float32
        assert np.abs(index).max() <= 1


@pytest.mark.parametrize("seed", range(6))
def test_otsu_level_is_that_of_scikit_image(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = np.concatenate([rng.normal(70, 15, 900), rng.normal(170, 20, 600)]).clip(0, 255).astype(np.uint8)
    level, reference = otsu_level(values), int(threshold_otsu(values))
    assert np.count_nonzero(values > level) == np.count_nonzero(values > reference)


def test_otsu_of_a_constant_has_an_empty_upper_class() -> None:
    assert otsu_level(np.full(9, 77, np.uint8)) == 77
    assert not above_otsu(np.full((3, 3), 0.2, np.float32), np.ones((3, 3), bool)).any()


def test_otsu_mask_takes_the_more_frequent_side_and_stays_inside() -> None:
    rgb = colour(20, 20, 20)
    rgb[4:, 2:] = 240
    assert np.array_equal(otsu_mask(rgb, half()), half() & (rgb[..., 0] == 240))
    rgb[4:, 2:], rgb[4:, :2] = 5, 240
    assert np.array_equal(otsu_mask(rgb, half()), half() & (rgb[..., 0] == 5))


def slow_fuzzy_step(points: np.ndarray, centres: np.ndarray, m: float) -> tuple[np.ndarray, np.ndarray]:
    """Memberships and new centres by the formulas as printed, one number at a time."""
    u = np.zeros((len(centres), len(points)))
    for i, _ in enumerate(centres):
        for k, point in enumerate(points):
            d_i = math.dist(point, centres[i])
            u[i, k] = 1 / sum((d_i / math.dist(point, other)) ** (2 / (m - 1)) for other in centres)
    new = [
        sum(u[i, k] ** m * point for k, point in enumerate(points))
        / sum(u[i, k] ** m for k in range(len(points)))
        for i in range(len(centres))
    ]
    return u, np.array(new)


@pytest.mark.parametrize("m", [1.5, 2.0, 3.0])
def test_fuzzy_c_means_ends_at_a_fixed_point_of_the_printed_formulas(m: float) -> None:
    points = np.random.default_rng(3).normal(size=(60, 3))
    found = fuzzy_c_means(points, 3, m=m, most=2000, tol=1e-10)
    assert found.has_converged
    u, centres = slow_fuzzy_step(points, found.centres, m)
    np.testing.assert_allclose(memberships(points, found.centres, m), u, atol=1e-9)
    np.testing.assert_allclose(found.centres, centres, atol=1e-7)


def test_one_update_is_that_of_the_slow_loop() -> None:
    points = np.random.default_rng(8).normal(size=(40, 2))
    one, two = (fuzzy_c_means(points, 3, most=count, tol=0) for count in (1, 2))
    np.testing.assert_allclose(two.centres, slow_fuzzy_step(points, one.centres, 2.0)[1], atol=1e-12)
    assert (one.iterations, one.has_converged) == (1, False)


@pytest.mark.parametrize("seed", range(5))
def test_fuzzy_c_means_finds_separate_clusters_from_any_seed(seed: int) -> None:
    rng = np.random.default_rng(1)
    truth = np.array([[0.0, 0.0], [20.0, 0.0], [0.0, 20.0]])
    points = np.concatenate([rng.normal(centre, 0.3, (50, 2)) for centre in truth])
    centres = fuzzy_c_means(points, 3, seed=seed).centres
    assert sorted(np.round(centres).tolist()) == sorted(truth.tolist())


def test_memberships_sum_to_one_even_on_a_centre_and_on_two() -> None:
    centres = np.array([[0.0], [1.0], [1.0]])
    shares = memberships(np.array([[0.0], [1.0], [7.0]]), centres)
    assert shares.sum(axis=0) == pytest.approx(1)
    assert shares[:, 0] == pytest.approx([1, 0, 0])
    assert shares[:, 1] == pytest.approx([0, 0.5, 0.5])


def test_fuzzy_c_means_of_one_point_repeated_has_that_centre() -> None:
    found = fuzzy_c_means(np.full((5, 2), 3.0), 3)
    assert found.centres == pytest.approx(3)
    assert found.has_converged


def test_a_constant_column_standardises_to_zero() -> None:
    points = np.stack([np.full(50, 0.1), np.arange(50.0)], axis=1)
    columns = standardised(points)
    assert not columns[:, 0].any()
    assert columns[:, 1].std() == pytest.approx(1)


def test_grey_world_makes_the_means_of_the_channels_equal() -> None:
    means = grey_world(noise(0) // 2, half(64)).reshape(-1, 3).mean(axis=0)
    assert means.max() - means.min() < 0.2
    assert np.array_equal(grey_world(colour(90, 60, 30), half()), colour(60, 60, 60))
    assert not grey_world(colour(0, 0, 0), half()).any()


@given(st.integers(0, 255), st.floats(1, 10))
@settings(max_examples=30, deadline=None)
def test_the_light_of_a_constant_area_is_its_colour(value: int, t: float) -> None:
    assert illuminant(np.full((7, 3), value, np.uint8), t) == pytest.approx(value)


def test_the_light_is_the_mean_for_norm_1_and_nears_the_maximum() -> None:
    pixels = np.array([[10, 0, 100], [30, 0, 200]], np.uint8)
    assert illuminant(pixels, 1) == pytest.approx([20, 0, 150])
    assert illuminant(pixels, 6) == pytest.approx(
        [30 * ((1 + 3**-6) / 2) ** (1 / 6), 0, 200 * (65 / 128) ** (1 / 6)]
    )


def test_improved_grey_world_gives_the_area_the_colour_of_the_rest() -> None:
    rgb = colour(200, 150, 120, 64)
    rgb[32:] = (60, 90, 180)
    smooth = cv2.GaussianBlur(rgb, (0, 0), 1.0).astype(float)
    light = [
        ((rows**6).sum(axis=(0, 1)) / (rows.shape[0] * rows.shape[1])) ** (1 / 6)
        for rows in np.split(smooth, 2)
    ]
    changed = improved_grey_world(rgb, half(64))
    assert np.abs(changed[45:] - rgb[45:] * light[0] / light[1]).max() <= 0.51
    assert np.abs(changed[45:].astype(int) - (200, 150, 120)).max() < 20  # less what smoothing mixes in
    assert np.array_equal(changed[:20], rgb[:20])


def test_suppression_changes_blue_inside_the_area_alone() -> None:
    changed = inhibition(colour(10, 20, 200), half())
    assert np.array_equal(changed[4:], colour(10, 20, 160)[4:])
    assert np.array_equal(changed[:4], colour(10, 20, 200)[:4])


@pytest.mark.parametrize("name", sorted(COMPENSATIONS))
@pytest.mark.parametrize("picture", ["black", "white", "noise"])
@pytest.mark.parametrize("area", ["nothing", "half", "all"])
def test_every_compensation_answers_a_picture(name: str, picture: str, area: str) -> None:
    rgb = {"black": colour(0, 0, 0, 64), "white": colour(255, 255, 255, 64), "noise": noise(4)}[picture]
    mask = {"nothing": half(64) & False, "half": half(64), "all": half(64) | True}[area]
    before = rgb.copy()
    changed = COMPENSATIONS[name](rgb, mask)
    assert changed.shape == rgb.shape and changed.dtype == np.uint8
    assert np.array_equal(rgb, before)


@pytest.mark.parametrize("name", ["gauss_pyr", "lap_pyr"])
def test_fusion_of_one_colour_lies_between_the_picture_and_its_brighter_version(name: str) -> None:
    changed = COMPENSATIONS[name](colour(64, 64, 64, 64), half(64))
    brighter = round(255 * (64 / 255) ** 0.6)
    assert np.ptp(changed) <= 1
    assert changed.min() >= 64 and changed.max() <= brighter
    assert abs(int(changed[0, 0, 0]) - brighter) <= 8  # well exposed: .44, against .25


def test_back_projection_is_one_on_the_area_and_zero_elsewhere() -> None:
    rgb = colour(200, 150, 120, 32)
    rgb[16:] = (40, 80, 220)
    weights = back_projection(rgb, half(32))
    assert weights[20:] == pytest.approx(1)
    assert weights[:12] == pytest.approx(0)
    assert back_projection(rgb, half(32) & False) == pytest.approx(1)


def test_mi_is_2_for_a_square_and_grows_with_length() -> None:
    mask = np.zeros((60, 60), dtype=bool)
    mask[5:15, 5:15] = True
    mask[30:32, 10:50] = True
    square, bar = candidates(mask, np.zeros((60, 60), np.float32))
    assert square.mi == 2
    assert bar.mi == (2**2 + 40**2) / 80
    assert square.po == bar.po == 0


def test_po_is_the_texture_times_how_small_the_area_is() -> None:
    mask = np.zeros((60, 60), dtype=bool)
    mask[10:30, 10:30] = True  # 400 px
    mask[40:50, 40:50] = True  # 100 px
    brightness = np.random.default_rng(0).random((60, 60)).astype(np.float32)
    framed = np.pad(brightness.astype(np.float64), 3, mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(framed, (7, 7))
    variance = windows.var(axis=(2, 3))
    np.testing.assert_allclose(local_variance(brightness), variance, atol=1e-6)
    large, small = candidates(mask, brightness)
    assert large.po == pytest.approx(variance[10:30, 10:30].mean(), abs=1e-6)
    assert small.po == pytest.approx(4 * variance[40:50, 40:50].mean(), abs=1e-6)


def test_the_printed_rule_keeps_what_the_corrected_one_drops() -> None:
    pixels = np.ones((1, 1), dtype=bool)
    compact, bar = Candidate(pixels, 1, mi=2, po=0.5), Candidate(pixels, 1, mi=20, po=0.5)
    limits = {"most_mi": 5.0, "most_po": 0.5}
    assert [is_kept(one, **limits, rule="corrected") for one in (compact, bar)] == [True, False]
    assert [is_kept(one, **limits, rule="literal") for one in (compact, bar)] == [False, True]


def test_components_touch_at_corners_and_specks_are_left_out() -> None:
    mask = np.zeros((6, 6), dtype=bool)
    mask[0, 0] = mask[1, 1] = mask[4, 4] = True
    assert [one.area_px for one in components(mask)] == [2, 1]
    assert [one.area_px for one in components(mask, least_px=2)] == [2]
    assert largest(mask).sum() == 2
    assert not largest(mask & False).any()


def test_filling_closes_holes_and_not_bays() -> None:
    ring = np.zeros((9, 9), dtype=bool)
    ring[2:7, 2:7] = True
    ring[4, 4] = False
    assert filled(ring).sum() == 25
    ring[4, 4:] = False
    assert filled(ring).sum() == ring.sum()


def test_closing_joins_across_a_gap_and_keeps_the_border() -> None:
    mask = np.zeros((12, 12), dtype=bool)
    mask[:, :5] = mask[:, 8:] = True
    assert closed(mask, 5).all()
    corner = np.zeros((12, 12), dtype=bool)
    corner[0, 0] = True
    assert np.array_equal(closed(corner, 5), corner)


def test_canny_levels_lie_a_third_around_the_median() -> None:
    assert canny_levels(np.full((3, 3), 100, np.uint8)) == (67, 133)
    assert canny_levels(np.full((3, 3), 250, np.uint8))[1] == 255


def drawn_crop(
    side: int = 256, shade: tuple[int, int, int] = (70, 140, 220)
) -> tuple[np.ndarray, np.ndarray]:
    """A face with an elliptic mask in its lower half, on a green background, with a little noise."""
    rgb = np.full((side, side, 3), (60, 110, 60), np.uint8)
    label = np.zeros((side, side), np.uint8)
    middle = side // 2
    cv2.ellipse(rgb, (middle, middle), (int(side * 0.4), int(side * 0.48)), 0, 0, 360, (220, 180, 150), -1)
    cv2.ellipse(label, (middle, int(side * 0.7)), (int(side * 0.34), int(side * 0.2)), 0, 0, 360, 1, -1)
    rgb[label > 0] = shade
    grain = np.random.default_rng(0).integers(-6, 7, rgb.shape)
    return (rgb + grain).clip(0, 255).astype(np.uint8), label > 0


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    return np.count_nonzero(one & other) / np.count_nonzero(one | other)


def test_drawn_masks_are_found_by_every_step_that_should() -> None:
    rgb, label = drawn_crop()
    fitted = fit_spectral([(rgb, label)])
    place = lower_face(fitted)
    most_po = float(fitted["most_po"][0])
    assert overlap(edge_mask(rgb, place.mask()), label) > 0.75  # the closed edges themselves are not in
    assert overlap(chan_vese_within(rgb, place), label) > 0.9
    assert overlap(grabcut(rgb, grabcut_rectangle(place, 256)), label) > 0.9
    for compensation in ("none", "inhibition", "gray_world", "bilateral", "back_proj"):
        options = SpectralOptions(compensation=compensation)
        assert overlap(spectral_mask(rgb, place, 2 * most_po, options), label) > 0.9, compensation


def test_white_masks_are_found_when_the_indices_may_turn() -> None:
    rgb, label = drawn_crop(shade=(245, 245, 245))
    place = lower_face(fit_lower_face([(rgb, label)]))
    found = spectral_mask(rgb, place, math.inf, SpectralOptions("none", sign="auto"))
    assert overlap(found, label) > 0.9


def test_the_combined_compensation_takes_the_mask_towards_skin() -> None:
    """Equation 21 gives the area the light of the rest: what the paper says raises contrast lowers it."""
    rgb, label = drawn_crop()
    changed = combined(rgb, label)
    rest = rgb[~label].mean(axis=0)
    assert np.abs(changed[label].mean(axis=0) - rest).max() < np.abs(rgb[label].mean(axis=0) - rest).max()


@pytest.mark.parametrize("name", ["compensation", "rule", "sign", "smoothing"])
def test_an_unknown_option_value_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} is 'purple', expected one of"):
        SpectralOptions(**{name: "purple"})  # type: ignore[arg-type]


def test_fitting_is_the_95th_percentile_of_the_true_areas_texture() -> None:
    crops = [drawn_crop(shade=(70, 10 * step, 220)) for step in range(5)]
    found = [
        candidates(label, cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255)[0].po
        for rgb, label in crops
    ]
    assert fit_spectral(iter(crops))["most_po"] == pytest.approx(np.percentile(found, 95), rel=1e-5)


def test_the_lower_face_is_the_median_extent_and_defaults_to_the_lower_60_percent() -> None:
    labels = []
    for x0, y0, x1, y1 in [(0, 4, 10, 10), (1, 5, 9, 10), (2, 6, 8, 8)]:
        label = np.zeros((10, 10), dtype=bool)
        label[y0:y1, x0:x1] = True
        labels.append((colour(0, 0, 0, 10), label))
    labels.append((colour(0, 0, 0, 10), np.zeros((10, 10), dtype=bool)))
    fitted = fit_lower_face(labels)
    assert fitted["lower_face"] == pytest.approx([0.1, 0.5, 0.9, 1.0])
    assert lower_face(fitted, 100) == Box(10, 50, 90, 100)
    assert lower_face({}, 100) == Box(0, 40, 100, 100)
    assert fit_lower_face(labels[-1:]) == {}


def test_boxes_draw_themselves() -> None:
    box = Box(2, 4, 8, 8)
    assert box.mask(10).sum() == box.area_px == 24
    assert not (box.ellipse(10) & ~box.mask(10)).any()
    assert Box(0, 0, 1, 1).ellipse(1).all()


def test_the_rectangle_leaves_background_on_both_sides() -> None:
    assert grabcut_rectangle(Box(0, 40, 100, 100), 100) == Box(5, 40, 95, 100)
    assert grabcut_rectangle(Box(20, 40, 80, 90), 100) == Box(20, 40, 80, 90)
    narrow = grabcut_rectangle(Box(99, 0, 100, 1), 100)
    assert 0 < narrow.x0 < narrow.x1 < 100


def test_the_average_mask_is_the_mean_of_the_labels() -> None:
    empty, full = np.zeros((64, 64), dtype=bool), np.ones((64, 64), dtype=bool)
    fitted = fit_average_mask([(colour(0, 0, 0, 64), one) for one in (half(64), full, empty, half(64))])
    answer = average_mask(fitted, 64)
    assert answer[:30] == pytest.approx(0.25)
    assert answer[34:] == pytest.approx(0.75)
    assert average_mask(fitted, 131).shape == (131, 131)
    assert not average_mask({}, 5).any()


@pytest.mark.parametrize("side", [1, 2, 255, 256, 500])
def test_masks_come_back_at_the_size_of_the_crop(side: int) -> None:
    answer = back_to(side, half(256))
    assert answer.shape == (side, side) and answer.dtype == np.float32
    assert set(np.unique(answer)) <= {0.0, 1.0}


def test_preparing_a_constant_picture_changes_nothing() -> None:
    for smoothing in ("median", "bilateral"):
        assert np.array_equal(prepared(colour(9, 99, 199), smoothing), colour(9, 99, 199))
