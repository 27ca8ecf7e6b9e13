"""What is found in front of faces (R14): precision, recall and IoU of each method, false finds on bare faces.

    uv run python benchmarks/front.py [--pairs DIR] [--bare DIR] [--count N] [--json FILE]

Only what lies within the mask's own area counts. `--pairs` is a folder of portraits with parsing masks as
CelebAMask-HQ has them: image/*.jpg, mask/*.png with class ids, classes.txt with "id name" lines; hair,
spectacles and hats are truth. Hands and microphones have no class there, so a found one counts as false.
`--bare` is a folder of photos of bare faces: what is found there is an upper bound on the false finds, since
hands and hair in them count as false. Drawn heads need no files.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import machine
import numpy as np
import report

from dataset_tools.weights import status
from synth.assets import draw_garment
from synth.front.facegrid import FaceGrid, face_grid
from synth.front.ordering import METHODS, NOTHING, PARTS, find_in_front, soften
from synth.front.segmenter import before_face
from synth.geometry import GRID_COLUMNS, GRID_ROWS, FaceMesh, build_face, build_mask, grid_triangles
from synth.heads.draw import draw_head
from synth.heads.head import Head
from synth.placement import fit_head_frame
from synth.raster import coverage

TRUE_CLASSES = ("hair", "eye_g", "hat")
FALSE_FIND_SHARE = 0.01  # of the mask's area; less is not seen
# What the segmenter calls CelebAMask's classes; the rest is face.
_SEGMENTER_PARTS = {
    "hair": 1,
    "neck": 2,
    "cloth": 4,
    **dict.fromkeys(("eye_g", "hat", "ear_r", "neck_l"), 5),
    "background": 0,
}
_FACE_PART = 3
_SEGMENTER_PX, _SEGMENTER_BLUR_PX = 256, 2.0
SIMULATED = f"{PARTS.split('@')[0]}, its network replaced by the truth at {_SEGMENTER_PX} px"

DRAWN: dict[str, list[dict[str, Any]]] = {
    "drawn hands": [
        {"hand": place, "yaw_deg": yaw} for place in ("cheek", "chin", "mouth", "eye") for yaw in (0.0, 25.0)
    ],
    "drawn spectacles": [
        {"glasses": kind, "yaw_deg": yaw} for kind in ("round", "square", "dark") for yaw in (0.0, 35.0)
    ],
}
SCORED = ("pairs", *DRAWN)

Find = Callable[["Case"], np.ndarray]


@dataclass(frozen=True)
class Case:
    """A face with the mask's area and what of it is hidden; both (H, W) bool.

    `classes` is the parsing mask with its names, where there is one.
    """

    rgb: np.ndarray
    face: FaceMesh
    area: np.ndarray
    truth: np.ndarray
    classes: tuple[np.ndarray, dict[int, str]] | None = None


def main() -> None:
    parser = report.parser(__doc__)
    parser.add_argument("--pairs", type=Path, help="folder of portraits with parsing masks")
    parser.add_argument("--bare", type=Path, help="folder of photos of bare faces")
    parser.add_argument("--count", type=int, default=100, help="photos of each folder, evenly from it (100)")
    parser.add_argument(
        "--method", action="append", choices=sorted(METHODS), help="only this; may be repeated"
    )
    parser.add_argument(
        "--skip", action="append", default=[], metavar="STEM", help="leave out a pair whose mask is wrong"
    )
    options = parser.parse_args()
    cv2.setNumThreads(1)
    here = {item.name for item in status() if item.path is not None}
    wanted = options.method or [name for name in METHODS if name != NOTHING]
    methods = [name for name in wanted if here.issuperset(METHODS[name].files)]
    missing = {name: sorted({*METHODS[name].files} - here) for name in wanted if name not in methods}
    finder = report.open_finder()
    figures: dict[str, Any] = {
        "pairs": _of_folder(options.pairs, "--pairs", finder),
        "bare": _of_folder(options.bare, "--bare", finder),
        "landmarker": report.landmarker_of(finder),
        "missing_files": missing,
        "pairs_left_out": options.skip,
    }
    if not isinstance(figures["pairs"], str):
        cases = list(pairs(options.pairs, options.count, options.skip, finder))
        figures["pairs"] = {name: scored(cases, named(name)) for name in methods}
        if PARTS in missing:
            figures["pairs"][SIMULATED] = scored(cases, simulated)
    if not isinstance(figures["bare"], str):
        cases = list(bare(options.bare, options.count, finder))
        figures["bare"] = {name: false_finds(cases, named(name)) for name in methods}
    for kind in DRAWN:
        drawn = heads(kind)
        figures[kind] = {name: scored(drawn, named(name)) for name in methods}
    for part in (*SCORED, "bare"):
        if not isinstance(figures[part], str):
            figures[part] |= {
                name: report.not_measured(f"no {', '.join(files)} on this machine")
                for name, files in missing.items()
            }
    report.publish(figures, _lines(figures), options.json)


def _of_folder(folder: Path | None, option: str, finder: Any) -> dict[str, Any] | str:
    if folder is None or not folder.is_dir():
        return report.not_measured(f"no {option}" if folder is None else f"{option} is no folder")
    return report.NO_LANDMARKER if finder is None else {}


def named(method: str) -> Find:
    """A method of `synth.front.ordering` as coverage of the whole photo."""
    return lambda case: find_in_front(case.rgb, case.face, method).over(case.area.shape)


def simulated(case: Case) -> np.ndarray:
    """What is made of the segmenter's answer, were that the truth at its own resolution.

    An upper bound on the method whose network is not here, without its hands.
    """
    assert case.classes is not None
    ids, names = case.classes
    part_of = np.full(max(names) + 1, _FACE_PART)
    for number, name in names.items():
        part_of[number] = _SEGMENTER_PARTS.get(name, _FACE_PART)
    grid = face_grid(case.rgb, case.face)
    x, y, width, height = grid.box
    parts = np.eye(6, dtype=np.float32)[part_of[ids[y : y + height, x : x + width]]]
    shrink = _SEGMENTER_PX / max(width, height)
    small = cv2.resize(parts, (max(int(width * shrink), 1), max(int(height * shrink), 1)))
    blurred = cv2.GaussianBlur(small, (0, 0), _SEGMENTER_BLUR_PX)
    return _over(case, grid, before_face(grid, cv2.resize(blurred, grid.rgb.shape[1::-1])))


def _over(case: Case, grid: FaceGrid, found: np.ndarray) -> np.ndarray:
    whole = np.zeros(case.area.shape, dtype=np.float32)
    if found.any():
        (x, y, width, height), alpha = soften(case.rgb, grid, found)
        whole[y : y + height, x : x + width] = alpha
    return whole


def mask_area(face: FaceMesh, size_hw: tuple[int, int]) -> np.ndarray:
    """(H, W) bool, pixels of a surgical mask worn by this face, as if nothing were in front of it."""
    shape = draw_garment("surgical", "correct", np.random.default_rng(0)).shape
    points = build_mask(shape, face).grid_px.reshape(-1, 3)
    return coverage(points, grid_triangles(GRID_ROWS, GRID_COLUMNS), (0, 0, size_hw[1], size_hw[0]))


def heads(kind: str) -> list[Case]:
    """Drawn people with a hand or spectacles before the face; their hair leaves a mask's area free."""
    cases = []
    for values in DRAWN[kind]:
        picture = draw_head(Head(**values, size_px=512, px_per_mm=1.6))
        face = build_face(picture.landmarks, fit_head_frame(picture.landmarks))
        area = mask_area(face, picture.image.shape[:2])
        cases.append(Case(picture.image, face, area, (picture.occluder > 0.5) & area))
    return cases


