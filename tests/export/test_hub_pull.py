"""Pulling: byte for byte, at one commit, every hash checked, and no path from outside trusted."""

from __future__ import annotations

import pytest

from dataset_tools.core.errors import DataError, HubError
from dataset_tools.core.manifest import Manifest
from dataset_tools.export.hub import PublishOptions, push
from dataset_tools.export.hub_plan import prepare, read_plan
from dataset_tools.export.hub_pull import pull

# The client itself hands raw bytes to its HTTP library in a way that library advises against.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

SHARD = "data/train-00000-of-00001.parquet"


def contents(folder) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


@pytest.fixture
def first(make_folder):
    return read_plan(make_folder("first", "1.0.0"))


@pytest.fixture
def send(fake_hub):
    def send_to(plan, repo="user/faces"):
        push(
            plan,
            repo,
            PublishOptions(tag=plan.version, draft=True),
            endpoint=fake_hub.url,
            pause=lambda seconds: None,
        )
        return fake_hub.repos[repo]

    return send_to


@pytest.fixture
def fetch(fake_hub, tmp_path):
    def fetch_to(name="out", repo="user/faces", **options):
        return pull(repo, tmp_path / name, endpoint=fake_hub.url, pause=lambda seconds: None, **options)

    return fetch_to


def leftovers(tmp_path) -> list[str]:
    return [path.name for path in tmp_path.iterdir() if path.name.startswith(".pull-")]


def test_a_dataset_comes_back_byte_for_byte(first, send, fetch, tmp_path, fake_hub):
    repo = send(first)
    report = fetch()
    assert contents(tmp_path / "out") == contents(first.folder)
    assert (report.commit, report.files, report.fetched) == (repo.head, 3, 3)
    assert report.size == first.size and not leftovers(tmp_path)
    fake_hub.calls.clear()
    assert fetch().fetched == 0
    assert not any("resolve" in call for call in fake_hub.calls)


def test_a_version_or_a_commit_stays_what_it_was(first, send, fetch, tmp_path, make_folder):
    old = send(first).head
    second = read_plan(make_folder("second", "2.0.0"))
    send(second)
    for name, revision, plan in (("a", "1.0.0", first), ("b", old, first), ("c", None, second)):
        fetch(name, revision=revision)
        assert contents(tmp_path / name) == contents(plan.folder)
    with pytest.raises(HubError, match=r"no such repository or revision 9\.9"):
        fetch("d", revision="9.9")


@pytest.mark.parametrize("fault", ["403", "404", "500", "cut", "done:cut", "half"])
def test_a_pull_that_broke_at_any_request_is_finished_by_the_next(
    first, send, fetch, fake_hub, tmp_path, fault
):
    send(first)
    fake_hub.calls.clear()
    fetch("clean")
    for number in range(len(fake_hub.calls)):
        fake_hub.script = {len(fake_hub.calls) + number: fault}
        name = f"out{number}"
        try:
            fetch(name)
        except HubError as error:
            assert "\n" not in str(error) and not (tmp_path / name).exists()
        fake_hub.script = {}
        fetch(name)
        assert contents(tmp_path / name) == contents(first.folder), f"{fault} at request {number}"
    assert not leftovers(tmp_path)


def test_a_second_try_fetches_only_what_is_missing(send, fetch, fake_hub, make_folder):
    parts = {f"data/train-0000{n}-of-00003.parquet": bytes([n]) * 500 for n in range(3)}
    send(read_plan(make_folder("parts", "1.0.0", parts)))
    fake_hub.faults["resolve"] = [*[""] * 6, "403"]  # two requests a file
    with pytest.raises(HubError, match="403"):
        fetch()
    assert fetch().fetched == 2


def test_damaged_bytes_are_fetched_once_more_and_then_refused(first, send, fetch, fake_hub, tmp_path):
    repo = send(first)
    sha = repo.trees[repo.head][SHARD].lfs
    good = repo.blobs[sha]
    repo.blobs[sha] = b"!" + good[1:]
    with pytest.raises(HubError, match="another content"):
        fetch()
    assert not (tmp_path / "out").exists()
    repo.blobs[sha] = good
    fetch()
    assert contents(tmp_path / "out") == contents(first.folder)


@pytest.mark.parametrize(
    "name", ["../canary", "/canary", "a/../../canary", "a\\canary", "C:/canary", "aux.txt"]
)
def test_a_repository_with_a_name_that_leaves_the_folder_is_refused(first, send, fetch, tmp_path, name):
    repo = send(first)
    repo.trees[repo.head][name] = repo.trees[repo.head]["README.md"]
    with pytest.raises(DataError, match="no path inside"):
        fetch()
    assert not list(tmp_path.rglob("canary*")) and not (tmp_path / "out").exists()
    assert not leftovers(tmp_path)


def test_two_names_that_are_one_file_elsewhere_are_refused(first, send, fetch):
    repo = send(first)
    repo.trees[repo.head]["readme.MD"] = repo.trees[repo.head]["README.md"]
    with pytest.raises(DataError, match="one file on some systems"):
        fetch()


def test_a_folder_with_something_else_in_it_is_left_alone(first, send, fetch, tmp_path):
    send(first)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("mine")
    with pytest.raises(DataError, match="something else"):
        fetch()
    assert contents(tmp_path / "out") == {"mine": b"mine"}


def test_a_private_repository_without_a_token_says_what_is_missing(first, send, fetch, monkeypatch):
    send(first)
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(HubError, match="HF_TOKEN"):
        fetch()


def test_a_workspace_comes_back_and_its_manifests_open(exported, chain, send, fetch, tmp_path):
    workspace, manifests = chain
    send(prepare(exported[0], tmp_path / "publish", workspace=workspace.root))
    report = fetch(workspace=True)
    assert report.is_workspace
    assert contents(tmp_path / "out") == contents(workspace.root)
    relative = manifests["split"].directory.relative_to(workspace.root)
    pulled = Manifest(tmp_path / "out" / relative)
    assert [sample.id for sample in pulled.samples()] == [
        sample.id for sample in manifests["split"].samples()
    ]
    with pytest.raises(DataError, match="new folder only"):
        fetch(workspace=True)
