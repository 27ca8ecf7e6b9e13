"""Which model pre-labels in a build, when several could."""

from __future__ import annotations

from pathlib import Path

import pytest

from annotation.prelabel.settings import PrelabelSettings
from baselines.checkpoint import read_record
from baselines.settings import TrainSettings
from dataset_tools.config import BuildConfig
from dataset_tools.core.progress import silent
from dataset_tools.core.workspace import Workspace
from dataset_tools.training import Models
from dataset_tools.weights.shipped import shipped_proposer


@pytest.fixture
def models(tmp_path: Path):
    def make(checkpoint: str | Path, *, with_proposer: bool) -> Models:
        config = BuildConfig(
            name="x",
            workspace=tmp_path,
            crawl={"sources": [{"type": "folder", "name": "p", "path": tmp_path, "licence": "CC0-1.0"}]},
            prelabel=PrelabelSettings(checkpoint=checkpoint, calibrate_on=0),
            proposer=TrainSettings(steps=1) if with_proposer else None,
        )
        return Models(config, Workspace(tmp_path), silent)

    return make


def test_without_a_word_the_model_that_comes_with_the_suite_pre_labels(models) -> None:
    record = read_record(shipped_proposer())
    stage = models("default", with_proposer=False).calibrated_stage("k")
    assert stage.config["weights_sha256"] == record.weights_sha256


def test_a_proposer_section_is_stronger_than_the_default_and_waits_for_its_training(models) -> None:
    assert not models("default", with_proposer=True).has_proposer("k")


def test_a_folder_and_none_are_stronger_than_a_proposer_section(models) -> None:
    for checkpoint in ("none", shipped_proposer()):
        asked = models(checkpoint, with_proposer=True)
        assert asked.has_proposer("k")
        assert bool(asked.calibrated_stage("k").proposer) is (checkpoint != "none")
