"""Training a successor in the background, one at a time, while the old model goes on answering."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from dataset_tools.core.errors import SuiteError

_log = logging.getLogger(__name__)

_STOP_TIMEOUT_S = 20.0
_TAIL_BYTES = 4096
_SECRETS = ("LABEL_STUDIO_API_KEY", "MASKSET_BACKEND_KEY")


class State(StrEnum):
    """How training stands."""

    IDLE = "idle"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Progress:
    """How training stands.

    Attributes:
        state: of the last training, or `idle` before the first.
        job: number of the last one since the start, "" before the first.
        detail: the model that is at work since, or the last line of what went wrong.
    """

    state: State = State.IDLE
    job: str = ""
    detail: str = ""

    def values(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A finished checkpoint among the successors of a model.

    Attributes:
        folder: where it lies.
        sha256: of its weights.
        parent_sha256: of the weights it started from.
        crops: it learned from.
    """

    folder: Path
    sha256: str
    parent_sha256: str
    crops: int


def newest(start_sha256: str, found: Iterable[Checkpoint]) -> Checkpoint | None:
    """The youngest descendant of a model: the end of the longest line of successors.

    Who started from whom decides, never a clock. Of two equally long lines the one whose end learned from
    more crops, then the one whose weights' digest comes first.

    Args:
        start_sha256: of the first model's weights.
        found: finished checkpoints, of any line.

    Returns:
        None when the model has no successor.
    """
    children: dict[str, list[Checkpoint]] = {}
    for one in found:
        children.setdefault(one.parent_sha256, []).append(one)
    seen = {start_sha256}
    last, level = None, [start_sha256]
    while heirs := [one for parent in level for one in children.get(parent, []) if one.sha256 not in seen]:
        last = min(heirs, key=lambda one: (-one.crops, one.sha256))
        level = [one.sha256 for one in heirs]
        seen.update(level)
    return last


class Retrainer:
    """Runs a training command in a process of its own.

    Args:
        command: makes the program and its arguments, asked anew for each training.
        log_path: what it prints; the file is made anew for each training.
        on_success: brings what was trained to work; gives the model's version.
    """

    def __init__(
        self, command: Callable[[], Sequence[str]], log_path: Path, on_success: Callable[[], str]
    ) -> None:
        self._command = command
        self._log_path = log_path
        self._on_success = on_success
        self._lock = threading.Lock()
        self._progress = Progress()
        self._count = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._watcher: threading.Thread | None = None

    @property
    def progress(self) -> Progress:
        """How the last training stands."""
        return self._progress

    def start(self) -> str | None:
        """Start a training; gives its number, or None when one is running already."""
        with self._lock:
            if self._progress.state is State.RUNNING:
                return None
            self._count += 1
            job = str(self._count)
            try:
                self._process = self._launch()
            except (OSError, SuiteError) as error:
                _log.warning("training could not be started: %s", error)
                self._progress = Progress(State.FAILED, job, _one_line(str(error)))
                return job
            self._progress = Progress(State.RUNNING, job)
            self._watcher = threading.Thread(target=self._watch, args=(self._process, job), daemon=True)
            self._watcher.start()
            return job

    def _launch(self) -> subprocess.Popen[bytes]:
        self._log_path.parent.mkdir(parents=True, exist_ok=True)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(_SECRETS)}
        with self._log_path.open("wb") as log:
            return subprocess.Popen(
                list(self._command()),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=kept,
                start_new_session=True,
            )

    def _watch(self, process: subprocess.Popen[bytes], job: str) -> None:
        status = process.wait()
        if status != 0:
            self._progress = Progress(State.FAILED, job, self._last_line() or f"exit status {status}")
            return
        try:
            self._progress = Progress(State.DONE, job, self._on_success())
        except Exception as error:
            # The old model stays at work, whatever is wrong with the new one.
            _log.exception("a trained model could not be brought to work")
            self._progress = Progress(State.FAILED, job, _one_line(f"{type(error).__name__}: {error}"))

    def _last_line(self) -> str:
        with self._log_path.open("rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            stream.seek(max(size - _TAIL_BYTES, 0))
            lines = [line.strip() for line in stream.read().decode(errors="replace").splitlines()]
        return _one_line(next((line for line in reversed(lines) if line), ""))

    def wait(self, timeout_s: float | None = None) -> Progress:
        """Wait until no training runs; gives how the last one stands."""
        if self._watcher is not None:
            self._watcher.join(timeout_s)
        return self._progress

    def close(self) -> None:
        """End a training that runs; it goes on from its last state when it is started again."""
        process = self._process
        if process is None or process.poll() is not None:
            return
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        self.wait()


def _one_line(text: str) -> str:
    return " ".join(text.split())[:300]
