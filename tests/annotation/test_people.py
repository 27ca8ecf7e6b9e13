from __future__ import annotations

import csv
import dataclasses
import io
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotation.agreement import label_boundary_iou
from annotation.people import (
    MIN_DRIFT_VALUES,
    Drift,
    picture_rows,
    report_lines,
    report_values,
    session_report,
)
from annotation.verdict import Role, Verdict
from dataset_tools.core.labels import Label
from dataset_tools.core.masks import mask_to_rle
from dataset_tools.core.record import Instance, ReviewState

SIZE_HW = (20, 100)


def bar(width: int, label=Label.FACE_MASK, **chosen) -> Instance:
    """A mask of that many columns: two of them overlap by the smaller over the larger."""
    mask = np.zeros(SIZE_HW, bool)
    mask[:, :width] = True
    attributes = tuple(sorted(chosen.items()))
    return Instance(label.value, label, mask_to_rle(mask), "human:x", attributes=attributes)


def verdict(
    sample, name, *instances, state=ReviewState.CORRECTED, seconds=0.0, minute=0, **changes
) -> Verdict:
    moment = f"2026-01-01T{minute // 60:02d}:{minute % 60:02d}:00Z"
    made = Verdict(
        sample_id=sample,
        item_key=f"{sample}.png",
        state=state,
        reviewer=name,
        reviewer_email=f"{name}@x",
        reviewed_at=moment,
        updated_at=moment,
        note="",
        instances=instances,
        boxes=(),
        annotation_id=1,
        project_id=1,
        seconds=seconds,
        lane=name,
    )
    return dataclasses.replace(made, **changes)


def report(*verdicts, truths=None, sizes=None):
    by_sample: dict[str, tuple[Verdict, ...]] = {}
    for one in verdicts:
        by_sample[one.sample_id] = (*by_sample.get(one.sample_id, ()), one)
    return session_report(by_sample, truths or {}, sizes or dict.fromkeys(by_sample, SIZE_HW))


def person(found, name):
    (one,) = (item for item in found.people if item.name == name)
    return one


def test_a_pairs_figures_are_means_over_pictures():
    found = report(
        verdict("s1", "Bob", bar(80), bar(50, Label.FACE)),
        verdict("s1", "Ann", bar(100), bar(25, Label.FACE)),
        verdict("s2", "Ann", bar(60)),
        verdict("s2", "Bob", bar(60)),
        verdict("s3", "Ann"),
        verdict("s3", "Bob"),
    )
    (pair,) = found.pairs
    assert (pair.people, pair.pictures) == (("Ann", "Bob"), 3)
    assert pair.iou == {Label.FACE_MASK: pytest.approx(0.9), Label.FACE: pytest.approx(0.5)}
    assert pair.mean_iou == pytest.approx((0.65 + 1) / 2)
    one = label_boundary_iou([bar(80), bar(50, Label.FACE)], [bar(100), bar(25, Label.FACE)], SIZE_HW)
    assert pair.boundary_iou == {
        Label.FACE_MASK: pytest.approx((one[Label.FACE_MASK] + 1) / 2),
        Label.FACE: pytest.approx(one[Label.FACE]),
    }
    assert pair.mean_boundary_iou == pytest.approx((sum(one.values()) / 2 + 1) / 2)


words = st.sampled_from(["cloth", "surgical", "n95"])
states = st.sampled_from([ReviewState.ACCEPTED, ReviewState.CORRECTED, ReviewState.REJECTED])


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(words, words, states, states), min_size=2, max_size=12))
def test_kappas_equal_those_of_scikit_learn(rows):
    from sklearn.metrics import cohen_kappa_score

    verdicts = []
    for number, (mine, other, first, second) in enumerate(rows):
        for name, word, state in (("Ann", mine, first), ("Bob", other, second)):
            left = () if state is ReviewState.REJECTED else (bar(50, mask_type=word),)
            verdicts.append(verdict(f"s{number}", name, *left, state=state))
    (pair,) = report(*verdicts).pairs
    labelled = [row for row in rows if ReviewState.REJECTED not in row]
    for key, answers in (
        ("mask_type", [(row[0], row[1]) for row in labelled]),
        ("verdict", [(row[2].value, row[3].value) for row in rows]),
    ):
        if len({word for answer in answers for word in answer}) > 1:
            assert pair.kappa[key] == pytest.approx(cohen_kappa_score(*zip(*answers, strict=True)))
        else:
            assert math.isnan(pair.kappa[key])
    assert math.isnan(pair.kappa["wearing_state"])


