"""Publishing against a server that speaks the Hub's protocol: exactly once, private, no token in sight."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from dataset_tools.core.errors import DataError, HubError
from dataset_tools.core.files import write_text
from dataset_tools.export.hub import prepare, push
from dataset_tools.formats.job import paint_index

# The client itself hands raw bytes to its HTTP library in a way that library advises against.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


@pytest.fixture
def plan(exported, tmp_path):
    return prepare(exported[0], tmp_path / "publish")


def test_prepare_lists_exactly_the_files_of_the_folder(plan):
    assert [item.path for item in plan.files] == [
        "README.md",
        "data/test-00000-of-00001.parquet",
        "data/train-00000-of-00001.parquet",
        "data/validation-00000-of-00001.parquet",
        "dataset.json",
    ]
    assert plan.missing == ()
    assert plan.size == sum((plan.folder / item.path).stat().st_size for item in plan.files)


def test_prepare_refuses_a_folder_that_is_no_dataset(tmp_path):
    with pytest.raises(DataError, match="run export first"):
        prepare(tmp_path, tmp_path / "publish")


def test_a_pushed_dataset_comes_back_with_the_same_pixels(plan, exported, fake_hub):
    import pyarrow.parquet as pq

    report = push(plan.folder, "user/faces", endpoint=fake_hub.url)
    repo = fake_hub.repos["user/faces"]
    assert repo.private
    assert len(repo.commits) == 2  # the Hub's own first commit, and ours
    assert report.commit == repo.head
    assert set(report.added) == {item.path for item in plan.files}

    from huggingface_hub import hf_hub_download

    path = hf_hub_download(
        "user/faces", "data/train-00000-of-00001.parquet", repo_type="dataset", endpoint=fake_hub.url,
        local_dir=plan.folder.parent / "pulled",
    )  # fmt: skip
    rows = pq.read_table(path).to_pylist()
    assert len(rows) == exported[1].samples["train"]
    for row in rows:
        mask = np.asarray(Image.open(io.BytesIO(row["mask"]["bytes"])))
        np.testing.assert_array_equal(mask, paint_index(exported[2][row["id"]]))


def test_pushing_again_makes_no_commit(plan, fake_hub):
    first = push(plan.folder, "user/faces", endpoint=fake_hub.url)
    second = push(plan.folder, "user/faces", endpoint=fake_hub.url)
    assert first.is_new_commit and not second.is_new_commit
    assert second.commit == first.commit
    assert len(fake_hub.repos["user/faces"].commits) == 2


def test_a_changed_folder_replaces_and_removes_in_one_commit(plan, fake_hub):
    push(plan.folder, "user/faces", endpoint=fake_hub.url)
    (plan.folder / "data" / "test-00000-of-00001.parquet").unlink()
    write_text(plan.folder / "README.md", "# changed\n")
    report = push(plan.folder, "user/faces", endpoint=fake_hub.url)
    assert (report.added, report.changed) == ((), ("README.md",))
    assert report.removed == ("data/test-00000-of-00001.parquet",)
    assert len(fake_hub.repos["user/faces"].commits) == 3


@pytest.mark.parametrize(("fault", "commits"), [("500-but-done", 2), ("500", 1)])
def test_after_a_server_fault_the_repository_decides(plan, fake_hub, fault, commits):
    fake_hub.faults["commit"] = [fault]
    if fault == "500":
        with pytest.raises(HubError, match="HTTP 500"):
            push(plan.folder, "user/faces", endpoint=fake_hub.url)
    else:
        assert push(plan.folder, "user/faces", endpoint=fake_hub.url).is_new_commit
    assert len(fake_hub.repos["user/faces"].commits) == commits
    push(plan.folder, "user/faces", endpoint=fake_hub.url)
    assert len(fake_hub.repos["user/faces"].commits) == 2


def test_a_repository_that_moved_meanwhile_is_left_alone(plan, fake_hub):
    fake_hub.faults["commit"] = ["moved"]
    with pytest.raises(HubError, match="run the same command again"):
        push(plan.folder, "user/faces", endpoint=fake_hub.url)
    assert set(fake_hub.repos["user/faces"].files) == {".gitattributes", "other.txt"}


def test_a_wrong_token_is_one_line_without_the_token(plan, fake_hub, monkeypatch, caplog):
    monkeypatch.setenv("HF_TOKEN", "hf_wrong_secret_987654321")
    with pytest.raises(HubError) as caught:
        push(plan.folder, "user/faces", endpoint=fake_hub.url)
    assert "\n" not in str(caught.value)
    assert "does not accept the token" in str(caught.value)
    assert "hf_wrong_secret" not in str(caught.value) + caplog.text
    assert not fake_hub.repos


def test_no_token_says_how_to_get_one(plan, fake_hub, monkeypatch, tmp_path):
    import huggingface_hub.constants as constants

    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
    with pytest.raises(HubError, match="HF_TOKEN"):
        push(plan.folder, "user/faces", endpoint=fake_hub.url)
    assert fake_hub.calls == []


def test_an_unreachable_hub_is_one_line(plan, fake_hub):
    with pytest.raises(HubError, match="cannot be reached") as caught:
        push(plan.folder, "user/faces", endpoint="http://127.0.0.1:1")
    assert "\n" not in str(caught.value)


def test_a_bad_repository_name_is_one_line(plan, fake_hub):
    with pytest.raises(HubError, match="no repository name"):
        push(plan.folder, "not a name!", endpoint=fake_hub.url)


def test_going_public_needs_the_flag_and_a_complete_card(plan, labelled, fake_hub, tmp_path):
    from dataset_tools.export.dataset import export_dataset
    from dataset_tools.export.settings import ExportSettings

    push(plan.folder, "user/open", endpoint=fake_hub.url, public=True)
    assert not fake_hub.repos["user/open"].private
    with pytest.raises(HubError, match="is public"):
        push(plan.folder, "user/open", endpoint=fake_hub.url)

    workspace, manifests = labelled.build_chain(tmp_path / "bare")
    settings = ExportSettings(formats=("huggingface",))
    export_dataset(manifests["split"], workspace.images, settings, tmp_path / "bare-dataset")
    bare = prepare(tmp_path / "bare-dataset", tmp_path / "bare-publish")
    with pytest.raises(DataError, match="removal requests"):
        push(bare.folder, "user/bare", endpoint=fake_hub.url, public=True)
    assert "user/bare" not in fake_hub.repos
