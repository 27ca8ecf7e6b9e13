"""Clicks and boxes on drawn probability maps, with the regions known beforehand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotation.backend.prompts import Click
from annotation.backend.regions import corrected, region_at

SIZE = 100
GREY = np.full((SIZE, SIZE, 3), 128, dtype=np.uint8)


def disc(row, column, radius):
    rows, columns = np.mgrid[:SIZE, :SIZE]
    return (rows - row) ** 2 + (columns - column) ** 2 <= radius**2


def painted(*layers):
    """A map from (where, probability) pairs, later ones over earlier ones."""
    probability = np.zeros((SIZE, SIZE), dtype=np.float32)
    for where, value in layers:
        probability[where] = value
    return probability


def region(probability, clicks, box=None, rgb=GREY):
    return region_at(probability, rgb, clicks, box)[0]


LEFT, RIGHT = disc(50, 25, 15), disc(50, 75, 15)
BRIDGE = np.zeros((SIZE, SIZE), dtype=bool)
BRIDGE[46:55, 30:70] = True


def test_a_click_takes_the_part_it_is_in_with_its_holes_and_nothing_else():
    hole = disc(50, 25, 4)
    probability = painted((LEFT | RIGHT, 0.9), (hole, 0.02))
    assert np.array_equal(region(probability, [Click(40, 25)]), LEFT & ~hole)
    assert np.array_equal(region(probability, [Click(40, 25), Click(50, 75)]), (LEFT | RIGHT) & ~hole)


@pytest.mark.parametrize("sure", [0.45, 0.4, 0.25, 0.1, 0.06])
def test_a_click_on_what_the_model_is_too_timid_about_takes_all_of_it(sure):
    # Around what the click is on lies a rim of a third of its probability, which is not taken.
    rim = disc(50, 25, 25) & ~LEFT
    found = region(painted((rim, sure / 3), (LEFT, sure)), [Click(50, 25)])
    assert found[LEFT].all()
    assert not found[~disc(50, 25, 19)].any()  # but for the click's own surroundings


def test_a_click_where_the_model_sees_nothing_takes_what_looks_alike_around_it():
    rgb = GREY.copy()
    rgb[:, 50:] = (250, 40, 40)
    found = region(painted((LEFT, 0.9)), [Click(20, 52)], rgb=rgb)
    assert found[20, 52] and 10 < found.sum() < 200
    assert not found[:, :48].any()


def test_without_a_positive_click_or_a_box_there_is_no_region():
    assert not region(painted((LEFT, 0.9)), []).any()
    assert not region(painted((LEFT, 0.9)), [Click(50, 25, False)]).any()


def test_a_negative_click_takes_away_what_a_bridge_had_joined_and_leaves_the_outline():
    # The wanted disc has a soft outline, as every network's answer has one.
    outline = disc(50, 25, 16) & ~LEFT
    probability = painted((BRIDGE, 0.65), (outline, 0.55), (LEFT | RIGHT, 0.97))
    both = region(probability, [Click(50, 20)])
    assert both[50, 75] and both[50, 50]
    left = region(probability, [Click(50, 20), Click(50, 75, False)])
    assert not left[RIGHT].any()
    assert left[LEFT].all()
    assert left[:, :38][outline[:, :38]].all()  # up to where the bridge meets it
    assert not left[:, 60:].any()


def test_a_negative_click_beside_changes_nothing():
    probability = painted((LEFT | RIGHT, 0.9))
    clicks = [Click(50, 25), Click(50, 75, False), Click(5, 5, False)]
    assert np.array_equal(region(probability, clicks), LEFT)


def test_a_negative_click_on_the_wanted_hill_takes_away_its_surroundings_alone():
    found = region(painted((LEFT, 0.97)), [Click(50, 20), Click(50, 38, False)])
    assert not found[50, 36:].any()
    assert found[:, :30][LEFT[:, :30]].all()


def test_a_click_reaches_as_far_as_things_look_alike():
    # The model took a white collar for a part of the mask; the mask is blue.
    rgb = GREY.copy()
    collar = np.zeros_like(LEFT)
    collar[60:70] = True
    rgb[collar] = (250, 250, 250)
    rgb[LEFT & ~collar] = (30, 60, 200)
    found = region(painted((LEFT, 0.9)), [Click(45, 25), Click(62, 25, False)], rgb=rgb)
    assert found[LEFT & ~collar].all()
    assert not found[61:, 20:31].any()


def test_a_click_that_is_right_already_holds_its_place_against_others():
    probability = painted((LEFT, 0.97))
    without = corrected(probability, GREY, [Click(50, 20), Click(50, 30, False)])
    with_it = corrected(probability, GREY, [Click(50, 20), Click(50, 30, False), Click(50, 33)])
    assert without[50, 33] < 0.5 < with_it[50, 33]


def test_of_two_clicks_on_one_pixel_the_later_counts():
    probability = painted((LEFT, 0.9))
    again = [Click(50, 25), Click(50, 35), Click(50, 35, False)]
    assert not region(probability, again)[50, 35]
    assert region(probability, [*again, Click(50, 35)])[50, 35]


def test_a_box_takes_what_is_foreground_in_it_and_clicks_add_and_remove():
    probability = painted((LEFT, 0.9), (RIGHT, 0.8))
    box = (0.0, 40.0, 30.0, 60.0)
    inside = np.zeros((SIZE, SIZE), dtype=bool)
    inside[40:60, 0:30] = True
    assert np.array_equal(region(probability, [], box), LEFT & inside)
    both = region(probability, [Click(50, 75)], box)
    assert np.array_equal(both[:, 45:], RIGHT[:, 45:])
    assert both[LEFT & inside].all()
    two = painted((LEFT, 0.9), (disc(10, 10, 5), 0.9))
    assert np.array_equal(region(two, [Click(10, 10, False)], (0.0, 0.0, 60.0, 90.0)), LEFT)


pixels = st.tuples(st.integers(0, 11), st.integers(0, 11))


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(pixels, st.booleans(), min_size=1, max_size=8), st.integers(0, 2**32 - 1))
def test_every_clicked_pixel_is_what_it_was_said_to_be(said, seed):
    rng = np.random.default_rng(seed)
    probability = rng.random((SIZE, SIZE), dtype=np.float32)
    rgb = rng.integers(0, 256, (SIZE, SIZE, 3)).astype(np.uint8)
    clicks = [Click(8 * row + 4, 8 * column + 4, kind) for (row, column), kind in said.items()]
    found, better = region_at(probability, rgb, clicks)
    for click in clicks:
        assert found[click.row, click.column] == click.is_positive
        assert (better[click.row, click.column] > 0.85) == click.is_positive
    assert better.dtype == np.float32
    assert 0 <= better.min() <= better.max() <= 1
