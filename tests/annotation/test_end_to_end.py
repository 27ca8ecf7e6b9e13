"""Sixty pictures, two blind annotators and an adjudicator on a real Label Studio server."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from annotation.consensus import Outcome
from annotation.label_studio.accounts import add_annotators
from annotation.label_studio.client import LabelStudioClient
from annotation.label_studio.codec import encode_results
from annotation.label_studio.tool import LabelStudioTool
from annotation.people import session_report
from annotation.session import close_session, open_session
from annotation.settings import ReviewSettings
from annotation.showing import choose
from annotation.stage import ReviewStage
from annotation.verdict import Role, read_all_verdicts, read_verdicts, standing, write_verdicts
from dataset_tools.core.manifest import Manifest
from dataset_tools.core.masks import mask_to_rle, rle_to_mask
from dataset_tools.core.record import ReviewState
from dataset_tools.core.stage import run_stage, shards_of_items

COUNT = 60
SETTINGS = ReviewSettings(project="sixty", annotators=("dora", "emil"), gold_share=0.05, easy_from=0.85)


@pytest.fixture
def clients(label_studio):
    made = add_annotators(label_studio, SETTINGS.annotators)
    tokens = {name: account.token for name, account in made.items()}
    tokens["adjudication"] = label_studio.account.token
    opened = {lane: LabelStudioClient(label_studio.url, token) for lane, token in tokens.items()}
    yield opened
    for client in opened.values():
        client.close()


def project_of(client, lane):
    (project,) = client.find_projects(f"sixty {lane}")
    return project


def tasks_of(client, lane):
    return {
        task.data["sample_id"]: task.id
        for task in client.tasks(project_of(client, lane).id, with_annotations=False)
    }


def submit(client, task, results):
    body = {"result": results, "lead_time": 4.0}
    client.request("annotate", "POST", f"api/tasks/{task}/annotations/", json=body)


def with_mask(sample, mask):
    changed = dataclasses.replace(sample.instances[0], mask=mask_to_rle(mask))
    return dataclasses.replace(sample, instances=(changed, *sample.instances[1:]))


def results_of(sample):
    return encode_results(sample.instances, sample.faces, sample.image.size_hw)


def opinion(sample, number, lane):
    """What each person submits: agreement on most, one pixel of difference, or another mask altogether."""
    mask = rle_to_mask(sample.instances[0].mask).copy()
    if number % 10 == 1 and lane == "emil":
        mask[:, :-1] |= mask[:, 1:]
    if number % 10 == 2 and lane == "emil":
        mask = np.roll(mask, 30, axis=0)
    return with_mask(sample, mask)


def test_sixty_pictures_two_people_and_an_adjudicator(make_sample, store, clients, tmp_path):
    # The crops move on by a pixel each; the last ones would have their face box outside of the picture.
    samples = [make_sample(number, faces=()) for number in range(COUNT)]
    samples += [make_sample(COUNT + number, faces=(), is_labelled=True) for number in range(3)]
    showing = choose(samples, SETTINGS, seed=1)
    assert len(showing.truths) == 3
    tool = LabelStudioTool(clients.__getitem__, SETTINGS, store)
    assert [lane.sent for lane in open_session(tool, showing, SETTINGS)] == [63, 63]
    assert [lane.sent for lane in open_session(tool, showing, SETTINGS)] == [0, 0]

    numbers = {sample.id: number for number, sample in enumerate(samples)}
    truths = {sample.id: sample for sample in samples}
    for lane in SETTINGS.annotators:
        places = tasks_of(clients[lane], lane)
        assert sorted(places) == sorted(sample.id for sample in showing.samples)
        for sample in showing.samples:
            seen = truths[sample.id] if sample.id in showing.truths else sample
            submit(clients[lane], places[sample.id], results_of(opinion(seen, numbers[sample.id], lane)))

    folder = tmp_path / "reviews"
    closed = close_session(tool, showing, SETTINGS)
    assert [lane.open_tasks for lane in closed.lanes] == [0, 0, 6]
    assert closed.outcomes == {
        Outcome.WAITING: 0,
        Outcome.AGREED: 54,
        Outcome.CONTESTED: 6,
        Outcome.SETTLED: 0,
    }
    write_verdicts(folder, closed.verdicts)

    owner = clients["adjudication"]
    for key, task in tasks_of(owner, "adjudication").items():
        submit(owner, task, results_of(truths[key]))
    settled = close_session(tool, showing, SETTINGS, read_all_verdicts(folder))
    assert settled.outcomes[Outcome.SETTLED] == 6
    write_verdicts(folder, set(settled.verdicts) - set(closed.verdicts))
    files = sorted(path.name for path in folder.iterdir())
    again = close_session(tool, showing, SETTINGS, read_all_verdicts(folder))
    assert (again.verdicts, again.cases.sent) == (settled.verdicts, 0)
    assert write_verdicts(folder, set(again.verdicts) - set(settled.verdicts)) is None
    assert sorted(path.name for path in folder.iterdir()) == files

    # Other tests of this server give its owner other names.
    owners = {item.reviewer for item in settled.verdicts if item.role is Role.ADJUDICATOR}
    assert len(owners) == 1
    stage = ReviewStage(SETTINGS, read_verdicts(folder))
    directory = tmp_path / "manifest"
    run_stage(stage, shards_of_items(samples, 16), directory, key="k", parent_key="", images=store)
    for sample in Manifest(directory).samples():
        number, proposal = numbers[sample.id], truths[sample.id].instances[0].mask
        if number >= COUNT:
            assert sample == truths[sample.id]
            continue
        assert sample.is_labelled
        names = ("dora", "emil") if number % 10 != 2 else owners
        assert set(names) <= set(sample.review.reviewers)
        if number % 10 == 1:
            assert sample.review.method == "majority"
            assert sample.review.state is ReviewState.CORRECTED
            assert 0.9 <= sample.review.agreement < 1
        elif number % 10 == 2:
            assert sample.review.method == "adjudicated"
            assert sample.instances[0].mask == proposal
        else:
            assert (sample.review.state, sample.review.agreement) == (ReviewState.ACCEPTED, 1.0)
            assert sample.instances[0].mask == proposal
            assert sample.instances[0].drawn_by == "human:dora+emil"

    sizes = {sample.id: sample.image.size_hw for sample in samples}
    report = session_report(
        standing(settled.verdicts), {key: item.instances for key, item in showing.truths.items()}, sizes
    )
    assert {person.name: person.gold_items for person in report.people if person.name not in owners} == {
        "dora": 3,
        "emil": 3,
    }


def test_an_annotator_sees_nothing_of_the_others_projects(label_studio, clients):
    for lane in SETTINGS.annotators:
        mine = clients[lane].request("list", "GET", "api/projects/")["results"]
        assert all(not item["title"].endswith("emil" if lane == "dora" else "dora") for item in mine)
