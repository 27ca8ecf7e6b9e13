"""The real server is killed in the middle of a push and of a pull; the same command then completes both."""

from __future__ import annotations

import itertools
import json
import os
import signal
from collections import Counter
from pathlib import Path

import httpx
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from annotation.label_studio import client as client_module
from annotation.label_studio import sending
from annotation.label_studio.accounts import add_annotators
from annotation.label_studio.client import LabelStudioClient
from annotation.label_studio.codec import encode_results
from annotation.tokens import variable_of
from dataset_tools.cli import main
from dataset_tools.config import read_config
from dataset_tools.core.errors import EXIT_TRY_AGAIN
from dataset_tools.core.labels import Label
from dataset_tools.core.masks import mask_to_rle
from dataset_tools.core.record import Instance
from dataset_tools.pipeline import Pipeline

COUNT = 7
LANES = ("ann", "bob")
CONFIG = (
    "name: killed\ncrawl: {sources: [{type: folder, name: p, path: photos, licence: CC0-1.0}]}\n"
    "filter: {detect: false, landmarks: false}\nsynth: {per_face: 0}\n"
    f"review: {{annotators: [{', '.join(LANES)}]}}\n"
)


class Trap:
    """Kills the server's process group at the n-th request of a kind; set for one at a time.

    `once_sent` waits until the whole request has left: the server has it, and may or may not carry it out.
    """

    def __init__(self) -> None:
        self.server = None
        self.seen: list[str] = []
        self._kind, self._left, self._once_sent = "", 0, False

    def set(self, kind: str, number: int, *, once_sent: bool) -> None:
        self._kind, self._left, self._once_sent = kind, number, once_sent

    def __call__(self, request: httpx.Request) -> None:
        kind = f"{request.method} {request.url.path}"
        self.seen.append(kind)
        if not self._left or not kind.endswith(self._kind):
            return
        self._left -= 1
        if self._left:
            return
        if self._once_sent:
            request.extensions["trace"] = self._trace
        else:
            self._kill()

    def _trace(self, event: str, _: object) -> None:
        if event == "http11.send_request_body.complete":
            self._kill()

    def _kill(self) -> None:
        os.killpg(self.server.pid, signal.SIGKILL)
        self.server.wait()


@pytest.fixture
def trap(monkeypatch) -> Trap:
    """Watches all clients; pictures and tasks go in threes, pages are of three."""
    made = Trap()

    class Watched(LabelStudioClient):
        def __init__(self, *args, **more) -> None:
            super().__init__(*args, **more)
            self._http.event_hooks = {"request": [made]}

    monkeypatch.setattr(client_module, "LabelStudioClient", Watched)
    monkeypatch.setattr(client_module, "PAGE_SIZE", 3)
    monkeypatch.setattr(sending, "MAX_FILES_PER_REQUEST", 3)
    monkeypatch.setattr(sending, "MAX_TASKS_PER_REQUEST", 3)
    monkeypatch.setattr(sending, "RETRY_PAUSE_S", 0.0)
    return made


@pytest.fixture
def session(tmp_path, make_server, trap, monkeypatch, astronaut_rgb):
    """A dataset ready for review and a server with two blind annotators; starts it anew on the same port."""
    (tmp_path / "photos").mkdir()
    for number in range(COUNT):
        crop = np.ascontiguousarray(astronaut_rgb[number * 8 : 200 + number * 8, 140:300])
        Image.fromarray(crop).save(tmp_path / "photos" / f"{number}.png")
    (tmp_path / "config.yaml").write_text(CONFIG)
    build = Pipeline(read_config(tmp_path / "config.yaml"))
    for name in ("crawl", "filter", "synth", "prelabel"):
        build.run(name)
    first = make_server()
    for name, account in add_annotators(first, LANES).items():
        monkeypatch.setenv(variable_of(name), account.token)
    port = int(first.url.rsplit(":", 1)[1])

    class Session:
        samples = tuple(build.manifest("prelabel").samples())
        url = first.url
        reviews = build.reviews_dir

        def start(self) -> None:
            trap.server = make_server(port)
            trap.server.start()

        def call(self, command: str):
            words = [str(tmp_path / "config.yaml"), "--url", self.url, "--project", "killed"]
            return CliRunner().invoke(main, ["review", command, *words, "--quiet", "--json"])

        def fails(self, command: str) -> None:
            result = self.call(command)
            assert result.exit_code == EXIT_TRY_AGAIN, result.output
            assert not trap.server.is_running
            # What was noticed on the way stands in the log, not here.
            assert len(result.stderr.strip().splitlines()) == 1, result.stderr
            assert "Traceback" not in result.output

        def works(self, command: str):
            result = self.call(command)
            assert result.exit_code == 0, result.output
            return json.loads(result.stdout)

        def verdicts(self) -> dict[str, bytes]:
            return {path.name: path.read_bytes() for path in sorted(Path(self.reviews).glob("*.jsonl"))}

    assert len(Session.samples) == COUNT
    opened = Session()
    opened.start()
    return opened


