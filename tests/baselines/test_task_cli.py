"""The tasks' commands: settings from NAME=VALUE, a run from table to board, mistakes in one line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from baselines.attributes.settings import AttributeSettings
from baselines.cli import main
from baselines.task_cli import parse_given
from dataset_tools.core.errors import ConfigError


def test_dotted_settings_reach_the_inner_section() -> None:
    settings = parse_given(AttributeSettings, ("network.bn=true", "loss.ce=0.5", "steps=3"), gender=True)
    assert settings.network.bn and settings.loss.ce == 0.5 and settings.steps == 3 and settings.gender


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("steps", "write NAME=VALUE"),
        ("steps=[", "the value is no YAML"),
        ("stepz=3", "did you mean steps"),
        ("steps=0", "greater than or equal to 1"),
    ],
)
def test_a_setting_that_does_not_exist_is_named(given: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        parse_given(AttributeSettings, (given,))


def test_a_setting_cannot_be_a_value_and_a_section() -> None:
    with pytest.raises(ConfigError, match="network was given a value already"):
        parse_given(AttributeSettings, ("network=1", "network.bn=true"))


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    folder = tmp_path / "pictures"
    folder.mkdir()
    for part in ("learned", "scored"):
        rows = ["image,feature"]
        for index in range(4):
            name = f"{part}-{index}.png"
            shade = 40 * index + 20
            Image.fromarray(rng.integers(shade, shade + 20, (40, 40, 3), dtype=np.uint8)).save(folder / name)
            rows.append(f"{name},{index}")
        (tmp_path / f"{part}.csv").write_text("\n".join(rows) + "\n")
    return tmp_path


def test_attributes_from_a_table_to_the_board(labelled: Path) -> None:
    run = CliRunner().invoke
    where = ["--images", str(labelled / "pictures"), "--device", "cpu"]
    small = [
        *("--set", "steps=1", "--set", "input_px=32", "--set", "batch=2"),
        *("--set", "pretrained=false", "--set", "network.head=gap"),
    ]
    model, board = str(labelled / "model"), str(labelled / "board")
    done = run(main, ["attributes", "train", str(labelled / "learned.csv"), "--out", model, *where, *small])
    assert done.exit_code == 0, done.output
    scored = str(labelled / "scored.csv")
    done = run(main, ["attributes", "score", model, scored, "--board", board, *where, "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["task"] == "attributes"
    learned = str(labelled / "learned.csv")
    done = run(main, ["attributes", "score", model, learned, "--board", board, *where])
    assert done.exit_code == 1 and done.stderr.count("\n") == 1  # it was trained on these
    shown = run(main, ["show", "--board", board])
    assert shown.exit_code == 0, shown.output
    assert "feature" in shown.stdout.lower() and "labels" in shown.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["detection", "train", "mtcnn", "--data", ".", "--out", "model", "--set", "step=1"],
        ["detection", "train", "faster_rcnn", "--data", ".", "--out", "model", "--set", "body=resnet7"],
        ["parsing", "train", ".", "--out", "model", "--set", "batch=1"],
        ["verification", "train", ".", "--out", "model", "--variant", "msml_v99"],
        ["verification", "score", "nowhere", "pyproject.toml", "--board", "board"],
        ["attributes", "train", "pyproject.toml", "--images", ".", "--out", "model"],
    ],
)
def test_mistakes_are_one_line(arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pyproject.toml").write_text("x = 1\n")
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code in (1, 2), done.output
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert "unexpected" not in done.stderr
