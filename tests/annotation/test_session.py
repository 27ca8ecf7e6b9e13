from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from annotation.consensus import Outcome
from annotation.label_studio.codec import encode_results
from annotation.label_studio.tool import LabelStudioTool
from annotation.session import close_session, open_session, outcomes
from annotation.settings import ReviewSettings
from annotation.showing import Showing
from annotation.verdict import Role
from dataset_tools.core.masks import mask_to_rle, rle_to_mask
from dataset_tools.core.record import ReviewState

SETTINGS = ReviewSettings(annotators=("ann", "bob"), gold_share=0)
NO = {
    "id": "v",
    "type": "choices",
    "from_name": "verdict",
    "to_name": "image",
    "value": {"choices": ["reject"]},
}


@pytest.fixture
def samples(make_sample):
    return [make_sample(number) for number in range(4)]


@pytest.fixture
def lanes(fake_label_studio):
    """A server for each lane, as blind people have it; each with one account of its own."""
    kind = type(fake_label_studio)
    found = {name: kind() for name in ("ann", "bob", "adjudication")}
    for name, fake in found.items():
        fake.accounts = {1: dataclasses.replace(fake.accounts[1], email=f"{name}@x", name=name.title())}
    return found


@pytest.fixture
def tool(lanes, store):
    return LabelStudioTool(lanes.__getitem__, SETTINGS, store)


def results(sample, mask=None):
    instances = sample.instances
    if mask is not None:
        instances = (dataclasses.replace(instances[0], mask=mask_to_rle(mask)), *instances[1:])
    return encode_results(instances, sample.faces, sample.image.size_hw)


def shifted(sample, pixels):
    return np.roll(rle_to_mask(sample.instances[0].mask), pixels, axis=1)


def test_two_people_agree_differ_and_are_settled_by_a_third(samples, lanes, tool):
    showing = Showing(tuple(samples), {})
    opened = open_session(tool, showing, SETTINGS)
    assert [(lane.lane, lane.sent) for lane in opened] == [("ann", 4), ("bob", 4)]
    same, near, far, one = samples
    for name in ("ann", "bob"):
        lanes[name].annotate(same.id, results(same))
    lanes["ann"].annotate(near.id, results(near, shifted(near, 1)))
    lanes["bob"].annotate(near.id, results(near))
    lanes["ann"].annotate(far.id, results(far, shifted(far, 25)))
    lanes["bob"].annotate(far.id, results(far))
    lanes["ann"].annotate(one.id, results(one))

    closed = close_session(tool, showing, SETTINGS)
    assert closed.outcomes == {
        Outcome.WAITING: 1,
        Outcome.AGREED: 2,
        Outcome.CONTESTED: 1,
        Outcome.SETTLED: 0,
    }
    assert (closed.cases.lane, closed.cases.sent) == ("adjudication", 1)
    (task,) = lanes["adjudication"].rows
    assert task.data["sample_id"] == far.id
    assert sorted(lanes["adjudication"].uploads) == sorted(
        [f"{far.id}.png", f"{far.id}-a.png", f"{far.id}-b.png", f"{far.id}-difference.png"]
    )
    assert "Ann" not in str(task.data)
    again = close_session(tool, showing, SETTINGS, closed.verdicts)
    assert (again.cases.sent, again.verdicts, again.outcomes) == (0, closed.verdicts, closed.outcomes)

    lanes["adjudication"].annotate(far.id, results(far), minute=5)
    settled = close_session(tool, showing, SETTINGS, closed.verdicts)
    assert settled.outcomes[Outcome.SETTLED] == 1
    assert settled.outcomes[Outcome.CONTESTED] == 0
    (word,) = [item for item in settled.verdicts if item.role is Role.ADJUDICATOR]
    assert word.reviewer == "Adjudication"
    assert {item.mask for item in word.instances} == {item.mask for item in far.instances}


def test_a_third_person_is_asked_when_only_one_rejects(samples, lanes, tool):
    showing = Showing(tuple(samples[:2]), {})
    open_session(tool, showing, SETTINGS)
    for sample, words in zip(samples, (("reject", "reject"), ("reject", "")), strict=False):
        for name, word in zip(("ann", "bob"), words, strict=True):
            lanes[name].annotate(sample.id, [*results(sample), *([NO] if word else [])])
    closed = close_session(tool, showing, SETTINGS)
    assert closed.outcomes[Outcome.AGREED] == 1
    assert closed.outcomes[Outcome.CONTESTED] == 1
    assert [task.data["sample_id"] for task in lanes["adjudication"].rows] == [samples[1].id]


def test_gold_samples_are_neither_counted_nor_contested(samples, lanes, tool):
    truth = samples[0]
    flawed = dataclasses.replace(
        truth, instances=(dataclasses.replace(truth.instances[0], mask=mask_to_rle(shifted(truth, 9))),)
    )
    showing = Showing((flawed, samples[1]), {truth.id: truth})
    open_session(tool, showing, SETTINGS)
    lanes["ann"].annotate(truth.id, results(truth))
    lanes["bob"].annotate(truth.id, [*results(flawed), NO])
    closed = close_session(tool, showing, SETTINGS)
    assert {item.role for item in closed.verdicts} == {Role.GOLD}
    assert sum(closed.outcomes.values()) == 1
    assert closed.cases.sent == 0
    assert {item.state for item in closed.verdicts} == {ReviewState.CORRECTED, ReviewState.REJECTED}


def test_nothing_is_counted_before_anybody_has_looked(samples):
    counts = outcomes(Showing(tuple(samples), {}), [], SETTINGS)
    assert counts[Outcome.WAITING] == len(samples)
    assert sum(counts.values()) == len(samples)
