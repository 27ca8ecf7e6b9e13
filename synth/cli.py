"""`synth`: draw posed heads, add a mask from a photo, replay rendered pictures, measure their realism."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from dataset_tools.core.console import choose_progress, reports_errors
from dataset_tools.core.errors import EXIT_ERROR, ConfigError
from dataset_tools.core.text import printable
from dataset_tools.options import open_build, print_result, with_config, with_output

_FOLDER = click.Path(path_type=Path, file_okay=False)
_FILE = click.Path(path_type=Path, dir_okay=False)
# Written out: `--help` must not wait for NumPy. A test compares it with the registry.
DESIGN_NAMES = (
    *("bandana", "child_cloth", "child_surgical", "cloth", "duckbill", "foam", "gaiter", "kf94"),
    *("kn95", "n95", "n95_valve", "printed", "scarf", "surgical", "transparent"),
)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="maskset", prog_name="synth")
def main() -> None:
    """Tools around the mask renderer; `build-dataset synth` runs it over a dataset."""


@main.command()
@click.argument("out", type=_FOLDER)
@click.option("--count", type=click.IntRange(1), default=20, show_default=True)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--size-px", type=click.IntRange(16, 4096), default=512, show_default=True)
@with_output
@reports_errors
def heads(out: Path, count: int, seed: int, size_px: int, quiet: bool, as_json: bool) -> None:
    """Draw heads of people who do not exist, with exact pose, landmarks, skin and occluders."""
    from synth.heads.files import write_heads

    with choose_progress(quiet=quiet, as_json=as_json)("heads", count) as progress:
        done = write_heads(out, count, seed, size_px=size_px, progress=progress.advance)
    values = {"folder": str(done.folder), "count": done.count, "with_occluder": done.with_occluder}
    line = f"{done.count} heads in {done.folder}, {done.with_occluder} with something in front of the face"
    print_result(values, [line], as_json)


@main.command("add-mask")
@click.argument("photo", type=_FILE)
@click.option("--name", required=True, help="Of the new design: a-z, 0-9, _ and -.")
@click.option(
    "--type", "base", type=click.Choice(DESIGN_NAMES), default="cloth", show_default=True, help="Its form."
)
@click.option("--dir", "directory", type=_FOLDER, default=Path("masks"), show_default=True)
@with_output
@reports_errors
def add_mask_command(photo: Path, name: str, base: str, directory: Path, quiet: bool, as_json: bool) -> None:
    """Make a mask design from one PHOTO of a mask lying flat, cut out or on a plain background."""
    from synth.add_mask import add_mask

    design = add_mask(photo, name, directory, base)
    lines = [
        f"{design.full_name} in {directory}; to wear it, put this into the configuration:",
        f"  synth: {{masks_dir: {directory}, mask_types: {{{name}: 1.0}}}}",
    ]
    print_result({"design": design.full_name, "directory": str(directory)}, lines, as_json)


@main.command()
@with_config
@click.option("--sample", default="", help="Only children whose id or item key starts with this.")
@click.option("--out", type=_FOLDER, help="Write the pictures drawn again here, as PNG.")
@with_output
@reports_errors
def replay(config: Path, sample: str, out: Path | None, quiet: bool, as_json: bool, **overrides: Any) -> None:
    """Draw rendered pictures again from their recipes and compare every byte with what is stored."""
    from dataset_tools.core.files import write_bytes
    from dataset_tools.core.images import encode_png
    from synth.replays import replays
    from synth.settings import open_resources

    build = open_build(config, quiet=quiet, as_json=as_json, **overrides)
    resources = open_resources(build.config.synth)
    same, problems = 0, []
    with build.progress("replay", None) as progress:
        for found in replays(build.manifest("synth"), build.workspace.images, resources, sample):
            progress.advance(1)
            same += not found.problem
            if found.problem:
                problems.append(f"{found.child.provenance.item_key}: {found.problem}")
            if out is not None and found.dressed is not None:
                write_bytes(out / f"{found.child.id}.png", encode_png(found.dressed.image))
    total = same + len(problems)
    if total == 0:
        raise ConfigError(
            f"no rendered picture's id or item key starts with {sample!r}"
            if sample
            else "no rendered pictures"
        )
    lines = [f"{same} of {total} rendered pictures drawn again to the same bytes"]
    print_result(
        {"same": same, "total": total, "problems": problems},
        [*lines, *(printable(problem) for problem in problems[:20])],
        as_json,
    )
    if problems:
        raise SystemExit(EXIT_ERROR)


@main.command()
@with_config
@click.option("--real", type=_FOLDER, required=True, help="Real masked faces: image/ and mask/, equal names.")
@click.option("--compare", is_flag=True, help="Measure a naive paste and MISA's halves as well.")
@click.option(
    "--count", type=click.IntRange(8), default=100, show_default=True, help="Rendered faces to use."
)
@click.option("--sheet", type=_FILE, help="Write the ten most conspicuous faces here, as PNG.")
@with_output
@reports_errors
def realism(
    config: Path,
    real: Path,
    compare: bool,
    count: int,
    sheet: Path | None,
    quiet: bool,
    as_json: bool,
    **overrides: Any,
) -> None:
    """Ask a small classifier to tell the rims of real masks from rendered ones; AUC 0.5 is perfect."""
    from dataset_tools.core.files import write_bytes
    from dataset_tools.core.images import encode_png
    from dataset_tools.stats.contact_sheet import contact_sheet
    from synth.realism.faces import drawn_faces
    from synth.realism.rims import read_pairs, rim_auc

    build = open_build(config, quiet=quiet, as_json=as_json, **overrides)
    truth = read_pairs(real)
    ours = build.config.synth
    naive = {"light": False, "shadow": False, "camera": False}
    kinds = {"ours": ours}
    if compare:
        kinds |= {
            "naive paste": ours.model_copy(update=naive),
            "halves": ours.model_copy(update={"method": "halves"}),
        }
    values: dict[str, Any] = {}
    lines = []
    for name, settings in kinds.items():
        photos = build.manifest("filter").samples()
        drawn = drawn_faces(photos, build.workspace.images, settings, truth, count, build.config.seed)
        report = rim_auc(truth, drawn, build.config.seed)
        values[name] = report.as_json()
        lines.append(report.line(name))
        if sheet is not None and name == "ours":
            pictures = {face.name: face.image for face in drawn}
            tiles = [pictures[face] for face, _ in report.scores[:10]]
            captions = [f"{score:.2f} {face[:12]}" for face, score in report.scores[:10]]
            write_bytes(sheet, encode_png(contact_sheet(tiles, columns=5, captions=captions)))
    print_result(values, lines, as_json)
