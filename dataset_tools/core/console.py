"""What every command line of the suite shares: how errors end a command, and which progress is shown."""

from __future__ import annotations

import functools
import os
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn, ParamSpec, TypeVar

import click

from dataset_tools.core.errors import EXIT_ERROR, EXIT_INTERRUPTED, EXIT_TERMINATED, SuiteError
from dataset_tools.core.progress import ProgressFactory, silent, terminal
from dataset_tools.core.text import printable

_Given = ParamSpec("_Given")
_Result = TypeVar("_Result")


_was_told_to_end = threading.Event()


def _end_as_after_ctrl_c(*_: object) -> None:
    """SIGTERM: event loops and worker pools know how to end on Ctrl-C, so that is what they get."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a second one ends the process at once
    _was_told_to_end.set()
    signal.raise_signal(signal.SIGINT)


@contextmanager
def _minding_sigterm() -> Iterator[None]:
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield  # a caller that minds SIGTERM itself, as a server does, keeps its own way
        return
    _was_told_to_end.clear()
    signal.signal(signal.SIGTERM, _end_as_after_ctrl_c)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def reports_errors(command: Callable[_Given, _Result]) -> Callable[_Given, _Result]:
    """Decorate a click command's function so that no error ends in a traceback.

    A `SuiteError` becomes one line on standard error and its exit code, an `OSError` (no such folder, no
    right to write, a full disk) one line and exit code 1; Ctrl-C exits with 130, SIGTERM with 143; anything
    else is our own bug: one line, exit code 1, and the traceback in a log file named in that line. Click's
    own exceptions, and a closed pipe, go on to click.
    """

    @functools.wraps(command)
    def guarded(*args: _Given.args, **kwargs: _Given.kwargs) -> _Result:
        try:
            with _minding_sigterm():
                return command(*args, **kwargs)
        except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise
        except (Exception, KeyboardInterrupt) as error:
            exit_with(error)

    return guarded


def exit_with(error: BaseException) -> NoReturn:
    """Say in one line on standard error what happened, and leave with the exit code that belongs to it."""
    if isinstance(error, SuiteError):
        message, code = " ".join(str(error).split()), error.exit_code
    elif isinstance(error, KeyboardInterrupt):
        code = EXIT_TERMINATED if _was_told_to_end.is_set() else EXIT_INTERRUPTED
        message = "interrupted; finished work is kept, run the same command again"
    elif isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        message, code = " ".join(f"{where}{error.strerror}".split()), EXIT_ERROR
    else:
        said = " ".join(str(error).split())[:300]
        message = f"{type(error).__name__}: {said} (unexpected; details in {_write_traceback(error)})"
        code = EXIT_ERROR
    sys.stderr.write(f"error: {printable(message)}\n")
    sys.exit(code)


def choose_progress(*, quiet: bool = False, as_json: bool = False) -> ProgressFactory:
    """A bar when standard error is a terminal and neither `--quiet` nor `--json` was given, else nothing."""
    return terminal if sys.stderr.isatty() and not quiet and not as_json else silent


def _write_traceback(error: BaseException) -> str:
    handle, path = tempfile.mkstemp(prefix="maskset-", suffix=".log")
    with os.fdopen(handle, "w") as stream:
        stream.writelines(traceback.format_exception(error))
    return path
