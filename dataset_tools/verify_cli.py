"""`build-dataset verify`: hash everything again, follow every reference, say what is lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from dataset_tools.core.console import reports_errors
from dataset_tools.core.errors import EXIT_ERROR
from dataset_tools.core.text import printable
from dataset_tools.options import open_build, print_result, with_config, with_output

_MOST_LINES = 50


@click.command()
@with_config
@click.option("--resume", is_flag=True, help="Go on where a check that was cut off stopped.")
@click.option("--repair", is_flag=True, help="Let `run` make again the shards that lost something.")
@with_output
@reports_errors
def verify(config: Path, resume: bool, repair: bool, quiet: bool, as_json: bool, **overrides: Any) -> None:
    """Hash every stored file again and follow every reference; exit code 1 when something is lost.

    Damaged files move to quarantine/ in the workspace.
    """
    from dataset_tools.verify import reopen, verified_values
    from dataset_tools.verify import verify as check

    build = open_build(config, quiet=quiet, as_json=as_json, **overrides)
    found = check(build.workspace, resume=resume, progress=build.progress)
    lines = [f"broken   {name}" for name in found.broken]
    lines += [
        f"lost     {one.path}  {printable(one.item_key)} ({one.stage} of {printable(one.source)})"
        for one in found.lost[:_MOST_LINES]
    ]
    if len(found.lost) > _MOST_LINES:
        lines.append(f"… and {len(found.lost) - _MOST_LINES} more; --json names all")
    lines.append(
        f"{found.checked} files checked, {len(found.damaged)} damaged, {len(found.missing)} missing, "
        f"{len(found.orphans)} that nothing refers to"
    )
    needs_work = bool(found.lost or found.broken)
    reopened = reopen(build.workspace, found) if repair and needs_work else []
    if reopened:
        lines.append(f"{len(reopened)} shards reopened; run: build-dataset run {config}")
    elif needs_work:
        lines.append(f"to get it back from its sources: build-dataset verify {config} --repair")
    print_result({**verified_values(found), "reopened": reopened}, lines, as_json)
    if not found.is_whole:
        raise SystemExit(EXIT_ERROR)
