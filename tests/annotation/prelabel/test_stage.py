from __future__ import annotations

import dataclasses
import pickle

import numpy as np
import pytest

from annotation.prelabel.calibrate import Calibration, Curve
from annotation.prelabel.proposer import Proposal
from annotation.prelabel.settings import PrelabelSettings
from annotation.prelabel.stage import PrelabelStage, proposal_instances
from dataset_tools.core.labels import Label, Wearing
from dataset_tools.core.manifest import Manifest
from dataset_tools.core.masks import rle_to_mask
from dataset_tools.core.reasons import Reason
from dataset_tools.core.record import Face, Instance
from dataset_tools.core.stage import run_stage, shards_of_items
from dataset_tools.core.workspace import stage_key

NOBODY = PrelabelSettings(checkpoint="none")


class FakeProposer:
    """Proposes the lower half of every face box with a hole, sure of 0.9 inside."""

    name = "fake"
    version = "1"
    weights_sha256 = "ab" * 32

    def propose(self, images, boxes):
        return [
            [
                Proposal(Label.FACE_MASK, self._map(rgb.shape[:2], box), face)
                for face, box in list(enumerate(own)) or [(-1, (0, 0, rgb.shape[1], rgb.shape[0]))]
            ]
            for rgb, own in zip(images, boxes, strict=True)
        ]

    def _map(self, size_hw, box):
        x0, y0, x1, y1 = (round(value) for value in box)
        probability = np.zeros(size_hw, np.float32)
        probability[(y0 + y1) // 2 : y1, x0:x1] = 0.9
        probability[y1 - 20 : y1 - 10, x0 + 10 : x0 + 20] = 0.1
        return probability


def run(samples, store, folder, settings=None, proposer=None, calibration=None):
    stage = PrelabelStage(settings or NOBODY, 0, proposer, calibration)
    stage = pickle.loads(pickle.dumps(stage))
    run_stage(stage, shards_of_items(samples, 8), folder, key="k", parent_key="", images=store)
    return Manifest(folder)


def test_unlabelled_samples_get_marked_proposals_per_face_with_holes_kept(make_sample, store, tmp_path):
    sample = make_sample(instances=())
    (found,) = run([sample], store, tmp_path / "m", proposer=FakeProposer()).samples()
    (instance,) = found.instances
    assert (instance.drawn_by, instance.face, instance.label) == ("model:fake@1", 0, Label.FACE_MASK)
    assert instance.is_proposal
    assert not found.is_labelled
    mask = rle_to_mask(instance.mask)
    assert mask[174, 60] and not mask[160, 65]
    assert 0.7 < instance.confidence < 0.9


def test_a_picture_without_faces_is_looked_at_as_a_whole(make_sample, store, tmp_path):
    sample = make_sample(instances=(), faces=())
    (found,) = run([sample], store, tmp_path / "m", proposer=FakeProposer()).samples()
    assert [item.face for item in found.instances] == [-1]


def test_labelled_samples_pass_untouched(make_sample, store, tmp_path):
    human = make_sample(instances=(), is_labelled=True)
    (found,) = run([human], store, tmp_path / "m", proposer=FakeProposer()).samples()
    assert found == human


def test_earlier_proposals_are_replaced(make_sample, store, tmp_path):
    sample = make_sample()
    (found,) = run([sample], store, tmp_path / "m", proposer=FakeProposer()).samples()
    assert {item.drawn_by for item in found.instances} == {"model:fake@1"}


@pytest.mark.parametrize("word", ["none", None])
def test_without_a_checkpoint_everything_passes_untouched(make_sample, store, tmp_path, word):
    sample = make_sample(instances=())
    settings = PrelabelSettings(checkpoint=word)
    assert list(run([sample], store, tmp_path / "m", settings).samples()) == [sample]


def test_a_picture_that_is_gone_becomes_a_rejection(make_sample, store, tmp_path):
    sample, lost = make_sample(0), make_sample(5)
    store.path(lost.image).unlink()
    manifest = run([sample, lost], store, tmp_path / "m", proposer=FakeProposer())
    assert [item.id for item in manifest.samples()] == [sample.id]
    assert [item.reason for item in manifest.rejections()] == [Reason.MISSING_IMAGE]


def test_the_model_and_the_thresholds_decide_the_manifest_and_its_folder_does_not():
    config = PrelabelStage(PrelabelSettings(), 0, FakeProposer()).config
    elsewhere = PrelabelSettings(checkpoint="/elsewhere", device="cpu")
    assert PrelabelStage(elsewhere, 0, FakeProposer()).config == config
    assert config["weights_sha256"] == "ab" * 32
    assert PrelabelStage(PrelabelSettings(min_confidence=0.9), 0, FakeProposer()).config != config
    assert PrelabelStage(NOBODY, 0).config != config


def probability(*values: float) -> np.ndarray:
    return np.array([values], np.float32)


ALL = PrelabelSettings(min_area_px=1, min_confidence=0)


def test_two_faces_share_no_pixel_of_one_label_and_the_surer_one_has_it():
    left = Proposal(Label.FACE_MASK, probability(0.9, 0.8, 0.6, 0.0), 0)
    right = Proposal(Label.FACE_MASK, probability(0.0, 0.7, 0.6, 0.9), 1)
    skin = Proposal(Label.FACE, probability(0.5, 0.5, 0.5, 0.5), 1)
    first, second, third = proposal_instances([left, right, skin], "model:m@1", ALL)
    assert rle_to_mask(first.mask).tolist() == [[True, True, True, False]]
    assert rle_to_mask(second.mask).tolist() == [[False, False, False, True]]
    assert rle_to_mask(third.mask).all()
    assert len({first.id, second.id, third.id}) == 3


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        (PrelabelSettings(min_area_px=3, min_confidence=0), 1),
        (PrelabelSettings(min_area_px=4, min_confidence=0), 0),
        (PrelabelSettings(min_area_px=1, min_confidence=0.79), 1),
        (PrelabelSettings(min_area_px=1, min_confidence=0.81), 0),
    ],
)
def test_small_or_unsure_proposals_are_dropped(settings, kept):
    proposal = Proposal(Label.FACE_MASK, probability(0.8, 0.8, 0.8, 0.0))
    assert len(proposal_instances([proposal], "model:m@1", settings)) == kept


