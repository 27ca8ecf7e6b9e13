"""Model cards and leaderboards for the Hub: every figure from the records, no pickle, no name of a person."""

from __future__ import annotations

import csv
import json
import pickle

import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from safetensors.numpy import save_file

from baselines.checkpoint import (
    RECORD_FILE,
    SeenSample,
    TrainingRecord,
    read_record,
    read_seen,
    write_record,
    write_seen,
)
from baselines.settings import TrainSettings
from dataset_tools.cli import main
from dataset_tools.core.errors import DataError
from dataset_tools.core.files import sha256_file
from dataset_tools.export.hub_models import ModelFacts, Score, model_card, prepare_board, prepare_model
from dataset_tools.formats.job import public_group
from dataset_tools.publish_cli import model_facts

METRICS = {"iou": 0.8125, "f1_of_means": 0.875, "mae": 0.03125, "hd95": None}


@pytest.fixture
def checkpoint(tmp_path):
    """A finished checkpoint as training leaves it, with a source's own group words in it."""
    folder = tmp_path / "net"
    folder.mkdir()
    save_file({"head.weight": np.arange(6, dtype=np.float32)}, folder / "weights.safetensors")
    rows = (("a", "train", "Jane Doe"), ("b", "val", "x"))
    seen = [SeenSample(name * 32, split, group, name * 64, "") for name, split, group in rows]
    record = TrainingRecord(
        baseline="unet_effnet_lite0",
        settings=TrainSettings(steps=7, start_from=tmp_path / "jane" / "earlier"),
        dataset_name="faces, split-1", dataset_key="k" * 64, dataset_digest="d" * 64,
        samples=2, crops=3, synthetic_crops=1, val_crops=1, steps=7, seconds=1.5, device="cpu",
        torch_version="2",
        initial_weights="efficientnet_lite0 (ImageNet)", initial_weights_sha256="5" * 64,
        best_step=7, best_val_iou=0.5,
        weights_sha256=sha256_file(folder / "weights.safetensors"),
        trained_on_sha256=write_seen(folder, seen),
    )  # fmt: skip
    write_record(folder, record)
    return folder


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    facts = {"manifest": "k" * 64, "counts": {"licences": {"CC0-1.0": 4, "CC-BY-4.0": 1}}}
    (folder / "dataset.json").write_text(json.dumps(facts))
    return folder


def facts_of(checkpoint, **changes) -> ModelFacts:
    values = {
        "title": "U-Net | <b>",
        "record": json.loads((checkpoint / RECORD_FILE).read_text()),
        "weights_licence": "Apache-2.0",
        "code_licence": "MIT",
        "data_licences": {"CC0-1.0": 4},
        "dataset_repo": "user/faces",
        "scores": (Score("user/faces", "test", "face_mask", "d" * 64, 12, 0, METRICS),),
    }
    return ModelFacts(**{**values, **changes})


def head_of(text: str) -> dict:
    return yaml.safe_load(text.split("---\n")[1])


def test_the_prepared_model_loads_again_and_names_no_person_and_no_folder(checkpoint, tmp_path):
    plan = prepare_model(checkpoint, tmp_path / "out", facts_of(checkpoint))
    assert [item.path for item in plan.files] == [
        "README.md", "trained_on.csv", "training.json", "weights.safetensors",
    ]  # fmt: skip
    everything = b"".join((plan.folder / item.path).read_bytes() for item in plan.files)
    assert b"Jane" not in everything and str(tmp_path).encode() not in everything
    published, own = read_record(plan.folder), read_record(checkpoint)
    assert published.weights_sha256 == own.weights_sha256
    assert str(published.settings.start_from) == "earlier"
    assert [one.sample_id for one in read_seen(plan.folder)] == [
        one.sample_id for one in read_seen(checkpoint)
    ]


def test_its_groups_are_those_of_a_published_dataset(checkpoint, tmp_path, exported):
    sample = next(iter(exported[2].values()))
    (checkpoint / "trained_on.csv").write_text(
        f"sample_id,split,group,image_sha256,parent_id\n{sample.id},train,{sample.group},{sample.image.sha256},\n"
    )
    plan = prepare_model(checkpoint, tmp_path / "out", facts_of(checkpoint))
    with (plan.folder / "trained_on.csv").open(newline="") as stream:
        assert [row["group"] for row in csv.DictReader(stream)] == [public_group(sample)]


