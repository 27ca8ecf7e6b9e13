from __future__ import annotations

import dataclasses

import pytest

from annotation import sending
from annotation.codec import encode_results
from annotation.label_studio import AnswerLost
from annotation.review import ReviewSettings, close_review, open_review, review_status, select_for_review
from dataset_tools.core.errors import ConfigError
from dataset_tools.core.reasons import Reason
from dataset_tools.core.record import Review, ReviewState

SETTINGS = ReviewSettings()


@pytest.fixture(autouse=True)
def no_pause(monkeypatch):
    monkeypatch.setattr(sending, "RETRY_PAUSE_S", 0.0)


@pytest.fixture
def samples(make_sample):
    return [make_sample(number) for number in range(5)]


def keys_of(client):
    return sorted(task.data["sample_id"] for task in client.rows)


def results_of(sample):
    return encode_results(sample.instances, sample.faces, sample.image.size_hw)


def test_every_sample_is_sent_once_and_a_second_push_sends_nothing(samples, store, fake_label_studio):
    assert open_review(samples, store, fake_label_studio, SETTINGS).sent == 5
    writes = list(fake_label_studio.calls)
    again = open_review(samples, store, fake_label_studio, SETTINGS)
    assert (again.selected, again.sent) == (5, 0)
    assert fake_label_studio.calls == writes
    assert keys_of(fake_label_studio) == sorted(sample.id for sample in samples)


def test_the_server_gets_the_stored_bytes_under_names_made_of_hashes(samples, store, fake_label_studio):
    open_review(samples, store, fake_label_studio, SETTINGS)
    assert fake_label_studio.uploads == {
        f"{sample.id}.png": store.read_bytes(sample.image) for sample in samples
    }


@pytest.mark.parametrize("carried_out", [True, False])
@pytest.mark.parametrize("method", ["upload_images", "import_tasks"])
def test_a_lost_answer_neither_loses_nor_doubles(samples, store, fake_label_studio, method, carried_out):
    fake_label_studio.lose = [(method, carried_out), (method, carried_out)]
    open_review(samples, store, fake_label_studio, SETTINGS)
    assert keys_of(fake_label_studio) == sorted(sample.id for sample in samples)


def test_after_a_lost_answer_the_portions_are_halved(samples, store, fake_label_studio, monkeypatch):
    monkeypatch.setattr(sending, "MAX_TASKS_PER_REQUEST", 4)
    fake_label_studio.lose = [("import_tasks", False)]
    open_review(samples, store, fake_label_studio, SETTINGS)
    assert [count for method, count in fake_label_studio.calls if method == "import_tasks"] == [4, 2, 2, 1]


def test_a_server_that_never_answers_ends_the_push_and_the_next_one_completes_it(
    samples, store, fake_label_studio
):
    fake_label_studio.lose = [("import_tasks", False)] * sending.TRIES
    with pytest.raises(AnswerLost):
        open_review(samples, store, fake_label_studio, SETTINGS)
    assert open_review(samples, store, fake_label_studio, SETTINGS).sent == 5


def test_a_sample_whose_picture_is_gone_is_reported_and_the_others_go_on(samples, store, fake_label_studio):
    store.path(samples[2].image).unlink()
    opened = open_review(samples, store, fake_label_studio, SETTINGS)
    assert opened.sent == 4
    assert [(item.sample_id, item.reason) for item in opened.rejections] == [
        (samples[2].id, Reason.MISSING_IMAGE)
    ]


def test_a_project_of_the_same_title_that_is_not_ours_is_left_alone(samples, store, fake_label_studio):
    fake_label_studio.create_project(SETTINGS.project, "<View/>", "my own", 1)
    with pytest.raises(ConfigError, match="choose another"):
        open_review(samples, store, fake_label_studio, SETTINGS)
    assert not fake_label_studio.calls


def test_labelled_and_already_reviewed_samples_are_not_shown(make_sample):
    reviewed = make_sample(1, review=Review(ReviewState.ACCEPTED))
    published = make_sample(2, is_labelled=True)
    plain = make_sample(3)
    assert list(select_for_review([reviewed, published, plain], SETTINGS, seed=0)) == [plain]


def test_the_share_of_rendered_samples_is_drawn_by_seed_and_sample_alone(make_sample):
    sample = make_sample(is_labelled=True)
    rendered = [
        dataclasses.replace(
            sample,
            id=f"{number:032x}",
            provenance=dataclasses.replace(sample.provenance, parent_id=sample.id),
        )
        for number in range(2000)
    ]
    settings = ReviewSettings(synthetic_share=0.1)
    drawn = [item.id for item in select_for_review(rendered, settings, seed=7)]
    assert 150 < len(drawn) < 250
    assert sorted(drawn) == sorted(item.id for item in select_for_review(rendered[::-1], settings, seed=7))
    assert drawn != [item.id for item in select_for_review(rendered, settings, seed=8)]
    assert not list(select_for_review(rendered, ReviewSettings(synthetic_share=0), seed=7))


