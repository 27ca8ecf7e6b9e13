"""A suite runs to one table: rows, floors, failures with their reasons, and the same table after a kill."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from baselines import runs
from baselines.board_forms import as_csv, as_json_text, as_markdown
from baselines.board_page import as_html
from baselines.cards import ScoreCard
from baselines.leaderboard import read_board
from baselines.runs import Failure, Order, run_suite
from baselines.suites import Suite, SuiteRow
from dataset_tools.core.errors import ConfigError, SuiteError
from dataset_tools.core.images import ImageStore
from dataset_tools.core.record import Split

TINY = {"steps": 2, "batch": 2, "input_px": 64, "pretrained": False, "device": "cpu"}
SUITE = Suite(
    "tiny",
    "Two rows",
    (
        SuiteRow("small", "Small U-Net", "unet_effnet_lite0"),
        SuiteRow("slow", "Small U-Net, low rate", "unet_effnet_lite0", {"learning_rate": 1e-6}),
    ),
)


@pytest.fixture
def manifest(make_manifest):
    return make_manifest([Split.TRAIN] * 3 + [Split.VAL] + [Split.TEST] * 3)


def run(manifest, images: ImageStore, out: Path, **changes):
    order = Order(SUITE, TINY, **{"trials": 2, "measure": False, **changes})
    seen: list[ScoreCard | Failure] = []
    counts = run_suite(order, manifest, images, out, report=seen.append)
    return counts, seen


def test_rows_trials_and_floors_land_in_one_table(manifest, images: ImageStore, tmp_path: Path) -> None:
    (done, failed), _ = run(manifest, images, tmp_path / "out")
    assert (done, failed) == (8, 0)  # 2 rows of 2 trials, 4 floors
    board = read_board(tmp_path / "out" / "board")
    (section,) = board.sections
    lines = {line.card.row: line for line in section.lines}
    assert set(lines) == {"small", "slow", "floor_prior", "floor_otsu", "floor_grabcut", "floor_chan_vese"}
    small = lines["small"]
    kept = {path.name for path in (tmp_path / "out" / "small" / "trial-1").iterdir()}
    assert kept == {"weights.safetensors", "training.json", "trained_on.csv"}
    seeds = [card.training.settings.seed for card in small.cards if card.training]
    assert seeds == [0, 1]
    values = [card.metrics["iou"] for card in small.cards]
    assert small.figures["iou"].mean == pytest.approx(sum(values) / 2)
    assert small.figures["iou"].sd == pytest.approx(abs(values[0] - values[1]) / 2**0.5)
    assert lines["floor_otsu"].figures["iou"].sd is None
    means = [line.figures["iou"].mean for line in section.lines]
    assert means == sorted(means, reverse=True)
    assert section.lines[-1].against_next is None
    text = as_markdown(board)
    assert "Small U-Net, low rate" in text and "a fixed method, not trained" in text
    assert len(as_csv(board).splitlines()) == 1 + 6
    rows = json.loads(as_json_text(board))["sections"][0]["rows"]
    assert {row["trials"] for row in rows} == {1, 2}
    page = as_html(board, tmp_path / "out" / "board", manifest)
    assert page.count("<figure>") == 6 * 3 and "data:image/jpeg" in page
    assert "<figure>" not in as_html(board, tmp_path / "out" / "board")


def test_a_run_killed_anywhere_ends_in_the_same_table(
    manifest, images: ImageStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(manifest, images, tmp_path / "whole")
    honest, calls = runs.evaluate, []

    def dies(*args, **kwargs):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return honest(*args, **kwargs)

    monkeypatch.setattr(runs, "evaluate", dies)
    with pytest.raises(KeyboardInterrupt):
        run(manifest, images, tmp_path / "killed")
    run(manifest, images, tmp_path / "killed")
    boards = [read_board(tmp_path / name / "board") for name in ("whole", "killed")]
    tables = [[(line.title, line.figures, line.interval) for line in one.sections[0].lines] for one in boards]
    assert tables[0] == tables[1]


def test_what_fails_is_a_row_with_its_reason_and_the_next_goes_on(
    manifest, images: ImageStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = runs.train

    def breaks(settings, *args, **kwargs):
        if settings.learning_rate == 1e-6:
            raise SuiteError("out of memory on cpu with a batch of 2")
        if settings.baseline == "floor_otsu":
            raise RuntimeError("no kernel\nlong story")
        return honest(settings, *args, **kwargs)

    monkeypatch.setattr(runs, "train", breaks)
    counts, _ = run(manifest, images, tmp_path / "out", trials=1)
    assert counts == (4, 2)
    board = read_board(tmp_path / "out" / "board")
    reasons = {one.row: one.reason for one in board.failures}
    assert reasons == {
        "slow": "out of memory on cpu with a batch of 2",
        "floor_otsu": "RuntimeError: no kernel",
    }
    assert "out of memory" in as_markdown(board)
    assert "Small U-Net, low rate" in as_html(board, tmp_path / "out" / "board")
    monkeypatch.setattr(runs, "train", honest)
    assert run(manifest, images, tmp_path / "out", trials=1)[0] == (6, 0)
    assert read_board(tmp_path / "out" / "board").failures == ()


def test_a_setting_the_row_is_about_cannot_be_overridden(
    manifest, images: ImageStore, tmp_path: Path
) -> None:
    order = replace(Order(SUITE, TINY), chosen={**TINY, "learning_rate": 1.0})
    with pytest.raises(ConfigError, match="row slow of suite tiny is about learning_rate"):
        run_suite(order, manifest, images, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_cost_is_measured_once(
    manifest, images: ImageStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("measure_network", "measure_method"):
        monkeypatch.setattr(runs, name, partial(getattr(runs, name), limit_s=0.3))
    _, seen = run(manifest, images, tmp_path / "out", trials=1, rows=("small",), measure=True)
    (card,) = [one for one in seen if isinstance(one, ScoreCard) and one.row == "small"]
    assert card.cost is not None and card.cost.parameters == card.parameters > 5_000_000
    assert card.cost.fps_1 > 0 and card.cost.macs is not None
    again = runs.cost_of(tmp_path / "out" / "small" / "trial-0", "cpu")
    assert again == card.cost
