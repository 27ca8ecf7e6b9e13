"""The whole round trip against the real server, and against a browser where there is one."""

from __future__ import annotations

import json
import re
import shutil

import httpx
import numpy as np
import pytest
from click.testing import CliRunner

from annotation.brush import encode_brush
from annotation.codec import encode_results
from annotation.label_studio import TOKEN_VARIABLE, LabelStudioClient, token_from_environment
from annotation.review import ReviewSettings, close_review, open_review, review_status
from annotation.server import free_port
from annotation.verdict import read_verdicts, write_verdicts
from dataset_tools.cli import main
from dataset_tools.config import read_config
from dataset_tools.core.errors import ConfigError, ReviewServiceError
from dataset_tools.core.labels import Label
from dataset_tools.core.masks import mask_to_rle, rle_to_mask
from dataset_tools.core.record import Instance, ReviewState
from dataset_tools.pipeline import Pipeline

CHROMIUM = "/usr/bin/chromium"
CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


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
    return client._request("read", "GET", f"api/tasks/{task.id}/")["predictions"][0]


def test_pictures_and_proposals_go_out_and_verdicts_come_back_exactly(
    make_sample, store, client, label_studio, annotator, tmp_path
):
    settings = ReviewSettings(url=label_studio.url, project="round trip")
    samples = [make_sample(number) for number in range(4)]
    accepted, corrected, rejected, untouched = samples
    opened = open_review(samples, store, client, settings)
    assert opened.sent == 4
    assert open_review(samples, store, client, settings).sent == 0

    tasks = tasks_by_sample(client, opened.project)
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

    assert review_status(client, settings).by_person == {"Ann Otator": 3}
    closed = close_review(client, samples, settings)
    assert (closed.unreadable, closed.open_tasks, closed.strange_tasks) == ((), 1, 0)
    path = write_verdicts(tmp_path, closed.verdicts)
    assert write_verdicts(tmp_path, close_review(client, samples, settings).verdicts) == path
    verdicts = read_verdicts(tmp_path)
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


# The SDK renews personal tokens with a method that pydantic has deprecated.
@pytest.mark.filterwarnings("ignore:The `parse_obj` method is deprecated:DeprecationWarning")
def test_a_personal_access_token_works_too(client, label_studio):
    made = client._request("make a token", "POST", "api/token/")
    with LabelStudioClient(label_studio.url, made["token"]) as personal:
        assert personal.whoami() == label_studio.account.email


def test_a_wrong_token_is_one_line_that_names_the_variable_and_not_the_token(label_studio):
    secret = "0123456789abcdef0123456789abcdef01234567"
    with LabelStudioClient(label_studio.url, secret) as stranger:
        assert secret not in repr(stranger)
        with pytest.raises(ReviewServiceError, match=TOKEN_VARIABLE) as caught:
            stranger.whoami()
    assert secret not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_server_that_is_away_is_a_service_error():
    with (
        LabelStudioClient(f"http://127.0.0.1:{free_port()}", "0" * 40) as client,
        pytest.raises(ReviewServiceError, match="no server answers"),
    ):
        client.whoami()


@pytest.mark.parametrize("url", ["ftp://host", "localhost:8080", "http://ann:secret@host", "http://"])
def test_urls_that_carry_secrets_or_lead_nowhere_are_refused(url):
    with pytest.raises(ConfigError) as caught:
        LabelStudioClient(url, "0" * 40)
    assert "secret" not in str(caught.value)


def test_the_token_comes_from_the_environment_alone(monkeypatch):
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    with pytest.raises(ConfigError, match=TOKEN_VARIABLE):
        token_from_environment()
    monkeypatch.setenv(TOKEN_VARIABLE, " abc \n")
    assert token_from_environment() == "abc"


