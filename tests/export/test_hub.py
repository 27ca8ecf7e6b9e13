"""Publishing against a server that speaks the Hub's protocol: exactly once, private, no token in sight."""

from __future__ import annotations

import io
import time
from email.utils import formatdate

import numpy as np
import pytest
from PIL import Image

from dataset_tools.core.errors import ConfigError, DataError, HubError
from dataset_tools.export.hub import PublishOptions, look, push
from dataset_tools.export.hub_plan import prepare, read_plan
from dataset_tools.export.hub_pull import fetch_files
from dataset_tools.formats.job import paint_index

# The client itself hands raw bytes to its HTTP library in a way that library advises against.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

SHARD = "data/train-00000-of-00001.parquet"


@pytest.fixture
def plan(make_folder):
    return read_plan(make_folder("first"))


@pytest.fixture
def send(fake_hub):
    """Publishes a plan on the fake Hub without waiting between tries."""

    def send_to(
        plan, repo="user/faces", repo_type="dataset", seen=None, pause=lambda seconds: None, **options
    ):
        chosen = PublishOptions(**options)
        return push(plan, repo, chosen, repo_type, seen=seen, endpoint=fake_hub.url, pause=pause)

    return send_to


def paths(changes) -> list[str]:
    return [str(change)[0] + change.path for change in changes]


def test_a_published_dataset_comes_back_with_the_same_pixels(exported, fake_hub, send, tmp_path):
    import pyarrow.parquet as pq

    plan = prepare(exported[0], tmp_path / "publish")
    report = send(plan, draft=True)
    repo = fake_hub.repos["user/faces"]
    assert repo.private and len(repo.commits) == 2  # the Hub's own first commit, and ours
    assert report.commit == repo.head and report.is_new_commit
    assert report.url == f"{fake_hub.url}/datasets/user/faces"
    assert [change.path for change in report.changes] == [item.path for item in plan.files]

    assert fetch_files("user/faces", repo.head, (SHARD,), tmp_path, endpoint=fake_hub.url) == 1
    rows = pq.read_table(tmp_path / SHARD).to_pylist()
    assert len(rows) == exported[1].samples["train"]
    for row in rows:
        mask = np.asarray(Image.open(io.BytesIO(row["mask"]["bytes"])))
        np.testing.assert_array_equal(mask, paint_index(exported[2][row["id"]]))


def test_publishing_again_makes_no_commit(plan, fake_hub, send):
    first, second = send(plan), send(plan)
    assert first.is_new_commit and not second.is_new_commit
    assert second.commit == first.commit
    assert len(fake_hub.repos["user/faces"].commits) == 2


def test_a_dry_look_names_every_file_with_its_sizes_and_changes_nothing(plan, fake_hub, send, make_folder):
    def seen(one):
        return look(one, "user/faces", endpoint=fake_hub.url, pause=lambda seconds: None)

    absent = seen(plan)
    assert absent.is_new and paths(absent.changes) == ["+README.md", f"+{SHARD}", "+dataset.json"]
    assert fake_hub.repos == {}
    send(plan)
    assert seen(plan).changes == ()
    other = make_folder("other", "1.0.0", {"data/test-00000-of-00001.parquet": b"t" * 77})
    changes = seen(read_plan(other)).changes
    assert [str(change) for change in changes if change.path != "dataset.json"] == [
        "~ README.md  30 -> 30 bytes",
        "+ data/test-00000-of-00001.parquet  77 bytes",
        f"- {SHARD}  1500 bytes",
    ]
    assert len(fake_hub.repos["user/faces"].commits) == 2


def test_looking_needs_no_token_where_everybody_may_look(plan, fake_hub, send, monkeypatch):
    send(plan, public=True)
    send(plan, "user/closed")
    monkeypatch.delenv("HF_TOKEN")
    for repo, is_new in (("user/faces", False), ("user/none", True), ("user/closed", True)):
        assert look(plan, repo, endpoint=fake_hub.url, pause=lambda seconds: None).is_new is is_new


def test_a_changed_folder_replaces_and_removes_in_one_commit(plan, fake_hub, send, make_folder):
    send(plan)
    other = read_plan(make_folder("other", "2.0.0", {"data/test-00000-of-00001.parquet": b"t"}))
    report = send(other)
    assert paths(report.changes) == [
        "~README.md", "+data/test-00000-of-00001.parquet", f"-{SHARD}", "~dataset.json",
    ]  # fmt: skip
    assert len(fake_hub.repos["user/faces"].commits) == 3