def test_three_people_make_three_pairs_and_one_person_none():
    three = [verdict("s1", name, bar(50)) for name in ("Cleo", "Ann", "Bob")]
    assert [pair.people for pair in report(*three).pairs] == [
        ("Ann", "Bob"),
        ("Ann", "Cleo"),
        ("Bob", "Cleo"),
    ]
    assert report(three[0]).pairs == ()


def test_gold_and_adjudication_are_no_opinions_to_compare():
    found = report(
        verdict("s1", "Ann", bar(50), role=Role.GOLD),
        verdict("s1", "Bob", bar(50), role=Role.GOLD),
        verdict("s2", "Ann", bar(50)),
        verdict("s2", "Cleo", bar(50), role=Role.ADJUDICATOR),
    )
    assert (found.pairs, found.pictures) == ((), ())
    assert (person(found, "Cleo").adjudicated, person(found, "Cleo").tasks) == (1, 0)
    assert (person(found, "Ann").adjudicated, person(found, "Ann").tasks) == (0, 2)


def test_one_person_in_two_lanes_does_not_agree_with_themselves():
    found = report(verdict("s1", "Ann", bar(50)), verdict("s1", "Ann", bar(50), lane="b"))
    assert found.pairs == ()
    assert person(found, "Ann").tasks == 2


def test_people_of_one_name_are_told_apart():
    found = report(
        verdict("s1", "Ann", bar(50), reviewer_email="z@x"),
        verdict("s1", "Ann", bar(25), reviewer_email="a@x"),
    )
    assert [one.name for one in found.people] == ["Ann", "Ann (2)"]
    assert found.pairs[0].people == ("Ann", "Ann (2)")


def test_a_persons_verdicts_and_time():
    rows = [
        (ReviewState.ACCEPTED, 10.0),
        (ReviewState.ACCEPTED, 20.0),
        (ReviewState.CORRECTED, 90.0),
        (ReviewState.REJECTED, 0.0),
        (ReviewState.NOT_SEEN, 0.0),
    ]
    found = report(
        *(
            verdict(f"s{number}", "Ann", state=state, seconds=spent)
            for number, (state, spent) in enumerate(rows)
        ),
        verdict("s9", "Ann", seconds=60.0, role=Role.ADJUDICATOR),
    )
    ann = person(found, "Ann")
    assert (ann.tasks, ann.adjudicated) == (5, 1)
    assert ann.shares == {
        ReviewState.ACCEPTED: 0.4,
        ReviewState.CORRECTED: 0.2,
        ReviewState.REJECTED: 0.2,
        ReviewState.NOT_SEEN: 0.2,
    }
    assert (ann.median_seconds, ann.total_seconds) == (20.0, 180.0)


def test_gold_items_are_held_against_the_truth():
    truths = {f"g{number}": (bar(100), bar(50, Label.FACE)) for number in range(4)}
    found = report(
        verdict("g0", "Ann", bar(80), bar(50, Label.FACE), role=Role.GOLD),
        verdict("g1", "Ann", bar(100), role=Role.GOLD),
        verdict("g2", "Ann", state=ReviewState.REJECTED, role=Role.GOLD),
        verdict("g3", "Ann", state=ReviewState.NOT_SEEN, role=Role.GOLD),
        verdict("g4", "Ann", bar(50), role=Role.GOLD),
        verdict("s0", "Ann", bar(50)),
        truths=truths,
    )
    ann = person(found, "Ann")
    assert ann.gold_items == 5
    assert ann.gold_iou == {Label.FACE_MASK: pytest.approx(1.8 / 3), Label.FACE: pytest.approx(1 / 3)}
    assert ann.mean_gold_iou == pytest.approx((1.8 / 3 + 1 / 3) / 2)


