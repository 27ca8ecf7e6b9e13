"""Trainings in real processes: one at a time, and only a good one changes what answers."""

from __future__ import annotations

import sys
from pathlib import Path

import httpx
import pytest

from annotation.backend.app import create_app
from annotation.backend.assistant import Assistant, Models, pictures_of
from annotation.backend.retraining import Checkpoint, Retrainer, State, newest
from annotation.prelabel.settings import PrelabelSettings
from dataset_tools.core.errors import ConfigError, DataError


def python(code: str):
    return lambda: [sys.executable, "-c", code]


@pytest.fixture
def log(tmp_path):
    return tmp_path / "models" / "retrain.log"


def test_a_training_that_succeeds_brings_its_model_to_work(log):
    brought = []
    retrainer = Retrainer(python("print('done')"), log, lambda: brought.append(1) or "unet@2")
    assert retrainer.progress.state is State.IDLE
    assert retrainer.start() == "1"
    assert retrainer.wait(60).values() == {"state": "done", "job": "1", "detail": "unet@2"}
    assert brought == [1]
    assert log.read_text() == "done\n"
    assert retrainer.start() == "2"
    retrainer.wait(60)


def test_a_training_that_fails_says_its_last_line_and_brings_nothing(log):
    code = "import sys; print('step 1'); sys.exit('error: out of memory on\\n  cuda:0  \\n\\n')"
    retrainer = Retrainer(python(code), log, lambda: pytest.fail("nothing was trained"))
    retrainer.start()
    assert retrainer.wait(60).values() == {"state": "failed", "job": "1", "detail": "cuda:0"}


def test_one_that_says_nothing_and_one_that_cannot_start_have_a_reason_too(log):
    retrainer = Retrainer(python("import sys; sys.exit(7)"), log, lambda: "")
    retrainer.start()
    assert retrainer.wait(60).detail == "exit status 7"
    nowhere = Retrainer(lambda: ["/nowhere/at/all"], log, lambda: "")
    assert nowhere.start() == "1"
    assert nowhere.progress.state is State.FAILED
    assert "No such file" in nowhere.progress.detail

    def refuses():
        raise ConfigError("no\nmodel")

    refused = Retrainer(refuses, log, lambda: "")
    refused.start()
    assert refused.progress.detail == "no model"


def test_a_new_model_that_cannot_be_loaded_is_a_failure(log, caplog):
    def damaged():
        raise DataError("weights are\ndamaged")

    retrainer = Retrainer(python(""), log, damaged)
    retrainer.start()
    assert retrainer.wait(60).detail == "DataError: weights are damaged"
    assert retrainer.progress.state is State.FAILED


def test_only_one_runs_at_a_time_and_it_knows_no_secrets(log, monkeypatch):
    for name in ("LABEL_STUDIO_API_KEY", "LABEL_STUDIO_API_KEY_A", "MASKSET_BACKEND_KEY"):
        monkeypatch.setenv(name, "s3cret")
    waits = "import os, time; print(sorted(os.environ.values()), flush=True); time.sleep(600)"
    retrainer = Retrainer(python(waits), log, lambda: "")
    assert retrainer.start() == "1"
    assert retrainer.start() is None
    assert retrainer.progress.state is State.RUNNING
    while not log.exists() or "\n" not in log.read_text():
        assert retrainer.progress.state is State.RUNNING
    retrainer.close()
    assert retrainer.progress.state is State.FAILED
    assert "s3cret" not in log.read_text()
    assert retrainer.start() == "2"
    retrainer.close()
    retrainer.close()


def test_the_train_button_swaps_the_model_and_a_failure_keeps_the_old_one(
    make_sample, store, make_drawn, serving, tmp_path, log
):
    sample = make_sample(instances=())
    assistant = Assistant(
        pictures_of([sample]), store, Models(make_drawn("1")), PrelabelSettings(calibrate_on=0)
    )
    versions = iter("23")

    def take() -> str:
        assistant.use(Models(make_drawn(next(versions))))
        return assistant.models.version

    gate = tmp_path / "gate"
    waits = f"import os, sys, time\nwhile not os.path.exists({str(gate)!r}): time.sleep(0.01)\nsys.exit(0)"
    commands = iter([python(waits), python("import sys; sys.exit('no labelled sample')")])
    retrainer = Retrainer(lambda: next(commands)(), log, take)
    with serving(create_app(assistant, None, retrainer)) as url, httpx.Client(base_url=url) as backend:

        def predicted() -> str:
            body = {"tasks": [{"id": 1, "data": {"sample_id": sample.id}}], "params": {"context": None}}
            (result,) = backend.post("/predict", json=body).json()["results"]
            assert result["result"]
            return result["model_version"]

        assert backend.get("/health").json()["training"]["state"] == "idle"
        start = {"action": "START_TRAINING", "project": {"id": 1}}
        assert backend.post("/webhook", json=start).json() == {"status": "started", "job": "1"}
        assert backend.post("/webhook", json=start).json() == {"status": "already running"}
        assert backend.post("/train", json={}).json() == {"status": "already running"}
        assert backend.get("/health").json()["training"]["state"] == "running"
        assert predicted() == "drawn@1"
        gate.touch()
        retrainer.wait(60)
        assert predicted() == "drawn@2"
        assert backend.post("/setup", json={}).json() == {"model_version": "drawn@2"}
        assert backend.get("/versions").json() == {"versions": ["drawn@1", "drawn@2"]}
        backend.post("/train", json={})
        retrainer.wait(60)
        training = backend.get("/health").json()["training"]
        assert training == {"state": "failed", "job": "2", "detail": "no labelled sample"}
        assert predicted() == "drawn@2"


def made(name: str, parent: str, crops: int = 1) -> Checkpoint:
    return Checkpoint(Path(name), name, parent, crops)


def test_the_newest_is_the_end_of_the_longest_line_of_successors():
    assert newest("base", []) is None
    assert newest("base", [made("x", "other"), made("y", "")]) is None
    line = [made("b", "a"), made("a", "base"), made("c", "b"), made("short", "base", 99)]
    assert newest("base", line).sha256 == "c"
    assert newest("b", line).sha256 == "c"
    twins = [made("few", "base", 3), made("many", "base", 5), made("also", "base", 5)]
    assert newest("base", twins).sha256 == "also"


def test_a_line_that_runs_in_a_circle_ends():
    circle = [made("a", "base"), made("b", "a"), made("a", "b"), made("base", "b")]
    assert newest("base", circle).sha256 == "b"