def test_the_version_is_a_tag_that_never_moves(plan, fake_hub, send, make_folder):
    send(plan, tag="1.0.0")
    send(plan, tag="1.0.0")
    repo = fake_hub.repos["user/faces"]
    first = repo.head
    assert repo.tags == {"1.0.0": first}
    other = read_plan(make_folder("other"))
    with pytest.raises(DataError, match=r"1\.0\.0 with other content"):
        send(other, tag="1.0.0")
    assert repo.head == first
    send(other, tag="1.1.0")
    assert repo.tags == {"1.0.0": first, "1.1.0": repo.head}


def test_two_repositories_get_two_whole_sets(plan, fake_hub, send):
    send(plan, "user/one")
    send(plan, "user/two")
    one, two = (fake_hub.repos[name] for name in ("user/one", "user/two"))
    assert one.files == two.files and one.blobs.keys() == two.blobs.keys()


def test_a_large_file_goes_up_in_parts(plan, fake_hub, send):
    fake_hub.part_bytes = 400
    send(plan)
    assert fake_hub.repos["user/faces"].files[SHARD] == (plan.folder / SHARD).read_bytes()
    assert sum("?part" in call or "lfs-put" in call for call in fake_hub.calls) == 4
    assert fake_hub.complaints == []


def test_an_upload_that_was_cut_off_sends_only_what_is_missing(fake_hub, send, make_folder):
    parts = {f"data/train-0000{n}-of-00003.parquet": bytes([n]) * 500 for n in range(3)}
    plan = read_plan(make_folder("parts", "1.0.0", parts))
    fake_hub.faults["commit"] = ["403"]
    with pytest.raises(HubError, match="403"):
        send(plan)
    fake_hub.calls.clear()
    send(plan)
    assert not any("lfs-put" in call for call in fake_hub.calls)
    assert fake_hub.repos["user/faces"].files[next(iter(parts))] == b"\0" * 500


def test_a_pull_request_leaves_main_alone_and_is_not_doubled(plan, fake_hub, send, make_folder):
    send(plan, tag="1.0.0")
    repo = fake_hub.repos["user/faces"]
    head = repo.head
    other = read_plan(make_folder("other", "1.1.0"))
    reports = [send(other, tag="1.1.0", pull_request=True) for _ in range(2)]
    assert [report.commit for report in reports] == ["refs/pr/1", "refs/pr/1"]
    assert repo.head == head and repo.tags == {"1.0.0": head}
    repo.branches["main"], repo.pulls[1].status = repo.pulls[1].head, "merged"
    assert not send(other, tag="1.1.0").is_new_commit
    assert repo.tags["1.1.0"] == repo.head


@pytest.mark.parametrize("fault", ["500", "done:500", "cut", "done:cut", "half", "409", "done:409", "412"])
def test_after_a_doubtful_answer_to_the_commit_the_repository_decides(plan, fake_hub, send, fault):
    fake_hub.faults["commit"] = [fault]
    report = send(plan, tag="1.0.0")
    repo = fake_hub.repos["user/faces"]
    assert report.is_new_commit and report.commit == repo.head
    assert len(repo.commits) == 2 and repo.tags == {"1.0.0": repo.head}


def test_somebody_elses_change_is_never_overwritten_unseen(plan, fake_hub, send):
    fake_hub.faults["commit"] = ["moved"]
    with pytest.raises(HubError, match="somebody else"):
        send(plan)
    repo = fake_hub.repos["user/faces"]
    assert set(repo.files) == {".gitattributes", "other.txt"}
    with pytest.raises(HubError, match="changed while"):
        send(plan, seen="0" * 40)
    assert set(repo.files) == {".gitattributes", "other.txt"}


def test_going_public_needs_the_flag_and_a_complete_card(plan, fake_hub, send, make_folder):
    send(plan, public=True)
    assert not fake_hub.repos["user/faces"].private
    with pytest.raises(HubError, match="is public"):
        send(plan)
    bare = make_folder("bare")
    (bare / "dataset.json").write_text('{"version": "1.0.0", "missing": ["a contact for removal requests"]}')
    for options in ({"public": True}, {"public": True, "draft": True}, {}):
        with pytest.raises(DataError, match="removal requests"):
            send(read_plan(bare), "user/bare", **options)
    assert "user/bare" not in fake_hub.repos
    send(read_plan(bare), "user/bare", draft=True)
    assert fake_hub.repos["user/bare"].private


