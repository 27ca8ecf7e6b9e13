"""What work costs: the formula by hand, and the anchor it is meant to meet."""

from __future__ import annotations

import math

import numpy as np
import pytest

from annotation.simulate.shapes import diameter_px
from annotation.simulate.work import TimeModel, count_strokes


def disc(radius: float) -> np.ndarray:
    y, x = np.mgrid[:300, :300]
    return np.hypot(x - 150, y - 150) < radius


@pytest.mark.parametrize("radius", [10, 40, 120])
def test_a_whole_instance_costs_eight_strokes_at_any_size(radius: int) -> None:
    assert count_strokes(disc(radius), diameter_px(disc(radius))) == 8


def test_a_thin_rim_costs_its_length_and_each_piece_at_least_one_stroke() -> None:
    rim = disc(60) & ~disc(58)
    # Its outlines, inner and outer, are about 2 pi 59 each: half of them is pi diameters of travel.
    assert count_strokes(rim, 118.0) == math.ceil(math.pi)
    dots = np.zeros((50, 50), dtype=bool)
    dots[5, 5] = dots[20, 20] = dots[30, 30] = True
    assert count_strokes(dots, 118.0) == 3
    assert count_strokes(np.zeros((50, 50), dtype=bool), 118.0) == 0


def test_one_instance_from_nothing_takes_as_long_as_an_outlined_coco_instance() -> None:
    assert TimeModel().seconds(looks=1, strokes=8, clicks=2) == pytest.approx(79.0)
