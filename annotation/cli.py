"""`build-dataset review`: open a session on Label Studio, follow it, and pull the verdicts back."""

from __future__ import annotations

import signal
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dataset_tools.core.console import reports_errors
from dataset_tools.options import Command, open_build, print_result, with_config, with_output

if TYPE_CHECKING:
    from annotation.review import ReviewSettings
    from dataset_tools.pipeline import Pipeline

_OUTDATED = "show other proposals than the manifest has now (settings changed?)"
_STRANGE = "belong to no sample of the manifest (settings changed?); their verdicts wait on the server"
_CONTESTED = "have verdicts that differ; the one changed last counts"


def _with_session(command: Command) -> Command:
    command = click.option("--project", help="Title of the project on the server; overrides the file.")(
        command
    )
    return click.option("--url", help="The server; overrides the file.")(with_output(with_config(command)))


def _session(
    config: Path, url: str | None, project: str | None, quiet: bool, as_json: bool, overrides: dict[str, Any]
) -> tuple[Pipeline, ReviewSettings]:
    from annotation.review import ReviewSettings
    from dataset_tools.core.settings import parse_settings

    build = open_build(config, quiet=quiet, as_json=as_json, **overrides)
    said = {key: value for key, value in (("url", url), ("project", project)) if value is not None}
    values = build.config.review.model_dump() | said
    if "project" not in build.config.review.model_fields_set | set(said):
        values["project"] = f"{build.config.name[:40]} review"
    return build, parse_settings(ReviewSettings, values, "review")


@click.group()
def review() -> None:
    """Let people check proposals on a Label Studio server.

    The access token is read from the environment variable LABEL_STUDIO_API_KEY and kept nowhere.
    """


@review.command("open")
@_with_session
@reports_errors
def open_command(
    config: Path, url: str | None, project: str | None, quiet: bool, as_json: bool, **overrides: Any
) -> None:
    """Send samples and proposals; run again to send what is missing."""
    from annotation.label_studio import LabelStudioClient, token_from_environment
    from annotation.review import open_review

    build, settings = _session(config, url, project, quiet, as_json, overrides)
    with LabelStudioClient(settings.url, token_from_environment()) as client:
        opened = open_review(
            build.manifest("prelabel").samples(),
            build.workspace.images,
            client,
            settings,
            seed=build.config.seed,
            progress=build.progress,
        )
    print_result(
        {
            "project_id": opened.project.id,
            "project_url": opened.project.url,
            "selected": opened.selected,
            "sent": opened.sent,
            "unreadable": len(opened.rejections),
            "outdated": opened.outdated,
        },
        [
            f"{opened.selected} samples for review, {opened.sent} sent now: {opened.project.url}",
            *(
                [f"{opened.outdated} tasks {_OUTDATED}; --project opens a fresh one"]
                if opened.outdated
                else []
            ),
            *(f"left out {item.item_key}: {item.reason}: {item.detail}" for item in opened.rejections),
        ],
        as_json,
    )


@review.command("status")
@_with_session
@reports_errors
def status_command(
    config: Path, url: str | None, project: str | None, quiet: bool, as_json: bool, **overrides: Any
) -> None:
    """Say how far people are."""
    from annotation.label_studio import LabelStudioClient, token_from_environment
    from annotation.review import review_status

    _, settings = _session(config, url, project, quiet, as_json, overrides)
    with LabelStudioClient(settings.url, token_from_environment()) as client:
        found = review_status(client, settings)
    print_result(
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
@_with_session
@reports_errors
def close_command(
    config: Path, url: str | None, project: str | None, quiet: bool, as_json: bool, **overrides: Any
) -> None:
    """Pull the verdicts and merge them into the samples; run again when more people are done."""
    from annotation.label_studio import LabelStudioClient, token_from_environment
    from annotation.review import close_review
    from annotation.verdict import read_all_verdicts, write_verdicts

    build, settings = _session(config, url, project, quiet, as_json, overrides)
    with LabelStudioClient(settings.url, token_from_environment()) as client:
        closed = close_review(
            client,
            build.manifest("prelabel").samples(),
            settings,
            kept=read_all_verdicts(build.reviews_dir),
            progress=build.progress,
        )
    path = write_verdicts(build.reviews_dir, closed.verdicts)
    report = build.run("review")
    counts = closed.counts()
    said = ", ".join(f"{count} {state}" for state, count in counts.items()) or "none yet"
    print_result(
        {
            "verdicts": counts,
            "open_tasks": closed.open_tasks,
            "strange_tasks": closed.strange_tasks,
            "outdated_tasks": closed.outdated_tasks,
            "contested": closed.contested,
            "unreadable": [f"{item.item_key}: {item.reason}: {item.detail}" for item in closed.unreadable],
            "file": str(path) if path else "",
            "kept": report.counts.kept,
            "rejected": report.counts.rejected,
        },
        [
            f"verdicts: {said}; {closed.open_tasks} tasks are still open",
            *([f"kept in {path}"] if path else []),
            *(f"unreadable: {item.item_key}: {item.reason}: {item.detail}" for item in closed.unreadable),
            *([f"{closed.strange_tasks} tasks {_STRANGE}"] if closed.strange_tasks else []),
            *([f"{closed.outdated_tasks} tasks {_OUTDATED}"] if closed.outdated_tasks else []),
            *([f"{closed.contested} samples {_CONTESTED}"] if closed.contested else []),
            f"merged: {report.counts.kept} samples go on, {report.counts.rejected} were refused",
        ],
        as_json,
    )


@review.command("merge")
@with_config
@with_output
@reports_errors
def merge_command(config: Path, quiet: bool, as_json: bool, **overrides: Any) -> None:
    """Merge the verdicts pulled so far, without asking the server; with none, everything passes."""
    from dataset_tools.core.stage import describe_report, report_values

    report = open_build(config, quiet=quiet, as_json=as_json, **overrides).run("review")
    print_result(report_values(report), [describe_report(report)], as_json)


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
