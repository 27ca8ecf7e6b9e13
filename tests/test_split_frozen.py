"""A frozen split: a dataset grows in any order and nobody who was placed moves."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataset_tools.core.errors import ConfigError, DataError
from dataset_tools.core.record import ImageRef, Provenance, Sample, Split
from dataset_tools.split import SplitSettings, SplitStage
from dataset_tools.split.frozen import group_digest, read_frozen, write_frozen


def sample(number: int, group: str, split: Split = Split.UNASSIGNED) -> Sample:
    name = f"{number:032x}"
    provenance = Provenance("test", f"item{number}", "CC0-1.0", parent_id="p" if number % 3 == 0 else "")
    image = ImageRef(name * 2, (2, 2), "png")
    return Sample(name, image, provenance, group, split=split, is_labelled=number % 4 != 0)


def place(samples: list[Sample], frozen: Path | None = None, seed: int = 0) -> list[Sample]:
    """What the stage makes of them."""
    plan = SplitStage(SplitSettings(frozen=frozen), seed).plan(iter(samples))
    return [dataclasses.replace(one, split=plan[one.group]) for one in samples]


def sides(samples: list[Sample]) -> dict[str, Split]:
    return {one.id: one.split for one in samples}


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.integers(0, 25), min_size=3, max_size=80),
    st.randoms(use_true_random=False),
    st.integers(1, 4),
)
def test_a_dataset_grows_in_any_order_and_nobody_moves(tmp_path_factory, groups, random, rounds):
    file = tmp_path_factory.mktemp("frozen") / "split.jsonl"
    waiting = [sample(number, f"g{group}") for number, group in enumerate(groups)]
    random.shuffle(waiting)
    held: list[Sample] = []
    known: dict[str, Split] = {}
    for turn in range(rounds):
        take = len(waiting) if turn == rounds - 1 else random.randint(0, len(waiting))
        # Some go for good, some come.
        held = [one for one in held if random.random() < 0.8] + waiting[:take]
        waiting = waiting[take:]
        if not held:
            continue
        placed = place(held, file if file.exists() else None, seed=turn)
        now = sides(placed)
        for name in now.keys() & known.keys():
            assert now[name] is known[name]
        for group in {one.group for one in placed}:
            assert len({one.split for one in placed if one.group == group}) == 1
        write_frozen(file, placed)
        known = now
        assert read_frozen(file).samples == now


def test_what_comes_later_is_dealt_so_that_the_shares_come_near(tmp_path):
    file = tmp_path / "split.jsonl"
    # An unlucky start: everything in train.
    first = [sample(number, f"g{number}", Split.TRAIN) for number in range(100)]
    write_frozen(file, first)
    grown = place([sample(number, f"g{number}") for number in range(400)], file)
    assert all(one.split is Split.TRAIN for one in grown[:100])
    assert Counter(one.split for one in grown) == {Split.TRAIN: 320, Split.VAL: 40, Split.TEST: 40}


def test_a_new_picture_of_a_known_group_goes_where_the_group_is(tmp_path):
    file = tmp_path / "split.jsonl"
    write_frozen(file, [sample(1, "album", Split.VAL), sample(2, "other", Split.TRAIN)])
    # Its only picture of then is gone, its name is known.
    grown = place([sample(3, "album"), *(sample(number, f"g{number}") for number in range(4, 30))], file)
    assert grown[0].split is Split.VAL
    assert place([sample(3, "stranger")], file)[0].split is Split.TRAIN


@pytest.mark.parametrize(
    ("splits", "winner"),
    [
        ((Split.TRAIN, Split.VAL), Split.VAL),
        ((Split.TRAIN, Split.TEST), Split.TEST),
        ((Split.VAL, Split.TEST), Split.TEST),
        ((Split.TRAIN, Split.VAL, Split.TEST), Split.TEST),
    ],
)
def test_when_groups_merge_the_most_cautious_side_wins_and_it_is_said(tmp_path, caplog, splits, winner):
    file = tmp_path / "split.jsonl"
    write_frozen(file, [sample(number, f"g{number}", split) for number, split in enumerate(splits)])
    with caplog.at_level(logging.WARNING):
        merged = place([sample(number, "merged") for number in range(len(splits))], file)
    assert {one.split for one in merged} == {winner}
    assert "group merged is bound to" in caplog.text


def test_a_frozen_side_outweighs_what_a_source_states(tmp_path):
    file = tmp_path / "split.jsonl"
    write_frozen(file, [sample(1, "a", Split.TRAIN)])
    grown = place([sample(1, "a", Split.TEST), sample(2, "b", Split.TEST)], file)
    assert [one.split for one in grown] == [Split.TRAIN, Split.TEST]


def test_the_file_is_canonical_and_names_nobody(tmp_path):
    samples = [sample(number, f"Jane Doe {number}", Split.TRAIN) for number in range(9)]
    write_frozen(tmp_path / "one", samples)
    write_frozen(tmp_path / "two", samples[::-1])
    text = (tmp_path / "one").read_text()
    assert text == (tmp_path / "two").read_text()
    assert "Jane" not in text
    head, *rows = map(json.loads, text.splitlines())
    assert head == {"groups": 9, "maskset_split": 1, "samples": 9}
    assert rows == sorted(rows, key=lambda row: row["sample"])
    assert rows[3] == {"group": group_digest("Jane Doe 3"), "sample": f"{3:032x}", "split": "train"}


def test_freezing_over_another_split_is_refused(tmp_path):
    file = tmp_path / "split.jsonl"
    samples = [sample(number, f"g{number}", Split.TRAIN) for number in range(3)]
    write_frozen(file, samples)
    before = file.read_bytes()
    moved = [*samples[:2], dataclasses.replace(samples[2], split=Split.TEST)]
    with pytest.raises(DataError, match="places 1 samples elsewhere"):
        write_frozen(file, moved)
    assert file.read_bytes() == before
    write_frozen(file, moved, is_basis=True)
    assert read_frozen(file).samples[samples[2].id] is Split.TEST
    with pytest.raises(DataError, match="1 samples have no split"):
        write_frozen(tmp_path / "new", [sample(1, "a")])


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", 1),
        ("[]\n", 1),
        ('{"maskset_split":2,"samples":0}\n', 1),
        ('{"maskset_split":1,"samples":1}\n{"group":"a","sample":"b","split":"dev"}\n', 2),
        ('{"maskset_split":1,"samples":1}\n{"group":"a","sample":"b"}\n', 2),
        ('{"maskset_split":1,"samples":1}\nnot json\n', 2),
        (
            '{"maskset_split":1,"samples":2}\n{"group":"a","sample":"b","split":"val"}\n'
            '{"group":"a","sample":"b","split":"val"}\n',
            3,
        ),
        ('{"maskset_split":1,"samples":2}\n{"group":"a","sample":"b","split":"val"}\n', 2),
    ],
)
def test_a_file_that_is_no_frozen_split_or_cut_short_is_refused_by_line(tmp_path, text, line):
    file = tmp_path / "split.jsonl"
    file.write_text(text)
    with pytest.raises(DataError, match=f"line {line}, is no frozen split"):
        read_frozen(file)


def test_a_missing_file_is_a_wrong_setting(tmp_path):
    stage = SplitStage(SplitSettings(frozen=tmp_path / "gone.jsonl"), 0)
    with pytest.raises(ConfigError, match="cannot read the frozen split"):
        _ = stage.config


def test_another_content_of_the_file_is_another_split(tmp_path):
    file = tmp_path / "split.jsonl"
    stage = SplitStage(SplitSettings(frozen=file), 0)
    write_frozen(file, [sample(1, "a", Split.TRAIN)])
    first = stage.config
    write_frozen(file, [sample(1, "a", Split.TRAIN), sample(2, "b", Split.TEST)])
    assert stage.config != first
    other = tmp_path / "copy.jsonl"
    other.write_bytes(file.read_bytes())
    assert SplitStage(SplitSettings(frozen=other), 0).config == stage.config
