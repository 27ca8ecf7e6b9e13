"""Annotators on a server of ours see nobody else's work, whichever way they ask the real Label Studio."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from annotation.label_studio.accounts import OWNER, Account, add_annotator, add_annotators, annotator_accounts
from annotation.label_studio.client import LabelStudioClient
from annotation.label_studio.server import LabelStudioServer
from dataset_tools.core.errors import ConfigError, ReviewServiceError

MARK = "seenbynobodyelse"
CONFIG = (
    '<View><Image name="image" value="$image"/><TextArea name="note" toName="image"/>'
    '<Choices name="choice" toName="image"><Choice value="yes"/></Choices></View>'
)
NOTE = [{"id": "n", "type": "textarea", "from_name": "note", "to_name": "image", "value": {"text": [MARK]}}]
CHOICE = [
    {"id": "c", "type": "choices", "from_name": "choice", "to_name": "image", "value": {"choices": ["yes"]}}
]

# Every one of these shows its owner the mark.
_READS = """
    api/projects/
    api/projects/{project}/
    api/projects/{project}/sample-task/
    api/projects/{project}/tasks/
    api/projects/{project}/annotators/
    api/projects/{project}/model-versions/
    api/projects/{project}/export?exportType=JSON
    api/projects/{project}/exports/
    api/projects/{project}/exports/{export}
    api/projects/{project}/exports/{export}/download
    api/projects/{project}/file-uploads?all=true
    api/tasks/?project={project}
    api/tasks/?project={project}&fields=all
    api/tasks/?view={view}
    api/tasks/{task}/
    api/tasks/{task}/annotations/
    api/tasks/{task}/annotations/{annotation}/drafts
    api/tasks/{task}/drafts
    api/annotations/{annotation}/
    api/drafts/{draft}/
    api/predictions/
    api/predictions/?project={project}
    api/predictions/{prediction}/
    api/dm/views/?project={project}
    api/dm/views/{view}/
    api/dm/columns/?project={project}
    api/dm/project/?project={project}
    api/import/file-upload/{file}
    data/{address}
    api/ml/?project={project}
    api/ml/{backend}
    api/webhooks/
    api/webhooks/?project={project}
    api/webhooks/{webhook}/
    api/users/
    api/users/{user}/
    api/organizations/
    api/organizations/{organisation}
    api/organizations/{organisation}/memberships
    api/labels/