def test_human_instances_of_an_unlabelled_sample_are_kept(make_sample, store, tmp_path):
    sample = make_sample(faces=(Face((10, 10, 90, 90), 0.9, Wearing.MASKED, "d@1"),))
    mine = dataclasses.replace(sample.instances[0], drawn_by="human:ann", confidence=None)
    assert isinstance(mine, Instance)
    (found,) = run(
        [dataclasses.replace(sample, instances=(mine,))], store, tmp_path / "m", proposer=FakeProposer()
    ).samples()
    assert [item.drawn_by for item in found.instances] == ["human:ann", "model:fake@1"]


def curve(label=Label.FACE_MASK, **changes):
    values = {
        "label": label,
        "expected": (0.5, 1.0),
        "real": (0.2, 0.6),
        "on_collected": 30,
        "on_rendered": 0,
        "error_before": 0.4,
        "error_after": 0.1,
    }
    return Curve(**values | changes)


def test_confidence_is_what_the_calibration_says_and_the_instance_says_so(make_sample, store, tmp_path):
    sample = make_sample(instances=())
    (plain,) = run([sample], store, tmp_path / "plain", proposer=FakeProposer()).samples()
    (before,) = plain.instances
    assert before.attribute("confidence_from") == "expected_iou"
    calibration = Calibration(curves=(curve(),))
    manifest = run([sample], store, tmp_path / "m", proposer=FakeProposer(), calibration=calibration)
    (after,) = next(manifest.samples()).instances
    assert after.attribute("confidence_from") == "calibrated"
    assert after.confidence == pytest.approx(0.2 + 0.8 * (before.confidence - 0.5), abs=1e-6)
    assert after.mask == before.mask
    stored = manifest.header["config"]["calibration"]
    assert stored["curves"][0]["real"] == [0.2, 0.6] and len(stored["sha256"]) == 64


def test_a_label_without_a_curve_keeps_what_the_model_expects():
    proposal = Proposal(Label.FACE, probability(0.8, 0.8, 0.8, 0.8))
    (found,) = proposal_instances([proposal], "model:m@1", ALL, Calibration(curves=(curve(),)))
    assert (found.confidence, found.attribute("confidence_from")) == (pytest.approx(0.8), "expected_iou")


