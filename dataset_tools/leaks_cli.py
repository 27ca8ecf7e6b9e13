"""`build-dataset leaks` and `build-dataset duplicates`: what two datasets share, what one has twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from dataset_tools.core.console import choose_progress, reports_errors
from dataset_tools.core.errors import EXIT_TOO_MANY_REJECTS
from dataset_tools.core.text import printable
from dataset_tools.options import open_build, print_result, with_config, with_output

_MOST_LINES = 50


@click.command()
@click.argument("first", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("second", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option(
    "--distance",
    type=click.IntRange(0, 15),
    default=6,
    show_default=True,
    help="Pictures whose hashes differ in at most so many of 64 bits look the same.",
)
@click.option(
    "--face-distance",
    type=click.IntRange(0, 15),
    default=4,
    show_default=True,
    help="Likewise for the crops of faces, where both sides have been through detection.",
)
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), help="Write a page with the pictures."
)
@with_output
@reports_errors
def leaks(
    first: Path,
    second: Path,
    distance: int,
    face_distance: int,
    out: Path | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Say which pictures of FIRST are in SECOND too, or known there; exit code 3 when there are any.

    Either is a workspace, a manifest, an exported dataset, or a folder of pictures (masks beside them are
    left out). Same bytes, same looks, mirrored, another cut of one shot of a face, rendered from the other's
    photo, group of one name.
    """
    from dataset_tools.core.files import write_text
    from dataset_tools.leaks import find_leaks, leak_values, open_pictures
    from dataset_tools.pairs_page import describe_leaks, leak_clusters, render_clusters

    progress = choose_progress(quiet=quiet, as_json=as_json)
    one, other = open_pictures(first, progress), open_pictures(second, progress)
    found = find_leaks(one, other, max_distance=distance, face_distance=face_distance)
    lines = [
        f"{leak.kind:<9} {printable(leak.first)}  {printable(leak.second)}"
        + (f"  {leak.distance} bits" if leak.distance >= 0 else "")
        for leak in found[:_MOST_LINES]
    ]
    if len(found) > _MOST_LINES:
        lines.append(f"… and {len(found) - _MOST_LINES} more; --json names all")
    unreadable = len(one.unreadable) + len(other.unreadable)
    said = f"{len(one.pictures)} pictures against {len(other.pictures)}; leaks: {describe_leaks(found)}"
    said += f"; {unreadable} files could not be read" if unreadable else ""
    if not (one.with_faces and other.with_faces):
        said += "; faces not compared, which needs a manifest of detect or later on both sides"
    lines.append(said)
    if out is not None:
        title = f"Leaks between {one.title} and {other.title}"
        write_text(out, render_clusters(title, lines[-1], leak_clusters(found, one, other)))
        lines.append(f"page {out}")
    print_result(leak_values(found, one, other), lines, as_json)
    if found:
        raise SystemExit(EXIT_TOO_MANY_REJECTS)


@click.command()
@with_config
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Page to write.")
@with_output
@reports_errors
def duplicates(config: Path, out: Path | None, quiet: bool, as_json: bool, **overrides: Any) -> None:
    """Show what the filter takes for the same picture, and what it keeps on one side of a split."""
    from dataset_tools.core.files import write_text
    from dataset_tools.pairs_page import duplicate_clusters, render_clusters

    build = open_build(config, quiet=quiet, as_json=as_json, **overrides)
    settings = build.config.filter
    chain = build.chain()
    plan, clusters = duplicate_clusters(
        chain.get("detect") or build.manifest("crawl"),
        build.workspace.images,
        drop_distance=settings.drop_distance,
        group_distance=settings.group_distance,
        face_distance=settings.face_distance,
    )
    page = out or build.report_dir / "duplicates.html"
    said = f"{len(clusters)} clusters, {len(plan.dropped)} pictures dropped, {len(plan.groups)} groups joined"
    if "detect" not in chain:
        said += "; faces not compared, since detect has not run with these settings and models"
    write_text(page, render_clusters(f"Duplicates in {build.config.name}", said, clusters))
    values = {
        "clusters": len(clusters),
        "dropped": {key: why.kept_key for key, why in sorted(plan.dropped.items())},
        "groups_joined": len(plan.groups),
        "faces_compared": "detect" in chain and settings.face_distance is not None,
        "page": str(page),
    }
    print_result(values, [said, f"page {page}"], as_json)