"""
READS = _READS.split()

# These would change something, or show it while they do.
WRITES: list[tuple[str, str, object]] = [
    ("PATCH", "api/projects/{project}/", {"title": "mine"}),
    ("POST", "api/projects/{project}/import", [{"data": {"image": "x"}}]),
    ("POST", "api/projects/{project}/import/predictions", [{"task": "{task}", "result": NOTE}]),
    ("POST", "api/projects/{project}/reimport", {"file_upload_ids": ["{file}"]}),
    ("POST", "api/projects/{project}/exports/", {"title": "mine"}),
    ("POST", "api/projects/{project}/summary/reset/", {}),
    ("POST", "api/projects/{project}/validate/", {"label_config": CONFIG}),
    ("DELETE", "api/projects/{project}/tasks/", None),
    ("DELETE", "api/projects/{project}/file-uploads", {}),
    ("POST", "api/tasks/", {"project": "{project}", "data": {"image": "x"}}),
    ("PATCH", "api/tasks/{task}/", {"data": {"image": "x"}}),
    ("DELETE", "api/tasks/{task}/", None),
    ("POST", "api/tasks/{task}/annotations/", {"result": CHOICE}),
    ("POST", "api/tasks/{task}/drafts", {"result": CHOICE}),
    ("POST", "api/tasks/{task}/annotations/{annotation}/drafts", {"result": CHOICE}),
    ("PATCH", "api/annotations/{annotation}/", {"result": CHOICE}),
    ("POST", "api/annotations/{annotation}/convert-to-draft", {}),
    ("DELETE", "api/annotations/{annotation}/", None),
    ("PATCH", "api/drafts/{draft}/", {"result": CHOICE}),
    ("POST", "api/predictions/", {"task": "{task}", "result": NOTE}),
    ("POST", "api/dm/views/", {"project": "{project}", "data": {}}),
    ("PATCH", "api/dm/views/{view}/", {"data": {"title": "mine"}}),
    ("DELETE", "api/dm/views/reset/", {"project": "{project}"}),
    ("POST", "api/dm/actions/?id=delete_tasks&project={project}", {"selectedItems": {"all": True}}),
    (
        "POST",
        "api/dm/actions/?id=retrieve_tasks_predictions&project={project}",
        {"selectedItems": {"all": True}},
    ),
    ("PATCH", "api/import/file-upload/{file}", {}),
    ("DELETE", "api/import/file-upload/{file}", None),
    ("POST", "api/ml/", {"project": "{project}", "url": "http://127.0.0.1:9"}),
    ("PATCH", "api/ml/{backend}", {"title": "mine"}),
    ("POST", "api/ml/{backend}/train", {}),
    ("POST", "api/ml/{backend}/interactive-annotating", {"task": "{task}", "context": {}}),
    ("POST", "api/webhooks/", {"project": "{project}", "url": "http://127.0.0.1:9/"}),
    ("PATCH", "api/webhooks/{webhook}/", {"url": "http://127.0.0.1:9/"}),
    ("PATCH", "api/users/{user}/", {"first_name": "mine"}),
    ("POST", "api/users/", {"email": "eve@example.com", "active_organization": "{organisation}"}),
    ("PATCH", "api/users/{me}/", {"active_organization": "{organisation}"}),
    ("PATCH", "api/organizations/{organisation}", {"title": "mine"}),
    ("DELETE", "api/organizations/{organisation}/memberships/{user}/", None),
    ("POST", "api/organizations/", {"title": "mine"}),
]


class Model(BaseHTTPRequestHandler):
    """An ML backend that says yes to everything."""

    def do_GET(self) -> None:
        self._say({"status": "UP", "model_class": "any"})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._say({"model_version": "any-1", "results": []})

    def _say(self, answer: object) -> None:
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def model_url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Model)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def accounts(label_studio: LabelStudioServer) -> dict[str, Account]:
    return {**add_annotators(label_studio, ["ann", "bob"]), OWNER: label_studio.account}


@pytest.fixture(scope="module")
def callers(
    label_studio: LabelStudioServer, accounts: dict[str, Account]
) -> Iterator[dict[str, httpx.Client]]:
    opened = {
        name: httpx.Client(
            base_url=label_studio.url,
            headers={"Authorization": f"Token {account.token}"},
            timeout=60,
            follow_redirects=True,
            trust_env=False,
        )
        for name, account in accounts.items()
    }
    yield opened
    for caller in opened.values():
        caller.close()


def done(answer: httpx.Response) -> object:
    assert answer.status_code < 400, (answer.request.url, answer.text[:300])
    return answer.json()


def plant(caller: httpx.Client, model_url: str) -> dict[str, object]:
    """One of everything, all carrying the mark; their numbers."""
    me = done(caller.get("api/current-user/whoami"))
    project = done(caller.post("api/projects/", json={"title": MARK, "label_config": CONFIG}))["id"]
    picture = {"file": (f"{MARK}.png", b"\x89PNG " + MARK.encode(), "image/png")}
    done(caller.post(f"api/projects/{project}/import?commit_to_project=false", files=picture))
    (file,) = done(caller.get(f"api/projects/{project}/file-uploads?all=true"))
    task = {
        "data": {"image": f"/data/{file['file']}", MARK: MARK},
        "predictions": [{"model_version": MARK, "result": NOTE}],
    }
    done(caller.post(f"api/projects/{project}/import", json=[task]))
    (row,) = done(caller.get(f"api/tasks?project={project}"))["tasks"]
    task = row["id"]
    annotation = done(caller.post(f"api/tasks/{task}/annotations/", json={"result": NOTE}))["id"]
    path = f"api/tasks/{task}/annotations/{annotation}/drafts"
    draft = done(caller.post(path, json={"result": NOTE, "lead_time": 1}))["id"]
    done(caller.post(f"api/tasks/{task}/drafts", json={"result": NOTE, "lead_time": 1}))
    label = {"project": project, "from_name": "choice", "value": [MARK], "title": MARK}
    done(caller.post("api/labels/", json=[label]))
    view = {"project": project, "data": {"title": MARK}}
    hook = {"url": f"{model_url}/{MARK}", "project": project, "send_for_all_actions": False, "actions": []}
    backend = {"project": project, "url": model_url, "title": MARK}
    return {
        "project": project,
        "file": file["id"],
        "address": file["file"],
        "task": task,
        "annotation": annotation,
        "draft": draft,
        "prediction": done(caller.get(f"api/predictions/?project={project}"))[0]["id"],
        "view": done(caller.post("api/dm/views/", json=view))["id"],
        "webhook": done(caller.post("api/webhooks/", json=hook))["id"],
        "export": done(caller.post(f"api/projects/{project}/exports/", json={"title": MARK}))["id"],
        "backend": done(caller.post("api/ml/", json=backend))["id"],
        "user": me["id"],
        "organisation": me["active_organization"],
    }


@pytest.fixture(scope="module")
def planted(callers: dict[str, httpx.Client], model_url: str) -> dict[str, dict[str, object]]:
    """What bob and the owner have, by number; their names carry the mark as well while it is looked for."""
    found = {}
    for name in ("bob", OWNER):
        found[name] = plant(callers[name], model_url)
        done(callers[name].patch(f"api/users/{found[name]['user']}/", json={"last_name": MARK}))
        title = {"title": f"{name} {MARK}"}
        done(callers[name].patch(f"api/organizations/{found[name]['organisation']}", json=title))
    return found


@pytest.mark.parametrize("path", READS)
@pytest.mark.parametrize("victim", ["bob", OWNER])
def test_an_annotator_reads_nothing_of_anybody_else(callers, planted, victim, path):
    address = path.format(**planted[victim])
    own = callers[victim].get(address)
    assert own.status_code == 200
    assert MARK in own.text
    refused = callers["ann"].get(address)
    assert refused.status_code in (200, 403, 404)
    assert MARK not in refused.text


@pytest.mark.parametrize(("method", "path", "body"), WRITES)
@pytest.mark.parametrize("victim", ["bob", OWNER])
def test_an_annotator_changes_nothing_of_anybody_else(callers, planted, victim, method, path, body):
    ann = callers["ann"]
    numbers = {**planted[victim], "me": done(ann.get("api/current-user/whoami"))["id"]}
    text = json.dumps(body)
    for key, number in numbers.items():
        text = text.replace(f'"{{{key}}}"', str(number))
    refused = ann.request(method, path.format(**numbers), json=json.loads(text))
    assert 400 <= refused.status_code < 500
    assert MARK not in refused.text


def test_after_all_these_attempts_everything_is_as_it_was(callers, planted):
    for victim in ("bob", OWNER):
        project = planted[victim]["project"]
        (task,) = done(callers[victim].get(f"api/tasks/?project={project}&fields=all"))["tasks"]
        assert task["id"] == planted[victim]["task"]
        assert [item["id"] for item in task["annotations"]] == [planted[victim]["annotation"]]
        assert task["annotations"][0]["result"] == NOTE
        assert [item["id"] for item in task["predictions"]] == [planted[victim]["prediction"]]
        assert len(done(callers[victim].get(f"api/dm/views/?project={project}"))) == 1
    assert done(callers["ann"].get("api/projects/"))["count"] == 0


# Prints what Label Studio answers to: every pattern of its URL table, as the parts it is made of.
LIST_ROUTES = """
import json, sys, pathlib, label_studio
sys.path.insert(0, str(pathlib.Path(label_studio.__file__).parent))
import django
django.setup()
from django.urls import get_resolver
def walk(patterns, before):
    for item in patterns:
        here = before + [str(item.pattern)]
        if hasattr(item, "url_patterns"):
            yield from walk(item.url_patterns, here)
        else:
            yield here
