"""`build-dataset import`: check a dataset of any known format, and write it in another."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from dataset_tools.core.console import choose_progress, reports_errors
from dataset_tools.core.errors import EXIT_TOO_MANY_REJECTS, ConfigError
from dataset_tools.core.labels import Label, parse_label
from dataset_tools.core.text import printable
from dataset_tools.options import print_result, with_output

if TYPE_CHECKING:
    from dataset_tools.importing import ImportReport

_MOST_LINES = 200
_NO_LABEL = "none"


@click.command("import")
@click.argument("path", type=click.Path(path_type=Path, exists=True))
@click.option("--format", "name", default="auto", show_default=True, help="Of PATH, e.g. coco.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder to write the good pictures to.")
@click.option("--to", "target", help="Format to write, e.g. coco; goes with --out.")
@click.option("--licence", default="", help="Of pictures for which the dataset states none.")
@click.option(
    "--category",
    "categories",
    multiple=True,
    metavar="NAME=LABEL",
    help='Class name and the label it is here, "none" to leave it out; may be given several times.',
)
@click.option(
    "--split",
    type=click.Choice(["train", "val", "test"]),
    default="train",
    show_default=True,
    help="Of pictures for which the dataset states none.",
)
@click.option(
    "--revocations",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="List of withdrawn versions and pictures; a withdrawn version is refused.",
)
@click.option("--workers", type=click.IntRange(1), default=2, show_default=True, help="Pictures at once.")
@with_output
@reports_errors
def import_command(
    path: Path,
    name: str,
    out: Path | None,
    target: str | None,
    licence: str,
    categories: tuple[str, ...],
    split: str,
    revocations: Path | None,
    workers: int,
    quiet: bool,
    as_json: bool,
) -> None:
    """Read the dataset at PATH and say everything that is wrong with it; exit code 3 when anything is.

    With --out and --to the pictures that are whole are written in that format. Nothing is fetched, and no
    file outside PATH is read.
    """
    from dataset_tools.core.record import Split
    from dataset_tools.formats.registry import find_format
    from dataset_tools.importing import ImportPlan, check_dataset, convert_dataset
    from dataset_tools.revoked import edition_of

    if (out is None) != (target is None):
        raise ConfigError("--out and --to go together")
    if name != "auto":
        find_format(name)
    plan = ImportPlan(
        path, name, licence, dict(map(_category, categories)), Split(split), revocations, workers
    )
    progress = choose_progress(quiet=quiet, as_json=as_json)
    if out is not None and target is not None:
        report = convert_dataset(plan, out, target, progress=progress)
    else:
        report = check_dataset(plan, progress)
    lines = _describe(report)
    edition = edition_of(path) if revocations is None else None
    if edition is not None and edition.revocations:
        listed = printable(edition.revocations)
        lines.append(
            f"withdrawn versions are listed at {listed}; fetch the list and give it with --revocations"
        )
    if out is not None:
        written = find_format(str(target))
        notes = (written.loses, written.others_lose)
        lines += [f"written to {out}", *(f"note: {note}" for note in notes if note)]
    print_result(report.as_json(), lines, as_json)
    if report.problems or report.unlicensed:
        raise SystemExit(EXIT_TOO_MANY_REJECTS)


def _category(given: str) -> tuple[str, Label | None]:
    name, equals, label = given.rpartition("=")
    if not equals or not name:
        raise ConfigError(f"--category {given!r}: expected NAME=LABEL, e.g. mask=face_mask or hair=none")
    return name, None if label == _NO_LABEL else parse_label(label)


def _describe(report: ImportReport) -> list[str]:
    shown = report.problems[:_MOST_LINES]
    where = max((min(len(printable(problem.where)), 60) for problem in shown), default=0)
    reason = max((len(problem.reason.value) for problem in shown), default=0)
    lines = [
        f"{printable(problem.where):<{where}}  {problem.reason.value:<{reason}}  {printable(problem.detail)}"
        for problem in shown
    ]
    if len(report.problems) > len(shown):
        lines.append(f"… and {len(report.problems) - len(shown)} more; --json names all")
    lines.append(
        f"{report.format}: {report.entries} entries = {report.whole} whole with {report.instances} labels + "
        f"{report.incomplete} that lost a label + {report.unlabelled} without labels + "
        f"{report.refused} refused; {len(report.problems)} problems"
    )
    if report.unlicensed:
        lines.append(f"{report.unlicensed} pictures state no licence; say it with --licence")
    return lines
