"""`build-dataset review`: open a session on Label Studio, follow it, and pull the verdicts back."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dataset_tools.core.console import choose_progress, reports_errors

if TYPE_CHECKING:
    from annotation.review import ReviewSettings

_Command = Callable[..., Any]


def _with_session(command: _Command) -> _Command:
    command = click.option("--json", "as_json", is_flag=True, help="Print one JSON value; no progress.")(
        command
    )
    command = click.option("--quiet", is_flag=True, help="No progress, only results and errors.")(command)
    command = click.option("--project", help="Title of the project on the server.")(command)
    return click.option("--url", help="The server; http://127.0.0.1:8080 by default.")(command)


def _with_manifest(command: _Command) -> _Command:
    return click.option(
        "--manifest",
        "directory",
        required=True,
        type=click.Path(path_type=Path, file_okay=False, exists=True),
        help="Manifest directory of the prelabel stage.",
    )(command)


def _settings(**given: Any) -> ReviewSettings:
    from annotation.review import ReviewSettings
    from dataset_tools.core.settings import parse_settings

    said = {key: value for key, value in given.items() if value is not None}
    return parse_settings(ReviewSettings, said, "command line")


def _print(values: dict[str, Any], lines: list[str], as_json: bool) -> None:
    click.echo(json.dumps(values, indent=2, sort_keys=True) if as_json else "\n".join(lines))


@click.group()
def review() -> None:
    """Let people check proposals on a Label Studio server.

    The access token is read from the environment variable LABEL_STUDIO_API_KEY and kept nowhere.
    """


def review_commands() -> click.Group:
    """The `review` group, to be added to a command line."""
    return review


@review.command("open")
@_with_manifest
@_with_session
@click.option("--synthetic-share", type=click.FloatRange(0, 1), help="Share of rendered samples shown too.")
@click.option("--annotators", type=click.IntRange(1), help="Annotations wanted per sample.")
@click.option("--seed", type=click.IntRange(0), default=0, help="Run seed, for the drawn share.")
@reports_errors
def open_command(
    directory: Path,
    url: str | None,
    project: str | None,
    quiet: bool,
    as_json: bool,
    synthetic_share: float | None,
    annotators: int | None,
    seed: int,
) -> None:
    """Send samples and proposals; run again to send what is missing."""
    from annotation.label_studio import LabelStudioClient, token_from_environment
    from annotation.review import open_review
    from dataset_tools.core.images import ImageStore
    from dataset_tools.core.manifest import Manifest

    settings = _settings(url=url, project=project, synthetic_share=synthetic_share, annotators=annotators)
    manifest = Manifest(directory.resolve())
    with LabelStudioClient(settings.url, token_from_environment()) as client:
        opened = open_review(
            manifest.samples(),
            ImageStore(manifest.workspace),
            client,
            settings,
            seed=seed,
            progress=choose_progress(quiet=quiet, as_json=as_json),
        )
    _print(
        {
            "project_id": opened.project.id,
            "project_url": opened.project.url,
            "selected": opened.selected,
            "sent": opened.sent,
            "unreadable": len(opened.rejections),
        },
        [
            f"{opened.selected} samples for review, {opened.sent} sent now: {opened.project.url}",
            *(f"left out {item.item_key}: {item.reason}: {item.detail}" for item in opened.rejections),
        ],
        as_json,
    )


@review.command("status")
@_with_session
@reports_errors
def status_command(url: str | None, project: str | None, quiet: bool, as_json: bool) -> None:
    """Say how far people are."""
    from annotation.label_studio import LabelStudioClient, token_from_environment
    from annotation.review import review_status

    settings = _settings(url=url, project=project)
    with LabelStudioClient(settings.url, token_from_environment()) as client:
        found = review_status(client, settings)
    _print(
        {
            "project_url": found.project.url,
            "tasks": found.tasks,
            "annotated": found.annotated,
            "by_person": found.by_person,
        },
        [
            f"{found.annotated} of {found.tasks} tasks annotated: {found.project.url}",
            *(f"  {name}: {count}" for name, count in found.by_person.items()),
        ],
        as_json,
    )


@review.command("close")
@_with_manifest
@_with_session
@reports_errors
def close_command(directory: Path, url: str | None, project: str | None, quiet: bool, as_json: bool) -> None:
    """Pull verdicts into the workspace's reviews folder; the review stage merges them."""
    from annotation.label_studio import LabelStudioClient, token_from_environment
    from annotation.review import close_review
    from annotation.verdict import write_verdicts
    from dataset_tools.core.manifest import Manifest

    settings = _settings(url=url, project=project)
    manifest = Manifest(directory.resolve())
    with LabelStudioClient(settings.url, token_from_environment()) as client:
        closed = close_review(
            client,
            manifest.samples(),
            settings,
            progress=choose_progress(quiet=quiet, as_json=as_json),
        )
    path = write_verdicts(manifest.workspace / "reviews", closed.verdicts)
    counts = closed.counts()
    said = ", ".join(f"{count} {state}" for state, count in counts.items()) or "none yet"
    _print(
        {
            "verdicts": counts,
            "open_tasks": closed.open_tasks,
            "strange_tasks": closed.strange_tasks,
            "unreadable": [f"{item.item_key}: {item.reason}: {item.detail}" for item in closed.unreadable],
            "file": str(path) if path else "",
        },
        [
            f"verdicts: {said}; {closed.open_tasks} tasks are still open",
            *([f"kept in {path}"] if path else []),
            *(f"unreadable: {item.item_key}: {item.reason}: {item.detail}" for item in closed.unreadable),
            *([f"{closed.strange_tasks} tasks belong to no sample here"] if closed.strange_tasks else []),
        ],
        as_json,
    )


@review.command("serve")
@click.option("--port", type=click.IntRange(1, 65535), default=8080, show_default=True)
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of its database; one in your home by default.",
)
@reports_errors
def serve_command(port: int, data: Path | None) -> None:
    """Start a Label Studio of your own on this machine, until Ctrl-C."""
    from annotation.label_studio import TOKEN_VARIABLE
    from annotation.server import LabelStudioServer, data_folder, install_server
    from dataset_tools.core.errors import ReviewServiceError

    click.echo("installing Label Studio into its own environment, if it is not there yet …", err=True)
    server = LabelStudioServer(install_server(), data or data_folder(), port)
    click.echo("starting (the first time takes about a minute) …", err=True)
    # A polite end from outside stops the server too, as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with suppress(KeyboardInterrupt), server:
        click.echo(
            f"Label Studio is ready at {server.url}\n"
            f"  log in as {server.account.email} with password {server.account.password}\n"
            f"  for the other commands: export {TOKEN_VARIABLE}={server.account.token}\n"
            "Ctrl-C stops it."
        )
        status = server.wait()
        raise ReviewServiceError(f"Label Studio ended (status {status}); see {server.log_path}")
