"""Every row of the suite in one table, and a suite that is killed for real; both are long."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from baselines.leaderboard import read_board
from baselines.models import all_specs
from baselines.runs import Order, run_suite
from baselines.suites import find_suite
from dataset_tools.core.images import ImageStore
from dataset_tools.core.record import Split


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_every_baseline_trains_and_lands_in_one_table(
    make_manifest, images: ImageStore, tmp_path: Path
) -> None:
    manifest = make_manifest([Split.TRAIN] * 4 + [Split.TEST] * 2, size=96)
    order = Order(find_suite("quick"), {"pretrained": False, "device": "cpu"}, measure=False)
    done, failed = run_suite(order, manifest, images, tmp_path / "out")
    board = read_board(tmp_path / "out" / "board")
    # Edge segmentation learns from rendered samples and their photos, which drawn faces do not have.
    assert {one.row for one in board.failures} <= {"misa_edge"}
    assert done + failed == len(all_specs())
    (section,) = board.sections
    assert len(section.lines) == done


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_run_killed_with_signal_9_ends_in_the_same_table(make_manifest, tmp_path: Path) -> None:
    manifest = make_manifest([Split.TRAIN] * 4 + [Split.VAL] + [Split.TEST] * 2)

    def start(out: Path) -> subprocess.Popen[bytes]:
        arguments = [
            *("train", "--suite", "msml-osb", "--data", str(manifest.directory), "--steps", "12"),
            *("--batch", "2", "--val-every-steps", "3", "--trials", "2", "--no-cost"),
            *("--device", "cpu", "--random-init", "--out", str(out), "--quiet"),
        ]
        command = [sys.executable, "-m", "baselines.cli", *arguments]
        return subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"})

    assert start(tmp_path / "whole").wait() == 0
    killed = tmp_path / "killed"
    for seconds in (6.0, 9.0, 12.0, 15.0):
        process = start(killed)
        time.sleep(seconds)  # anywhere: at a load, in a step, while a file is written
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert start(killed).wait() == 0
    figures = [
        [
            (line.title, line.figures, line.interval, [card.version for card in line.cards])
            for line in board.sections[0].lines
        ]
        for board in (read_board(tmp_path / name / "board") for name in ("whole", "killed"))
    ]
    assert figures[0] == figures[1]