print("ROUTES" + json.dumps(list(walk(get_resolver().url_patterns, []))))
"""
LEFT_OUT = (
    "admin/",
    "logout",
    "static/",
    "heidi-tips",
    "trigger500",
    "^dm/",
    "label-studio-frontend",
    "react-app",
)


@pytest.mark.slow
def test_no_address_that_the_server_knows_shows_what_is_not_ones_own(label_studio, callers, planted):
    listed = subprocess.run(
        [str(label_studio.python), "-c", LIST_ROUTES],
        env=label_studio.environment(),
        cwd=label_studio.data,
        capture_output=True,
        text=True,
        check=True,
    )
    routes = json.loads(listed.stdout.split("ROUTES")[1])
    numbers = planted["bob"]
    fills = sorted({str(number) for number in numbers.values() if isinstance(number, int)})
    tried, shown_to_bob = 0, 0
    for parts in routes:
        route = "".join(part.replace("^", "").rstrip("$") for part in parts).rstrip("$")
        if any(word in "".join(parts) for word in LEFT_OUT):
            continue
        names = re.findall(r"\(\?P<(\w+)>(?:[^()]|\([^()]*\))*\)|<(?:\w+:)?(\w+)>", route)
        blank = re.sub(r"\(\?P<\w+>(?:[^()]|\([^()]*\))*\)|<(?:\w+:)?\w+>", "{}", route).replace("/?", "/")
        blank = blank.replace("\\", "")
        for fill in fills if names else [""]:
            values = [
                {"entity_name": "task", "format": "json", "filename": numbers["address"]}.get(
                    first or second, fill
                )
                for first, second in names
            ]
            address = f"{blank.format(*values)}?project={numbers['project']}&all=true&ids=[1]"
            assert MARK not in callers["ann"].get(address).text, address
            shown_to_bob += MARK in callers["bob"].get(address).text
            tried += 1
    assert tried > 300
    assert shown_to_bob > 30


def test_in_the_browser_too_only_ones_own_pictures_are_shown(
    label_studio, accounts, callers, planted, model_url
):
    own = plant(callers["ann"], model_url)
    with httpx.Client(base_url=label_studio.url, follow_redirects=True, trust_env=False) as browser:
        page = browser.get("/user/login/")
        form = {"email": accounts["ann"].email, "password": accounts["ann"].password}
        form["csrfmiddlewaretoken"] = re.search(r'csrfmiddlewaretoken" value="([^"]+)"', page.text)[1]
        browser.post("/user/login/", data=form, headers={"Referer": str(page.url)})
        assert done(browser.get("api/current-user/whoami"))["email"] == accounts["ann"].email
        assert browser.get(f"data/{own['address']}").content.endswith(MARK.encode())
        for victim in ("bob", OWNER):
            assert browser.get(f"data/{planted[victim]['address']}").status_code == 403
            assert browser.get(f"api/annotations/{planted[victim]['annotation']}/").status_code == 403
        assert done(browser.get("api/projects/"))["count"] == 1
    done(callers["ann"].get(f"api/projects/{own['project']}/"))
    callers["ann"].delete(f"api/projects/{own['project']}/")


def test_an_annotators_invitation_brings_nobody_in(label_studio, callers):
    link = done(callers["ann"].get("api/invite"))["invite_url"]
    with httpx.Client(base_url=label_studio.url, follow_redirects=True, trust_env=False) as stranger:
        page = stranger.get(link)
        form = {"email": "mallory@example.com", "password": "correct-horse-1"}
        form["csrfmiddlewaretoken"] = re.search(r'csrfmiddlewaretoken" value="([^"]+)"', page.text)[1]
        assert stranger.post(link, data=form, headers={"Referer": str(page.url)}).status_code == 403
        assert stranger.get("api/current-user/whoami").status_code == 401


def test_annotators_are_known_by_their_names_and_to_themselves_alone(label_studio, accounts):
    with LabelStudioClient(label_studio.url, accounts["ann"].token) as client:
        assert [person.name for person in client.people().values()] == ["ann"]
        assert client.whoami() == "ann@maskset.localhost"


def test_an_annotator_is_made_once_and_the_file_is_private(label_studio, accounts):
    assert add_annotator(label_studio, "ann") == accounts["ann"]
    assert annotator_accounts(label_studio.data)["bob"] == accounts["bob"]
    path = label_studio.data / "accounts.json"
    assert path.stat().st_mode & 0o077 == 0
    assert accounts["ann"].token not in repr(accounts["ann"])
    assert accounts["ann"].password not in repr(accounts["ann"])


def test_a_lost_file_gives_the_same_person_new_secrets(make_server):
    server = make_server()
    first = add_annotator(server, "ann")
    (server.data / "accounts.json").unlink()
    again = add_annotator(server, "ann")
    assert again.token != first.token
    with server:
        with LabelStudioClient(server.url, again.token) as client:
            assert list(client.people()) == [2]
        with LabelStudioClient(server.url, first.token) as client, pytest.raises(ConfigError, match="401"):
            client.whoami()


@pytest.mark.slow
def test_a_server_that_was_never_started_is_started_once(label_studio_program, tmp_path):
    server = LabelStudioServer(label_studio_program, tmp_path / "data")
    account = add_annotator(server, "ann")
    assert not server.is_running
    with server, LabelStudioClient(server.url, account.token) as client:
        assert client.whoami() == account.email


@pytest.mark.parametrize("name", ["", "Ann", "a b", "a" * 21, "../x", "ann@example.com", OWNER])
def test_names_that_cannot_be_annotators_are_refused(tmp_path, name):
    with pytest.raises(ConfigError, match="cannot be an annotator"):
        add_annotator(LabelStudioServer(tmp_path / "label-studio", tmp_path / "data"), name)


def test_a_damaged_file_of_accounts_is_named(tmp_path):
    server = LabelStudioServer(tmp_path / "label-studio", tmp_path / "data")
    (server.data / "accounts.json").write_text('{"ann": {"email": 1')
    with pytest.raises(ConfigError, match=r"accounts\.json"):
        add_annotator(server, "ann")


def test_what_label_studio_says_is_passed_on_without_secrets(tmp_path):
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\ncat > given.json\necho 'database is locked' >&2\nexit 1\n")
    python.chmod(0o755)
    server = LabelStudioServer(tmp_path / "label-studio", tmp_path / "data")
    with pytest.raises(ReviewServiceError, match="database is locked") as caught:
        add_annotator(server, "ann")
    (person,) = json.loads((server.data / "given.json").read_text())
    account = Account(**{field.name: person[field.name] for field in dataclasses.fields(Account)})
    assert account.token not in str(caught.value)
    assert not (server.data / "accounts.json").exists()
