"""`build-dataset push-workspace` and `fetch-workspace`: finished work to and from any fsspec path."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dataset_tools.core.console import reports_errors
from dataset_tools.options import print_result

if TYPE_CHECKING:
    from dataset_tools.engines.mirror import MirrorReport

_FOLDER = click.Path(path_type=Path, file_okay=False)


@click.command("push-workspace")
@click.argument("workspace", type=click.Path(path_type=Path, file_okay=False, exists=True))
@click.argument("url")
@click.option("--prune", is_flag=True, help="Remove from the copy what is not here, e.g. after a takedown.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON value.")
@reports_errors
def push_command(workspace: Path, url: str, prune: bool, as_json: bool) -> None:
    """Copy pictures and finished manifests to URL: a folder, s3://, gs://, hf:// …"""
    from dataset_tools.core.workspace import Workspace
    from dataset_tools.engines.mirror import push_workspace

    _say("pushed", push_workspace(Workspace(workspace), url, prune=prune), as_json)


@click.command("fetch-workspace")
@click.argument("url")
@click.argument("workspace", type=_FOLDER)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON value.")
@reports_errors
def fetch_command(url: str, workspace: Path, as_json: bool) -> None:
    """Copy what was pushed to URL into a workspace, checking every byte."""
    from dataset_tools.core.workspace import Workspace
    from dataset_tools.engines.mirror import fetch_workspace

    _say("fetched", fetch_workspace(url, Workspace(workspace)), as_json)


def _say(what: str, report: MirrorReport, as_json: bool) -> None:
    line = f"{what} {report.copied} of {report.files} files, {report.copied_bytes / 1e6:.1f} MB"
    if report.removed:
        line += f"; removed {report.removed}"
    print_result(dataclasses.asdict(report), [line], as_json)
