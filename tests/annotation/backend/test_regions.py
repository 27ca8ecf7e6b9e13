"""Clicks and boxes on drawn probability maps, with the regions known beforehand."""

from __future__ import annotations

import numpy as np
import pytest

from annotation.backend.prompts import Click
from annotation.backend.regions import region_at


def disc(size, row, column, radius):
    rows, columns = np.mgrid[:size, :size]
    return (rows - row) ** 2 + (columns - column) ** 2 <= radius**2


def painted(*layers, size=100):
    """A map from (where, probability) pairs, later ones over earlier ones."""
    probability = np.zeros((size, size), dtype=np.float32)
    for where, value in layers:
        probability[where] = value
    return probability


LEFT, RIGHT = disc(100, 50, 25, 15), disc(100, 50, 75, 15)
BRIDGE = np.zeros((100, 100), dtype=bool)
BRIDGE[46:55, 30:70] = True


def test_a_click_takes_the_part_it_is_in_with_its_holes_and_nothing_else():
    hole = disc(100, 50, 25, 4)
    probability = painted((LEFT | RIGHT, 0.9), (hole, 0.02))
    assert np.array_equal(region_at(probability, [Click(40, 25)]), LEFT & ~hole)
    assert np.array_equal(region_at(probability, [Click(40, 25), Click(50, 75)]), (LEFT | RIGHT) & ~hole)


@pytest.mark.parametrize("sure", [0.45, 0.4, 0.25, 0.1, 0.05])
def test_a_click_lowers_the_threshold_no_further_than_it_must(sure):
    # Around what the click is on lies a rim of half its probability, which is never reached.
    rim = disc(100, 50, 25, 20) & ~LEFT
    probability = painted((rim, sure / 2.1), (LEFT, sure))
    assert np.array_equal(region_at(probability, [Click(50, 25)]), LEFT)


def test_a_click_where_the_model_sees_nothing_gives_nothing():
    assert not region_at(painted((LEFT, 0.9)), [Click(5, 95)]).any()
    assert not region_at(painted((LEFT, 0.04)), [Click(50, 25)]).any()


def test_negative_clicks_alone_give_nothing():
    assert not region_at(painted((LEFT, 0.9)), [Click(50, 25, False)]).any()


def test_a_negative_click_takes_away_what_a_bridge_had_joined_and_leaves_the_outline():
    # The wanted disc has a soft outline, as every network's answer has one.
    outline = disc(100, 50, 25, 16) & ~LEFT
    probability = painted((BRIDGE, 0.65), (outline, 0.55), (LEFT | RIGHT, 0.97))
    both = region_at(probability, [Click(50, 25)])
    assert both[50, 75] and both[50, 50]
    left = region_at(probability, [Click(50, 25), Click(50, 75, False)])
    assert not left[RIGHT].any()
    assert left[LEFT].all()
    assert left[:, :38][outline[:, :38]].all()  # up to where the bridge meets it
    # The bridge goes as well, up to a stub.
    assert not left[:, 45:].any()


def test_a_negative_click_beside_changes_nothing():
    probability = painted((LEFT | RIGHT, 0.9))
    clicks = [Click(50, 25), Click(50, 75, False), Click(5, 5, False)]
    assert np.array_equal(region_at(probability, clicks), LEFT)


def test_a_negative_click_on_an_unsure_tongue_takes_the_tongue():
    tongue = np.zeros((100, 100), dtype=bool)
    tongue[45:56, 38:60] = True
    probability = painted((tongue, 0.6), (LEFT, 0.98))
    found = region_at(probability, [Click(50, 25), Click(50, 50, False)])
    assert found[LEFT].all()
    assert not found[:, 44:].any()


def test_where_the_model_is_equally_sure_the_line_is_drawn_half_way():
    bar = np.zeros((100, 100), dtype=bool)
    bar[40:60, 10:90] = True
    found = region_at(painted((bar, 1.0)), [Click(50, 20), Click(50, 80, False)])
    expected = bar.copy()
    expected[:, 51:] = False  # column 50 is as far from both, and stays
    assert np.array_equal(found, expected)


def test_a_negative_click_never_takes_a_positive_one_away():
    probability = painted((BRIDGE, 0.65), (LEFT | RIGHT, 0.97))
    clicks = [Click(50, 25), Click(50, 70), Click(50, 80, False)]
    found = region_at(probability, clicks)
    assert found[50, 25] and found[50, 70] and not found[50, 80]


def test_a_box_takes_what_is_foreground_in_it_and_clicks_add_and_remove():
    probability = painted((LEFT, 0.9), (RIGHT, 0.8))
    box = (0.0, 40.0, 30.0, 60.0)
    inside = np.zeros((100, 100), dtype=bool)
    inside[40:60, 0:30] = True
    assert np.array_equal(region_at(probability, [], box), LEFT & inside)
    assert np.array_equal(region_at(probability, [Click(50, 75)], box), (LEFT & inside) | RIGHT)
    both = region_at(
        painted((LEFT, 0.9), (disc(100, 10, 10, 5), 0.9)), [Click(10, 10, False)], (0, 0, 60, 90)
    )
    assert np.array_equal(both, LEFT)
