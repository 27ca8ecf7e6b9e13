"""`publish`, `publish-model`, `publish-board` and `pull` as people call them."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from dataset_tools.cli import main
from dataset_tools.core.workspace import Workspace
from dataset_tools.export.dataset import export_dataset
from dataset_tools.export.settings import ExportSettings
from dataset_tools.versions import Change, diff_versions, open_version

# The client itself hands raw bytes to its HTTP library in a way that library advises against.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

TOKEN = "hf_planted_0123456789abcdef"


@pytest.fixture
def hub(monkeypatch, load_fake, tmp_path):
    import huggingface_hub.constants as constants
    import huggingface_hub.utils._http as http

    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-login"))
    monkeypatch.setattr(http.time, "sleep", lambda seconds: None)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with load_fake("hub_server").serve(TOKEN) as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        # The client writes the address of a download from this, made when it was imported.
        template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        yield server


@pytest.fixture
def build(labelled, tmp_path):
    """Configuration of a workspace with an exported dataset, and a function that exports it anew."""
    workspace, manifests = labelled.build_chain(tmp_path / "work")
    config = tmp_path / "config.yaml"
    source = {"type": "folder", "name": "p", "path": "photos", "licence": "CC0-1.0"}
    (tmp_path / "photos").mkdir()
    config.write_text(yaml.safe_dump({"name": "faces", "workspace": "work", "crawl": {"sources": [source]}}))

    def export(version: str, **more) -> None:
        settings = ExportSettings(formats=("huggingface",), version=version, **more)
        export_dataset(manifests["split"], workspace.images, settings, workspace.root / "dataset")

    export("1.0.0")
    return config, export


def call(*words: object):
    return CliRunner().invoke(main, [str(word) for word in words])


def publish(config: Path, *words: object):
    return call("publish", config, "--repo", "user/faces", "--draft", *words)


def test_a_dry_run_shows_the_difference_and_publishes_nothing(build, hub):
    config, export = build
    first = publish(config)
    assert first.exit_code == 0, first.stderr
    export("1.0.1", description="Another word.")
    result = publish(config, "--dry-run")
    assert result.exit_code == 0, result.stderr
    assert "~ README.md" in result.stdout and "nothing was published" in result.stdout
    assert "parquet" not in result.stdout.split("compared")[1]
    assert len(hub.repos["user/faces"].commits) == 2


def test_a_dry_run_without_the_hub_still_prepares_the_folder(build, hub, monkeypatch):
    import huggingface_hub.constants as constants

    import dataset_tools.export.hub_client as hub_client

    monkeypatch.setattr(hub_client.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:1")
    result = publish(build[0], "--dry-run", "--json")
    assert result.exit_code == 0
    values = json.loads(result.stdout)
    assert values["compared"] is False and Path(values["folder"], "README.md").is_file()


def test_a_version_that_says_too_little_is_refused_and_the_needed_one_named(build, hub, labelled, tmp_path):
    config, export = build
    publish(config)
    head = hub.repos["user/faces"].head
    export("1.0.0", description="Another word.")
    result = publish(config)
    assert result.exit_code == 1 and "need version 1.0.1" in result.stderr
    assert "need version 2.0.0" in publish(config, "--without-images").stderr
    assert hub.repos["user/faces"].head == head
    export("1.0.1", description="Another word.")
    assert publish(config).exit_code == 0
    assert set(hub.repos["user/faces"].tags) == {"1.0.0", "1.0.1"}


def test_fewer_pictures_are_a_breaking_change(build, hub, labelled, tmp_path):
    config, _ = build
    publish(config)
    workspace = Workspace(tmp_path / "work")
    fewer = labelled.make_samples(workspace.images)[:-1]
    crawl = labelled.write_crawl(workspace, fewer)
    settings = ExportSettings(formats=("huggingface",), version="1.9.0")
    split = labelled.write_split(workspace, crawl)
    export_dataset(split, workspace.images, settings, workspace.root / "dataset")
    result = publish(config)
    assert result.exit_code == 1 and "need version 2.0.0" in result.stderr


def test_a_picture_taken_down_is_in_no_revision_after_erasing(build, hub, labelled, tmp_path):
    config, _ = build
    publish(config)
    repo = hub.repos["user/faces"]
    workspace = Workspace(tmp_path / "work")
    *rest, gone = labelled.make_samples(workspace.images)
    picture = workspace.images.read_bytes(gone.image)
    assert any(picture in data for data in repo.blobs.values())
    settings = ExportSettings(formats=("huggingface",), version="2.0.0")
    split = labelled.write_split(workspace, labelled.write_crawl(workspace, rest))
    export_dataset(split, workspace.images, settings, workspace.root / "dataset")
    result = publish(config, "--erase-history")
    assert result.exit_code == 0, result.stderr
    assert "not reached" in result.stdout
    held = [*repo.blobs.values(), *(entry.data for tree in repo.trees.values() for entry in tree.values())]
    assert not [data for data in held if picture in data or gone.id.encode() in data]
    assert len(repo.commits) == 1 and list(repo.tags) == ["2.0.0"]


def test_the_token_is_in_no_file_no_output_and_no_log(build, hub, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    config, _ = build
    said = []
    for number, fault in enumerate(("", "", "401", "403", "500", "done:500", "cut", "half")):
        hub.script = {len(hub.calls) + 2: fault} if fault else {}
        for words in ((), ("--json",), ("--dry-run",)):
            result = call("publish", config, "--repo", f"user/faces{number}", "--draft", *words)
            said += [result.stdout, result.stderr, str(result.exception)]
        result = call("pull", f"user/faces{number}", tmp_path / f"pulled{number}")
        said += [result.stdout, result.stderr]
    hub.script = dict.fromkeys(range(100_000), "500")
    broken = publish(config)
    assert "on purpose, after Bearer <token>" in broken.stderr
    said.append(broken.stderr)
    assert hub.complaints == []
    assert sum(bool(repo.tags) for repo in hub.repos.values()) >= 6  # most of them did get there
    said += [repr(sys.argv), caplog.text, *(str(record.args) for record in caplog.records)]
    assert not [text for text in said if TOKEN in text]
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 20 and not [path for path in files if TOKEN.encode() in path.read_bytes()]


def test_a_pulled_dataset_is_the_prepared_folder_byte_for_byte(build, hub, tmp_path):
    publish(build[0])
    result = call("pull", "user/faces", tmp_path / "out", "--revision", "1.0.0", "--json")
    assert json.loads(result.stdout)["commit"] == hub.repos["user/faces"].head
    prepared = tmp_path / "work" / "publish"
    for path in prepared.rglob("*"):
        if path.is_file():
            assert (tmp_path / "out" / path.relative_to(prepared)).read_bytes() == path.read_bytes()


def test_work_goes_on_from_a_pulled_dataset(build, hub, tmp_path):
    publish(build[0])
    call("pull", "user/faces", tmp_path / "out")
    pulled, own = open_version(tmp_path / "out"), open_version(tmp_path / "work" / "dataset")
    diff = diff_versions(own, pulled)
    assert diff.change is Change.NONE and diff.counts == (5, 5)


def test_a_version_that_is_no_version_is_refused_before_anything_is_sent(build, hub):
    config, export = build
    export("first try")
    result = publish(config)
    assert result.exit_code == 2 and "MAJOR.MINOR.PATCH" in result.stderr
    assert hub.calls == []


def test_a_workspace_is_never_published_openly(build, hub):
    result = publish(build[0], "--with-workspace", "--public")
    assert result.exit_code == 2 and "private" in result.stderr
    assert publish(build[0], "--pr", "--erase-history").exit_code == 2
    assert hub.calls == []


def test_an_incomplete_card_is_published_as_a_private_draft_only(build, hub):
    for words in ((), ("--public",), ("--public", "--draft")):
        result = call("publish", build[0], "--repo", "user/faces", *words)
        assert result.exit_code == 1 and "removal" in result.stderr
    assert hub.repos == {}
    assert publish(build[0]).exit_code == 0
    assert hub.repos["user/faces"].private


def test_people_load_what_was_published_with_the_library_they_use(build, hub, tmp_path, monkeypatch):
    publish(build[0])
    code = (
        "import sys, datasets\n"
        "found = datasets.load_dataset('user/faces', revision='1.0.0', cache_dir=sys.argv[1])\n"
        "print(sum(part.num_rows for part in found.values()), found['train'][0]['image'].mode)\n"
    )
    env = {
        "HF_ENDPOINT": hub.url,
        "HF_TOKEN": TOKEN,
        "HF_HOME": str(tmp_path / "home"),
        "HF_HUB_DISABLE_XET": "1",
    }
    environment = {**os.environ, **env, "HF_HUB_DISABLE_TELEMETRY": "1"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, str(tmp_path / "cache")],
        capture_output=True, text=True, env=environment,
    )  # fmt: skip
    assert done.stdout.split() == ["5", "RGB"], done.stderr[-2000:]
