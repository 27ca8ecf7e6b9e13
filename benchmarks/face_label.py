"""How well the face label of bare photos fits (R9): the landmarks' oval, and skin up to the hairline.

    uv run python benchmarks/face_label.py [--pairs DIR] [--heads N] [--json FILE]

`--pairs` is a folder of portraits with parsing masks as CelebAMask-HQ has them: image/*.jpg, mask/*.png with
class numbers; truth is skin and what lies within it, without ears, neck, hair, hat and spectacles. Of drawn
heads, whose skin and hair are known, only what lies above the brows counts.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import machine
import numpy as np
import report

from baselines.statistics import mean_interval
from synth.forehead import skin_to_hairline
from synth.geometry import FaceMesh, build_face
from synth.heads.draw import draw_head
from synth.heads.head import random_head
from synth.placement import fit_head_frame
from synth.render import face_coverage

FACE_PARTS = (1, 2, 4, 5, 6, 7, 10, 11, 12)
HEAD_PX = 256
REACH = 0.18  # of the oval's height, above the oval
BROWS, TOP, CHIN = (105, 334), 10, 152


@dataclass(frozen=True)
class Case:
    """A face, its true pixels, and the pixels that count; (H, W) bool."""

    rgb: np.ndarray
    face: FaceMesh
    truth: np.ndarray
    counts: np.ndarray


def main() -> None:
    parser = report.parser(__doc__)
    parser.add_argument("--pairs", type=Path, help="folder of portraits with parsing masks")
    parser.add_argument("--heads", type=int, default=60, help="drawn heads (60)")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    figures: dict[str, Any] = {"drawn heads, above the brows": scored(heads(options.heads))}
    finder = report.open_finder()
    if options.pairs is None or finder is None:
        figures["portraits"] = report.NO_LANDMARKER if finder is None else report.not_measured("no --pairs")
    else:
        figures["portraits"] = scored(pairs(options.pairs, finder))
    report.publish(figures, lines(figures), options.json)


def heads(count: int) -> Iterator[Case]:
    """Random drawn people."""
    for seed in range(count):
        picture = draw_head(random_head(np.random.default_rng(seed), size_px=HEAD_PX))
        face = build_face(picture.landmarks, fit_head_frame(picture.landmarks))
        axis = picture.landmarks[TOP, :2] - picture.landmarks[CHIN, :2]
        height = float(np.linalg.norm(axis))
        brows = picture.landmarks[list(BROWS), :2].mean(axis=0) + 0.03 * axis
        rows, columns = np.mgrid[:HEAD_PX, :HEAD_PX]
        off = np.stack([columns - brows[0], rows - brows[1]], axis=-1) / height
        above = off @ axis / height
        aside = (off[..., 0] * axis[1] - off[..., 1] * axis[0]) / height
        top = float((picture.landmarks[TOP, :2] - brows) @ axis) / height**2 + REACH
        counts = (above > 0) & (above < top) & (np.abs(aside) < 0.28)
        skin = (np.abs(picture.normals).sum(axis=2) > 0) & (picture.occluder < 0.5)
        yield Case(picture.image, face, skin, counts)


def pairs(folder: Path, finder: Any) -> Iterator[Case]:
    """Portraits with parsing masks; those without a found face are left out."""
    for path in sorted((folder / "image").iterdir()):
        rgb = np.ascontiguousarray(cv2.imread(str(path), cv2.IMREAD_COLOR)[..., ::-1])
        ids = cv2.imread(str(folder / "mask" / f"{path.stem}.png"), cv2.IMREAD_GRAYSCALE)
        face = report.largest_mesh(finder, rgb)
        if ids is not None and face is not None:
            yield Case(rgb, face, np.isin(ids, FACE_PARTS), np.ones(ids.shape, dtype=np.bool_))


def scored(cases: Iterator[Case]) -> dict[str, Any]:
    """Mean IoU of both labels, and the time of the longer way."""
    found: dict[str, list[float]] = {"oval": [], "to the hairline": []}
    times = []
    for case in cases:
        oval = face_coverage(case.face, case.truth.shape)
        start = time.process_time()
        skin = skin_to_hairline(case.rgb, case.face, oval)
        times.append(time.process_time() - start)
        for name, label in (("oval", oval), ("to the hairline", skin)):
            both, either = label & case.truth & case.counts, (label | case.truth) & case.counts
            found[name].append(float(both.sum() / max(either.sum(), 1)))
    means = {name: mean_interval(values, range(len(values))) for name, values in found.items()}
    return {
        "faces": len(times),
        "iou": {name: np.round((one.value, one.low, one.high), 4).tolist() for name, one in means.items()},
        "median": {name: round(float(np.median(values)), 4) for name, values in found.items()},
        "ms_per_face_median": report.rounded(1000 * np.median(times), 1),
    }


def lines(figures: dict[str, Any]) -> list[str]:
    """The table."""
    rows: list[list[object]] = []
    for part, found in figures.items():
        if isinstance(found, str):
            rows.append([part, found, *["–"] * 4])
            continue
        for name, (mean, low, high) in found["iou"].items():
            cost = found["ms_per_face_median"] if name != "oval" else 0
            shown = f"{mean:.3f} [{low:.3f}, {high:.3f}]"
            rows.append([part, name, found["faces"], shown, f"{found['median'][name]:.3f}", cost])
    return [
        "# The face label of bare photos",
        "",
        "IoU with the true visible skin of the face, mean over faces with its 95 % interval; processor time.",
        "",
        *machine.table(["of", "label", "faces", "IoU", "median", "ms"], rows),
    ]


if __name__ == "__main__":
    main()
