from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from synth.assets import DESIGNS, draw_garment
from synth.cloth.dye import albedo
from synth.cloth.fabric import PATTERNS, Fabric
from synth.colour import srgb_to_linear

WHITE, BLACK, RED = (250, 250, 250), (6, 6, 6), (200, 30, 30)
SIZE_MM, TEXELS = (200.0, 140.0), (280, 400)  # 0.5 mm a texel


def cloth(pattern: str, **changes) -> Fabric:
    plain = Fabric(
        pattern=pattern,
        ground=WHITE,
        ink=BLACK,
        accent=RED,
        trim=WHITE,
        weave=0.0,
        cloth="woven",
        wrinkle_mm=0.0,
        hem_mm=0.0,
        stitched=False,
        seed=3,
    )
    return replace(plain, **changes)


def spectrum_peak_mm(line: np.ndarray, length_mm: float) -> float:
    """Period of the strongest wave of a line, millimetres."""
    power = np.abs(np.fft.rfft((line - line.mean()) * np.hanning(len(line)), 8 * len(line)))
    return 8 * length_mm / int(power.argmax())


@pytest.mark.parametrize("period_mm", [6.0, 11.0, 17.5])
def test_stripes_have_their_period_across_and_none_along(period_mm):
    found = albedo(cloth("stripes", period_mm=period_mm), SIZE_MM, TEXELS)[..., 1]
    assert spectrum_peak_mm(found.mean(axis=0), SIZE_MM[0]) == pytest.approx(period_mm, rel=0.03)
    assert np.ptp(found.mean(axis=1)) < 0.05
    turned = albedo(cloth("stripes", period_mm=period_mm, angle_deg=90.0), SIZE_MM, TEXELS)[..., 1]
    assert spectrum_peak_mm(turned.mean(axis=1), SIZE_MM[1]) == pytest.approx(period_mm, rel=0.05)


def test_checks_and_dots_repeat_both_ways():
    for pattern in ("checks", "dots"):
        found = albedo(cloth(pattern, period_mm=12.0), SIZE_MM, TEXELS)[..., 1]
        shift = 24  # texels of one period
        assert np.abs(found[:, shift:] - found[:, :-shift]).mean() < 0.06 * np.ptp(found)
        assert np.abs(found[shift:] - found[:-shift]).mean() < 0.06 * np.ptp(found)
        assert found.std() > 0.1


def test_a_pattern_finer_than_a_texel_turns_into_its_mean_not_into_moire():
    fine = albedo(cloth("stripes", period_mm=1.0), SIZE_MM, (70, 100))[..., 1]
    assert fine.std() < 0.03
    coarse = albedo(cloth("stripes", period_mm=20.0), SIZE_MM, (70, 100))[..., 1]
    assert fine.mean() == pytest.approx(coarse.mean(), abs=0.05)


@pytest.mark.parametrize("pattern", [p for p in PATTERNS if p != "photo"])
def test_every_pattern_is_the_same_each_time_and_stays_between_black_and_white(pattern):
    one, same = (albedo(cloth(pattern, weave=1.0, dirt=0.5), SIZE_MM, TEXELS) for _ in range(2))
    assert np.array_equal(one, same)
    assert one.shape == (*TEXELS, 3)
    assert one.min() >= 0 and one.max() <= 1
    if pattern not in ("plain", "stripes", "checks", "dots"):
        other = albedo(cloth(pattern, weave=1.0, dirt=0.5, seed=4), SIZE_MM, TEXELS)
        assert np.abs(one - other).mean() > 1e-3


@pytest.mark.parametrize("pattern", ["floral", "camouflage", "plaid", "paisley", "blobs"])
def test_printed_patterns_show_ink_and_accent_on_their_ground(pattern):
    found = albedo(cloth(pattern, period_mm=14.0), SIZE_MM, TEXELS).reshape(-1, 3)
    ground = np.abs(found - srgb_to_linear(np.array(WHITE) / 255)).max(axis=1) < 0.05
    assert 0.1 < ground.mean() < 0.97 or pattern == "plaid"
    assert (found[:, 1] < 0.3).mean() > 0.01


def test_a_logo_is_small_and_lettering_is_wide():
    logo, words = (
        (np.abs(albedo(cloth(p, trim=WHITE), SIZE_MM, TEXELS) - 0.956).max(axis=-1) > 0.3)
        for p in ("logo", "lettering")
    )
    assert 0 < logo.mean() < 0.06
    assert np.ptp(np.flatnonzero(logo.any(axis=0))) * 0.5 < 36  # mm
    assert np.ptp(np.flatnonzero(words.any(axis=0))) * 0.5 > 55


def test_the_blackest_cloth_still_reflects():
    black = albedo(cloth("plain", ground=(0, 0, 0)), SIZE_MM, TEXELS)
    assert black.min() > 0.008


def test_dirt_darkens_parts_of_the_cloth():
    clean, dirty = (albedo(cloth("plain", dirt=d), SIZE_MM, TEXELS) for d in (0.0, 1.0))
    change = clean - dirty
    assert change.min() >= 0
    assert 0.05 < (change.max(axis=-1) > 0.1).mean() < 0.7


def test_drawn_colours_vary_but_stay_near_what_is_sold():
    blue = [draw_garment("surgical", "correct", np.random.default_rng(s)).fabric.ground for s in range(200)]
    assert len(set(blue)) > 150
    bluish = np.mean([b > r + 15 for r, _, b in blue])
    assert 0.4 < bluish < 0.75  # the shares of the two blues


def test_street_cloth_is_often_black_or_muted():
    lightness = [
        sum(draw_garment("cloth", "correct", np.random.default_rng(s)).fabric.ground) for s in range(300)
    ]
    assert 0.2 < np.mean(np.array(lightness) < 160) < 0.5


def test_every_design_draws_fabrics_that_can_be_dyed():
    for name in DESIGNS:
        for seed in range(4):
            fabric = draw_garment(name, "correct", np.random.default_rng(seed)).fabric
            assert np.isfinite(albedo(fabric, (170.0, 130.0), (60, 80))).all()
