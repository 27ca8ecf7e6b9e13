"""`build-dataset`: from a list of sources to a reviewed, published, benchmarked dataset.

Every command parses, calls one function, and prints. Exit codes: 0 done, 1 error, 2 usage, 3 done but more
rejects than the configuration allows, 75 try again later, 130 interrupted.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from annotation.cli import review as review_group
from dataset_tools.core.console import choose_progress, reports_errors
from dataset_tools.core.errors import EXIT_ERROR, EXIT_TOO_MANY_REJECTS, ConfigError
from dataset_tools.core.text import printable
from dataset_tools.defaults_cli import defaults_group
from dataset_tools.engines.mirror_cli import fetch_command, push_command
from dataset_tools.filter.calibrate_cli import calibrate_command
from dataset_tools.import_cli import import_command
from dataset_tools.leaks_cli import duplicates, leaks
from dataset_tools.options import open_build, print_result, with_config, with_output
from dataset_tools.publish_cli import publish, publish_board, publish_model
from dataset_tools.pull_cli import pull_command
from dataset_tools.recheck_cli import recheck
from dataset_tools.split_cli import split_command
from dataset_tools.takedown_cli import takedown
from dataset_tools.verify_cli import verify
from dataset_tools.versions_cli import changelog, diff, merge

if TYPE_CHECKING:
    from dataset_tools.core.stage import StageReport
    from dataset_tools.export.dataset import ExportReport
    from dataset_tools.pipeline import Pipeline
    from dataset_tools.training import Training

_STATE_MARKS = {"ok": "ok  ", "note": "note", "problem": "FIX "}


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="maskset", prog_name="build-dataset")
def main() -> None:
    """Build, review and publish datasets of masked and occluded faces."""


main.add_command(review_group, "review")
for _command in (
    calibrate_command,
    changelog,
    defaults_group,
    diff,
    duplicates,
    fetch_command,
    import_command,
    leaks,
    merge,
    publish,
    publish_board,
    publish_model,
    pull_command,
    push_command,
    recheck,
    split_command,
    takedown,
    verify,
):
    main.add_command(_command)


@main.command()
@click.argument("path", type=click.Path(path_type=Path, dir_okay=False), default=Path("config.yaml"))
@reports_errors
def init(path: Path) -> None:
    """Write a commented configuration to start from."""
    from dataset_tools.starter import STARTER_CONFIG

    if path.exists():
        raise ConfigError(f"{path} is already there; it is left as it is")
    path.write_text(STARTER_CONFIG)
    click.echo(f"wrote {path}; name your sources in it, then: build-dataset run {path}")


@main.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("demo-dataset"),
    show_default=True,
    help="Folder for the demo.",
)
@with_output
@reports_errors
def demo(out: Path, quiet: bool, as_json: bool) -> None:
    """Build a small dataset from public-domain photos, end to end, in a few minutes."""
    from dataset_tools.demo import demo_config, demo_server
    from dataset_tools.pipeline import Pipeline

    with demo_server() as origin:
        if not as_json:
            click.echo(f"photos from installed packages are served at {origin}; the crawl is a real crawl")
        build = Pipeline(demo_config(out, origin), choose_progress(quiet=quiet, as_json=as_json))
        _run_all(build, as_json)


@main.command()
@with_config
@with_output
@reports_errors
def run(config: Path, quiet: bool, as_json: bool, **overrides: Any) -> None:
    """Run every stage that is not finished, then export, statistics and (if configured) training."""
    _run_all(open_build(config, quiet=quiet, as_json=as_json, **overrides), as_json)


def _run_all(build: Pipeline, as_json: bool) -> None:
    from dataset_tools.core.stage import describe_report, report_values
    from dataset_tools.pipeline import STAGES

    def say(text: str) -> None:
        if not as_json:
            click.echo(text)

    has_verdicts = bool(build.verdicts())
    summary: dict[str, Any] = {"stages": [], "review": "merged" if has_verdicts else "skipped"}
    over_limit = []
    for name in STAGES:
        report = build.run(name)
        summary["stages"].append(report_values(report))
        say(describe_report(report))
        if build.is_over_limit(report):
            over_limit.append(name)
        if name == "review" and not has_verdicts:
            say("          review was skipped: nobody has looked at the proposals yet; see: review open")
    exported = build.export()
    say(_describe_export(exported))
    summary |= {"dataset": str(exported.folder), "report": str(build.report())}
    if build.config.train is not None:
        training = build.train()
        say(_describe_training(training))
        board = build.leaderboard_page()
        summary |= {"checkpoint": str(training.checkpoint), "leaderboard": str(board)}
    places = [
        f"{name:<11} {summary[name]}" for name in ("dataset", "report", "leaderboard") if name in summary
    ]
    print_result(summary, ["", *places], as_json)
    if over_limit:
        _complain_of_rejects(over_limit)


def _complain_of_rejects(stages: list[str]) -> NoReturn:
    click.echo(
        f"error: {', '.join(stages)} rejected more than max_reject_rate allows, or everything; "
        "`build-dataset rejects` says why",
        err=True,
    )
    raise SystemExit(EXIT_TOO_MANY_REJECTS)


def _describe_training(training: Training) -> str:
    scored = (
        f"scored on {training.scored_split}" if training.scored_split else "no held-out labels to score on"
    )
    return f"train     {training.baseline}, {scored}; {training.seconds:.1f} s"


def _describe_export(report: ExportReport) -> str:
    counts = ", ".join(f"{split} {count}" for split, count in report.samples.items()) or "nothing"
    said = f"export    {counts}; {', '.join(report.formats)}"
    if report.left_out:
        said += f"; {report.left_out} samples have no confirmed label and stay out"
    if report.rejections:
        first = report.rejections[0]
        what = f"{printable(first.item_key)}: {first.reason}"
        said += f"; {len(report.rejections)} could not be written, first {what}"
    return said


def _stage_command(name: str, text: str) -> None:
    @main.command(name, help=text)
    @with_config
    @with_output
    @reports_errors
    def command(config: Path, quiet: bool, as_json: bool, **overrides: Any) -> None:
        build = open_build(config, quiet=quiet, as_json=as_json, **overrides)
        _finish_stage(build, build.run(name), as_json)


def _finish_stage(build: Pipeline, report: StageReport, as_json: bool) -> None:
    from dataset_tools.core.stage import describe_report, report_values

    print_result(report_values(report), [describe_report(report)], as_json)
    if build.is_over_limit(report):
        _complain_of_rejects([report.stage])


@main.command("crawl")
@with_config
@click.option("--retry-failed", is_flag=True, help="Only fetch again what a finished crawl could not.")
@click.option("--class", "classes", default="", help="With --retry-failed: only these reasons, a,b,c.")
@with_output
@reports_errors
def crawl_command(
    config: Path, retry_failed: bool, classes: str, quiet: bool, as_json: bool, **overrides: Any
) -> None:
    """Fetch pictures from the configured sources, with origin and licence of each."""
    from dataset_tools.crawl.retry_cli import describe_retry, parse_reasons, retry_values

    reasons = parse_reasons(classes)
    if reasons and not retry_failed:
        raise ConfigError("--class goes with --retry-failed")
    build = open_build(config, quiet=quiet, as_json=as_json, **overrides)
    if retry_failed:
        report = build.retry_failed(reasons)
        print_result(retry_values(report), [describe_retry(report)], as_json)
    else:
        _finish_stage(build, build.run("crawl"), as_json)


_stage_command("detect", "Find faces and what they wear, and score every picture; needs the models.")


@main.command("filter")
@with_config
@click.option("--rethreshold", is_flag=True, help="Only judge anew what was detected before; run no model.")
@with_output
@reports_errors
def filter_command(config: Path, rethreshold: bool, quiet: bool, as_json: bool, **overrides: Any) -> None:
    """Drop the unusable and the duplicates, by thresholds on the scores."""
    build = open_build(config, quiet=quiet, as_json=as_json, **overrides)
    _finish_stage(build, build.rethreshold() if rethreshold else build.run("filter"), as_json)


_stage_command("synth", "Render virtual face masks onto bare faces, with exact labels.")
_stage_command("prelabel", "Let a trained baseline propose masks for photos without labels.")


@main.command()
@with_config
@with_output
@reports_errors
def export(config: Path, quiet: bool, as_json: bool, **overrides: Any) -> None:
    """Write the labelled dataset as COCO, MFSD folders and Hugging Face Parquet."""
    report = open_build(config, quiet=quiet, as_json=as_json, **overrides).export()
    values = {
        "dataset": str(report.folder),
        "samples": report.samples,
        "left_out": report.left_out,
        "rejected": [f"{item.item_key}: {item.reason}: {item.detail}" for item in report.rejections],
    }
    print_result(values, [_describe_export(report), f"dataset   {report.folder}"], as_json)


@main.command()
@with_config
@with_output
@reports_errors
def stats(config: Path, quiet: bool, as_json: bool, **overrides: Any) -> None:
    """Write the report page: counts, figures, rejections, contact sheet."""
    path = open_build(config, quiet=quiet, as_json=as_json, **overrides).report()
    print_result({"report": str(path)}, [f"report {path}"], as_json)


@main.command()
@with_config
@click.option("--stage", help="Only this stage.")
@click.option("--reason", help="Only this reason.")
@with_output
@reports_errors
def rejects(
    config: Path, stage: str | None, reason: str | None, quiet: bool, as_json: bool, **overrides: Any
) -> None:
    """List what was dropped, where and why."""
    from dataset_tools.core.errors import UnknownName
    from dataset_tools.core.reasons import Reason
    from dataset_tools.core.rows import rejection_to_row
    from dataset_tools.pipeline import STAGES

    reasons = [word.value for word in Reason]
    for kind, name, known in (("stage", stage, list(STAGES)), ("reason", reason, reasons)):
        if name is not None and name not in known:
            raise UnknownName(kind, name, known)
    build = open_build(config, quiet=quiet, as_json=as_json, **overrides)
    rows = [
        rejection_to_row(item)
        for item in build.rejections()
        if stage in (None, item.stage) and reason in (None, item.reason.value)
    ]
    lines = [
        f"{row['stage']:<9} {row['reason']:<16} {printable(row['item_key'])}  {printable(row['detail'])}"
        for row in rows
    ]
    print_result(rows, lines or ["nothing was rejected"], as_json)


@main.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@reports_errors
def doctor(as_json: bool) -> None:
    """Say what is installed and cached, what is missing, and what to do about it."""
    from dataclasses import asdict

    from dataset_tools.doctor import examine

    findings = examine(Path.cwd())
    lines = [
        f"{_STATE_MARKS[finding.state]} {finding.topic:<28} {finding.found}"
        + (f" -> {finding.advice}" if finding.advice else "")
        for finding in findings
    ]
    print_result([asdict(finding) for finding in findings], lines, as_json)
    if any(finding.state == "problem" for finding in findings):
        raise SystemExit(EXIT_ERROR)


if __name__ == "__main__":
    main()