def test_drift_compares_the_first_third_with_the_last_in_the_order_of_work():
    widths = [100, 100, 100, 90, 90, 90, 80, 80, 50]
    verdicts = []
    for number, width in enumerate(widths):
        late = {"minute": number, "seconds": [10.0, 20.0, 90.0, 30, 30, 30, 5.0, 6.0, 70.0][number]}
        sample = f"s{9 - number}"  # the samples' names run against time
        verdicts += [verdict(sample, "Ann", bar(width), **late), verdict(sample, "Bob", bar(100))]
    found = report(*verdicts)
    ann, bob = person(found, "Ann"), person(found, "Bob")
    assert ann.agreement_drift.first == 1.0
    assert ann.agreement_drift.last == pytest.approx(0.7)
    assert ann.agreement_drift.values == 9
    assert (ann.seconds_drift.first, ann.seconds_drift.last) == (20.0, 6.0)
    assert bob.seconds_drift is None
    assert len(widths) == MIN_DRIFT_VALUES
    assert person(report(*verdicts[2:]), "Ann").agreement_drift is None


@settings(deadline=None, max_examples=30)
@given(st.lists(st.floats(0.0, 600.0), min_size=9, max_size=40))
def test_the_slope_is_that_of_scipys_theil_sen(seconds):
    from scipy.stats import theilslopes

    known = [(place, value) for place, value in enumerate(seconds) if value > 0]
    found = report(
        *(verdict(f"s{number}", "Ann", seconds=value, minute=number) for number, value in enumerate(seconds))
    )
    drift = person(found, "Ann").seconds_drift
    if len(known) < MIN_DRIFT_VALUES:
        assert drift is None
    else:
        expected = theilslopes([value for _, value in known], [place for place, _ in known])[0]
        assert drift.per_100 == pytest.approx(100 * expected, abs=1e-9)


def test_the_slope_over_thousands_of_tasks_is_that_of_a_thinned_out_series():
    found = report(*(verdict(f"s{number:05d}", "Ann", seconds=100 + number / 50) for number in range(2500)))
    assert person(found, "Ann").seconds_drift == Drift(
        pytest.approx(100 + 416 / 50), pytest.approx(150 - 416.98 / 50, abs=0.02), pytest.approx(2.0), 2500
    )


def test_where_nobody_else_has_looked_the_truth_is_what_work_is_held_against():
    gold = [
        verdict(f"g{number}", "Ann", bar(100 - 5 * number), role=Role.GOLD, minute=number)
        for number in range(9)
    ]
    drift = person(
        report(*gold, truths={f"g{number}": (bar(100),) for number in range(9)}), "Ann"
    ).agreement_drift
    assert (drift.first, drift.last, drift.per_100) == (
        pytest.approx(0.95),
        pytest.approx(0.65),
        pytest.approx(-5.0),
    )


def test_samples_out_of_the_session_or_of_another_size_are_left_out_and_counted():
    verdicts = [verdict(key, name, bar(50)) for key in ("s1", "s2", "s3") for name in ("Ann", "Bob")]
    found = report(*verdicts, sizes={"s1": SIZE_HW, "s2": (10, 100)})
    assert found.left_out == 2
    assert found.pairs[0].pictures == person(found, "Ann").tasks == 1
    assert "2 samples left out" in report_lines(found)[-1]


@pytest.fixture
def mixed():
    return [
        verdict("s1", "Ann", bar(100, mask_type="cloth"), seconds=30.0),
        verdict("s1", "=Bob\x1b", bar(80, mask_type="n95"), seconds=90.0),
        verdict("s2", "Ann", bar(60), state=ReviewState.ACCEPTED),
        verdict("s2", "=Bob\x1b", state=ReviewState.NOT_SEEN),
        verdict("s3", "Ann", bar(50, mask_type="n95"), bar(50, Label.STRAP)),
        verdict("s3", "=Bob\x1b", bar(50, mask_type="n95"), bar(40, Label.STRAP)),
        verdict("s4", "Ann", state=ReviewState.REJECTED),
        verdict("s4", "=Bob\x1b", state=ReviewState.REJECTED),
    ]


