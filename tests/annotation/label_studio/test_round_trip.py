"""The whole round trip against the real server."""

from __future__ import annotations

import json
import re
import shutil

import httpx
import numpy as np
import pytest
from click.testing import CliRunner

from annotation.label_studio.brush import encode_brush
from annotation.label_studio.client import LabelStudioClient
from annotation.label_studio.codec import encode_results
from annotation.label_studio.tool import LabelStudioTool
from annotation.settings import ReviewSettings
from annotation.showing import Showing
from annotation.tokens import TOKEN_VARIABLE
from dataset_tools.cli import main
from dataset_tools.config import read_config
from dataset_tools.core.labels import Label
from dataset_tools.core.masks import mask_to_rle, rle_to_mask
from dataset_tools.core.record import Instance, ReviewState
from dataset_tools.pipeline import Pipeline


@pytest.fixture
def client(label_studio):
    with LabelStudioClient(label_studio.url, label_studio.account.token) as opened:
        yield opened


@pytest.fixture(scope="session")
def annotator(label_studio):
    """A second person, who came by the invitation link: a logged-in browser session."""
    owner = {"Authorization": f"Token {label_studio.account.token}"}
    with httpx.Client(base_url=label_studio.url, follow_redirects=True, timeout=30) as session:
        link = session.get("/api/invite", headers=owner).json()["invite_url"]
        page = session.get(link)
        form = {"email": "ann@example.com", "password": "correct-horse-1", "allow_newsletters": "false"}
        form["csrfmiddlewaretoken"] = re.search(r'csrfmiddlewaretoken" value="([^"]+)"', page.text)[1]
        session.post(link, data=form, headers={"Referer": str(page.url)})
        ours = session.get("/api/current-user/whoami").json()
        assert ours["email"] == "ann@example.com"
        names = {"first_name": "Ann", "last_name": "Otator"}
        session.patch(f"/api/users/{ours['id']}/", json=names, headers=owner).raise_for_status()
        yield session


def submit(annotator, task_id, results, **more):
    headers = {"X-CSRFToken": annotator.cookies["csrftoken"], "Referer": str(annotator.base_url)}
    body = {"result": results, "lead_time": 3.5, **more}
    answer = annotator.post(f"/api/tasks/{task_id}/annotations/", json=body, headers=headers)
    answer.raise_for_status()


def tasks_by_sample(client, project):
    return {task.data["sample_id"]: task for task in client.tasks(project.id, with_annotations=False)}


def prediction_of(client, task):
    return client.request("read", "GET", f"api/tasks/{task.id}/")["predictions"][0]


def test_pictures_and_proposals_go_out_and_verdicts_come_back_exactly(
    make_sample, store, client, label_studio, annotator
):
    tool = LabelStudioTool(lambda lane: client, ReviewSettings(project="round trip"), store)
    samples = [make_sample(number) for number in range(4)]
    accepted, corrected, rejected, untouched = samples
    showing = Showing(tuple(samples), {})
    assert tool.open(showing, "a").sent == 4
    assert tool.open(showing, "a").sent == 0

    (project,) = client.find_projects("round trip a")
    tasks = tasks_by_sample(client, project)
    for sample in samples:
        address = tasks[sample.id].data["image"]
        assert annotator.get(address).content == store.read_bytes(sample.image)
        assert httpx.get(label_studio.url + address).status_code == 401

    prediction = prediction_of(client, tasks[accepted.id])
    submit(annotator, tasks[accepted.id].id, prediction["result"], parent_prediction=prediction["id"])
    results = prediction_of(client, tasks[corrected.id])["result"]
    mask = rle_to_mask(corrected.instances[0].mask).copy()
    mask[140:150, 90:120] ^= True
    brush = next(item for item in results if item["type"] == "brushlabels")
    brush["value"]["rle"], brush["origin"] = encode_brush(mask), "prediction-changed"
    submit(annotator, tasks[corrected.id].id, results)
    no = {
        "id": "v1",
        "type": "choices",
        "from_name": "verdict",
        "to_name": "image",
        "value": {"choices": ["reject"]},
    }
    submit(annotator, tasks[rejected.id].id, [no])
    submit(annotator, tasks[untouched.id].id, [], was_cancelled=True)

    pulled = tool.pull(showing, "a", ())
    assert (pulled.unreadable, pulled.open_tasks, pulled.strange_tasks) == ((), 1, 0)
    assert tool.pull(showing, "a", pulled.verdicts) == pulled
    verdicts = {verdict.sample_id: verdict for verdict in pulled.verdicts}
    assert {key: verdict.state for key, verdict in verdicts.items()} == {
        accepted.id: ReviewState.ACCEPTED,
        corrected.id: ReviewState.CORRECTED,
        rejected.id: ReviewState.REJECTED,
    }
    assert {verdict.reviewer for verdict in verdicts.values()} == {"Ann Otator"}
    assert {verdict.reviewer_email for verdict in verdicts.values()} == {"ann@example.com"}
    for before, after in zip(accepted.instances, verdicts[accepted.id].instances, strict=True):
        assert after.mask == before.mask
        assert after.drawn_by == "human:Ann Otator"
    changed, kept = verdicts[corrected.id].instances
    assert changed.mask == mask_to_rle(mask)
    assert kept.mask == corrected.instances[1].mask


