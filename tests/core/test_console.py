"""How errors end a command line."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from dataset_tools.core.console import choose_progress, reports_errors
from dataset_tools.core.errors import ConfigError, DataError, ServiceError
from dataset_tools.core.progress import silent


def command_that_raises(error: BaseException) -> click.Command:
    @click.command()
    @reports_errors
    def command() -> None:
        raise error

    return command


@pytest.mark.parametrize(
    ("error", "code"),
    [(DataError("bad\nfile"), 1), (ConfigError("bad file"), 2), (ServiceError("bad file"), 75)],
)
def test_a_suite_error_is_one_line_and_its_own_code(error: Exception, code: int) -> None:
    done = CliRunner().invoke(command_that_raises(error))
    assert done.exit_code == code
    assert done.stderr == "error: bad file\n"
    assert done.stdout == ""


def test_an_error_of_the_file_system_is_one_line_without_a_log(tmp_path: Path) -> None:
    try:
        (tmp_path / "no" / "file").write_text("x")
    except OSError as found:
        done = CliRunner().invoke(command_that_raises(found))
    assert done.exit_code == 1
    assert done.stderr == f"error: {tmp_path}/no/file: No such file or directory\n"


def test_an_interruption_exits_with_130() -> None:
    done = CliRunner().invoke(command_that_raises(KeyboardInterrupt()))
    assert done.exit_code == 130
    assert done.stderr.startswith("error: interrupted")


def test_our_own_bug_is_one_line_and_the_traceback_is_in_a_file() -> None:
    done = CliRunner().invoke(command_that_raises(RuntimeError("odd\nthing")))
    assert done.exit_code == 1
    assert done.stderr.startswith("error: RuntimeError: odd thing (unexpected; details in ")
    assert done.stderr.count("\n") == 1
    log = Path(done.stderr.rsplit(" in ", 1)[1].strip().rstrip(")"))
    assert "Traceback" in log.read_text()
    log.unlink()


def test_usage_errors_stay_with_click() -> None:
    done = CliRunner().invoke(command_that_raises(click.UsageError("say more")))
    assert done.exit_code == 2
    assert "say more" in done.stderr


def test_progress_is_silent_without_a_terminal() -> None:
    assert choose_progress() is silent
    assert choose_progress(quiet=True) is silent
    assert choose_progress(as_json=True) is silent
