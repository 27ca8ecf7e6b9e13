"""How a measured requirement is reported: a table on the screen and, on request, its numbers in a file."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import machine
import numpy as np

from dataset_tools.core.errors import ItemFault, WeightsUnavailable
from dataset_tools.filter.models import load_finder
from dataset_tools.filter.settings import FilterSettings
from synth.geometry import FaceMesh
from synth.wearers import mesh_of

PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png")


def parser(description: str | None) -> argparse.ArgumentParser:
    """A command line with `--json`."""
    made = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument(
        "--json", type=Path, metavar="FILE", help="write the numbers here, and the table beside it as .md"
    )
    return made


def publish(figures: dict[str, Any], lines: Sequence[str], target: Path | None) -> None:
    """Print the table; with a target also write the numbers, what measured them, and the table."""
    text = "\n".join([*lines, ""])
    print(text)
    if target is not None:
        target.parent.mkdir(parents=True, exist_ok=True)
        numbers = {**figures, "machine": machine.describe()}
        target.write_text(json.dumps(numbers, indent=2, ensure_ascii=False) + "\n")
        target.with_suffix(".md").write_text(text)


def not_measured(why: str) -> str:
    """What stands in place of a figure."""
    return f"not measured: {why}"


def open_finder() -> Any:
    """MediaPipe's landmarker as the filter stage runs it, on faces of any size; None without its file."""
    try:
        return load_finder(FilterSettings(detector="mediapipe", min_face_px=1))
    except WeightsUnavailable:
        return None


def landmarker_of(finder: Any) -> str:
    """Which landmarker it runs, "name@version"."""
    return NO_LANDMARKER if finder is None else str(finder.landmarker.name)


NO_LANDMARKER = not_measured("the face landmarker's file is not at hand (see `build-dataset doctor`)")


def largest_mesh(finder: Any, rgb: np.ndarray) -> FaceMesh | None:
    """The largest face with landmarks."""
    for face in finder.find(rgb):
        try:
            return mesh_of(face)
        except ItemFault:
            continue
    return None


def some(paths: Iterable[Path], count: int) -> list[Path]:
    """At most `count` pictures, evenly from the sorted ones."""
    found = sorted(path for path in paths if path.suffix.lower() in PHOTO_SUFFIXES)
    return (
        [found[i] for i in np.unique(np.linspace(0, len(found) - 1, count).round().astype(int))]
        if found
        else []
    )


def rounded(value: Any, digits: int = 4) -> float | None:
    """A plain number for JSON; None for "no such thing"."""
    return round(float(value), digits) if np.isfinite(value) else None


def percent(value: float | None, digits: int = 1) -> str:
    """A share as text."""
    return "–" if value is None else f"{value:.{digits}%}"