def test_the_commands_open_follow_and_close_a_session(
    make_sample, tmp_path, astronaut_path, label_studio, monkeypatch
):
    monkeypatch.setenv(TOKEN_VARIABLE, label_studio.account.token)
    (tmp_path / "photos").mkdir()
    shutil.copy(astronaut_path, tmp_path / "photos" / "astronaut.png")
    config = tmp_path / "config.yaml"
    config.write_text(
        "name: cmd\ncrawl: {sources: [{type: folder, name: p, path: photos, licence: CC0-1.0}]}\n"
        "filter: {detect: false, landmarks: false}\nsynth: {per_face: 0}\n"
    )
    build = Pipeline(read_config(config))
    for name in ("crawl", "filter", "synth", "prelabel"):
        build.run(name)
    (sample,) = build.manifest("prelabel").samples()
    session = [str(config), "--url", label_studio.url, "--project", "by command", "--json"]

    def call(command):
        result = CliRunner().invoke(main, ["review", command, *session])
        assert result.exit_code == 0, result.output
        assert label_studio.account.token not in result.output
        return json.loads(result.stdout)

    assert call("open")["sent"] == 1
    assert call("open")["sent"] == 0
    assert call("status")["annotated"] == 0
    assert call("close")["file"] == ""
    drawn = np.zeros(sample.image.size_hw, dtype=bool)
    drawn[200:260, 210:270] = True
    mask = mask_to_rle(drawn)
    with LabelStudioClient(label_studio.url, label_studio.account.token) as client:
        (project,) = client.find_projects("by command")
        (task,) = client.tasks(project.id, with_annotations=False)
        instance = Instance("drawn", Label.FACE_MASK, mask, "human:ann")
        body = {"result": encode_results([instance], [], sample.image.size_hw)}
        client._request("annotate", "POST", f"api/tasks/{task.id}/annotations/", json=body)
    first = call("close")
    assert first["verdicts"] == {"corrected": 1}
    assert call("close") == first
    (reviewed,) = Pipeline(read_config(config)).manifest("review").samples()
    assert reviewed.is_labelled
    assert reviewed.review.state is ReviewState.CORRECTED
    assert [item.mask for item in reviewed.instances] == [mask]


@pytest.mark.skipif(shutil.which(CHROMIUM) is None, reason=f"no browser at {CHROMIUM}")
def test_a_browser_shows_the_picture_and_the_proposal_and_submits_it_unchanged(
    make_sample, store, client, label_studio, tmp_path
):
    from playwright.sync_api import sync_playwright

    settings = ReviewSettings(url=label_studio.url, project="in the browser")
    sample = make_sample()
    opened = open_review([sample], store, client, settings)
    (task,) = client.tasks(opened.project.id, with_annotations=False)
    selected = "window.Htx && Htx.annotationStore.selected"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_FLAGS)
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        page.goto(f"{label_studio.url}/user/login/")
        page.fill("input[name=email]", label_studio.account.email)
        page.fill("input[name=password]", label_studio.account.password)
        page.click("button[type=submit]")
        page.goto(f"{opened.project.url}?task={task.id}")
        page.wait_for_selector("canvas")
        page.wait_for_function(f"{selected} && {selected}.regions.length === 3")
        shown = page.evaluate(f"{selected}.regions.map(region => [region.type, region.labelName])")
        page.wait_for_function(
            "[...document.images].some(image => image.naturalHeight === 260 && image.complete)"
        )
        page.screenshot(path=str(tmp_path / "task.png"))
        page.get_by_role("button", name="Submit").click()
        page.wait_for_function(f"{selected} && {selected}.pk")
        browser.close()
    assert shown == [
        ["brushregion", "face_mask"],
        ["brushregion", "face"],
        ["rectangleregion", "face_box"],
    ]
    (verdict,) = close_review(client, [sample], settings).verdicts
    assert verdict.state is ReviewState.ACCEPTED
    assert [item.mask for item in verdict.instances] == [item.mask for item in sample.instances]
    assert np.all([item.drawn_by.startswith("human:") for item in verdict.instances])
