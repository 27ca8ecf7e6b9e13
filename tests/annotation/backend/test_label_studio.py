"""The real Label Studio talks to the backend: proposals for tasks, regions for clicks, the train button."""

from __future__ import annotations

import numpy as np
import pytest

from annotation.backend.app import create_app
from annotation.backend.assistant import Assistant, Models, pictures_of
from annotation.backend.connect import KEY_VARIABLE, connect_backend
from annotation.backend.retraining import Retrainer
from annotation.label_studio.client import LabelStudioClient
from annotation.label_studio.codec import decode_results
from annotation.label_studio.labelling import labelling_config
from annotation.label_studio.sending import PROPOSAL_VERSION, task_of
from annotation.prelabel.settings import PrelabelSettings
from annotation.prelabel.stage import proposal_instances
from dataset_tools.core.errors import ReviewServiceError
from dataset_tools.core.labels import Label
from dataset_tools.core.masks import rle_to_mask

SETTINGS = PrelabelSettings(calibrate_on=0)
KEY = "a key with spaces : and ümlauts"


@pytest.fixture
def client(label_studio):
    with LabelStudioClient(label_studio.url, label_studio.account.token) as opened:
        yield opened


@pytest.fixture
def samples(make_sample):
    return [make_sample(number) for number in range(3)]


@pytest.fixture
def assistant(samples, store, drawn):
    return Assistant(pictures_of(samples), store, Models(drawn), SETTINGS)


def project_with(client, title, samples):
    project = client.create_project(title, labelling_config(assisted=True), "", 1)
    client.import_tasks(project.id, [task_of(sample, f"/data/{sample.id}.png") for sample in samples])
    return project


def tasks_of(client, project):
    found = client.request("read", "GET", "api/tasks/", params={"project": project.id, "fields": "all"})
    return {task["data"]["sample_id"]: task for task in found["tasks"]}


def retrieve(client, project, tasks):
    selected = {"selectedItems": {"all": False, "included": [task["id"] for task in tasks.values()]}}
    params = {"id": "retrieve_tasks_predictions", "project": project.id}
    client.request("retrieve", "POST", "api/dm/actions/", params=params, json=selected)


def test_proposals_and_regions_from_clicks_arrive_with_exactly_our_masks(
    client, samples, assistant, drawn, serving, store
):
    strange = task_of(samples[0], "/data/x.png")
    strange["data"] |= {"sample_id": "not ours", "item_key": "../../etc/passwd"}
    project = project_with(client, "assisted", samples)
    client.import_tasks(project.id, [strange])
    with serving(create_app(assistant, KEY)) as url:
        number = connect_backend(client, project.id, url, KEY)
        assert connect_backend(client, project.id, f"{url}/", KEY) == number
        tasks = tasks_of(client, project)
        retrieve(client, project, tasks)
        assert len(drawn.asked) == 3
        retrieve(client, project, tasks)
        assert len(drawn.asked) == 3  # all have this version's predictions by now

        arrived = tasks_of(client, project)
        for sample in samples:
            (prediction,) = [
                one for one in arrived[sample.id]["predictions"] if one["model_version"] == "drawn@1"
            ]
            boxes = [face.box_xyxy for face in sample.faces]
            (proposals,) = drawn.propose([store.read(sample.image)], [boxes])
            expected = proposal_instances(proposals, "model:drawn@1", SETTINGS)
            drawing = decode_results(prediction["result"], sample.image.size_hw)
            assert [(one.instance_id, one.label, one.mask) for one in drawing.regions] == [
                (one.id, one.label, one.mask) for one in expected
            ]
            assert prediction["score"] == pytest.approx(min(one.confidence for one in expected))
        (empty,) = [one for one in arrived["not ours"]["predictions"] if one["model_version"] == "drawn@1"]
        assert (empty["result"], empty["score"]) == ([], 0)

        sample = samples[1]
        height, width = sample.image.size_hw
        x0, y0, x1, y1 = (round(end) for end in sample.faces[0].box_xyxy)
        looks = len(drawn.asked)
        point = {
            "type": "keypointlabels",
            "from_name": "click",
            "to_name": "image",
            "id": "k1",
            "is_positive": True,
            "original_width": width,
            "original_height": height,
            "value": {
                "x": (x0 + 4.5) / width * 100,
                "y": (y1 - 3.5) / height * 100,
                "width": 0.3,
                "keypointlabels": ["face_mask"],
            },
        }
        for _ in range(2):
            answer = client.request(
                "click",
                "POST",
                f"api/ml/{number}/interactive-annotating",
                json={"task": arrived[sample.id]["id"], "context": {"result": [point]}},
            )
            (region,) = decode_results(answer["data"]["result"], (height, width)).regions
            wanted = np.zeros((height, width), dtype=bool)
            wanted[(y0 + y1) // 2 : y1, x0:x1] = True
            assert region.label is Label.FACE_MASK
            assert np.array_equal(rle_to_mask(region.mask), wanted)
        assert len(drawn.asked) == looks + 1


def test_what_people_are_shown_stays_what_was_sent(client, samples, assistant, drawn, serving, monkeypatch):
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    with serving(create_app(assistant, KEY)) as url:
        project = client.create_project("shown", labelling_config(assisted=True), "", 1)
        connect_backend(client, project.id, url)  # before there is a task
        client.import_tasks(project.id, [task_of(sample, "/data/x.png") for sample in samples])
        path = f"api/projects/{project.id}/"
        assert client.request("read", "GET", path)["model_version"] == PROPOSAL_VERSION
        # What the page asks for when somebody begins to label.
        following = client.request("next", "GET", f"{path}next")
        assert [one["model_version"] for one in following["predictions"]] == [PROPOSAL_VERSION]
        assert drawn.asked == []


def test_a_wrong_key_and_a_backend_that_is_away_are_one_line(client, assistant, serving):
    project = client.create_project("refused", labelling_config(assisted=True), "", 1)
    with serving(create_app(assistant, KEY)) as url:
        for key in ("wrong", ""):
            with pytest.raises(ReviewServiceError, match="cannot attach the model") as caught:
                connect_backend(client, project.id, url, key)
            assert "\n" not in str(caught.value)
    with pytest.raises(ReviewServiceError, match="cannot attach the model"):
        connect_backend(client, project.id, url, KEY)


def test_annotations_and_the_train_button_reach_the_backend(
    client, samples, assistant, make_drawn, serving, tmp_path
):
    def take() -> str:
        assistant.use(Models(make_drawn("2")))
        return assistant.models.version

    retrainer = Retrainer(lambda: ["true"], tmp_path / "log", take)
    project = project_with(client, "trained", samples)
    with serving(create_app(assistant, KEY, retrainer)) as url:
        number = connect_backend(client, project.id, url, KEY)
        tasks = tasks_of(client, project)
        task = tasks[samples[0].id]
        client.request("annotate", "POST", f"api/tasks/{task['id']}/annotations/", json={"result": []})
        client.request("train", "POST", f"api/ml/{number}/train", json={})
        assert retrainer.wait(60).detail == "drawn@2"
        versions = client.request("versions", "GET", f"api/ml/{number}/versions")
        assert versions == {"versions": ["drawn@1", "drawn@2"]}
        retrieve(client, project, tasks)
        found = tasks_of(client, project)[samples[0].id]["predictions"]
        assert {one["model_version"] for one in found} == {PROPOSAL_VERSION, "drawn@2"}
