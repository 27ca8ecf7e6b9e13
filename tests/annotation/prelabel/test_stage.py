from __future__ import annotations

import dataclasses
import pickle

import numpy as np
import pytest

from annotation.prelabel.proposer import Proposal
from annotation.prelabel.settings import PrelabelSettings
from annotation.prelabel.stage import PrelabelStage, expected_iou, proposal_instances
from dataset_tools.core.labels import Label, Wearing
from dataset_tools.core.manifest import Manifest
from dataset_tools.core.masks import rle_to_mask
from dataset_tools.core.reasons import Reason
from dataset_tools.core.record import Face, Instance
from dataset_tools.core.stage import run_stage, shards_of_items


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


def run(samples, store, folder, settings=None, proposer=None):
    stage = PrelabelStage(settings or PrelabelSettings(), 0, proposer)
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


def test_without_a_checkpoint_everything_passes_untouched(make_sample, store, tmp_path):
    sample = make_sample(instances=())
    assert list(run([sample], store, tmp_path / "m").samples()) == [sample]


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
    assert PrelabelStage(PrelabelSettings(), 0).config != config


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


def test_expected_iou_by_hand():
    mask = np.array([[True, True, False, False]])
    # shared 0.9 + 0.7, together 2 pixels + 0.4 outside
    assert expected_iou(probability(0.9, 0.7, 0.4, 0.0), mask) == pytest.approx(1.6 / 2.4, abs=1e-6)
    assert expected_iou(probability(1.0, 1.0, 0.0, 0.0), mask) == 1.0
    assert expected_iou(probability(0.1, 0.1, 0.1, 0.1), np.zeros((1, 4), bool)) == 0.0


def test_expected_iou_is_the_mean_iou_when_the_probabilities_are_right():
    rng = np.random.default_rng(3)
    chances = rng.random((40, 50)).astype(np.float32) ** 3
    mask = chances >= 0.5
    found = []
    for _ in range(200):
        truth = rng.random(chances.shape) < chances
        found.append((truth & mask).sum() / (truth | mask).sum())
    assert expected_iou(chances, mask) == pytest.approx(np.mean(found), abs=0.005)


def test_human_instances_of_an_unlabelled_sample_are_kept(make_sample, store, tmp_path):
    sample = make_sample(faces=(Face((10, 10, 90, 90), 0.9, Wearing.MASKED, "d@1"),))
    mine = dataclasses.replace(sample.instances[0], drawn_by="human:ann", confidence=None)
    assert isinstance(mine, Instance)
    (found,) = run(
        [dataclasses.replace(sample, instances=(mine,))], store, tmp_path / "m", proposer=FakeProposer()
    ).samples()
    assert [item.drawn_by for item in found.instances] == ["human:ann", "model:fake@1"]
