"""The commands on a real workspace with a real checkpoint, a few steps old."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from annotation.backend import assist_cli
from annotation.backend.assist_cli import assist_command, retrain_command
from annotation.label_studio.server import free_port
from annotation.prelabel.settings import PrelabelSettings
from baselines.checkpoint import read_record
from dataset_tools.config import read_config
from dataset_tools.core.record import Split
from dataset_tools.pipeline import Pipeline
from dataset_tools.weights.shipped import shipped_proposer

CONFIG = """\
name: assisted
crawl:
  sources:
    - {type: pairs, name: labelled, images: labelled/image, masks: labelled/mask, licence: CC0-1.0}
    - {type: folder, name: photos, path: photos, licence: CC0-1.0}
filter: {detect: false, landmarks: false}
synth: {per_face: 0}
prelabel: {checkpoint: model, device: cpu, calibrate_on: 0, min_confidence: 0, min_area_px: 1}
"""


@pytest.fixture(scope="module")
def prepared(tmp_path_factory, astronaut_rgb, hopper_path) -> Path:
    """A build up to `prelabel`: one labelled picture, one photo, and a model of one step."""
    from baselines.settings import CropSettings, TrainSettings
    from baselines.train import train

    root = tmp_path_factory.mktemp("assisted")
    for folder in ("labelled/image", "labelled/mask", "photos"):
        (root / folder).mkdir(parents=True)
    mask = np.zeros((240, 240), dtype=np.uint8)
    mask[130:190, 60:150] = 255
    Image.fromarray(np.ascontiguousarray(astronaut_rgb[:240, 120:360])).save(root / "labelled/image/a.png")
    Image.fromarray(mask).save(root / "labelled/mask/a.png")
    shutil.copy(hopper_path, root / "photos" / "hopper.jpg")
    (root / "config.yaml").write_text(CONFIG)
    build = Pipeline(read_config(root / "config.yaml"))
    for name in ("crawl", "filter", "synth"):
        build.run(name)
    settings = TrainSettings(
        steps=1,
        batch=1,
        input_px=64,
        pretrained=False,
        device="cpu",
        split=Split.UNASSIGNED,
        crop=CropSettings(kind="image"),
    )
    train(settings, build.manifest("synth"), build.workspace.images, root / "model")
    build.run("prelabel")
    return root


@pytest.fixture
def workspace(prepared) -> Iterator[Path]:
    """The build; successors trained in it go afterwards."""
    yield prepared
    for folder in (prepared / "work" / "models").glob("assist-*"):
        shutil.rmtree(folder)


def retrain(workspace, *more):
    arguments = [str(workspace / "config.yaml"), "--device", "cpu", "--json", *more]
    done = CliRunner().invoke(retrain_command, arguments)
    return done, json.loads(done.stdout) if done.exit_code == 0 else {}


def newest(workspace) -> Path:
    build = Pipeline(read_config(workspace / "config.yaml"))
    return assist_cli._ModelsAtHand(build, None, None, "cpu").newest()


def test_a_successor_is_trained_from_the_model_on_what_is_labelled_and_found_again(workspace):
    base = read_record(workspace / "model")
    assert newest(workspace) == workspace / "model"
    done, said = retrain(workspace, "--steps", "2")
    assert done.exit_code == 0, done.output
    record = read_record(Path(said["checkpoint"]))
    assert (record.initial_weights_sha256, record.steps, record.samples) == (base.weights_sha256, 2, 1)
    assert said["version"] == f"unet_effnet_lite0@{record.version}"
    assert newest(workspace) == Path(said["checkpoint"])
    # Nobody has accepted anything since.
    _, again = retrain(workspace)
    assert again["version"] == said["version"]
    assert "nothing was accepted" in again["said"]
    # A damaged successor is left out, and the model before it answers.
    weights = Path(said["checkpoint"]) / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    assert newest(workspace) == workspace / "model"


def test_where_nothing_is_named_the_model_that_comes_with_the_suite_assists(workspace):
    config = read_config(workspace / "config.yaml")
    settings = PrelabelSettings(device="cpu", calibrate_on=0)
    build = Pipeline(config.model_copy(update={"prelabel": settings}))
    at_hand = assist_cli._ModelsAtHand(build, None, None, "cpu")
    assert at_hand.newest() == shipped_proposer()
    record = read_record(shipped_proposer())
    models = at_hand.load(at_hand.newest())
    assert models.version == f"{record.baseline}@{record.version}"
    assert models.calibration.elsewhere == models.proposer.calibration.curves


def test_two_trainings_at_once_are_one_too_many(workspace):
    from dataset_tools.core.workspace import Workspace

    with Workspace(workspace / "work" / "models").lock():
        done, _ = retrain(workspace)
    assert done.exit_code == 75
    assert "is in use by" in done.stderr


def test_what_others_can_reach_needs_a_key_and_a_port_in_use_is_told_at_once(monkeypatch, tmp_path):
    monkeypatch.delenv("MASKSET_BACKEND_KEY", raising=False)
    open_to_all = CliRunner().invoke(assist_command, ["--host", "0.0.0.0"])  # never bound
    assert open_to_all.exit_code == 2
    assert "set MASKSET_BACKEND_KEY" in open_to_all.stderr
    port = free_port()
    with assist_cli._listen("127.0.0.1", port, None) as taken:
        taken.listen()
        refused = CliRunner().invoke(assist_command, [str(tmp_path / "config.yaml"), "--port", str(port)])
    assert refused.exit_code == 2
    assert f"cannot listen on 127.0.0.1, port {port}" in refused.stderr


def wait_for(wanted, process):
    """Ask until the answer is there."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        assert process.poll() is None, process.stderr.read()
        try:
            found = wanted()
        except httpx.TransportError:
            found = None
        if found:
            return found
        time.sleep(0.2)
    raise AssertionError("it never came")