def pairs(folder: Path, count: int, skip: Sequence[str], finder: Any) -> Iterator[Case]:
    """Portraits with parsing masks; those without a found face are left out."""
    names = dict(line.split(maxsplit=1) for line in (folder / "classes.txt").read_text().splitlines() if line)
    classes = {int(number): name.strip() for number, name in names.items()}
    true_ids = [number for number, name in classes.items() if name in TRUE_CLASSES]
    images = [path for path in (folder / "image").iterdir() if path.stem not in skip]
    for path in report.some(images, count):
        mask = cv2.imread(str(folder / "mask" / f"{path.stem}.png"), cv2.IMREAD_UNCHANGED)
        rgb = _read(path)
        face = report.largest_mesh(finder, rgb)
        if mask is None or face is None or mask.shape[:2] != rgb.shape[:2]:
            continue
        ids = mask if mask.ndim == 2 else mask[..., 0]
        area = mask_area(face, rgb.shape[:2])
        yield Case(rgb, face, area, np.isin(ids, true_ids) & area, (ids, classes))


def bare(folder: Path, count: int, finder: Any) -> Iterator[Case]:
    """The largest face of each photo, with nothing in front of it as far as anybody knows."""
    for path in report.some(folder.iterdir(), count):
        rgb = _read(path)
        face = report.largest_mesh(finder, rgb)
        if face is not None:
            area = mask_area(face, rgb.shape[:2])
            yield Case(rgb, face, area, np.zeros_like(area))


