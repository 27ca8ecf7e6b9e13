"""`build-dataset calibrate-filter`: how sure the detector must be, on photos that are sorted already."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dataset_tools.core.console import choose_progress, reports_errors
from dataset_tools.options import print_result, with_output

if TYPE_CHECKING:
    from dataset_tools.core.progress import ProgressFactory
    from dataset_tools.filter.calibrate import Calibration, Observation, Rates


@click.command("calibrate-filter")
@click.argument("photos", type=click.Path(path_type=Path, exists=True, file_okay=False))
@with_output
@reports_errors
def calibrate_command(photos: Path, quiet: bool, as_json: bool) -> None:
    """Print precision and recall of "has a masked face" and "has an unmasked face" by threshold.

    PHOTOS is a folder with with_mask/ and without_mask/, or a finished manifest of `detect`, of which the
    labelled samples count. The recommended threshold goes into the configuration as filter: min_score.
    """
    from dataset_tools.filter.calibrate import calibrate

    found = calibrate(_observations(photos, choose_progress(quiet=quiet, as_json=as_json)))
    print_result(_values(found), _lines(found), as_json)


def _observations(photos: Path, progress: ProgressFactory) -> list[Observation]:
    from dataset_tools.core.manifest import Manifest
    from dataset_tools.filter.calibrate import observe_folder, observe_manifest
    from dataset_tools.filter.models import load_detector
    from dataset_tools.filter.settings import FilterSettings

    if (photos / "header.json").is_file():
        return list(observe_manifest(Manifest(photos)))
    with progress("photos", None) as bar:
        return list(observe_folder(photos, load_detector(FilterSettings()), bar))


def _values(found: Calibration) -> dict[str, Any]:
    rows = [
        {
            "threshold": row.threshold,
            "accuracy": row.accuracy,
            "masked": _rates(row.masked),
            "unmasked": _rates(row.unmasked),
        }
        for row in found.rows
    ]
    return {"photos": found.photos, "recommended": found.recommended, "rows": rows}


def _rates(rates: Rates) -> dict[str, float]:
    return asdict(rates) | {"precision": rates.precision, "recall": rates.recall, "f1": rates.f1}


def _lines(found: Calibration) -> list[str]:
    lines = [
        "           has a masked face    has an unmasked face",
        "threshold  precision   recall   precision   recall   accuracy",
    ]
    for row in found.rows:
        rates = (row.masked.precision, row.masked.recall, row.unmasked.precision, row.unmasked.recall)
        masked_p, masked_r, bare_p, bare_r = (f"{100 * value:5.1f} %" for value in rates)
        mark = "  <- recommended" if row.threshold == found.recommended else ""
        lines.append(
            f"{row.threshold:9.2f}  {masked_p:>9}  {masked_r:>7}   {bare_p:>9}  {bare_r:>7}"
            f"    {100 * row.accuracy:5.1f} %{mark}"
        )
    return [
        *lines,
        f"{found.photos} photos; in the configuration: filter: {{min_score: {found.recommended}}}",
    ]
