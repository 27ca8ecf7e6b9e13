"""A real checkpoint, trained for one step, proposes through the stage."""

from __future__ import annotations

import dataclasses
import pickle

import numpy as np
import pytest

from annotation.prelabel.from_baseline import BaselineProposer
from annotation.prelabel.settings import PrelabelSettings
from annotation.prelabel.stage import PrelabelStage
from baselines.settings import CropSettings, TrainSettings
from dataset_tools.core.errors import DataError
from dataset_tools.core.files import sha256_file
from dataset_tools.core.manifest import Manifest
from dataset_tools.core.record import Split
from dataset_tools.core.stage import run_stage, shards_of_items


@pytest.fixture
def make_checkpoint(make_sample, store, tmp_path):
    def make(kind: str = "face"):
        from baselines.train import train

        sample = make_sample(is_labelled=True, split=Split.TRAIN)
        human = tuple(
            dataclasses.replace(item, drawn_by="human:ann", confidence=None) for item in sample.instances
        )
        labelled = [dataclasses.replace(sample, instances=human)]
        directory = store.root / "manifests" / "split-1"
        stage = PrelabelStage(PrelabelSettings(), 0)
        run_stage(stage, shards_of_items(labelled, 8), directory, key="1", parent_key="", images=store)
        settings = TrainSettings(
            steps=1,
            batch=1,
            input_px=64,
            pretrained=False,
            augment=False,
            device="cpu",
            crop=CropSettings(kind=kind),
        )
        return train(settings, Manifest(directory), store, tmp_path / "checkpoint").checkpoint_dir

    return make


def test_a_trained_baseline_proposes_inside_the_face_and_is_named_by_its_weights(
    make_checkpoint, make_sample, store, tmp_path
):
    checkpoint = make_checkpoint()
    settings = PrelabelSettings(checkpoint=checkpoint, device="cpu", min_confidence=0, min_area_px=1)
    stage = pickle.loads(pickle.dumps(PrelabelStage(settings, 0)))
    digest = sha256_file(checkpoint / "weights.safetensors")
    assert stage.config["weights_sha256"] == digest
    sample = make_sample(3, instances=())
    run_stage(stage, shards_of_items([sample], 8), tmp_path / "m", key="k", parent_key="", images=store)
    (found,) = Manifest(tmp_path / "m").samples()
    assert found.provenance == sample.provenance
    for instance in found.instances:
        assert instance.drawn_by == f"model:unet_effnet_lite0@{digest[:12]}"
        assert 0 <= instance.confidence <= 1

    (proposals,) = stage.proposer.propose([store.read(sample.image)], [[(50.0, 40.0, 110.0, 120.0)]])
    (proposal,) = proposals
    assert proposal.face == 0
    looked = np.argwhere(proposal.probability > 0)
    # Only the square around the face: a face box of 60x80 px with a margin of 25 % of 80 px on each side.
    assert len(looked) and (looked.max(axis=0) - looked.min(axis=0) <= 121).all()


def test_a_baseline_trained_on_whole_pictures_looks_at_whole_pictures(make_checkpoint, make_sample, store):
    proposer = BaselineProposer(make_checkpoint("image"), "cpu")
    rgb = store.read(make_sample().image)
    ((proposal,),) = proposer.propose([rgb], [[(50.0, 40.0, 110.0, 120.0)]])
    assert proposal.face == -1
    assert proposal.probability.shape == rgb.shape[:2]
    assert (proposal.probability > 0).all()


def test_a_folder_that_is_no_checkpoint_is_an_error_at_once(tmp_path):
    with pytest.raises(DataError, match="no finished training"):
        PrelabelStage(PrelabelSettings(checkpoint=tmp_path), 0)
