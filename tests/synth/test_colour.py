"""Colour conversions equal scikit-image's and undo each other."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.color import rgb2lab

from synth.colour import (
    exact_linear,
    exact_srgb,
    lab_of_linear,
    linear_of_byte,
    linear_of_lab,
    linear_to_srgb,
    srgb_to_linear,
)

COLOURS = np.random.default_rng(0).integers(0, 256, (50, 3))


def test_bytes_survive_the_way_through_linear_light() -> None:
    assert np.array_equal(linear_to_srgb(linear_of_byte()), np.arange(256))
    assert np.allclose(255 * exact_srgb(exact_linear(np.arange(256))), np.arange(256), atol=1e-4)


def test_middle_grey_is_that_of_the_standard() -> None:
    assert srgb_to_linear(0.5) == pytest.approx(0.21404, abs=1e-4)  # IEC 61966-2-1
    assert exact_linear(127.5) == pytest.approx(0.21404, abs=1e-5)


def test_both_precisions_agree() -> None:
    assert np.allclose(srgb_to_linear(COLOURS / 255), exact_linear(COLOURS), atol=1e-6)
    assert srgb_to_linear([0.5]).dtype == np.float32
    assert exact_linear([127]).dtype == np.float64


def test_lab_is_that_of_scikit_image() -> None:
    # It takes white as (0.95047, 1, 1.08883); ours is the sum of the matrix, so that grey has no colour.
    for colour in COLOURS:
        assert lab_of_linear(exact_linear(colour)) == pytest.approx(rgb2lab(colour / 255), abs=0.05)


@pytest.mark.parametrize("level", [0.0, 0.002, 0.18, 1.0])
def test_grey_has_no_colour(level: float) -> None:
    lightness, a, b = lab_of_linear((level, level, level))
    assert (a, b) == pytest.approx((0, 0), abs=1e-9)
    assert linear_of_lab((lightness, 0, 0)) == pytest.approx([level] * 3, abs=1e-12)


def test_lab_and_back_is_the_same_colour() -> None:
    for colour in COLOURS:
        linear = exact_linear(colour)
        assert linear_of_lab(lab_of_linear(linear)) == pytest.approx(linear, abs=1e-12)