def client_of(lane, session):
    return LabelStudioClient(session.url, os.environ[variable_of(lane)])


def check_sent_once(session):
    wanted = Counter(sample.id for sample in session.samples)
    for lane in LANES:
        with client_of(lane, session) as client:
            (project,) = client.find_projects(f"killed {lane}")
            tasks = list(client.tasks(project.id, with_annotations=False))
            assert Counter(task.data["sample_id"] for task in tasks) == wanted
            files = client.request(
                "list", "GET", f"api/projects/{project.id}/file-uploads", params={"all": "true"}
            )
            names = Counter(file["file"].partition("-")[2] for file in files)
            assert names == Counter(f"{sample.id}.png" for sample in session.samples)


def annotate(session):
    """Everybody draws a mask of their own on every picture but the last."""
    for place, lane in enumerate(LANES):
        with client_of(lane, session) as client:
            (project,) = client.find_projects(f"killed {lane}")
            tasks = list(client.tasks(project.id, with_annotations=False))
            sizes = {sample.id: sample.image.size_hw for sample in session.samples}
            for number, task in enumerate(tasks[:-1]):
                size_hw = sizes[task.data["sample_id"]]
                mask = np.zeros(size_hw, dtype=bool)
                mask[20 + number : 80 + place, 30:90] = True
                drawn = Instance("drawn", Label.FACE_MASK, mask_to_rle(mask), f"human:{lane}")
                body = {"result": encode_results([drawn], [], size_hw), "lead_time": 2.0}
                client.request("annotate", "POST", f"api/tasks/{task.id}/annotations/", json=body)


# Three requests bring the pictures of a lane, three its tasks; both go to the same address.
def test_a_push_that_loses_its_server_again_and_again_is_completed_in_the_end(session, trap):
    for kind, number, once_sent in (("/import", 2, True), ("/import", 4, False), ("/import", 5, True)):
        trap.set(kind, number, once_sent=once_sent)
        session.fails("open")
        session.fails("open")
        session.start()
    session.works("open")
    check_sent_once(session)
    assert {lane["sent"] for lane in session.works("open")["lanes"].values()} == {0}


@pytest.mark.slow
@pytest.mark.parametrize("once_sent", [False, True])
def test_a_push_may_lose_its_server_at_every_single_request(session, trap, once_sent):
    for number in itertools.count(1):
        trap.set("", number, once_sent=once_sent)
        result = session.call("open")
        if result.exit_code == 0:
            break
        assert result.exit_code == EXIT_TRY_AGAIN, result.output
        session.start()
    assert number > 10
    check_sent_once(session)


def test_a_pull_that_loses_its_server_leaves_nothing_and_the_next_brings_everything(session, trap):
    session.works("open")
    annotate(session)
    trap.seen.clear()
    whole = session.works("close")
    wanted = session.verdicts()
    pages = sum(kind == "GET /api/tasks/" for kind in trap.seen)
    assert pages >= 2 * len(LANES)
    assert sum(map(len, (text.splitlines() for text in wanted.values()))) == len(LANES) * (COUNT - 1)
    for number, once_sent in ((2, True), (pages - 1, False)):
        for name in wanted:
            (Path(session.reviews) / name).unlink()
        trap.set("GET /api/tasks/", number, once_sent=once_sent)
        session.fails("close")
        assert session.verdicts() == {}
        session.start()
        again = session.works("close")
        assert session.verdicts() == wanted
        assert again["outcomes"] == whole["outcomes"]
    check_sent_once(session)