def test_the_terminal_gets_aligned_tables_that_no_name_can_break(mixed):
    lines = report_lines(report(*mixed))
    assert lines[0].split() == [
        *("agreement", "pictures", "IoU", "face_mask", "face", "occluder", "strap", "boundary"),
        *("κ", "mask_type", "κ", "wearing_state", "κ", "verdict"),
    ]
    # κ of cloth/n95 and n95/n95: observed 1/2, by chance 1/2. Of the verdicts: 3/4, by chance 5/16.
    assert lines[1].split()[:6] == ["=Bob\\x1b", "·", "Ann", "4", "0.850", "0.900"]
    assert lines[1].split()[-3:] == ["0.000", "–", "0.636"]
    assert len({len(line) for line in lines[:2]}) == len({len(line) for line in lines[2:5]}) == 1
    assert lines[2].split() == [
        *("person", "tasks", "accepted", "corrected", "rejected", "fix", "settled"),
        *("s/task", "minutes", "gold", "gold", "IoU"),
    ]
    assert lines[3].split() == ["=Bob\\x1b", "4", "0%", "50%", "25%", "25%", "0", "90.0", "1.5", "0", "–"]
    assert lines[4].split() == ["Ann", "4", "25%", "50%", "25%", "0%", "0", "30.0", "0.5", "0", "–"]
    assert len(lines) == 5


def test_drift_is_told_in_a_sentence():
    rows = []
    for number in range(9):
        rows.append(verdict(f"s{number}", "Ann", bar(100 - number), seconds=40 - number, minute=number))
        rows.append(verdict(f"s{number}", "Bob", bar(100)))
    lines = report_lines(report(*rows))
    assert "Ann: agreement, first to last third: 0.990 → 0.930 (-1.000 per 100 tasks)" in lines
    assert "Ann: time per task, first to last third: 39.0 → 33.0 s (-100.0 s per 100 tasks)" in lines


def test_an_empty_session_has_nothing_to_say():
    assert report_lines(report()) == []
    assert report_values(report()) == {"pairs": [], "people": [], "left_out": 0}


def test_the_values_are_plain_json_with_null_for_what_is_not_known(mixed):
    values = report_values(report(*mixed))
    assert json.loads(json.dumps(values, allow_nan=False)) == values
    (pair,) = values["pairs"]
    assert pair["people"] == ["=Bob\x1b", "Ann"]
    assert pair["iou"] == {"face_mask": pytest.approx(0.9), "strap": 0.8}
    assert pair["kappa"] == {"mask_type": 0.0, "wearing_state": None, "verdict": pytest.approx(7 / 11)}
    ann = values["people"][1]
    assert ann["shares"] == {"accepted": 0.25, "corrected": 0.5, "rejected": 0.25, "fix": 0.0}
    assert (ann["gold_iou"], ann["agreement_drift"]) == ({}, None)
    assert values["left_out"] == 0


def test_drift_is_in_the_values():
    rows = [verdict(f"s{number}", "Ann", seconds=10.0, minute=number) for number in range(9)]
    (ann,) = report_values(report(*rows))["people"]
    assert ann["seconds_drift"] == {"first": 10.0, "last": 10.0, "per_100": 0.0, "values": 9}


def test_the_table_of_pictures_shows_the_worst_first_and_runs_no_formula(mixed):
    by_sample = {key: [one for one in mixed if one.sample_id == key] for key in ("s1", "s2", "s3", "s4")}
    text = picture_rows(by_sample, dict.fromkeys(by_sample, SIZE_HW))
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["sample_id"] for row in rows] == ["s2", "s1", "s3", "s4"]
    assert {row["first"] for row in rows} == {"'=Bob\\x1b"}
    assert {row["second"] for row in rows} == {"Ann"}
    assert [(row["first_verdict"], row["second_verdict"]) for row in rows] == [
        ("fix", "accepted"),
        ("corrected", "corrected"),
        ("corrected", "corrected"),
        ("rejected", "rejected"),
    ]
    assert [row["worst_iou"] for row in rows] == ["", "0.8000", "0.8000", ""]
    assert [row["iou_strap"] for row in rows] == ["", "", "0.8000", ""]
    assert [row["mask_type"] for row in rows] == ["", "differs", "same", ""]
    assert {row["wearing_state"] for row in rows} == {""}
    assert all(None not in row and None not in row.values() for row in rows)


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_no_cell_begins_as_a_formula_does(name):
    verdicts = {"s1": [verdict("s1", "Ann", bar(5)), verdict("s1", name, bar(5))]}
    for row in csv.reader(io.StringIO(picture_rows(verdicts, {"s1": SIZE_HW}))):
        assert not any(cell.lstrip().startswith(("=", "+", "-", "@")) for cell in row)
