"""A folder of drawn heads with the truth beside each picture: `synth heads`."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dataset_tools.core.errors import DataError
from dataset_tools.core.files import write_bytes, write_text
from dataset_tools.core.images import encode_png
from dataset_tools.core.seeds import generator
from synth.heads.draw import draw_head
from synth.heads.head import Head, HeadPicture, head_to_json, random_head

TRUTH = "heads.json"
TABLE = "heads.csv"
LICENCE = "CC0-1.0"  # nobody is shown and nothing is copied

_COLUMNS = (
    *("name", "yaw_deg", "pitch_deg", "roll_deg", "px_per_mm", "left_eye_x", "left_eye_y"),
    *("right_eye_x", "right_eye_y", "ita_deg", "hair", "hand", "glasses", "skin_px", "occluder_share"),
)


@dataclass(frozen=True)
class HeadsSummary:
    """What `write_heads` wrote.

    Attributes:
        folder: where.
        count: heads.
        with_occluder: heads with something in front of at least a hundredth of the face.
    """

    folder: Path
    count: int
    with_occluder: int


def write_heads(
    out_dir: Path,
    count: int,
    seed: int,
    *,
    size_px: int = 512,
    samples: int = 2,
    fixed: dict[str, Any] | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> HeadsSummary:
    """Draw random heads into a folder.

    Writes `images/<name>.png`, `skin/<name>.png` (8-bit, 255 = skin), `occluder/<name>.png` and
    `face/<name>.png` (16-bit coverage), `heads.csv`, and `heads.json` with each head's parameters, pose,
    eyes and 478 landmarks. The same seed writes the same bytes.

    Args:
        out_dir: made when missing; files of the same names are replaced.
        count: heads, >= 1.
        seed: of the people; head k does not depend on `count`.
        size_px: side of the square pictures.
        samples: per pixel side.
        fixed: fields of `Head` that all heads share, e.g. `{"yaw_deg": 30.0, "hair": "none"}`.
        progress: called with 1 after each head.

    Raises:
        DataError: `count` or `size_px` is too small, or `fixed` names what no head has.
    """
    if count < 1 or size_px < 16:
        raise DataError(f"{count} heads of {size_px} px asked for; at least 1 of 16 px")
    rows, truths, hidden = [], [], 0
    for index in range(count):
        head = _head(seed, index, size_px, fixed or {})
        picture = draw_head(head, samples)
        name = f"head-{index:05d}"
        _write_layers(out_dir, name, picture)
        covered = float((picture.occluder * picture.face).sum() / max(float(picture.face.sum()), 1.0))
        hidden += covered >= 0.01
        rows.append(_row(name, head, picture, covered))
        truths.append(_truth(name, head, picture))
        progress(1)
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(_COLUMNS)
    table.writerows(rows)
    write_text(out_dir / TABLE, text.getvalue())
    document = {"generator": "synth heads@1", "licence": LICENCE, "seed": seed, "heads": truths}
    write_text(out_dir / TRUTH, json.dumps(document, indent=1) + "\n")
    return HeadsSummary(out_dir, count, hidden)


def _head(seed: int, index: int, size_px: int, fixed: dict[str, Any]) -> Head:
    drawn = random_head(generator(seed, "heads", str(index)), size_px=size_px)
    try:
        return replace(drawn, **fixed)
    except TypeError as error:
        raise DataError(f"no such property of a head: {error}") from error


def _write_layers(out_dir: Path, name: str, picture: HeadPicture) -> None:
    write_bytes(out_dir / "images" / f"{name}.png", encode_png(picture.image))
    write_bytes(out_dir / "skin" / f"{name}.png", encode_png(picture.skin.astype(np.uint8) * 255))
    write_bytes(out_dir / "face" / f"{name}.png", encode_png(_wide(picture.face)))
    write_bytes(out_dir / "occluder" / f"{name}.png", encode_png(_wide(picture.occluder)))


def _wide(coverage: npt.NDArray[np.float32]) -> npt.NDArray[np.uint16]:
    steps: npt.NDArray[np.uint16] = np.rint(coverage * 65535).astype(np.uint16)
    return steps


def _row(name: str, head: Head, picture: HeadPicture, covered: float) -> list[str | int | float]:
    numbers = [*picture.pose_deg, head.px_per_mm, *picture.eyes.ravel().tolist(), head.ita_deg]
    rounded = [round(float(value), 3) for value in numbers]
    skin_px = int(picture.skin.sum())
    return [
        name,
        *rounded,
        head.hair,
        head.hand or "none",
        head.glasses or "none",
        skin_px,
        round(covered, 4),
    ]


def _truth(name: str, head: Head, picture: HeadPicture) -> dict[str, Any]:
    landmarks = np.rint(picture.landmarks * 64) / 64  # as in `core.record.Face`
    return {
        "name": name,
        "pose_deg": list(picture.pose_deg),
        "eyes_xy": np.round(picture.eyes, 3).tolist(),
        "landmarks_xyz": landmarks.ravel().tolist(),
        "head": head_to_json(head),
    }
