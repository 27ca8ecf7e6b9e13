"""Worker processes that die or hang, and a run that is told to stop."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import Future
from ctypes import c_double
from dataclasses import dataclass
from pathlib import Path

import pytest

from dataset_tools.core import engine
from dataset_tools.core.engine import LocalExecutor
from dataset_tools.core.errors import ServiceError

SHARDS = list(range(6))


@dataclass(frozen=True)
class Trouble:
    """Doubles a number; number 3 dies or hangs until it has done so `times` times, as marks in a folder."""

    folder: Path
    kind: str
    times: int

    def __call__(self, number: int) -> int:
        if number == 3 and len(list(self.folder.iterdir())) < self.times:
            (self.folder / str(os.getpid())).touch()
            if self.kind == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            threading.Event().wait()
        return 2 * number


@pytest.mark.parametrize("kind", ["killed", "hangs"])
def test_a_worker_lost_once_costs_nothing_but_time(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    executor = LocalExecutor(2, stall_s=6.0)
    results = list(executor.map_shards(Trouble(tmp_path, kind, times=1), SHARDS))
    assert sorted(results) == [2 * number for number in SHARDS]
    assert len(caplog.messages) == 1 and "going on with 1 worker(s)" in caplog.messages[0]


@pytest.mark.parametrize(
    ("kind", "said"), [("killed", "was killed"), ("hangs", "no worker process finished")]
)
def test_a_worker_lost_twice_ends_the_run_with_what_is_done(tmp_path: Path, kind: str, said: str) -> None:
    results = []
    with pytest.raises(ServiceError, match=f"{said}.*, for the second time; run"):
        for result in LocalExecutor(2, stall_s=6.0).map_shards(Trouble(tmp_path, kind, times=9), SHARDS):
            results.append(result)
    assert len(list(tmp_path.iterdir())) == 2
    assert set(results) <= {2 * number for number in SHARDS if number != 3}
    if kind == "hangs":  # nothing else was lost with it
        assert len(results) == len(SHARDS) - 1


@pytest.mark.parametrize("done_at", [29, 30])
def test_only_work_that_has_not_beaten_for_the_whole_time_is_taken_to_hang(
    monkeypatch: pytest.MonkeyPatch, done_at: int
) -> None:
    future: Future[int] = Future()
    last_beat = c_double(0.0)
    looks: list[float] = []

    def look(waiting: object, seconds: float, until: str) -> tuple[set[Future[int]], set[Future[int]]]:
        looks.append(seconds)
        last_beat.value += len(looks) in (7, 14, 21)
        return {future} if len(looks) == done_at else set(), set()

    monkeypatch.setattr(engine, "wait", look)
    executor = LocalExecutor(2, stall_s=80.0)
    if done_at == 29:
        assert executor._next_done({future: 0}, last_beat) == {future}
    else:
        with pytest.raises(engine.WorkerLost, match="80 s"):
            executor._next_done({future: 0}, last_beat)
    assert looks == [10.0] * 29


INTERRUPTED = """
import os, signal, sys, threading
from pathlib import Path
from dataset_tools.core.console import reports_errors
from dataset_tools.core.engine import LocalExecutor

def work(number):
    Path(sys.argv[1], str(number)).touch()
    if number == 2:  # Ctrl-C goes to the whole group
        os.killpg(os.getpgid(0), signal.SIGINT)
    if number > 1:
        threading.Event().wait()
    return number

@reports_errors
def main():
    for _ in LocalExecutor(2).map_shards(work, range(6)):
        pass

if __name__ == "__main__":
    main()
"""


def test_ctrl_c_ends_all_workers_at_once_with_one_line(tmp_path: Path) -> None:
    (tmp_path / "done").mkdir()
    (tmp_path / "run.py").write_text(INTERRUPTED)
    # Workers inherit standard error, so that it only ends when the last of them is gone.
    done = subprocess.run(
        [sys.executable, str(tmp_path / "run.py"), str(tmp_path / "done")],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        timeout=60,
    )
    assert done.returncode == 130
    assert done.stderr == "error: interrupted; finished work is kept, run the same command again\n"
    assert len(list((tmp_path / "done").iterdir())) <= 4  # the others were not started any more