def test_a_repository_opens_to_the_public_only_when_it_is_complete(plan, fake_hub, send):
    open_before_complete = []

    def watch():
        repo = fake_hub.repos.get("user/faces")
        if repo is not None and not repo.private and (SHARD not in repo.files or not repo.gated):
            open_before_complete.append(fake_hub.calls[-1])

    fake_hub.on_each = watch
    send(plan, public=True, gated="manual")
    repo = fake_hub.repos["user/faces"]
    assert not repo.private and repo.gated == "manual" and open_before_complete == []


def test_erasing_leaves_one_commit_and_no_byte_of_the_older_ones(plan, fake_hub, send, make_folder):
    send(plan, tag="1.0.0")
    repo = fake_hub.repos["user/faces"]
    repo.branches["draft"] = repo.head
    send(read_plan(make_folder("side")), pull_request=True)
    other = read_plan(make_folder("other", "2.0.0"))
    report = send(other, tag="2.0.0", erase_history=True)
    assert report.erased is not None
    assert set(report.erased.refs) == {"refs/pr/1", "refs/tags/1.0.0", "refs/heads/draft"}
    assert list(repo.commits) == [repo.head] == [report.commit]
    assert repo.tags == {"2.0.0": repo.head}
    named = [entry for tree in repo.trees.values() for entry in tree.values() if entry.lfs]
    assert named and all(repo.content(entry) == (other.folder / SHARD).read_bytes() for entry in named)
    assert list(repo.blobs.values()) == [(other.folder / SHARD).read_bytes()]
    again = send(other, tag="2.0.0", erase_history=True)
    assert again.erased is not None and again.erased.blobs == () and again.commit == report.commit


def test_what_the_hub_still_serves_after_erasing_is_an_error(plan, fake_hub, send, make_folder, monkeypatch):
    send(plan, tag="1.0.0")
    fake_hub.keeps_squashed = True
    repo = fake_hub.repos["user/faces"]
    blob = (plan.folder / SHARD).read_bytes()

    def put_back():
        if "lfs-files/batch" in fake_hub.calls[-1]:  # a store that only says it deleted
            for oid, tree in repo.trees.items():
                if oid == old:
                    tree[SHARD] = entry
            repo.blobs[entry.lfs] = blob

    old, entry = repo.head, repo.trees[repo.head][SHARD]
    fake_hub.on_each = put_back
    with pytest.raises(HubError, match="still stored"):
        send(read_plan(make_folder("other", "2.0.0")), tag="2.0.0", erase_history=True)


def test_the_servers_wish_to_wait_is_granted_up_to_a_minute(plan, fake_hub, send):
    for wish, waited in (("7", [7.0]), (formatdate(time.time() + 30, usegmt=True), None), ("3600", [])):
        pauses: list[float] = []
        fake_hub.retry_after = wish
        fake_hub.script = {len(fake_hub.calls): "429"}
        if wish == "3600":
            with pytest.raises(HubError, match="slow down"):
                send(plan, pause=pauses.append)
        else:
            send(plan, pause=pauses.append)
        assert pauses == waited if waited is not None else 20 < pauses[0] <= 30


def test_a_wrong_or_weak_token_is_one_line_without_the_token(plan, fake_hub, send, monkeypatch, caplog):
    for token, said in (
        ("hf_wrong_987654321", "does not accept"),
        (fake_hub.reader_token, "may not do that"),
    ):
        monkeypatch.setenv("HF_TOKEN", token)
        with pytest.raises(HubError, match=said) as caught:
            send(plan)
        assert "\n" not in str(caught.value)
        assert token not in str(caught.value) + caplog.text
    assert not fake_hub.repos


def test_no_token_says_how_to_get_one(plan, fake_hub, send, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(HubError, match="HF_TOKEN"):
        send(plan)
    assert fake_hub.calls == []


def test_an_unreachable_hub_is_one_line(plan, fake_hub):
    with pytest.raises(HubError, match="cannot be reached") as caught:
        push(plan, "user/faces", endpoint="http://127.0.0.1:1", pause=lambda seconds: None)
    assert "\n" not in str(caught.value)


def test_a_bad_repository_name_is_refused_at_once(plan, fake_hub, send):
    with pytest.raises(ConfigError, match="no repository name"):
        send(plan, "not a name!")
    assert fake_hub.calls == []


def test_a_model_goes_to_a_model_repository(fake_hub, send, make_folder):
    plan = read_plan(make_folder("net", "1.0.0", {"weights.safetensors": b"w" * 99}))
    report = send(plan, "user/net", "model")
    assert report.url == f"{fake_hub.url}/user/net"
    assert fake_hub.models["user/net"].files["weights.safetensors"] == b"w" * 99
    assert fake_hub.repos == {}
