"""The client against the real server."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from annotation.label_studio import client as client_module
from annotation.label_studio.client import LabelStudioClient
from annotation.label_studio.server import free_port
from annotation.tokens import TOKEN_VARIABLE
from dataset_tools.core.errors import EXIT_TRY_AGAIN, EXIT_USAGE, ConfigError, ReviewServiceError

CONFIG = (
    '<View><Image name="image" value="$image"/><Choices name="choice" toName="image"><Choice value="yes"/>'
    "</Choices></View>"
)
YES = [{"from_name": "choice", "to_name": "image", "type": "choices", "value": {"choices": ["yes"]}}]


@pytest.fixture
def client(label_studio) -> Iterator[LabelStudioClient]:
    with LabelStudioClient(label_studio.url, label_studio.account.token) as opened:
        yield opened


@pytest.fixture
def project(client, request) -> Iterator[int]:
    made = client.create_project(request.node.name[:50], CONFIG, "test", 1)
    yield made.id
    client.request("tidy up", "DELETE", f"api/projects/{made.id}/")


def send(client, project, count):
    client.import_tasks(project, [{"data": {"image": "x", "key": number}} for number in range(count)])


def annotate(client, task):
    return client.request("annotate", "POST", f"api/tasks/{task}/annotations/", json={"result": YES})["id"]


def test_a_wrong_token_is_a_usage_error_in_one_line_that_does_not_show_it(label_studio):
    secret = "0123456789abcdef0123456789abcdef01234567"
    with LabelStudioClient(label_studio.url, secret) as stranger:
        assert secret not in repr(stranger)
        with pytest.raises(ConfigError, match=f"HTTP 401.*{TOKEN_VARIABLE}") as caught:
            stranger.whoami()
        with pytest.raises(ConfigError, match="cannot send tasks"):
            stranger.import_tasks(1, [{"data": {"image": "x"}}])
    assert caught.value.exit_code == EXIT_USAGE
    assert secret not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_server_that_is_away_may_be_tried_again_later():
    with (
        LabelStudioClient(f"http://127.0.0.1:{free_port()}", "0" * 40) as client,
        pytest.raises(ReviewServiceError, match="no server answers") as caught,
    ):
        client.whoami()
    assert caught.value.exit_code == EXIT_TRY_AGAIN


def test_what_does_not_exist_may_appear_later(client):
    with pytest.raises(ReviewServiceError, match="HTTP 404"):
        client.request("look", "GET", "api/projects/999999/")


@pytest.mark.parametrize("url", ["ftp://host", "localhost:8080", "http://ann:secret@host", "http://"])
def test_urls_that_carry_secrets_or_lead_nowhere_are_refused(url):
    with pytest.raises(ConfigError) as caught:
        LabelStudioClient(url, "0" * 40)
    assert "secret" not in str(caught.value)


# The SDK renews personal tokens with a method that pydantic has deprecated.
@pytest.mark.filterwarnings("ignore:The `parse_obj` method is deprecated:DeprecationWarning")
def test_a_personal_access_token_works_too(client, label_studio):
    made = client.request("make a token", "POST", "api/token/")
    with LabelStudioClient(label_studio.url, made["token"]) as personal:
        assert personal.whoami() == label_studio.account.email


def test_people_get_tasks_in_the_order_they_were_sent(client, project):
    send(client, project, 5)
    for number in range(5):
        task = client.request("next", "GET", f"api/projects/{project}/next/")
        assert task["data"]["key"] == number
        annotate(client, task["id"])


@pytest.mark.parametrize("count", [0, 1, 3, 4, 7])
def test_every_page_is_read_to_its_end(client, project, monkeypatch, count):
    monkeypatch.setattr(client_module, "PAGE_SIZE", 3)
    if count:
        send(client, project, count)
    assert [task.data["key"] for task in client.tasks(project, with_annotations=False)] == [*range(count)]


def test_what_people_do_between_two_pages_neither_hides_nor_doubles_a_task(client, project, monkeypatch):
    monkeypatch.setattr(client_module, "PAGE_SIZE", 3)
    send(client, project, 7)
    numbers = [task.id for task in client.tasks(project, with_annotations=False)]
    reading = client.tasks(project, with_annotations=True)
    seen = [next(reading)]
    annotate(client, numbers[5])
    client.request("delete", "DELETE", f"api/tasks/{numbers[1]}/")
    client.request("delete", "DELETE", f"api/tasks/{numbers[4]}/")
    client.import_tasks(project, [{"data": {"image": "x", "key": 7}}])
    seen += reading
    assert [task.data["key"] for task in seen] == [0, 1, 2, 3, 5, 6, 7]
    assert [len(task.annotations) for task in seen] == [0, 0, 0, 0, 1, 0, 0]


def test_skipped_and_unfinished_annotations_do_not_come(client, project):
    send(client, project, 3)
    first, second, third = (task.id for task in client.tasks(project, with_annotations=False))
    done = annotate(client, first)
    body = {"result": YES, "was_cancelled": True}
    client.request("skip", "POST", f"api/tasks/{second}/annotations/", json=body)
    client.request("draft", "POST", f"api/tasks/{third}/drafts", json={"result": YES, "lead_time": 1})
    found = list(client.tasks(project, with_annotations=True))
    assert [[item.id for item in task.annotations] for task in found] == [[done], [], []]


def test_a_count_that_a_killed_server_left_wrong_does_not_stop_the_reading(label_studio, client, project):
    send(client, project, 2)
    first, _ = (task.id for task in client.tasks(project, with_annotations=False))
    annotate(client, first)
    with sqlite3.connect(label_studio.data / "label_studio.sqlite3", timeout=30) as base:
        base.execute("UPDATE task SET total_annotations = 7 WHERE id = ?", (first,))
    base.close()
    found = client.tasks(project, with_annotations=True)
    assert [len(task.annotations) for task in found] == [1, 0]


def test_a_page_that_changes_each_time_it_is_read_is_given_up(client, project, monkeypatch):
    send(client, project, 1)
    (task,) = client.tasks(project, with_annotations=False)
    ask = client.request

    def changing(what, method, path, **more):
        answer = ask(what, method, path, **more)
        annotate_again = {"result": YES}
        ask("annotate", "POST", f"api/tasks/{task.id}/annotations/", json=annotate_again)
        answer["tasks"][0]["total_annotations"] += 1  # as if it had come while the answer was made
        return answer

    monkeypatch.setattr(client, "request", changing)
    with pytest.raises(ReviewServiceError, match="changed each time"):
        list(client.tasks(project, with_annotations=True))


class Model(BaseHTTPRequestHandler):
    """An ML backend that wants a password."""

    asked: list[tuple[str, str]] = []  # noqa: RUF012 - a handler is made per request

    def do_GET(self) -> None:
        self._say(b'{"status": "UP", "model_class": "any"}')

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._say(b'{"model_version": "any-1"}')

    def _say(self, body: bytes) -> None:
        self.asked.append((self.path, self.headers.get("Authorization", "")))
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def test_a_model_on_this_machine_is_attached_with_its_password(client, project):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Model)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    try:
        number = client.add_backend(project, url, "our model", user="maskset", password="open-sesame")
    finally:
        server.shutdown()
        server.server_close()
    assert client.backends(project) == {url: number}
    assert {path for path, _ in Model.asked} == {"/health", "/setup"}
    assert {said for _, said in Model.asked} == {"Basic bWFza3NldDpvcGVuLXNlc2FtZQ=="}


def test_a_model_that_does_not_answer_is_one_line_without_its_password(client, project):
    with pytest.raises(ReviewServiceError, match="cannot attach the model") as caught:
        client.add_backend(project, f"http://127.0.0.1:{free_port()}", "away", user="u", password="sesame")
    assert "sesame" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert client.backends(project) == {}


def test_a_tab_of_the_data_manager_keeps_its_filter(client, project):
    data = {"title": "easy ones", "filters": {"conjunction": "and", "items": []}, "ordering": ["tasks:id"]}
    number = client.create_view(project, data)
    (view,) = client.request("read tabs", "GET", "api/dm/views/", params={"project": project})
    assert (view["id"], view["data"]["title"]) == (number, "easy ones")


def test_pictures_are_found_again_under_the_names_we_gave(client, project):
    pictures = [("0a-b.png", b"\x89PNG one"), ("c.jpg", b"\xff\xd8 two")]
    client.upload_images(project, pictures)
    found = client.uploaded_images(project)
    assert set(found) == {"0a-b.png", "c.jpg"}
    assert all(address.startswith(f"/data/upload/{project}/") for address in found.values())


def test_people_annotate_while_a_push_is_under_way_and_nothing_is_refused(label_studio, client, project):
    send(client, project, 40)
    numbers = [task.id for task in client.tasks(project, with_annotations=False)]
    refused: list[Exception] = []

    def work(mine):
        try:
            with LabelStudioClient(label_studio.url, label_studio.account.token) as own:
                for task in mine:
                    annotate(own, task)
        except ReviewServiceError as error:
            refused.append(error)

    people = [threading.Thread(target=work, args=(numbers[place::2],)) for place in range(2)]
    for person in people:
        person.start()
    for place in range(4):
        client.upload_images(project, [(f"{place}-{number}.png", b"\x89PNG") for number in range(20)])
        send(client, project, 20)
    for person in people:
        person.join()
    assert refused == []
    found = list(client.tasks(project, with_annotations=True))
    assert sum(len(task.annotations) for task in found) == 40
    assert len(found) == 120
    assert len(client.uploaded_images(project)) == 80