def test_the_commands_open_follow_and_close_a_session(
    make_sample, tmp_path, astronaut_path, label_studio, monkeypatch
):
    monkeypatch.setenv(TOKEN_VARIABLE, label_studio.account.token)
    (tmp_path / "photos").mkdir()
    shutil.copy(astronaut_path, tmp_path / "photos" / "astronaut.png")
    config = tmp_path / "config.yaml"
    config.write_text(
        "name: cmd\ncrawl: {sources: [{type: folder, name: p, path: photos, licence: CC0-1.0}]}\n"
        "filter: {detect: false, landmarks: false}\nsynth: {per_face: 0}\nreview: {annotators: [ann]}\n"
    )
    build = Pipeline(read_config(config))
    for name in ("crawl", "filter", "synth", "prelabel"):
        build.run(name)
    (sample,) = build.manifest("prelabel").samples()
    session = [
        str(config),
        "--url",
        label_studio.url,
        "--project",
        "by command",
        "--json",
    ]

    def call(command):
        result = CliRunner().invoke(main, ["review", command, *session])
        assert result.exit_code == 0, result.output
        assert label_studio.account.token not in result.output
        return json.loads(result.stdout)

    first = call("open")
    assert (first["selected"], first["gold"], first["lanes"]["ann"]["sent"]) == (1, 0, 1)
    assert call("open")["lanes"]["ann"]["sent"] == 0
    assert call("status")["outcomes"]["waiting"] == 1
    assert call("close")["lanes"]["ann"]["verdicts"] == 0
    drawn = np.zeros(sample.image.size_hw, dtype=bool)
    drawn[200:260, 210:270] = True
    mask = mask_to_rle(drawn)
    with LabelStudioClient(label_studio.url, label_studio.account.token) as client:
        (project,) = client.find_projects("by command ann")
        (task,) = client.tasks(project.id, with_annotations=False)
        instance = Instance("drawn", Label.FACE_MASK, mask, "human:ann")
        body = {"result": encode_results([instance], [], sample.image.size_hw)}
        client.request("annotate", "POST", f"api/tasks/{task.id}/annotations/", json=body)
    closed = call("close")
    assert (closed["lanes"]["ann"]["verdicts"], closed["outcomes"]["agreed"]) == (1, 1)
    kept = sorted((build.reviews_dir).iterdir())
    assert call("close") == closed
    assert sorted((build.reviews_dir).iterdir()) == kept
    (person,) = call("status")["people"]["people"]
    assert person["tasks"] == 1
    (reviewed,) = Pipeline(read_config(config)).manifest("review").samples()
    assert reviewed.is_labelled
    assert (reviewed.review.state, reviewed.review.method) == (ReviewState.CORRECTED, "single")
    assert [item.mask for item in reviewed.instances] == [mask]
