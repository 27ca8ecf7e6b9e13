"""`review simulate` from the command line, with a real checkpoint that learns for one step."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from annotation.simulate.simulate_cli import simulate_command

SIDE = 64


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight pictures beside their masks."""
    folder = tmp_path_factory.mktemp("data") / "pairs"
    y, x = np.mgrid[:SIDE, :SIDE]
    for name in ("image", "mask"):
        (folder / name).mkdir(parents=True)
    for number in range(8):
        mask = ((x - 28 - number) / 18) ** 2 + ((y - 34) / (10 + number)) ** 2 < 1
        rng = np.random.default_rng(number)
        rgb = rng.integers(20, 120, (SIDE, SIDE, 3)).astype(np.uint8)
        rgb[mask] += 100
        Image.fromarray(rgb).save(folder / "image" / f"{number}.png")
        Image.fromarray((mask * 255).astype(np.uint8)).save(folder / "mask" / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def checkpoint(pairs: Path) -> Path:
    from baselines.settings import TrainSettings
    from baselines.train import train
    from dataset_tools.core.images import ImageStore
    from dataset_tools.core.record import Split
    from dataset_tools.opening import open_labelled

    manifest = open_labelled(pairs, pairs.parent / "trained")
    settings = TrainSettings(
        split=Split.TEST, steps=1, batch=2, input_px=64, pretrained=False, device="cpu", num_workers=0
    )
    return train(settings, manifest, ImageStore(manifest.workspace), pairs.parent / "model").checkpoint_dir


def simulate(*arguments: object) -> tuple[int, str, str]:
    done = CliRunner().invoke(simulate_command, [str(item) for item in arguments])
    return done.exit_code, done.stdout, done.stderr


def test_a_folder_of_pairs_becomes_a_table(pairs: Path, checkpoint: Path, tmp_path: Path) -> None:
    table = tmp_path / "table.md"
    options = ("--checkpoint", checkpoint, "--steps", 1, "--device", "cpu", "--work", tmp_path / "kept")
    asked = ("--bought", "0, 2, 90", "--set", "prelabel.min_confidence=0", "--out", table)
    code, out, err = simulate(pairs, *options, *asked)
    assert (code, err) == (0, "")
    assert out.strip() == table.read_text().strip()
    assert "| 90 | left out: only 4 to buy |" in out
    (learned,) = (tmp_path / "kept" / "models").iterdir()
    record = json.loads((learned / "training.json").read_text())
    assert (record["samples"], record["steps"]) == (2, 1)
    # Run again: what was learned is found again, and the same seed gives the same figures.
    before = (learned / "weights.safetensors").stat().st_mtime_ns
    code, out, _ = simulate(pairs, *options, *asked, "--json")
    assert code == 0
    assert (learned / "weights.safetensors").stat().st_mtime_ns == before
    (found,) = json.loads(out)["simulations"].values()
    assert [row["bought"] for row in found["rows"]] == [0, 2]
    assert found["control"]["proposal_iou"] is None
    assert found["too_many"] == [90]
    assert found["control"]["pictures"] == 4
    assert [*found["control"]] == [*found["rows"][0]]


@pytest.mark.parametrize(
    ("changes", "code", "message"),
    [
        (("--bought", "0,many"), 2, "--bought 0,many: write whole numbers"),
        (("--bought", ""), 2, "write whole numbers"),
        (("--bought", "-1"), 2, "write whole numbers"),
        (("--set", "adjudicator.eyes=1"), 2, "unknown key adjudicator.eyes; did you mean eye"),
        (("--set", "review_share"), 2, "write NAME=VALUE"),
        (("--set", "review_share=0"), 2, "review_share"),
        (("--checkpoint", "/nowhere"), 1, "no finished training"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    pairs: Path, changes: tuple[str, ...], code: int, message: str
) -> None:
    more = () if changes[0] == "--checkpoint" else ("--checkpoint", "/nowhere")
    found, out, err = simulate(pairs, *changes, *more)
    assert (found, out, err.count("\n")) == (code, "", 1)
    assert message in err


def test_a_folder_that_holds_no_dataset_is_named(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    code, _, err = simulate(tmp_path / "empty", "--checkpoint", checkpoint, "--device", "cpu")
    assert (code, err.count("\n")) == (1, 1)
    assert "empty is neither a manifest" in err


def test_without_a_checkpoint_the_model_of_the_suite_proposes(pairs: Path, tmp_path: Path) -> None:
    from baselines.checkpoint import read_record
    from dataset_tools.weights.shipped import shipped_proposer

    asked = ("--bought", "0", "--device", "cpu", "--work", tmp_path / "kept", "--json")
    code, out, err = simulate(pairs, *asked)
    assert (code, err) == (0, "")
    record = read_record(shipped_proposer())
    assert [*json.loads(out)["simulations"]] == [f"{record.baseline}@{record.version}"]