def test_the_model_answers_is_retrained_by_the_button_and_ends_on_ctrl_c(workspace):
    url = f"http://127.0.0.1:{free_port()}"
    config = str(workspace / "config.yaml")
    command = [sys.executable, "-m", "dataset_tools.cli", "review", "assist", config, "--device", "cpu"]
    build = Pipeline(read_config(workspace / "config.yaml"))
    photo = next(one for one in build.manifest("prelabel").samples() if not one.is_labelled)
    body = {"tasks": [{"id": 1, "data": {"sample_id": photo.id}}], "params": {}}
    with subprocess.Popen(
        [*command, "--port", url.rsplit(":", 1)[1]],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[3],
    ) as process:
        try:
            first = wait_for(lambda: httpx.get(f"{url}/health").json()["model_version"], process)
            base = read_record(workspace / "model")
            assert first == f"unet_effnet_lite0@{base.version}"
            (found,) = httpx.post(f"{url}/predict", json=body, timeout=100).json()["results"]
            assert found["model_version"] == first
            assert len(found["result"]) == len(photo.instances) + len(photo.faces)
            start = httpx.post(f"{url}/webhook", json={"action": "START_TRAINING"})
            assert start.json() == {"status": "started", "job": "1"}
            wait_for(lambda: httpx.get(f"{url}/health").json()["training"]["state"] != "running", process)
            health = httpx.get(f"{url}/health").json()
            assert health["training"]["state"] == "done", health
            second = health["model_version"]
            assert second != first
            assert httpx.get(f"{url}/versions").json()["versions"] == [first, second]
            (found,) = httpx.post(f"{url}/predict", json=body, timeout=100).json()["results"]
            assert found["model_version"] == second
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode in (0, 130, -signal.SIGINT), err
    assert "Traceback" not in err
    assert f"{first} answers for 2 samples at {url}" in out
    assert newest(workspace).name.startswith("assist-")  # what a restart would use
