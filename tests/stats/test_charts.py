"""Charts say the numbers they were given."""

from __future__ import annotations

import re

import pytest

from dataset_tools.stats.charts import MOST_ROWS, bars, columns, donut, largest_of, size_map


def test_bars_are_as_long_as_their_counts_and_none_is_drawn_for_zero():
    shown = bars({"a": 4, "b": 1, "c": 0})
    assert re.findall(r"width:([\d.]+)%", shown) == ["100.0", "25.0"]
    assert re.findall(r"<small>([^<]*)</small>", shown) == ["80%", "20%", "0%"]


def test_columns_are_as_high_as_their_counts():
    assert re.findall(r"height:([\d.]+)px", columns({"a": 5, "b": 10}, "axis")) == ["50.0", "100.0"]


def test_the_slices_of_a_ring_make_a_whole():
    shown = donut({f"type {number}": number + 1 for number in range(14)}, "types")
    lengths = [float(value) for value in re.findall(r'dasharray="([\d.]+) ', shown)]
    assert len(lengths) == 9
    assert sum(lengths) == pytest.approx(100, abs=0.01)
    assert shown.count("<tr>") == 14


@pytest.mark.parametrize("count", [1, MOST_ROWS, MOST_ROWS + 1, 500])
def test_what_does_not_fit_is_counted_as_one_row(count):
    counts = {f"name {number}": number for number in range(count)}
    shown = largest_of(counts)
    assert len(shown) == min(count, MOST_ROWS)
    assert sum(shown.values()) == sum(counts.values())


def test_names_are_escaped_everywhere():
    evil = "<b onclick=x>&\"'"
    for chart in (bars({evil: 1}), columns({evil: 1}, evil), donut({evil: 1}, evil)):
        assert "<b " not in chart
        assert "&lt;b onclick" in chart


def test_a_share_below_a_half_percent_is_not_shown_as_none():
    assert "&lt; 1%" in bars({"many": 999, "one": 1})


def test_picture_sizes_lie_at_their_widths_and_heights():
    # 64 px is the 12th half power of two, 256 the 16th; the map reaches two steps beyond either way.
    shown = size_map({(12, 16): 3, (16, 12): 1})
    assert "about 64 × 256 px: 3" in shown
    first, second = re.findall(r'cx="([\d.]+)" cy="([\d.]+)"', shown)
    assert float(first[0]) < float(second[0])
    assert float(first[1]) < float(second[1])


@pytest.mark.parametrize("chart", [bars({}), donut({}, "x"), size_map({})])
def test_no_counts_are_said_to_be_none(chart):
    assert "None." in chart