def test_the_hubs_own_reader_finds_every_figure_in_the_model_card(checkpoint):
    from huggingface_hub import ModelCard

    card = ModelCard(model_card(facts_of(checkpoint)))
    assert card.data.license == ["apache-2.0", "cc0-1.0"]
    assert card.data.datasets == ["user/faces"]
    found = {one.metric_name: one.metric_value for one in card.data.eval_results}
    assert found == {"IoU (mean over pictures)": 0.8125, "F1": 0.875, "MAE": 0.03125}
    assert {
        (one.dataset_type, one.dataset_split, one.dataset_revision) for one in card.data.eval_results
    } == {("user/faces", "test", "d" * 64)}
    for said in ("0.8125", "0.8750", "not defined", "5" * 64, "d" * 64, "U-Net \\| &lt;b&gt;"):
        assert said in card.text


def test_what_is_not_known_is_named_and_keeps_a_model_from_being_public(checkpoint):
    leaked = Score("faces", "test", "face_mask", "d" * 64, 12, 3, METRICS)
    assert facts_of(checkpoint).missing() == ()
    assert [one.split("(")[0] for one in facts_of(checkpoint, data_licences={}, scores=()).missing()] == [
        "the licences of the training data ",
        "a score on pictures it was not trained on ",
    ]
    assert "saw some" in facts_of(checkpoint, scores=(leaked,)).missing()[0]
    card = model_card(facts_of(checkpoint, data_licences={}, scores=(), dataset_repo=""))
    assert {"license", "datasets", "model-index"}.isdisjoint(head_of(card))


@pytest.mark.parametrize("name", ["extra.pt", "weights.bin", "innocent.json"])
def test_a_pickle_is_refused_by_name_and_by_content(checkpoint, tmp_path, name):
    (checkpoint / name).write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(DataError, match="pickle"):
        prepare_model(checkpoint, tmp_path / "out", facts_of(checkpoint))
    assert not (tmp_path / "out").exists()


def test_weights_that_are_no_safetensors_are_refused(checkpoint, tmp_path):
    (checkpoint / "weights.safetensors").write_bytes(b"\xff" * 64)
    with pytest.raises(DataError, match="no safetensors"):
        prepare_model(checkpoint, tmp_path / "out", facts_of(checkpoint))


def test_the_facts_come_from_record_registry_and_dataset(checkpoint, data):
    facts = model_facts(checkpoint, None, data, "user/faces")
    assert facts.data_licences == {"CC0-1.0": 4, "CC-BY-4.0": 1}
    assert facts.weights_licence == "Apache-2.0" and facts.scores == ()
    (data / "dataset.json").write_text('{"manifest": "other", "counts": {"licences": {}}}')
    with pytest.raises(DataError, match="not the dataset"):
        model_facts(checkpoint, None, data, "")


def test_a_damaged_checkpoint_is_not_published(checkpoint):
    (checkpoint / "trained_on.csv").write_text("sample_id\n")
    with pytest.raises(DataError, match="damaged"):
        model_facts(checkpoint, None, None, "")


@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
def test_the_command_publishes_a_model_once_and_openly_only_when_it_is_scored(
    checkpoint, data, fake_hub, tmp_path
):
    words = ["publish-model", str(checkpoint), "--repo", "user/net", "--out", str(tmp_path / "out")]
    words += ["--data", str(data), "--json"]
    refused = CliRunner().invoke(main, [*words, "--public"])
    assert refused.exit_code == 1 and "not trained on" in refused.stderr
    assert fake_hub.models == {}
    for is_new in (True, False):
        done = CliRunner().invoke(main, [*words, "--draft"])
        assert done.exit_code == 0, done.stderr
        assert json.loads(done.stdout)["changed"] is is_new
    repo = fake_hub.models["user/net"]
    assert (
        repo.private
        and repo.files["weights.safetensors"] == (checkpoint / "weights.safetensors").read_bytes()
    )
    assert len(repo.commits) == 2


def test_a_board_needs_a_licence_to_be_public(tmp_path):
    files = {"leaderboard.json": "{}", "leaderboard.html": "<html></html>"}
    plan = prepare_board(tmp_path / "board", "Masks <1>", "", "| a |", files.items())
    assert plan.missing == ("a licence for the figures (--licence)",)
    assert [item.path for item in plan.files] == ["README.md", "leaderboard.html", "leaderboard.json"]
    stated = prepare_board(tmp_path / "board", "Masks <1>", "CC0-1.0", "| a |", files.items())
    text = (stated.folder / "README.md").read_text()
    assert stated.missing == () and head_of(text)["license"] == "cc0-1.0"
    assert "# Masks &lt;1&gt;" in text and text.endswith("| a |")
