"""A real checkpoint, trained for one step, proposes through the stage."""

from __future__ import annotations

import dataclasses
import pickle

import numpy as np
import pytest
from PIL import Image

from annotation.prelabel.calibrate import Calibration, read_calibration
from annotation.prelabel.from_baseline import BaselineProposer
from annotation.prelabel.settings import PrelabelSettings
from annotation.prelabel.stage import PrelabelStage
from baselines.checkpoint import SeenSample, read_record, write_record, write_seen
from baselines.settings import CropSettings, TrainSettings
from dataset_tools.config import BuildConfig
from dataset_tools.core.errors import DataError, ManifestError
from dataset_tools.core.files import sha256_file
from dataset_tools.core.manifest import Manifest
from dataset_tools.core.masks import rle_to_mask
from dataset_tools.core.record import Split
from dataset_tools.core.stage import run_stage, shards_of_items
from dataset_tools.pipeline import Pipeline


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
        stage = PrelabelStage(PrelabelSettings(checkpoint="none"), 0)
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


def test_the_pictures_that_it_learned_from_are_known_and_not_calibrated_on(
    make_checkpoint, make_sample, store
):
    checkpoint = make_checkpoint()
    learned = make_sample(is_labelled=True)
    stage = PrelabelStage(PrelabelSettings(checkpoint=checkpoint, device="cpu"), 0)
    assert {learned.id, learned.image.sha256, learned.group} == stage.proposer.seen.learned
    assert stage.proposer.seen.chosen_on == frozenset()
    assert stage.calibrate([learned], store) == Calibration()


def test_rows_of_another_split_than_the_learned_one_only_helped_to_choose(make_checkpoint):
    checkpoint = make_checkpoint()
    rows = [
        SeenSample("a" * 32, "train", "anna", "a" * 64, ""),
        SeenSample("b" * 32, "val", "bert", "b" * 64, "c" * 32),
    ]
    record = read_record(checkpoint)
    digest = write_seen(checkpoint, rows)
    write_record(checkpoint, record.model_copy(update={"trained_on_sha256": digest}))
    seen = BaselineProposer(checkpoint, "cpu").seen
    assert seen.learned == {"a" * 32, "anna", "a" * 64}
    assert seen.chosen_on == {"b" * 32, "bert", "b" * 64, "c" * 32}


def test_several_looks_of_a_real_checkpoint_agree_with_its_own_up_to_their_disagreement(
    make_checkpoint, make_sample, store
):
    checkpoint = make_checkpoint("image")
    once, often = (
        PrelabelStage(PrelabelSettings(checkpoint=checkpoint, device="cpu", test_time_augment=chosen), 0)
        for chosen in (False, True)
    )
    rgb = store.read(make_sample().image)
    ((plain,),) = once.proposer.propose([rgb], [[]])
    ((mean,),) = often.proposer.propose([rgb], [[]])
    assert often.proposer.version == f"{once.proposer.version}+tta"
    assert mean.probability.shape == plain.probability.shape
    assert 0 < np.abs(mean.probability - plain.probability).mean() < 0.2
    assert plain.disagreement is None and 0 <= mean.disagreement <= 1


def test_a_build_calibrates_before_it_proposes_and_finds_the_calibration_again(
    make_checkpoint, make_sample, store, tmp_path
):
    for number in range(26):
        sample = make_sample(30 + number)
        folder = tmp_path / "photos" / ("image" if number < 24 else "unlabelled")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(store.read(sample.image)).save(folder / f"{number}.png")
        if number < 24:
            (tmp_path / "photos" / "mask").mkdir(exist_ok=True)
            truth = rle_to_mask(sample.instances[0].mask)
            Image.fromarray(truth.astype(np.uint8) * 255).save(tmp_path / "photos" / "mask" / f"{number}.png")
    values = {
        "name": "calibrated",
        "workspace": tmp_path / "build",
        "crawl": {
            "sources": [
                {
                    "type": "pairs",
                    "name": "known",
                    "images": tmp_path / "photos" / "image",
                    "masks": tmp_path / "photos" / "mask",
                    "licence": "CC0-1.0",
                },
                {
                    "type": "folder",
                    "name": "new",
                    "path": tmp_path / "photos" / "unlabelled",
                    "licence": "CC0-1.0",
                },
            ]
        },
        "filter": {"detect": False, "landmarks": False, "drop_distance": 0, "group_distance": 0},
        "synth": {"per_face": 0},
        "prelabel": {
            "checkpoint": make_checkpoint("image"),
            "device": "cpu",
            "min_confidence": 0,
            "min_area_px": 1,
        },
    }
    build = Pipeline(BuildConfig.model_validate(values))
    for name in ("crawl", "filter", "synth"):
        build.run(name)
    with pytest.raises(ManifestError, match="build-dataset prelabel"):
        build.manifest("prelabel")
    build.run("prelabel")
    (file,) = (tmp_path / "build" / "models").glob("calibration-*.json")
    stored = build.manifest("prelabel").header["config"]["calibration"]
    assert stored == read_calibration(file).summary()
    again = Pipeline(build.config)
    assert again.run("prelabel").resumed_shards == 1
    proposed = [
        item for one in again.manifest("prelabel").samples() for item in one.instances if item.is_proposal
    ]
    kinds = {item.attribute("confidence_from") for item in proposed}
    assert kinds <= {"calibrated" if stored["curves"] else "expected_iou"}
