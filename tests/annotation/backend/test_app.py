"""The protocol, spoken over real HTTP by httpx in the words that Label Studio uses."""

from __future__ import annotations

import dataclasses
import socket
import threading

import httpx
import numpy as np
import pytest

from annotation.backend import app as app_module
from annotation.backend.app import create_app
from annotation.backend.assistant import Assistant, Models, pictures_of
from annotation.label_studio.codec import decode_results
from annotation.prelabel.settings import PrelabelSettings
from annotation.prelabel.stage import PrelabelStage
from dataset_tools.core.errors import DataError
from dataset_tools.core.labels import Label
from dataset_tools.core.progress import silent
from dataset_tools.core.record import Face

SETTINGS = PrelabelSettings(calibrate_on=0)


@pytest.fixture
def samples(make_sample):
    return [make_sample(number, instances=()) for number in range(3)]


@pytest.fixture
def assistant(samples, store, drawn):
    return Assistant(pictures_of(samples), store, Models(drawn), SETTINGS)


@pytest.fixture
def backend(assistant, serving):
    with serving(create_app(assistant)) as url, httpx.Client(base_url=url, timeout=30) as client:
        yield client


def task(sample_id, **more):
    data = {"image": "http://169.254.169.254/latest/meta-data", "sample_id": sample_id}
    return {"id": 1, "data": data, "meta": {}, "annotations": [], "predictions": [], **more}


def request(*tasks, context=None):
    params = {"login": None, "password": None, "context": context}
    return {"tasks": list(tasks), "project": "1.1795315541", "label_config": "<View/>", "params": params}


def click(x, y, label="face_mask", is_positive=True):
    value = {"x": x, "y": y, "width": 0.3, "keypointlabels": [label]}
    return {"type": "keypointlabels", "from_name": "click", "value": value, "is_positive": is_positive}


def test_it_is_healthy_and_says_its_version(backend):
    for path in ("/", "/health"):
        answer = backend.get(path)
        assert answer.json() == {"status": "UP", "model_class": "drawn", "model_version": "drawn@1"}
    setup = {
        "project": "1.2",
        "schema": "<View/>",
        "hostname": "h",
        "access_token": "s3cret",
        "extra_params": "",
    }
    assert backend.post("/setup", json=setup).json() == {"model_version": "drawn@1"}
    assert backend.get("/versions").json() == {"versions": ["drawn@1"]}


def test_proposals_are_those_of_pre_labelling_task_by_task(backend, samples, store, drawn):
    answer = backend.post("/predict", json=request(*(task(one.id) for one in samples))).json()
    stage = PrelabelStage(SETTINGS, 0, drawn)
    expected = [*stage.run(samples, plan=None, images=store, progress=silent("", None).__enter__())]
    assert len(answer["results"]) == 3
    for got, sample in zip(answer["results"], expected, strict=True):
        drawing = decode_results(got["result"], sample.image.size_hw)
        assert [(one.instance_id, one.label, one.mask) for one in drawing.regions] == [
            (one.id, one.label, one.mask) for one in sample.instances
        ]
        assert [box.face for box in drawing.boxes] == [0]
        assert got["score"] == min(one.confidence for one in sample.instances)
        assert got["model_version"] == "drawn@1"


@pytest.mark.parametrize("strange", ["nobody", "../../etc/passwd", "", None, 7, ["x"]])
def test_samples_that_are_not_ours_have_empty_answers_and_others_are_answered(backend, samples, strange):
    body = request(task(strange), task(samples[0].id), {"id": 3}, {"data": "text"})
    results = backend.post("/predict", json=body).json()["results"]
    empty = {"result": [], "score": 0.0, "model_version": "drawn@1"}
    assert results[0] == results[2] == results[3] == empty
    assert len(results[1]["result"]) == 3


def test_a_picture_that_is_gone_has_an_empty_answer(backend, samples, store):
    store.path(samples[1].image).unlink()
    body = request(task(samples[1].id), task(samples[0].id))
    first, second = backend.post("/predict", json=body).json()["results"]
    assert (first["result"], first["score"]) == ([], 0)
    assert second["result"]
    asked = request(task(samples[1].id), context={"result": [click(50, 50)]})
    assert backend.post("/predict", json=asked).json()["results"][0]["result"] == []