class CalibratedProposer(FakeProposer):
    """Brings along what it was calibrated to where it was made."""

    def __init__(self, calibration):
        self.calibration = calibration


def test_without_labelled_pictures_the_calibration_that_a_model_brings_along_counts(
    make_sample, store, tmp_path
):
    proposer = CalibratedProposer(Calibration(curves=(curve(),)))
    made_here = Calibration(curves=(curve(real=(0.3, 0.3)),))
    found = {}
    for name, own in (("not made", None), ("nothing to make it of", Calibration()), ("made", made_here)):
        manifest = run([make_sample(instances=())], store, tmp_path / name, None, proposer, own)
        (instance,) = next(manifest.samples()).instances
        found[name] = (instance.attribute("confidence_from"), instance.confidence)
    assert found["not made"] == found["nothing to make it of"]
    assert found["not made"][0] == "calibrated_elsewhere" and 0.3 < found["not made"][1] < 0.6
    assert found["made"] == ("calibrated", 0.3)
    assert PrelabelStage(NOBODY, 0, proposer).needs_calibration
    plain = PrelabelStage(NOBODY, 0, FakeProposer()).config
    assert PrelabelStage(NOBODY, 0, proposer).config != plain


def test_a_calibration_brought_along_is_not_of_several_looks():
    settings = PrelabelSettings(test_time_augment=True)
    proposer = CalibratedProposer(Calibration(curves=(curve(),)))
    assert PrelabelStage(settings, 0, proposer).rating is None


def test_the_least_confidence_is_of_the_calibrated_value():
    proposal = Proposal(Label.FACE_MASK, probability(0.9, 0.9, 0.9, 0.9))
    settings = PrelabelSettings(min_area_px=1, min_confidence=0.55)
    assert proposal_instances([proposal], "model:m@1", settings)
    assert not proposal_instances([proposal], "model:m@1", settings, Calibration(curves=(curve(),)))


def test_the_calibration_decides_the_manifest():
    plain = PrelabelStage(PrelabelSettings(), 0, FakeProposer())
    stages = [
        plain,
        *(
            PrelabelStage(PrelabelSettings(), 0, FakeProposer(), calibration)
            for calibration in (Calibration(), Calibration(curves=(curve(),)))
        ),
    ]
    digests = [stage_key("prelabel", stage.version, stage.config, "") for stage in stages]
    assert len(set(digests)) == 3
    assert [stage.needs_calibration for stage in stages] == [True, False, False]
    assert not PrelabelStage(PrelabelSettings(calibrate_on=0), 0, FakeProposer()).needs_calibration
    assert not PrelabelStage(NOBODY, 0).needs_calibration


def test_several_looks_are_another_model_and_say_how_much_they_disagree(make_sample, store, tmp_path):
    sample = make_sample(instances=())
    settings = PrelabelSettings(test_time_augment=True)
    (found,) = run([sample], store, tmp_path / "m", settings, FakeProposer()).samples()
    (instance,) = found.instances
    assert instance.drawn_by == "model:fake@1+tta"
    # The fake's hole lies on the left of whatever it is shown, so the mirrored look disagrees.
    assert 0 < float(instance.attribute("disagreement")) < 0.2
    assert len(instance.attribute("disagreement")) == len("0.1234")
    config = PrelabelStage(settings, 0, FakeProposer()).config
    assert config["test_time_augment"] and config["weights_sha256"] == "ab" * 32


def test_the_stage_makes_the_calibration_that_it_needs(make_sample, store, tmp_path):
    truths = [
        dataclasses.replace(
            sample,
            is_labelled=True,
            group=sample.id,
            instances=(dataclasses.replace(sample.instances[0], drawn_by="human:a", confidence=None),),
        )
        for sample in map(make_sample, range(20))
    ]
    stage = PrelabelStage(PrelabelSettings(), 0, FakeProposer())
    calibration = stage.calibrate(truths, store)
    (found,) = calibration.curves
    assert (found.label, found.on_collected, found.on_rendered) == (Label.FACE_MASK, 20, 0)
    few = PrelabelStage(PrelabelSettings(calibrate_on=19), 0, FakeProposer())
    assert few.calibrate(truths, store) == Calibration()
    assert PrelabelStage(NOBODY, 0).calibrate(truths, store) == Calibration()