def _read(path: Path) -> np.ndarray:
    return np.ascontiguousarray(cv2.imread(str(path), cv2.IMREAD_COLOR)[..., ::-1])


def scored(cases: Sequence[Case], find: Find) -> dict[str, Any]:
    """Pixels of all cases together: precision, recall, IoU; and the time for one face."""
    hit = false = missed = area = 0
    times = []
    for case in cases:
        start = time.perf_counter()
        alpha = find(case)
        times.append(time.perf_counter() - start)
        found = (alpha >= 0.5) & case.area
        hit += int((found & case.truth).sum())
        false += int((found & ~case.truth).sum())
        missed += int((case.truth & ~found).sum())
        area += int(case.area.sum())
    return {
        "faces": len(cases),
        "precision": _ratio(hit, hit + false),
        "recall": _ratio(hit, hit + missed),
        "iou": _ratio(hit, hit + false + missed),
        "truth_share_of_area": _ratio(hit + missed, area),
        "false_share_of_area": _ratio(false, area),
        "ms_per_face_median": report.rounded(1000 * np.median(times), 1) if times else None,
    }


def false_finds(cases: Sequence[Case], find: Find) -> dict[str, Any]:
    """Share of the mask's area that is found to be hidden on bare faces."""
    shares, times = [], []
    for case in cases:
        start = time.perf_counter()
        found = (find(case) >= 0.5) & case.area
        times.append(time.perf_counter() - start)
        shares.append(found.sum() / max(case.area.sum(), 1))
    if not shares:
        return {"faces": 0}
    return {
        "faces": len(shares),
        "mean_share_of_area": report.rounded(np.mean(shares)),
        "faces_with_a_find": report.rounded(np.mean(np.array(shares) > FALSE_FIND_SHARE)),
        "ms_per_face_median": report.rounded(1000 * np.median(times), 1),
    }


def _ratio(part: int, whole: int) -> float | None:
    return report.rounded(part / whole) if whole else None


def _lines(figures: dict[str, Any]) -> list[str]:
    lines = [
        "# In front of the face",
        "",
        "Pixels within the area of a surgical mask, all faces together. Pairs: hair, spectacles and hats of "
        "portraits with parsing masks, which have no class for hands: a found one counts as false. The drawn "
        "people's masks are exact.",
        "",
    ]
    rows: list[Sequence[object]] = []
    for part in SCORED:
        if isinstance(figures[part], str):
            rows.append((part, figures[part], *["–"] * 6))
            continue
        for name, found in figures[part].items():
            if isinstance(found, str):
                rows.append((part, name, found, *["–"] * 5))
                continue
            shares = (
                report.percent(found[key]) for key in ("precision", "recall", "iou", "false_share_of_area")
            )
            rows.append((part, name, found["faces"], *shares, found["ms_per_face_median"]))
    header = ("", "method", "faces", "precision", "recall", "IoU", "false share of the area", "ms per face")
    lines += [*machine.table(header, rows), ""]
    if figures["pairs_left_out"]:
        lines += [f"Left out, their masks being wrong: {', '.join(figures['pairs_left_out'])}.", ""]
    if isinstance(figures["bare"], str):
        return [*lines, f"Bare faces: {figures['bare']}."]
    rows = []
    for name, found in figures["bare"].items():
        if isinstance(found, str) or not found["faces"]:
            rows.append((name, found if isinstance(found, str) else 0, "–", "–", "–"))
            continue
        shares = (report.percent(found[key], 2) for key in ("mean_share_of_area", "faces_with_a_find"))
        rows.append((name, found["faces"], *shares, found["ms_per_face_median"]))
    more = f"faces with > {FALSE_FIND_SHARE:.0%}"
    header = ("photos of bare faces", "faces", "mean share of the area found", more, "ms per face")
    return [*lines, *machine.table(header, rows)]


if __name__ == "__main__":
    main()
