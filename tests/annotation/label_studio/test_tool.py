from __future__ import annotations

import dataclasses

import pytest

from annotation.label_studio import sending
from annotation.label_studio.client import AnswerLost
from annotation.label_studio.codec import encode_results
from annotation.label_studio.tool import LabelStudioTool
from annotation.settings import ReviewSettings
from annotation.showing import Showing
from annotation.verdict import Role
from dataset_tools.core.errors import ConfigError
from dataset_tools.core.reasons import Reason
from dataset_tools.core.record import ReviewState

SETTINGS = ReviewSettings()
TITLE = "maskset review a"


@pytest.fixture(autouse=True)
def no_pause(monkeypatch):
    monkeypatch.setattr(sending, "RETRY_PAUSE_S", 0.0)


@pytest.fixture
def samples(make_sample):
    return [make_sample(number) for number in range(5)]


@pytest.fixture
def tool(store, fake_label_studio):
    return LabelStudioTool(lambda lane: fake_label_studio, SETTINGS, store)


def showing(samples):
    return Showing(tuple(samples), {})


def keys_of(client):
    return sorted(task.data["sample_id"] for task in client.rows)


def results_of(sample):
    return encode_results(sample.instances, sample.faces, sample.image.size_hw)


def test_every_sample_is_sent_once_and_a_second_push_sends_nothing(samples, tool, fake_label_studio):
    assert tool.open(showing(samples), "a").sent == 5
    writes = list(fake_label_studio.calls)
    again = tool.open(showing(samples), "a")
    assert again.sent == 0
    assert fake_label_studio.calls == writes
    assert keys_of(fake_label_studio) == sorted(sample.id for sample in samples)


def test_the_server_gets_the_stored_bytes_under_names_made_of_hashes(samples, store, tool, fake_label_studio):
    tool.open(showing(samples), "a")
    assert fake_label_studio.uploads == {
        f"{sample.id}.png": store.read_bytes(sample.image) for sample in samples
    }


@pytest.mark.parametrize("carried_out", [True, False])
@pytest.mark.parametrize("method", ["upload_images", "import_tasks"])
def test_a_lost_answer_neither_loses_nor_doubles(samples, tool, fake_label_studio, method, carried_out):
    fake_label_studio.lose = [(method, carried_out), (method, carried_out)]
    tool.open(showing(samples), "a")
    assert keys_of(fake_label_studio) == sorted(sample.id for sample in samples)


def test_after_a_lost_answer_the_portions_are_halved(samples, tool, fake_label_studio, monkeypatch):
    monkeypatch.setattr(sending, "MAX_TASKS_PER_REQUEST", 4)
    fake_label_studio.lose = [("import_tasks", False)]
    tool.open(showing(samples), "a")
    assert [count for method, count in fake_label_studio.calls if method == "import_tasks"] == [4, 2, 2, 1]


def test_a_server_that_never_answers_ends_the_push_and_the_next_one_completes_it(
    samples, tool, fake_label_studio
):
    fake_label_studio.lose = [("import_tasks", False)] * sending.TRIES
    with pytest.raises(AnswerLost):
        tool.open(showing(samples), "a")
    assert tool.open(showing(samples), "a").sent == 5


def test_a_sample_whose_picture_is_gone_is_reported_and_the_others_go_on(
    samples, store, tool, fake_label_studio
):
    store.path(samples[2].image).unlink()
    opened = tool.open(showing(samples), "a")
    assert opened.sent == 4
    assert [(item.sample_id, item.reason) for item in opened.rejections] == [
        (samples[2].id, Reason.MISSING_IMAGE)
    ]


def test_a_project_of_the_same_title_that_is_not_ours_is_left_alone(samples, tool, fake_label_studio):
    fake_label_studio.create_project(TITLE, "<View/>", "my own", 1)
    with pytest.raises(ConfigError, match="choose another"):
        tool.open(showing(samples), "a")
    assert not fake_label_studio.calls


