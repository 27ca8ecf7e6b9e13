"""`build-dataset review`: open a session, follow it, close it; in Label Studio or LabelMe."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import click

from annotation.backend.assist_cli import assist_command, retrain_command
from annotation.simulate.simulate_cli import simulate_command
from dataset_tools.core.console import reports_errors
from dataset_tools.options import Command, open_build, print_result, with_config, with_output

if TYPE_CHECKING:
    from annotation.label_studio.client import LabelStudioClient
    from annotation.session import Closed, Opened, Pulled, Tool
    from annotation.settings import ReviewSettings
    from annotation.showing import Showing
    from annotation.verdict import Verdict
    from dataset_tools.pipeline import Pipeline

LABEL_STUDIO = "label-studio"
LABELME = "labelme"

_OUTDATED = "show other proposals than the manifest has now (settings changed?)"
_STRANGE = "belong to no sample of this session (settings changed?); their verdicts wait there"


def _with_session(command: Command) -> Command:
    for option in (
        click.option("--project", help="Title of the session; overrides the file."),
        click.option("--url", help="The Label Studio server; overrides the file."),
        click.option(
            "--tool",
            type=click.Choice([LABEL_STUDIO, LABELME]),
            default=LABEL_STUDIO,
            show_default=True,
            help="Where people work.",
        ),
        with_output,
        with_config,
    ):
        command = option(command)
    return command


@dataclass(frozen=True, slots=True)
class _Session:
    build: Pipeline
    settings: ReviewSettings
    tool: Tool
    showing: Showing


@contextmanager
def _session(
    config: Path,
    tool: str,
    url: str | None,
    project: str | None,
    quiet: bool,
    as_json: bool,
    assist_url: str = "",
    **overrides: Any,
) -> Iterator[_Session]:
    from annotation.settings import ReviewSettings
    from annotation.showing import choose
    from dataset_tools.core.settings import parse_settings
    from dataset_tools.pipeline import Pipeline

    build = open_build(config, quiet=quiet, as_json=as_json, **overrides)
    said = {key: value for key, value in (("url", url), ("project", project)) if value is not None}
    values = build.config.review.model_dump() | said
    if "project" not in build.config.review.model_fields_set | set(said):
        values["project"] = f"{build.config.name[:20]} review"
    settings = parse_settings(ReviewSettings, values, "review")
    build = Pipeline(build.config.model_copy(update={"review": settings}), build.progress)
    showing = choose(build.manifest("prelabel").samples(), settings, build.config.seed)
    with ExitStack() as stack:
        if tool == LABELME:
            yield _Session(build, settings, _labelme(build, settings), showing)
        else:
            yield _Session(build, settings, _label_studio(build, settings, assist_url, stack), showing)


def _labelme(build: Pipeline, settings: ReviewSettings) -> Tool:
    from annotation.labelme.tool import LabelMeTool

    # Quoted, a title is one path component whatever stands in it, and two titles never meet.
    folder = build.reviews_dir / "labelme" / quote(settings.project, safe=" ")
    return LabelMeTool(folder, build.workspace.images, build.progress)


def _label_studio(build: Pipeline, settings: ReviewSettings, assist_url: str, stack: ExitStack) -> Tool:
    from annotation.label_studio.client import LabelStudioClient
    from annotation.label_studio.tool import LabelStudioTool
    from annotation.tokens import token_for

    opened: dict[str, LabelStudioClient] = {}

    def client_of(lane: str) -> LabelStudioClient:
        if lane not in opened:
            client = LabelStudioClient(settings.url, token_for(lane, settings.url))
            opened[lane] = stack.enter_context(client)
        return opened[lane]

    assist = None
    if assist_url:
        from annotation.backend.connect import connect_backend

        def assist(client: Any, project: int) -> None:
            connect_backend(client, project, assist_url)

    return LabelStudioTool(client_of, settings, build.workspace.images, assist, build.progress)


@click.group()
def review() -> None:
    """Let people check proposals, each without seeing the others' work, and settle what they disagree on.

    Access tokens are read from LABEL_STUDIO_API_KEY, from LABEL_STUDIO_API_KEY_<ANNOTATOR> where each
    annotator has an organisation of their own, or from a keyring; they are kept nowhere.
    """


@review.command("open")
@_with_session
@click.option("--assist", "assist_url", default="", help="A model that helps: the URL of `review assist`.")
@reports_errors
def open_command(**given: Any) -> None:
    """Give every annotator samples and proposals; run again to send what is missing."""
    from annotation.session import open_session

    with _session(**given) as session:
        lanes = open_session(session.tool, session.showing, session.settings)
        easy = len(_easy(session))
    print_result(
        {
            "selected": len(session.showing.samples),
            "gold": len(session.showing.truths),
            "easy": easy,
            "lanes": {
                lane.lane: {
                    "place": lane.place,
                    "sent": lane.sent,
                    "unreadable": len(lane.rejections),
                    "outdated": lane.outdated,
                }
                for lane in lanes
            },
        },
        [
            f"{len(session.showing.samples)} samples for review, {len(session.showing.truths)} of them with "
            f"known truth, {easy} easy ones last",
            *(line for lane in lanes for line in _opened_lines(lane)),
        ],
        given["as_json"],
    )


def _easy(session: _Session) -> dict[str, str]:
    from annotation.gain import batch_names

    return batch_names(session.showing.samples, session.settings.easy_from)


def _opened_lines(lane: Opened) -> list[str]:
    lines = [f"  {lane.lane}: {lane.sent} sent now: {lane.place}"]
    if lane.outdated:
        lines.append(f"  {lane.outdated} tasks {_OUTDATED}; another --project opens a fresh one")
    return lines + [f"  left out {item.item_key}: {item.reason}: {item.detail}" for item in lane.rejections]


@review.command("status")
@_with_session
@reports_errors
def status_command(**given: Any) -> None:
    """Say how far people are, and how well they agree; changes nothing."""
    from annotation.session import distinct, outcomes
    from annotation.verdict import read_all_verdicts

    with _session(**given) as session:
        kept = read_all_verdicts(session.build.reviews_dir)
        lanes = [session.tool.pull(session.showing, lane, kept) for lane in session.settings.annotators]
    verdicts = distinct([*kept, *(verdict for lane in lanes for verdict in lane.verdicts)])
    counts = outcomes(session.showing, verdicts, session.settings)
    values, lines = _people(session.showing, verdicts)
    print_result(
        {
            "lanes": {lane.lane: _lane_values(lane) for lane in lanes},
            "outcomes": {outcome.value: count for outcome, count in counts.items()},
            "people": values,
        },
        [
            *(line for lane in lanes for line in _pulled_lines(lane)),
            _outcome_line({outcome.value: count for outcome, count in counts.items()}),
            *lines,
        ],
        given["as_json"],
    )


@review.command("close")
@_with_session
@reports_errors
def close_command(**given: Any) -> None:
    """Pull every verdict, bring what is contested before the adjudicator, and merge what is decided."""
    from annotation.people import picture_rows
    from annotation.session import close_session
    from annotation.verdict import read_all_verdicts, standing, write_verdicts
    from dataset_tools.core.files import write_text

    with _session(**given) as session:
        kept = read_all_verdicts(session.build.reviews_dir)
        closed = close_session(session.tool, session.showing, session.settings, kept)
    fresh = {item for lane in closed.lanes for item in lane.verdicts} - set(kept)
    path = write_verdicts(session.build.reviews_dir, fresh)
    sizes = {sample.id: sample.image.size_hw for sample in session.showing.samples}
    agreement = session.build.reviews_dir / "agreement.csv"
    if closed.verdicts:
        write_text(agreement, picture_rows(standing(closed.verdicts), sizes))
    report = session.build.run("review")
    counts = {outcome.value: count for outcome, count in closed.outcomes.items()}
    values, lines = _people(session.showing, closed.verdicts)
    print_result(
        {
            "lanes": {lane.lane: _lane_values(lane) for lane in closed.lanes},
            "outcomes": counts,
            "contested_at": closed.cases.place,
            "people": values,
            "kept": report.counts.kept,
            "rejected": report.counts.rejected,
        },
        [
            *(line for lane in closed.lanes for line in _pulled_lines(lane)),
            _outcome_line(counts),
            *_case_lines(closed),
            *lines,
            *([f"new verdicts kept in {path}"] if path else []),
            f"merged: {report.counts.kept} samples go on, {report.counts.rejected} were refused",
        ],
        given["as_json"],
    )


def _lane_values(lane: Pulled) -> dict[str, Any]:
    return {
        "place": lane.place,
        "tasks": lane.tasks,
        "verdicts": len(lane.verdicts),
        "open_tasks": lane.open_tasks,
        "strange_tasks": lane.strange_tasks,
        "outdated_tasks": lane.outdated_tasks,
        "unreadable": [f"{item.item_key}: {item.reason}: {item.detail}" for item in lane.unreadable],
    }


def _pulled_lines(lane: Pulled) -> list[str]:
    if not lane.place:
        return []
    return [
        f"{lane.lane}: {lane.tasks - lane.open_tasks} of {lane.tasks} tasks done: {lane.place}",
        *(f"  unreadable: {item.item_key}: {item.reason}: {item.detail}" for item in lane.unreadable),
        *([f"  {lane.strange_tasks} tasks {_STRANGE}"] if lane.strange_tasks else []),
        *([f"  {lane.outdated_tasks} tasks {_OUTDATED}"] if lane.outdated_tasks else []),
    ]


def _outcome_line(counts: dict[str, int]) -> str:
    return "samples: " + ", ".join(f"{count} {outcome}" for outcome, count in counts.items())


def _case_lines(closed: Closed) -> list[str]:
    waiting = closed.outcomes
    contested = next((count for outcome, count in waiting.items() if outcome.value == "contested"), 0)
    if not closed.cases.place:
        return []
    return [
        f"{contested} samples wait for the adjudicator: {closed.cases.place}",
        *_opened_lines(closed.cases)[1:],
    ]


def _people(showing: Showing, verdicts: Sequence[Verdict]) -> tuple[Any, list[str]]:
    from annotation.people import report_lines, report_values, session_report
    from annotation.verdict import standing

    truths = {key: sample.instances for key, sample in showing.truths.items()}
    sizes = {sample.id: sample.image.size_hw for sample in showing.samples}
    report = session_report(standing(verdicts), truths, sizes)
    return report_values(report), report_lines(report)


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
    "--annotator",
    "annotators",
    multiple=True,
    help="A person who annotates, once for each: gets an account and sees nobody else's work.",
)
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of its database; one in your home by default.",
)
@reports_errors
def serve_command(port: int, annotators: tuple[str, ...], data: Path | None) -> None:
    """Start a Label Studio of your own on this machine, until Ctrl-C."""
    from annotation.label_studio.accounts import add_annotators
    from annotation.label_studio.server import LabelStudioServer, data_folder, install_server
    from annotation.tokens import variable_of
    from dataset_tools.core.errors import ReviewServiceError

    click.echo("installing Label Studio into its own environment, if it is not there yet …", err=True)
    server = LabelStudioServer(install_server(), data or data_folder(), port)
    click.echo("starting (the first time takes about a minute) …", err=True)
    # A polite end from outside stops the server too, as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with suppress(KeyboardInterrupt), server:
        accounts = add_annotators(server, annotators)
        click.echo(
            f"Label Studio is ready at {server.url}\n"
            f"  log in as {server.account.email} with password {server.account.password}"
        )
        for account in accounts.values():
            click.echo(f"  log in as {account.email} with password {account.password}")
        click.echo("for the other commands:")
        click.echo(f"  export {variable_of('')}={server.account.token}")
        for name, account in accounts.items():
            click.echo(f"  export {variable_of(name)}={account.token}")
        click.echo("Ctrl-C stops it.")
        status = server.wait()
        raise ReviewServiceError(f"Label Studio ended (status {status}); see {server.log_path}")


review.add_command(assist_command)
review.add_command(retrain_command)
review.add_command(simulate_command)