def test_a_click_gives_one_new_region_and_only_the_first_asks_the_network(backend, samples, drawn):
    sample = samples[0]
    height, width = sample.image.size_hw
    x0, y0, x1, y1 = (round(end) for end in sample.faces[0].box_xyxy)
    expected = np.zeros((height, width), dtype=bool)
    expected[(y0 + y1) // 2 : y1, x0:x1] = True
    point = click(100 * (x0 + 5) / width, 100 * (y1 - 5) / height)
    ids = set()
    for _ in range(3):
        body = request(task(sample.id), context={"result": [point], "project_credentials_login": None})
        (answer,) = backend.post("/predict", json=body).json()["results"]
        (region,) = decode_results(answer["result"], (height, width)).regions
        assert (region.label, region.instance_id) == (Label.FACE_MASK, "")  # a new one, nobody's proposal
        assert region.mask.area_px == expected.sum()
        assert answer["score"] > 0.8
        ids.add(region.region_id)
    assert len(ids) == 3
    assert len(drawn.asked) == 1
    away = request(task(sample.id), context={"result": [click(0, 0, "strap")]})
    assert backend.post("/predict", json=away).json()["results"][0]["result"] == []


def test_a_context_without_prompts_asks_for_proposals(backend, samples):
    for context in ({"result": []}, {"result": [{"type": "brushlabels"}]}, {}, None):
        body = request(task(samples[0].id), context=context)
        (answer,) = backend.post("/predict", json=body).json()["results"]
        assert len(answer["result"]) == 3


@pytest.mark.parametrize(
    ("path", "content", "status", "detail"),
    [
        ("/predict", b"{", 400, "not JSON"),
        ("/predict", b"\xff\xfe", 400, "not JSON"),
        ("/predict", b"[" * 100_000, 400, "not JSON"),
        ("/predict", b"[]", 400, "JSON object"),
        ("/predict", b"{}", 400, "tasks must be"),
        ("/predict", b'{"tasks": "all"}', 400, "tasks must be"),
        ("/predict", b'{"tasks": [1]}', 400, "tasks must be"),
        ("/predict", b'{"tasks": [], "params": 3}', 400, "params"),
        ("/predict", b'{"tasks": [], "params": {"context": {"result": []}}}', 400, "for one task"),
        ("/setup", b"x", 400, "not JSON"),
        ("/webhook", b"3", 400, "JSON object"),
        ("/train", b"", 400, "not JSON"),
        ("/train", b"{}", 409, "does not train"),
        ("/webhook", b'{"action": "START_TRAINING"}', 409, "does not train"),
    ],
)
def test_what_cannot_be_read_is_a_4xx_with_one_line(backend, path, content, status, detail):
    answer = backend.post(path, content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code == status
    assert detail in answer.json()["detail"]
    assert "\n" not in answer.json()["detail"]


def test_prompts_that_cannot_be_read_are_a_4xx_that_says_why(backend, samples):
    body = request(task(samples[0].id), context={"result": [click(50, 50, "dragon")]})
    answer = backend.post("/predict", json=body)
    assert answer.status_code == 400
    assert answer.json()["detail"] == "context: prompt for the label 'dragon'"


def test_a_body_over_the_limit_is_refused_however_it_is_sent(backend, monkeypatch):
    monkeypatch.setattr(app_module, "MAX_BODY_BYTES", 1000)
    headers = {"Content-Type": "application/json"}
    assert backend.post("/predict", content=b"[" * 1001, headers=headers).status_code == 413
    pieces = (b" " * 100 for _ in range(20))  # no length is announced
    assert backend.post("/predict", content=pieces, headers=headers).status_code == 413


def test_news_is_answered_at_once_and_paths_that_are_not_ours_are_not(backend):
    for action in ("ANNOTATION_CREATED", "ANNOTATIONS_DELETED", "TASKS_CREATED", "PROJECT_UPDATED"):
        assert backend.post("/webhook", json={"action": action, "task": {}}).status_code == 200
    for path in ("/docs", "/openapi.json", "/data/upload/1/x.png"):
        assert backend.get(path).status_code == 404


def test_other_sites_and_other_names_of_this_machine_are_refused(backend):
    forged = backend.post("/train", content=b"{}", headers={"Content-Type": "text/plain"})
    assert forged.status_code == 415
    rebound = backend.get("/health", headers={"Host": "evil.example:80"})
    assert rebound.status_code == 403
    assert backend.get("/health", headers={"Host": "localhost:9090"}).status_code == 200


def test_with_a_key_only_those_who_know_it_are_answered(assistant, serving):
    with serving(create_app(assistant, "s3cret")) as url:
        assert httpx.get(f"{url}/health", auth=("maskset", "s3cret")).status_code == 200
        assert (
            httpx.get(f"{url}/health", headers={"Host": "gpu.example"}, auth=("", "s3cret")).status_code
            == 200
        )
        for auth in (None, ("maskset", "secret"), ("s3cret", ""), ("maskset", "")):
            answer = httpx.get(f"{url}/health", auth=auth)
            assert answer.status_code == 401
            assert answer.headers["WWW-Authenticate"].startswith("Basic")
        for header in ("Basic", "Basic ???", "Bearer s3cret", "Basic czNjcmV0"):
            assert httpx.get(f"{url}/health", headers={"Authorization": header}).status_code == 401
        # Label Studio's webhooks carry no key: news is heard, training is not started.
        news = httpx.post(f"{url}/webhook", json={"action": "ANNOTATION_CREATED"})
        assert news.status_code == 200
        start = httpx.post(f"{url}/webhook", json={"action": "START_TRAINING"})
        assert start.status_code == 401


class Blocked:
    """A proposer that looks until it is let go."""

    name, version = "slow", "1"

    def __init__(self):
        self.looking, self.go = threading.Event(), threading.Event()

    def propose(self, images, boxes):
        self.looking.set()
        assert self.go.wait(30)
        return [[] for _ in images]


def test_health_is_answered_while_a_prediction_is_made(samples, store, serving):
    slow = Blocked()
    assistant = Assistant(pictures_of(samples), store, Models(slow), SETTINGS)
    with serving(create_app(assistant)) as url:
        answers = []
        body = request(task(samples[0].id))
        asking = threading.Thread(
            target=lambda: answers.append(httpx.post(f"{url}/predict", json=body, timeout=30))
        )
        asking.start()
        assert slow.looking.wait(30)
        assert httpx.get(f"{url}/health", timeout=30).json()["status"] == "UP"
        assert httpx.post(f"{url}/setup", json={}, timeout=30).status_code == 200
        slow.go.set()
        asking.join()
    assert answers[0].json()["results"][0]["model_version"] == "slow@1"


def test_what_there_is_no_time_for_is_left_for_the_next_call(assistant, samples, serving):
    with serving(create_app(assistant, predict_budget_s=0.0)) as url:
        results = httpx.post(f"{url}/predict", json=request(*(task(one.id) for one in samples))).json()[
            "results"
        ]
    assert len(results) == 3
    assert len(results[0]["result"]) == 3
    assert all("result" not in one for one in results[1:])


class Broken:
    name, version = "broken", "1"

    def __init__(self, error):
        self.error = error

    def propose(self, images, boxes):
        raise self.error


def test_a_model_that_breaks_is_one_line_and_the_server_lives_on(samples, store, serving, caplog):
    for error, status in ((DataError("weights are\ndamaged"), 503), (ZeroDivisionError("secret path"), 500)):
        assistant = Assistant(pictures_of(samples), store, Models(Broken(error)), SETTINGS)
        with serving(create_app(assistant)) as url:
            answer = httpx.post(f"{url}/predict", json=request(task(samples[0].id)))
            assert answer.status_code == status
            assert "\n" not in answer.text and "secret" not in answer.text
            assert httpx.get(f"{url}/health").status_code == 200


def test_only_loopback_is_listened_on(assistant, serving):
    with serving(create_app(assistant)) as url:
        port = int(url.rsplit(":", 1)[1])
        with socket.socket() as other:
            assert other.connect_ex(("127.0.0.2", port)) != 0


def test_landmarks_are_not_kept_in_memory(make_sample):
    sample = make_sample()
    (picture,) = pictures_of([sample]).values()
    assert picture.faces == (dataclasses.replace(sample.faces[0], landmarks_xyz=()),)
    assert isinstance(picture.faces[0], Face)
