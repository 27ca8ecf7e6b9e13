"""Publishing with a fault at every request: a rerun completes, and a reader never sees half a dataset."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import random
import signal
import subprocess
import sys

import pytest

from dataset_tools.core.errors import HubError
from dataset_tools.export.hub import PublishOptions, push
from dataset_tools.export.hub_plan import read_plan

# The client itself hands raw bytes to its HTTP library in a way that library advises against.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

FAULTS = (
    *("401", "403", "404", "409", "412", "429", "500", "503"),
    *("done:409", "done:500", "done:503", "cut", "done:cut", "half"),
)
REPO = "user/faces"


def contents(folder) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


@pytest.fixture
def old(make_folder):
    parts = {f"data/train-0000{n}-of-00002.parquet": bytes([n]) * 900 for n in range(2)}
    return read_plan(make_folder("old", "1.0.0", parts))


@pytest.fixture
def new(make_folder):
    parts = {"data/train-00000-of-00002.parquet": b"\0" * 900, "data/test-00000-of-00001.parquet": b"x" * 700}
    return read_plan(make_folder("new", "1.1.0", parts))


def send(hub, plan, **more):
    options = PublishOptions(tag=plan.version, **more)
    return push(plan, REPO, options, endpoint=hub.url, pause=lambda seconds: None)


class Reader:
    """Looks at main after every request: a whole known set, every large file there with the named hash."""

    def __init__(self, hub, *allowed: dict[str, bytes]) -> None:
        self.hub, self.allowed, self.seen = hub, allowed, 0
        hub.on_each = self.look

    def look(self) -> None:
        repo = self.hub.repos.get(REPO)
        if repo is None:
            return
        self.seen += 1
        for entry in repo.trees[repo.head].values():
            if entry.lfs and hashlib.sha256(repo.blobs.get(entry.lfs, b"")).hexdigest() != entry.lfs:
                self.hub.complaints.append(f"a large file of main is not there: {self.hub.calls[-1]}")
                return
        files = {path: data for path, data in repo.files.items() if path != ".gitattributes"}
        if files not in self.allowed:
            self.hub.complaints.append(f"half a set after {self.hub.calls[-1]}: {sorted(files)}")


def break_everywhere(hub, fault, publish, whole, *allowed):
    """Breaks each request of `publish` in turn, from what the Hub holds now; gives what a rerun made."""
    start = copy.deepcopy(hub.all_repos)
    hub.calls.clear()
    publish()
    count = len(hub.calls)
    assert count >= 9
    for number in range(count):
        hub.all_repos = copy.deepcopy(start)
        hub.calls.clear()
        Reader(hub, *allowed)
        hub.script = {number: fault}
        with contextlib.suppress(HubError):
            publish()
        hub.script = {}
        publish()
        repo = hub.repos[REPO]
        files = {path: data for path, data in repo.files.items() if path != ".gitattributes"}
        assert files == whole, f"{fault} at request {number}"
        yield number, repo
    assert hub.complaints == []


@pytest.mark.parametrize("fault", FAULTS)
def test_a_first_publication_survives_a_fault_at_every_request(fake_hub, old, fault):
    whole = contents(old.folder)
    for number, repo in break_everywhere(fake_hub, fault, lambda: send(fake_hub, old), whole, {}, whole):
        assert len(repo.commits) == 2, f"{fault} at request {number}: published twice"
        assert repo.tags == {"1.0.0": repo.head} and repo.private


@pytest.mark.parametrize("fault", FAULTS)
def test_a_new_version_survives_a_fault_at_every_request(fake_hub, old, new, fault):
    before, after = contents(old.folder), contents(new.folder)
    send(fake_hub, old)
    for number, repo in break_everywhere(fake_hub, fault, lambda: send(fake_hub, new), after, before, after):
        assert len(repo.commits) == 3, f"{fault} at request {number}: published twice"
        assert repo.tags == {"1.0.0": repo.commits[1], "1.1.0": repo.head}


@pytest.mark.parametrize("fault", ["500", "done:500", "done:cut", "half"])
def test_erasing_the_history_survives_a_fault_at_every_request(fake_hub, old, new, fault):
    before, after = contents(old.folder), contents(new.folder)
    gone = hashlib.sha256(b"\1" * 900).hexdigest()
    send(fake_hub, old)
    assert gone in fake_hub.repos[REPO].blobs
    for number, repo in break_everywhere(
        fake_hub, fault, lambda: send(fake_hub, new, erase_history=True), after, before, after
    ):
        assert gone not in repo.blobs, f"{fault} at request {number}"
        assert len(repo.commits) == 1 and repo.tags == {"1.1.0": repo.head}


@pytest.mark.parametrize("fault", ["500", "done:500", "done:cut", "half"])
def test_a_pull_request_is_opened_once_whatever_breaks(fake_hub, old, new, fault):
    before, after = contents(old.folder), contents(new.folder)
    send(fake_hub, old)
    for number, repo in break_everywhere(
        fake_hub, fault, lambda: send(fake_hub, new, pull_request=True), before, before
    ):
        assert [pull.status for pull in repo.pulls.values()] == ["open"], f"{fault} at request {number}"
        proposed = {path: repo.content(entry) for path, entry in repo.trees[repo.pulls[1].head].items()}
        assert {**proposed, ".gitattributes": b""} == {**after, ".gitattributes": b""}


@pytest.mark.parametrize("status", ["401", "403"])
def test_a_final_refusal_is_asked_for_at_most_twice(fake_hub, old, status):
    send(fake_hub, old)
    fake_hub.calls.clear()
    fake_hub.script = dict.fromkeys(range(100), status)
    with pytest.raises(HubError, match=f"HTTP {status}"):
        send(fake_hub, old)
    assert len(fake_hub.calls) <= 2


CLIENT = """
import sys
from pathlib import Path
import huggingface_hub.constants as constants
constants.HF_HUB_DISABLE_XET = True
from dataset_tools.export.hub import PublishOptions, push
from dataset_tools.export.hub_plan import read_plan
plan = read_plan(Path(sys.argv[2]))
sys.stdin.readline()
push(plan, sys.argv[3], PublishOptions(tag=plan.version), endpoint=sys.argv[1])
"""


def publish_and_die(hub, plan, script: dict[int, str], after_s: float | None = None) -> int:
    """Publishes in a process that is killed by what `script` says or at a time; gives its exit code."""
    command = [sys.executable, "-c", CLIENT, hub.url, str(plan.folder), REPO]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL) as client:
        hub.victim, hub.script = client.pid, script
        assert client.stdin is not None
        client.stdin.write(b"go\n")
        client.stdin.flush()
        if after_s is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                client.wait(after_s)
            client.kill()
        code = client.wait()
    hub.script = {}
    return code


def check_killed(hub, old, new, script: dict[int, str], after_s: float | None = None) -> int:
    before, after = contents(old.folder), contents(new.folder)
    hub.calls.clear()
    Reader(hub, before, after)
    code = publish_and_die(hub, new, script, after_s)
    send(hub, new)
    repo = hub.repos[REPO]
    assert {path: data for path, data in repo.files.items() if path != ".gitattributes"} == after
    assert len(repo.commits) == 3 and repo.tags["1.1.0"] == repo.head
    assert hub.complaints == []
    return code


@pytest.mark.parametrize("fault", ["kill", "done:kill"])
def test_a_publication_killed_at_its_commit_is_finished_by_the_next(fake_hub, old, new, fault):
    send(fake_hub, old)
    start = copy.deepcopy(fake_hub.all_repos)
    fake_hub.calls.clear()
    send(fake_hub, new)
    (number,) = [n for n, call in enumerate(fake_hub.calls) if "/commit/" in call]
    fake_hub.all_repos = start
    assert check_killed(fake_hub, old, new, {number: fault}) == -signal.SIGKILL


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["kill", "done:kill"])
def test_a_publication_killed_at_any_request_is_finished_by_the_next(fake_hub, old, new, fault):
    send(fake_hub, old)
    start = copy.deepcopy(fake_hub.all_repos)
    fake_hub.calls.clear()
    send(fake_hub, new)
    for number in range(len(fake_hub.calls)):
        fake_hub.all_repos = copy.deepcopy(start)
        assert check_killed(fake_hub, old, new, {number: fault}) == -signal.SIGKILL


@pytest.mark.slow
def test_a_publication_killed_at_random_moments_is_finished_by_the_next(fake_hub, old, new):
    send(fake_hub, old)
    start = copy.deepcopy(fake_hub.all_repos)
    moments = random.Random(7)
    for _ in range(25):
        fake_hub.all_repos = copy.deepcopy(start)
        check_killed(fake_hub, old, new, {}, moments.uniform(0.0, 1.5))
