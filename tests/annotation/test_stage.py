from __future__ import annotations

import pickle

from annotation.label_studio.codec import encode_results
from annotation.label_studio.tool import LabelStudioTool
from annotation.session import close_session, open_session
from annotation.settings import ConsensusSettings, ReviewSettings
from annotation.showing import Showing
from annotation.stage import ReviewStage
from annotation.verdict import read_verdicts, write_verdicts
from dataset_tools.core.manifest import Manifest
from dataset_tools.core.reasons import Reason
from dataset_tools.core.record import ReviewState
from dataset_tools.core.stage import run_stage, shards_of_items

SETTINGS = ReviewSettings(annotators=("ann",))


def review(samples, store, client, folder):
    """Accept the first, reject the second, leave the third open."""
    tool, showing = LabelStudioTool(lambda lane: client, SETTINGS, store), Showing(tuple(samples), {})
    open_session(tool, showing, SETTINGS)
    results = [encode_results(item.instances, item.faces, item.image.size_hw) for item in samples]
    client.annotate(samples[0].id, results[0])
    no = {
        "id": "v",
        "type": "choices",
        "from_name": "verdict",
        "to_name": "image",
        "value": {"choices": ["reject"]},
    }
    client.annotate(samples[1].id, [*results[1], no])
    write_verdicts(folder, close_session(tool, showing, SETTINGS).verdicts)
    return ReviewStage(SETTINGS, read_verdicts(folder))


def test_verdicts_go_through_the_manifest_and_the_rest_passes_untouched(
    make_sample, store, fake_label_studio, tmp_path
):
    samples = [make_sample(number) for number in range(3)]
    stage = pickle.loads(pickle.dumps(review(samples, store, fake_label_studio, tmp_path / "reviews")))
    directory = tmp_path / "manifest"
    report = run_stage(stage, shards_of_items(samples, 2), directory, key="k", parent_key="", images=store)
    assert (report.counts.inputs, report.counts.kept, report.reasons) == (3, 2, {"review_rejected": 1})
    found = {sample.id: sample for sample in Manifest(directory).samples()}
    assert found[samples[0].id].review.state is ReviewState.ACCEPTED
    assert found[samples[0].id].instances[0].drawn_by == "human:Ann Otator"
    assert found[samples[2].id] == samples[2]
    (rejection,) = Manifest(directory).rejections()
    assert (rejection.sample_id, rejection.reason) == (samples[1].id, Reason.REVIEW_REJECTED)


def test_verdicts_and_what_agreement_means_make_a_new_manifest_and_other_settings_do_not(
    make_sample, store, fake_label_studio, tmp_path
):
    samples = [make_sample(number) for number in range(3)]
    stage = review(samples, store, fake_label_studio, tmp_path)
    assert (
        ReviewStage(SETTINGS.model_copy(update={"url": "http://x:1"}), stage.verdicts).config == stage.config
    )
    staple = SETTINGS.model_copy(update={"consensus": ConsensusSettings(method="staple")})
    assert ReviewStage(staple, stage.verdicts).config != stage.config
    assert ReviewStage(ReviewSettings(), stage.verdicts).config != stage.config
    assert ReviewStage(ReviewSettings(), {}).config == ReviewStage(SETTINGS, {}).config
    assert ReviewStage(SETTINGS, {}).config != stage.config


def test_verdicts_that_no_sample_asks_for_are_told(make_sample, store, fake_label_studio, tmp_path, caplog):
    samples = [make_sample(number) for number in range(3)]
    stage = review(samples, store, fake_label_studio, tmp_path)
    stage.plan(samples)
    assert not caplog.messages
    stage.plan(samples[1:])
    assert caplog.messages == [
        "1 of 2 reviewed samples are not in this manifest (settings changed, or dropped before); "
        "their verdicts are kept"
    ]


def test_a_sample_waits_until_two_people_have_looked(make_sample, store, fake_label_studio, tmp_path):
    samples = [make_sample(number) for number in range(3)]
    verdicts = review(samples, store, fake_label_studio, tmp_path).verdicts
    stage = ReviewStage(ReviewSettings(), verdicts)
    run_stage(stage, shards_of_items(samples, 4), tmp_path / "m", key="k", parent_key="", images=store)
    found = {sample.id: sample for sample in Manifest(tmp_path / "m").samples()}
    assert not found[samples[0].id].is_labelled
    assert found[samples[0].id].review.reviewers == ("Ann Otator",)
    assert found[samples[0].id].review.state is ReviewState.NOT_SEEN
    assert found[samples[0].id].instances == samples[0].instances
