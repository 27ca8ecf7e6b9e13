"""The models in the wheel: whole, small, anonymous, and at work when nothing else is named."""

from __future__ import annotations

import dataclasses
import re
import shutil
import socket
import subprocess
import zipfile
from pathlib import Path

import pytest

from annotation.prelabel.from_baseline import BaselineProposer
from annotation.prelabel.settings import PrelabelSettings
from annotation.prelabel.stage import PrelabelStage
from baselines.checkpoint import read_seen
from baselines.predict import Predictor
from dataset_tools.core.errors import DataError
from dataset_tools.core.images import ImageStore
from dataset_tools.core.manifest import Manifest
from dataset_tools.core.stage import run_stage, shards_of_items
from dataset_tools.defaults.about import read_about
from dataset_tools.defaults.card import model_card
from dataset_tools.weights.shipped import shipped_proposer

REPOSITORY = Path(__file__).resolve().parents[2]
MOST_BYTES = 12_000_000


@pytest.fixture
def unlabelled(made):
    """(store, a rendered picture of somebody with a mask whose label was taken away)."""
    (folder,) = (made.order.workspace / "manifests").glob("split-*")
    sample = next(
        one
        for one in Manifest(folder).samples()
        if any(item.label == "face_mask" and item.mask.area_px > 2000 for item in one.instances)
    )
    return ImageStore(made.order.workspace), dataclasses.replace(sample, instances=(), is_labelled=False)


def proposals(settings: PrelabelSettings, unlabelled, folder: Path):
    store, sample = unlabelled
    run_stage(
        PrelabelStage(settings, 0),
        shards_of_items([sample], 8),
        folder,
        key="k",
        parent_key="",
        images=store,
    )
    (found,) = Manifest(folder).samples()
    return found.instances


def test_the_proposer_is_small_and_loads_without_a_network(monkeypatch, astronaut_rgb):
    def refused(*args, **kwargs):
        raise AssertionError("loading went out to the network")

    monkeypatch.setattr(socket.socket, "connect", refused)
    predictor = Predictor.load(shipped_proposer(), "cpu")
    assert predictor.predict(astronaut_rgb).shape[:2] == (512, 512)
    assert sum(path.stat().st_size for path in shipped_proposer().iterdir()) <= MOST_BYTES


def test_what_the_proposer_saw_is_kept_as_digests_alone():
    rows = read_seen(shipped_proposer())
    assert rows
    for row in rows:
        assert re.fullmatch("[0-9a-f]{32}", row.sample_id)
        assert re.fullmatch("[0-9a-f]{64}", row.image_sha256)
        assert re.fullmatch("[0-9a-f]{16}", row.group)
        assert re.fullmatch("[0-9a-f]{32}|", row.parent_id)


def test_the_card_beside_the_data_cards_is_the_shipped_models():
    card = REPOSITORY / "data_cards" / "default-proposer.md"
    assert card.read_text() == model_card(read_about(shipped_proposer()))


def test_when_nothing_is_named_the_shipped_model_proposes_with_confidence(unlabelled, tmp_path):
    found = proposals(PrelabelSettings(), unlabelled, tmp_path / "m")
    assert found
    known = BaselineProposer(shipped_proposer())
    calibrated = {curve.label for curve in known.calibration.curves}
    for one in found:
        assert one.drawn_by == f"model:{known.name}@{known.version}"
        assert 0.3 <= one.confidence <= 1
        kind = "calibrated_elsewhere" if one.label in calibrated else "expected_iou"
        assert one.attribute("confidence_from") == kind


def test_none_proposes_nothing(unlabelled, tmp_path):
    assert proposals(PrelabelSettings(checkpoint="none"), unlabelled, tmp_path / "m") == ()


def test_a_damaged_model_is_one_line_that_says_what_to_do(tmp_path, monkeypatch):
    shutil.copytree(shipped_proposer(), tmp_path / "proposer")
    with (tmp_path / "proposer" / "weights.safetensors").open("r+b") as stream:
        stream.seek(-8, 2)
        stream.write(b"\xff" * 8)
    monkeypatch.setattr("annotation.prelabel.from_baseline.shipped_proposer", lambda: tmp_path / "proposer")
    with pytest.raises(DataError, match="install it again") as error:
        PrelabelStage(PrelabelSettings(), 0)
    assert "weights.safetensors" in str(error.value) and "\n" not in str(error.value)


def test_the_wheel_holds_the_models(tmp_path):
    uv = shutil.which("uv")
    if uv is None:
        pytest.skip("uv is not on the path")
    command = [uv, "build", "--wheel", "--offline", "--out-dir", str(tmp_path), str(REPOSITORY)]
    done = subprocess.run(command, capture_output=True, text=True)
    if "hatchling" in done.stderr and done.returncode:
        pytest.skip("the build backend is not in uv's cache")
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as opened:
        sizes = {one.filename: one.file_size for one in opened.infolist()}
    for path in shipped_proposer().iterdir():
        assert sizes[f"dataset_tools/weights/shipped/proposer/{path.name}"] == path.stat().st_size
