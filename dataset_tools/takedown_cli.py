"""`build-dataset takedown`: take pictures out of everything, and keep them out."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dataset_tools.core.console import reports_errors
from dataset_tools.core.errors import ConfigError, SuiteError
from dataset_tools.core.text import printable
from dataset_tools.options import open_build, print_result, with_config, with_output

if TYPE_CHECKING:
    from dataset_tools.pipeline import Pipeline
    from dataset_tools.takedown import Found, Wanted

_MOST_LINES = 50

OUT_OF_REACH = (
    "not reached from here: tasks of these ids on a Label Studio server (delete them there: search for the "
    "id in the field sample_id, the pictures go with the task), copies on the Hugging Face Hub (publish "
    "again with --erase-history; otherwise earlier versions stay there), backups, and the source itself"
)


@click.command()
@with_config
@click.option("--url", "urls", multiple=True, help="Address of the picture; may be given several times.")
@click.option(
    "--url-pattern", "url_patterns", multiple=True, help='Addresses with "*" for anything, in quotes.'
)
@click.option("--sha256", "sha256s", multiple=True, help="Of the stored picture or of the fetched bytes.")
@click.option("--author", "authors", multiple=True, help="All pictures of this author.")
@click.option("--source", "sources", multiple=True, help="All pictures of this configured source.")
@click.option(
    "--photo",
    "photos",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A photo that was handed in: all that look the same. It is not kept.",
)
@click.option(
    "--hashes",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Block-list: one sha256 or perceptual hash a line.",
)
@click.option("--exact", is_flag=True, help="Spare what merely looks the same as one of these.")
@click.option("--reason", default="", help="Why, for the record.")
@click.option("--dry-run", is_flag=True, help="Say what would go; change nothing.")
@with_output
@reports_errors
def takedown(config: Path, reason: str, dry_run: bool, quiet: bool, as_json: bool, **given: Any) -> None:
    """Remove pictures with all that was made from them, from everywhere, and do not let them come back.

    Copies of the same picture go as well. Statistics, card and export are written anew. Run it again if it
    was cut off.
    """
    from dataset_tools.takedown import select

    names = ("urls", "url_patterns", "sha256s", "authors", "sources", "photos", "hashes", "exact")
    wanted = _wanted(**{name: given.pop(name) for name in names})
    build = open_build(config, quiet=quiet, as_json=as_json, **given)
    if dry_run:
        found = select(build.workspace, wanted)
        said = {"samples": sorted({item.id for item in found}), "dry_run": True}
        print_result(said, [*_lines(found), "nothing was changed"], as_json)
        return
    values, lines = carry_out(build, wanted, reason)
    print_result(values, lines, as_json)


def carry_out(build: Pipeline, wanted: Wanted, reason: str) -> tuple[dict[str, Any], list[str]]:
    """Take pictures down and write anew what named them; gives what was done, as JSON values and in words.

    Raises:
        WorkspaceBusy, ManifestError: as `take_down`.
    """
    from dataset_tools.takedown import finish, take_down

    done = take_down(build.workspace, wanted, reason=reason, date=f"{datetime.now(UTC):%Y-%m-%d}")
    remade, left = _remake(build, done.remake)
    finish(build.workspace)
    lines = _lines(done.found)
    lines.append(
        f"{done.shards} shards rewritten, {done.objects} stored pictures and {len(done.erased)} files or "
        f"folders removed, {done.tombstones} tombstones"
    )
    lines += [f"cleaned  {printable(name)}" for name in done.erased]
    lines += [f"remade   {name}" for name in remade] + [f"left out {name}" for name in left]
    if done.found:
        lines.append(OUT_OF_REACH)
    values = {
        "samples": done.sample_ids,
        "erased": list(done.erased),
        "shards": done.shards,
        "objects": done.objects,
        "tombstones": done.tombstones,
        "remade": remade,
        "not_remade": left,
        "out_of_reach": OUT_OF_REACH if done.found else "",
        "dry_run": False,
    }
    return values, lines


def _wanted(
    urls: tuple[str, ...],
    url_patterns: tuple[str, ...],
    sha256s: tuple[str, ...],
    authors: tuple[str, ...],
    sources: tuple[str, ...],
    photos: tuple[Path, ...],
    hashes: Path | None,
    exact: bool,
) -> Wanted:
    from dataset_tools.core.files import sha256_hex
    from dataset_tools.core.images import normal_photo
    from dataset_tools.takedown import Wanted, read_hashes

    if not (urls or url_patterns or sha256s or authors or sources or photos or hashes):
        raise ConfigError("say what: --url, --url-pattern, --sha256, --author, --source, --photo or --hashes")
    for value in sha256s:
        if len(value) != 64 or not set(value.lower()) <= set("0123456789abcdef"):
            raise ConfigError(f"--sha256 {value!r} is not 64 hex digits")
    handed_in = [path.read_bytes() for path in photos]
    return Wanted(
        urls=frozenset(urls),
        url_patterns=frozenset(url_patterns),
        sha256s=frozenset(value.lower() for value in sha256s) | frozenset(map(sha256_hex, handed_in)),
        authors=frozenset(authors),
        sources=frozenset(sources),
        phashes=frozenset(normal_photo(data).phash for data in handed_in),
        blocked=read_hashes(hashes) if hashes is not None else frozenset(),
        with_copies=not exact,
    )


def _lines(found: tuple[Found, ...]) -> list[str]:
    unique = {(item.id, item.item_key, item.why) for item in found}
    lines = [f"{why:<16} {identity}  {printable(key)}" for identity, key, why in sorted(unique)]
    if len(lines) > _MOST_LINES:
        lines = [*lines[:_MOST_LINES], f"… and {len(lines) - _MOST_LINES} more; --json names all"]
    return lines or ["no picture here is what was asked for; it will not be let in either"]


def _remake(build: Pipeline, names: tuple[str, ...]) -> tuple[list[str], list[str]]:
    """Write anew what was removed because it named a picture; what cannot be is named with the reason."""
    remade, left = [], []
    makers = {"dataset": build.export, "report": build.report}
    for name in names:
        if name not in makers:
            left.append(f"{name}: run build-dataset publish again")
            continue
        try:
            makers[name]()
            remade.append(name)
        except SuiteError as error:
            left.append(f"{name}: {error}")
    return remade, left
