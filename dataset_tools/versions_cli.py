"""`build-dataset diff`, `merge` and `changelog`: what differs between versions, and two made one."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dataset_tools.core.console import choose_progress, reports_errors
from dataset_tools.options import print_result, with_output

if TYPE_CHECKING:
    from dataset_tools.core.progress import ProgressFactory
    from dataset_tools.versions import Version
    from dataset_tools.versions.merge import MergeReport

_VERSION = click.Path(path_type=Path, exists=True)
_PREFERENCES = ("a", "b", "human")
_MOST_LINES = 20


@click.command()
@click.argument("first", type=_VERSION)
@click.argument("second", type=_VERSION)
@click.option("--index", type=click.Path(path_type=Path, dir_okay=False), help="Write SECOND's index here.")
@with_output
@reports_errors
def diff(first: Path, second: Path, index: Path | None, quiet: bool, as_json: bool) -> None:
    """Say what differs between two versions of a dataset, FIRST the older one.

    Either is a workspace, a manifest, an exported dataset, a dataset folder in any format the suite reads, or
    an index: a small file that `--index` writes, enough to tell later what changed since.
    """
    from dataset_tools.core.text import printable
    from dataset_tools.versions import diff_versions, next_version, open_version, write_index
    from dataset_tools.versions.changelog import FIRST_VERSION, describe_diff

    before, after = open_version(first), open_version(second)
    found = diff_versions(before, after)
    number = next_version(before.number or FIRST_VERSION, found.change)
    if index is not None:
        write_index(after, index)
    counts = f"{found.counts[0]} pictures before, {found.counts[1]} after"
    lines = [
        *describe_diff(found),
        *(f"  {one.id}  {_overlaps(one.iou, *one.attributes)}" for one in found.relabelled[:_MOST_LINES]),
        f"{counts}; {found.change.value}: {before.number or FIRST_VERSION} -> {number}",
    ]
    values = found.as_json() | {"version": before.number, "next_version": number}
    print_result(values, [printable(line) for line in lines], as_json)


def _overlaps(iou: Mapping[str, float], *more: str) -> str:
    return ", ".join([*(f"{label} IoU {value:.3f}" for label, value in iou.items()), *more])


@click.command()
@click.argument("first", type=_VERSION)
@click.argument("second", type=_VERSION)
@click.argument("out", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--prefer",
    type=click.Choice(_PREFERENCES),
    help="Who is right where both have a picture with other labels or another licence: FIRST, SECOND, or the "
    "one whose labels a person drew or confirmed (FIRST when that is both or neither).",
)
@click.option("--name", help="Of the merged dataset; OUT's name otherwise.")
@with_output
@reports_errors
def merge(
    first: Path, second: Path, out: Path, prefer: Any, name: str | None, quiet: bool, as_json: bool
) -> None:
    """Make one dataset of two: a workspace OUT with the pictures of both, and its export in OUT/dataset.

    Groups of one name, and groups that share a picture, end on one side: test before val before train.
    Pictures that only look alike stay two; how many of them lie on two sides is told.
    """
    from dataset_tools.split_leaks import crossing_counts, find_crossings
    from dataset_tools.versions import open_version
    from dataset_tools.versions.merge import merge_versions

    progress = choose_progress(quiet=quiet, as_json=as_json)
    one, other = open_version(first), open_version(second)
    title = name or out.resolve().name
    report = merge_versions(one, other, out, prefer=prefer, name=title, progress=progress)
    facts = _export_merged(one, report, title, progress)
    counts = crossing_counts(find_crossings(report.manifest, progress=progress))
    crossings = {kind: sum(row.values()) for kind, row in counts.items()}
    crossing = ", ".join(f"{kind} {count}" for kind, count in crossings.items() if count)
    lines = [
        *(
            f"  {item.id}  {_overlaps(item.iou, *item.what)}: taken from {item.chosen}"
            for item in report.conflicts[:_MOST_LINES]
        ),
        *(f"  {item.id}  moved from {item.before} to {item.after}" for item in report.moved[:_MOST_LINES]),
        f"{report.only_a} pictures only in the first, {report.only_b} only in the second, "
        f"{report.both} in both; {len(report.conflicts)} conflicts, {len(report.moved)} moved; "
        f"{facts['change']}: version {facts['version']}",
        f"across the splits: {crossing or 'nothing'}",
        f"dataset   {facts['dataset']}",
    ]
    values = {
        "pictures": {"first": report.only_a, "second": report.only_b, "both": report.both},
        "conflicts": [dataclasses.asdict(item) for item in report.conflicts],
        "moved": [dataclasses.asdict(item) for item in report.moved],
        "crossings": crossings,
    }
    print_result(values | facts, lines, as_json)


def _export_merged(
    before: Version, report: MergeReport, title: str, progress: ProgressFactory
) -> dict[str, str]:
    from dataset_tools.core.images import ImageStore
    from dataset_tools.export.dataset import export_dataset
    from dataset_tools.export.settings import ExportSettings
    from dataset_tools.versions import diff_versions, next_version, open_version
    from dataset_tools.versions.changelog import FIRST_VERSION

    manifest = report.manifest
    change = diff_versions(before, open_version(manifest.directory)).change
    number = next_version(before.number or FIRST_VERSION, change)
    folder = manifest.workspace / "dataset"
    settings = ExportSettings(name=title, version=number)
    export_dataset(manifest, ImageStore(manifest.workspace), settings, folder, progress)
    return {
        "manifest": str(manifest.directory),
        "dataset": str(folder),
        "version": number,
        "change": change.value,
    }


@click.command()
@click.argument("versions", type=_VERSION, nargs=-1)
@click.option("--title", default="", help="Of the dataset; the last version's name otherwise.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write the Markdown here.")
@with_output
@reports_errors
def changelog(versions: tuple[Path, ...], title: str, out: Path | None, quiet: bool, as_json: bool) -> None:
    """Write the Markdown changelog of VERSIONS, the oldest first: what differs from each to the next."""
    from dataset_tools.core.files import write_text
    from dataset_tools.versions import open_version
    from dataset_tools.versions.changelog import list_releases, render_changelog

    opened = [open_version(path) for path in versions]
    releases = list_releases(opened)
    text = render_changelog(title or opened[-1].title, releases)
    if out is not None:
        write_text(out, text)
    values = [
        {"version": one.number, "date": one.date, "changes": one.diff and one.diff.as_json()}
        for one in releases
    ]
    print_result(values, [f"changelog {out}" if out is not None else text.rstrip()], as_json)
