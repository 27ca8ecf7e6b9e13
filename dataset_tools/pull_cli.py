"""`build-dataset pull`: bring a dataset, a model or a whole workspace back from the Hugging Face Hub."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from dataset_tools.core.console import choose_progress, reports_errors
from dataset_tools.options import print_result, with_output


@click.command("pull")
@click.argument("repo")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--revision", help="Version, branch or commit.  [default: main as it is now]")
@click.option("--model", is_flag=True, help="A model repository, not a dataset.")
@click.option("--workspace", is_flag=True, help="The workspace packed by `publish --with-workspace`.")
@with_output
@reports_errors
def pull_command(
    repo: str, folder: Path, revision: str | None, model: bool, workspace: bool, quiet: bool, as_json: bool
) -> None:
    """Copy REPO into FOLDER, byte for byte, every hash checked; run it again if it was cut off.

    A dataset comes back as it was exported: `build-dataset import` and a source of type `dataset` read it.
    Manifests, reviews, models and dropped pictures come back only with --workspace.
    """
    from dataset_tools.export.hub_client import quiet_client
    from dataset_tools.export.hub_pull import pull

    quiet_client(quiet or as_json)
    report = pull(
        repo,
        folder,
        repo_type="model" if model else "dataset",
        revision=revision,
        workspace=workspace,
        progress=choose_progress(quiet=quiet, as_json=as_json),
    )
    values: dict[str, Any] = asdict(report)
    what = "workspace restored" if report.is_workspace else "pulled"
    lines = [
        f"{what}: {report.folder}, {report.files} files, {report.size} bytes, {report.fetched} fetched now",
        f"commit {report.commit}; the same again: --revision {report.commit}",
    ]
    print_result(values, lines, as_json)