def test_verdicts_name_the_person_and_pull_the_same_twice(samples, tool, fake_label_studio):
    tool.open(showing(samples), "a")
    fake_label_studio.annotate(samples[0].id, results_of(samples[0]), user=1)
    fake_label_studio.annotate(samples[0].id, results_of(samples[0])[1:], user=2, minute=3)
    closed = tool.pull(showing(samples), "a", ())
    assert [(item.reviewer, item.reviewer_email, item.state) for item in closed.verdicts] == [
        ("Ann Otator", "ann@example.com", ReviewState.ACCEPTED),
        ("bob", "bob@example.com", ReviewState.CORRECTED),
    ]
    assert closed.open_tasks == 4
    assert tool.pull(showing(samples), "a", ()).verdicts == closed.verdicts
    assert {(item.lane, item.role) for item in closed.verdicts} == {("a", Role.ANNOTATOR)}


def test_an_unreadable_annotation_is_reported_and_the_others_are_pulled(samples, tool, fake_label_studio):
    tool.open(showing(samples), "a")
    bomb = results_of(samples[0])
    bomb[0]["value"]["rle"] = [255] * 40
    fake_label_studio.annotate(samples[0].id, bomb)
    fake_label_studio.annotate(samples[1].id, results_of(samples[1]))
    closed = tool.pull(showing(samples), "a", ())
    assert [item.sample_id for item in closed.verdicts] == [samples[1].id]
    assert [(item.sample_id, item.reason) for item in closed.unreadable] == [(samples[0].id, Reason.RLE_SIZE)]


def test_a_task_with_a_foreign_key_is_counted_and_opens_no_path(samples, tool, fake_label_studio):
    tool.open(showing(samples), "a")
    row = fake_label_studio.rows[0]
    fake_label_studio.rows[0] = dataclasses.replace(
        row, data={"sample_id": "../../etc/passwd", "image": "file:///"}
    )
    assert tool.pull(showing(samples), "a", ()).strange_tasks == 1


def test_closing_what_was_never_opened_says_so(tool):
    with pytest.raises(ConfigError, match="open the review first"):
        tool.pull(showing([]), "a", ())


def with_other_proposal(sample):
    """The same picture after another model looked at it."""
    other = dataclasses.replace(sample.instances[0], mask=sample.instances[1].mask, drawn_by="model:new@1")
    return dataclasses.replace(sample, instances=(other, *sample.instances[1:]))


def test_a_verdict_is_judged_once_and_a_manifest_made_anew_does_not_change_it(
    samples, tool, fake_label_studio
):
    tool.open(showing(samples), "a")
    fake_label_studio.annotate(samples[0].id, results_of(samples[0]))
    first = tool.pull(showing(samples), "a", ())
    anew = [with_other_proposal(sample) for sample in samples]
    again = tool.pull(showing(anew), "a", first.verdicts)
    assert (again.outdated_tasks, first.outdated_tasks) == (5, 0)
    assert again.verdicts == first.verdicts
    assert tool.open(showing(anew), "a").outdated == 5


def test_a_verdict_on_a_proposal_that_is_gone_keeps_its_pixels_and_credits_no_other_model(
    samples, tool, fake_label_studio
):
    tool.open(showing(samples), "a")
    fake_label_studio.annotate(samples[0].id, results_of(samples[0]))
    (verdict,) = tool.pull(showing([with_other_proposal(sample) for sample in samples]), "a", ()).verdicts
    assert verdict.state is ReviewState.CORRECTED
    assert [item.mask for item in verdict.instances] == [item.mask for item in samples[0].instances]
    assert {item.attribute("proposed_by") for item in verdict.instances} <= {None, ""}


def test_easy_samples_have_a_tab_and_previews_and_a_project_without_them_has_none(
    samples, store, fake_label_studio
):
    settings = ReviewSettings(easy_from=0.7)
    tool = LabelStudioTool(lambda lane: fake_label_studio, settings, store)
    tool.open(showing(samples), "a")
    fake_label_studio.views_made.pop()  # killed between two calls
    tool.open(showing(samples), "a")
    assert [view["title"] for view in fake_label_studio.views_made] == ["all", "easy: look and accept"]
    assert {task.data["batch"] for task in fake_label_studio.rows} == {"easy-001"}
    assert sorted(fake_label_studio.uploads) == sorted(
        name for sample in samples for name in (f"{sample.id}.png", f"{sample.id}-preview.png")
    )


def test_hard_samples_have_neither(samples, tool, fake_label_studio):
    tool.open(showing(samples), "a")
    assert fake_label_studio.views_made == []
    assert all("batch" not in task.data for task in fake_label_studio.rows)