def test_verdicts_name_the_person_and_pull_the_same_twice(samples, store, fake_label_studio):
    open_review(samples, store, fake_label_studio, SETTINGS)
    fake_label_studio.annotate(samples[0].id, results_of(samples[0]), user=1)
    fake_label_studio.annotate(samples[0].id, results_of(samples[0])[1:], user=2, minute=3)
    closed = close_review(fake_label_studio, samples, SETTINGS)
    assert [(item.reviewer, item.reviewer_email, item.state) for item in closed.verdicts] == [
        ("Ann Otator", "ann@example.com", ReviewState.ACCEPTED),
        ("bob", "bob@example.com", ReviewState.CORRECTED),
    ]
    assert closed.open_tasks == 4
    assert close_review(fake_label_studio, samples, SETTINGS).verdicts == closed.verdicts
    assert review_status(fake_label_studio, SETTINGS).by_person == {"Ann Otator": 1, "bob": 1}


def test_an_unreadable_annotation_is_reported_and_the_others_are_pulled(samples, store, fake_label_studio):
    open_review(samples, store, fake_label_studio, SETTINGS)
    bomb = results_of(samples[0])
    bomb[0]["value"]["rle"] = [255] * 40
    fake_label_studio.annotate(samples[0].id, bomb)
    fake_label_studio.annotate(samples[1].id, results_of(samples[1]))
    closed = close_review(fake_label_studio, samples, SETTINGS)
    assert [item.sample_id for item in closed.verdicts] == [samples[1].id]
    assert [(item.sample_id, item.reason) for item in closed.unreadable] == [(samples[0].id, Reason.RLE_SIZE)]


def test_a_task_with_a_foreign_key_is_counted_and_opens_no_path(samples, store, fake_label_studio):
    open_review(samples, store, fake_label_studio, SETTINGS)
    row = fake_label_studio.rows[0]
    fake_label_studio.rows[0] = dataclasses.replace(
        row, data={"sample_id": "../../etc/passwd", "image": "file:///"}
    )
    assert close_review(fake_label_studio, samples, SETTINGS).strange_tasks == 1


def test_closing_what_was_never_opened_says_so(fake_label_studio):
    with pytest.raises(ConfigError, match="open the review first"):
        close_review(fake_label_studio, [], SETTINGS)


def with_other_proposal(sample):
    """The same picture after another model looked at it."""
    other = dataclasses.replace(sample.instances[0], mask=sample.instances[1].mask, drawn_by="model:new@1")
    return dataclasses.replace(sample, instances=(other, *sample.instances[1:]))


def test_a_verdict_is_judged_once_and_a_manifest_made_anew_does_not_change_it(
    samples, store, fake_label_studio
):
    open_review(samples, store, fake_label_studio, SETTINGS)
    fake_label_studio.annotate(samples[0].id, results_of(samples[0]))
    first = close_review(fake_label_studio, samples, SETTINGS)
    anew = [with_other_proposal(sample) for sample in samples]
    again = close_review(fake_label_studio, anew, SETTINGS, kept=first.verdicts)
    assert (again.outdated_tasks, first.outdated_tasks) == (5, 0)
    assert again.verdicts == first.verdicts
    assert open_review(anew, store, fake_label_studio, SETTINGS).outdated == 5


def test_a_verdict_on_a_proposal_that_is_gone_keeps_its_pixels_and_credits_no_other_model(
    samples, store, fake_label_studio
):
    open_review(samples, store, fake_label_studio, SETTINGS)
    fake_label_studio.annotate(samples[0].id, results_of(samples[0]))
    (verdict,) = close_review(
        fake_label_studio, [with_other_proposal(sample) for sample in samples], SETTINGS
    ).verdicts
    assert verdict.state is ReviewState.CORRECTED
    assert [item.mask for item in verdict.instances] == [item.mask for item in samples[0].instances]
    assert {item.attribute("proposed_by") for item in verdict.instances} <= {None, ""}


def test_samples_on_which_people_differ_are_counted(samples, store, fake_label_studio):
    open_review(samples, store, fake_label_studio, SETTINGS)
    for sample in samples[:2]:
        fake_label_studio.annotate(sample.id, results_of(sample), user=1)
    fake_label_studio.annotate(samples[0].id, results_of(samples[0]), user=2, minute=1)
    fake_label_studio.annotate(samples[1].id, results_of(samples[1])[1:], user=2, minute=1)
    assert close_review(fake_label_studio, samples, SETTINGS).contested == 1
