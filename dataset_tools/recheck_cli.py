"""`build-dataset recheck`: are the kept pictures still at their sources, the same, and allowed?"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from dataset_tools.core.console import reports_errors
from dataset_tools.core.errors import EXIT_TOO_MANY_REJECTS
from dataset_tools.core.text import printable
from dataset_tools.options import open_build, print_result, with_config, with_output
from dataset_tools.takedown_cli import carry_out

_MOST_LINES = 50


@click.command()
@with_config
@click.option("--remove-gone", is_flag=True, help="Take down what is gone, opted out or disallowed now.")
@click.option("--remove-changed", is_flag=True, help="Take down what shows another picture now.")
@with_output
@reports_errors
def recheck(
    config: Path, remove_gone: bool, remove_changed: bool, quiet: bool, as_json: bool, **overrides: Any
) -> None:
    """Ask for every crawled picture again, politely and conditionally; store nothing.

    Exit code 3 when a picture is no longer what or where it was, or no longer allowed, and is still kept.
    """
    from dataset_tools.crawl.recheck import Fate, urls_to_remove
    from dataset_tools.crawl.recheck import recheck as ask_again
    from dataset_tools.takedown import Wanted

    build = open_build(config, quiet=quiet, as_json=as_json, **overrides)
    samples = build.manifest("crawl").samples()
    found = list(ask_again(samples, build.config.crawl, build.config.seed, build.progress))
    notable = [one for one in found if one.fate is not Fate.UNCHANGED]
    lines = [f"{one.fate:<16} {printable(one.item_key)}  {printable(one.detail)}" for one in notable]
    if len(lines) > _MOST_LINES:
        lines = [*lines[:_MOST_LINES], f"… and {len(lines) - _MOST_LINES} more; --json names all"]
    counts = Counter(one.fate.value for one in found)
    lines.append(", ".join(f"{fate.value} {counts[fate.value]}" for fate in Fate))
    values: dict[str, Any] = {"counts": dict(counts), "found": [asdict(one) for one in notable]}
    wanted = urls_to_remove(found, with_changed=True)
    removable = urls_to_remove(found, with_changed=False) if remove_gone else frozenset()
    if remove_changed:
        removable |= wanted - urls_to_remove(found, with_changed=False)
    if removable:
        removed, said = carry_out(build, Wanted(urls=removable, with_copies=False), "recheck of the source")
        values["takedown"] = removed
        lines += said
    print_result(values, lines, as_json)
    if wanted - removable:
        raise SystemExit(EXIT_TOO_MANY_REJECTS)
