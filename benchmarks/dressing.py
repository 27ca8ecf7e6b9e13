"""What the overlay does to real photos: yield by yaw, R2/R3 turning and mirroring, R6, R7 and R8 compositing.

    uv run python benchmarks/dressing.py --workspace DIR [--photos N] [--turned N] [--json FILE]

`--workspace` is the folder of a build that has been filtered; it is only read. The yield counts every face of
it that wears no mask, with the reason for each that stays bare. The rest is measured on a sample.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import machine
import numpy as np
import report
from views import View, found_again, mirrored, same, turned

from dataset_tools.core.labels import Wearing
from dataset_tools.core.manifest import Manifest
from dataset_tools.core.record import Face, Sample
from dataset_tools.core.seeds import derive_seed
from dataset_tools.core.workspace import Workspace
from dataset_tools.filter.quality import shorter_side_px
from synth.assets import Garment, draw_garment
from synth.dress import METHODS, dress_photo
from synth.front.ordering import NOTHING, find_in_front
from synth.geometry import FaceMesh, build_face
from synth.placement import fit_head_frame, read_landmarks
from synth.render import Dressing, Effects, composite, dress_face
from synth.settings import SynthSettings
from synth.stage import SynthStage
from synth.wearers import Limits, find_wearers

YAW_STEP_DEG = 10
NO_POSE = "no landmarks"
DRESSED = "dressed"
TINY = "too small for the filter"
ANGLES = (15, -15, 45, -45, 90, -90)
RIM = (0.02, 0.98)  # coverage between which a pixel belongs to the rim
RIM_TOLERANCE = 2.0  # grey levels: the two sides and the result are rounded
RIM_COUNTS = (
    "rim_pixels",
    "inside_the_layers_range",
    "with_both_sides_near",
    "of_these_inside_the_neighbours_range",
    "of_these_inside_in_the_bare_photo",
)
NEIGHBOURS = np.ones((11, 11), dtype=np.uint8)  # wide enough to see both sides of a blurred rim
MIN_ROLL_IOU, MIN_FLIP_IOU = 0.98, 0.99  # R2, R3
GARMENT_SEED = 0


@dataclass(frozen=True)
class Build:
    """A finished filter manifest with its pictures."""

    manifest: Manifest
    workspace: Workspace

    @property
    def min_face_px(self) -> int:
        """Shorter side of a face box below which the filter looked for no landmarks."""
        return int(self.manifest.header["config"]["min_face_px"])

    def photo(self, sample: Sample) -> np.ndarray:
        """The stored picture."""
        return self.workspace.images.read(sample.image)


def main() -> None:
    parser = report.parser(__doc__)
    parser.add_argument("--workspace", type=Path, help="folder of a build that has been filtered")
    parser.add_argument("--photos", type=int, default=100, help="photos to dress for R6 to R8 (100)")
    parser.add_argument("--turned", type=int, default=25, help="photos to turn and mirror for R2 and R3 (25)")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    build = _open(options.workspace)
    if isinstance(build, str):
        report.publish({"dressing": build}, ["# Dressing real photos", "", f"{build}."], options.json)
        return
    stage = SynthStage(SynthSettings(), seed=0)
    figures: dict[str, Any] = {"front": stage.front}
    figures["yield"], dressable = count_yield(build, stage)
    figures["compositing"] = compositing(build, stage, _evenly(dressable, options.photos))
    figures["turning"] = turning(build, stage, _evenly(dressable, options.turned))
    report.publish(figures, _lines(figures), options.json)


def _open(folder: Path | None) -> Build | str:
    if folder is None or not folder.is_dir():
        return report.not_measured("no --workspace" if folder is None else "--workspace is no folder")
    done = [path for path in (folder / "manifests").glob("filter-*") if (path / "header.json").is_file()]
    if not done:
        return report.not_measured("the workspace holds no finished filter manifest")
    newest = max(done, key=lambda path: (path / "header.json").stat().st_mtime)
    return Build(Manifest(newest), Workspace(folder))


def _evenly(samples: Sequence[Sample], count: int) -> list[Sample]:
    chosen = np.unique(np.linspace(0, len(samples) - 1, min(count, len(samples))).round().astype(int))
    return [samples[index] for index in chosen]


def _recipe(stage: SynthStage, sample: Sample) -> Any:
    # As the stage draws a photo's first child.
    limits = Limits(stage.settings.max_yaw_deg, stage.settings.min_face_px)
    wearers, refusals = find_wearers(sample.faces, sample.image.size_hw, limits)
    seed = derive_seed(stage.seed, sample.id, "synth", "0")
    recipe, unfit = stage.draw_recipe(sample, wearers, seed)
    return recipe, [*refusals, *unfit]


def count_yield(build: Build, stage: SynthStage) -> tuple[dict[str, Any], list[Sample]]:
    """Faces that got a mask, by yaw, and why the others did not; and the photos with a dressed face.

    Photos in which a face already wears a mask are left alone as the stage does, and counted apart.
    """
    counts: dict[str, Counter[str]] = {}
    photos = masked = no_face = 0
    dressable = []
    for sample in build.manifest.samples():
        photos += 1
        if any(face.wearing in (Wearing.MASKED, Wearing.INCORRECT) for face in sample.faces):
            masked += 1
            continue
        if not sample.faces:
            no_face += 1
            continue
        recipe, refusals = _recipe(stage, sample)
        worn = dict(recipe.garments)
        why = {refusal.face: refusal.reason.value for refusal in refusals}
        for index, face in enumerate(sample.faces):
            result = DRESSED if index in worn else why[index]
            if result == "no_landmarks" and shorter_side_px(face.box_xyxy) < build.min_face_px:
                result = TINY
            counts.setdefault(_bin(face), Counter())[result] += 1
        if worn:
            dressable.append(sample)
    total = sum(counts.values(), Counter())
    by_bin = dict(sorted(counts.items(), key=lambda item: (item[0] == NO_POSE, item[0])))
    found = {
        "photos": photos,
        "photos_with_a_masked_face": masked,
        "photos_without_a_face": no_face,
        "by_yaw": {name: _yield(here) for name, here in by_bin.items()},
        "all_bare_faces": _yield(total),
        "faces_with_landmarks": _yield(sum((c for n, c in counts.items() if n != NO_POSE), Counter())),
        "large_enough_each_head_once": _yield(
            Counter({why: number for why, number in total.items() if why not in ("duplicate", TINY)})
        ),
    }
    return found, dressable


def _bin(face: Face) -> str:
    if not face.pose_deg:
        return NO_POSE
    low = int(abs(face.pose_deg[0]) // YAW_STEP_DEG) * YAW_STEP_DEG
    return f"{low:02d}-{low + YAW_STEP_DEG}°"


def _yield(counts: Counter[str]) -> dict[str, Any]:
    faces = sum(counts.values())
    reasons = {name: number for name, number in counts.most_common() if name != DRESSED}
    share = report.rounded(counts[DRESSED] / faces) if faces else None
    return {"faces": faces, "dressed": counts[DRESSED], "yield": share, "reasons": reasons}


def compositing(build: Build, stage: SynthStage, samples: Sequence[Sample]) -> dict[str, Any]:
    """R6 to R8 over photos, with the masks that the stage would draw on them."""
    errors: list[float] = []
    rim = np.zeros(len(RIM_COUNTS), dtype=np.int64)
    changed = untouched = 0
    for sample in samples:
        photo = build.photo(sample)
        recipe, _ = _recipe(stage, sample)
        dressed = dress_photo(photo, sample.faces, recipe, stage.resources)
        touched = dressed.shadow > 0
        for face in dressed.faces:
            touched |= (face.mask_alpha > 0) | (face.strap_alpha > 0) | (face.occluder_alpha > 0)
        untouched += int((~touched).sum())
        changed += int((dressed.image != photo).any(axis=-1)[~touched].sum())
        for index, garment in recipe.garments:
            mesh = mesh_of_points(read_landmarks(sample.faces[index].landmarks_xyz))
            in_front = find_in_front(photo, mesh, recipe.front).over(photo.shape[:2])
            drawn = METHODS[recipe.method].draw(photo, mesh, garment, in_front, recipe.effects)
            errors.append(max_error(photo, drawn))
            rim += rim_counts(photo, drawn)
    return {
        "photos": len(samples),
        "faces": len(errors),
        "R6_max_error_grey_levels": report.rounded(max(errors, default=math.nan)),
        "R7_untouched_pixels": untouched,
        "R7_of_these_changed": changed,
        "R8": dict(zip(RIM_COUNTS, rim.tolist(), strict=True)),
        "R8_inside_the_layers_range": report.rounded(rim[1] / rim[0], 6) if rim[0] else None,
        "R8_inside_the_neighbours_range": report.rounded(rim[3] / rim[2], 6) if rim[2] else None,
        "R8_the_same_of_the_bare_photo": report.rounded(rim[4] / rim[2], 6) if rim[2] else None,
    }


def max_error(photo: np.ndarray, drawn: Dressing) -> float:
    """Largest difference, in grey levels, of the composite from R6's formula in 64-bit numbers."""
    x, y, width, height = drawn.box
    window = photo[y : y + height, x : x + width]
    light = to_linear(window / 255.0) * (1 - drawn.shadow.astype(np.float64))[..., None]
    for layer in (drawn.loops, drawn.mask):
        share = layer.opacity.astype(np.float64)[..., None]
        light = share * layer.colour.astype(np.float64) + (1 - share) * light
    expected = to_srgb(np.clip(light, 0, 1)) * 255
    made = composite(photo, drawn)[y : y + height, x : x + width]
    return float(np.abs(made - expected).max(initial=0.0))


def rim_counts(photo: np.ndarray, drawn: Dressing) -> np.ndarray:
    """R8: rim pixels inside the range of the two sides that they join, counted as in `RIM_COUNTS`.

    The first range is what the layers hold at the pixel itself: the sheet's colour and the photo with its
    shadow. The second knows only the finished picture: the pixels of pure mask and of pure photo around it.
    Noise and texture leave that range without any halo, so the bare photo is counted in the same way.
    """
    x, y, width, height = drawn.box
    alpha, straps = drawn.mask.alpha, drawn.loops.alpha
    window = photo[y : y + height, x : x + width]
    made = composite(photo, drawn)[y : y + height, x : x + width].astype(np.float64)
    rim = (alpha > RIM[0]) & (alpha < RIM[1]) & (straps == 0)
    dark = (1 - drawn.shadow.astype(np.float64))[..., None]
    under = to_srgb(to_linear(window / 255.0) * dark) * 255
    sheet = to_srgb(np.clip(drawn.mask.colour.astype(np.float64), 0, 1)) * 255
    own = _within(made, np.minimum(sheet, under), np.maximum(sheet, under))
    mask, bare = alpha >= RIM[1], (alpha <= RIM[0]) & (straps == 0)
    joins = rim & _spread(mask) & _spread(bare)
    ranges = [
        _within(picture, *_range(picture, mask | bare)) for picture in (made, window.astype(np.float64))
    ]
    counts = (rim, rim & own, joins, *(joins & inside for inside in ranges))
    return np.array([int(count.sum()) for count in counts])


def _spread(where: np.ndarray) -> np.ndarray:
    return cv2.dilate(where.astype(np.uint8), NEIGHBOURS) > 0


def _range(picture: np.ndarray, where: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    low = cv2.erode(np.where(where[..., None], picture, 255.0), NEIGHBOURS)
    return low, cv2.dilate(np.where(where[..., None], picture, 0.0), NEIGHBOURS)


def _within(values: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    return ((values >= low - RIM_TOLERANCE) & (values <= high + RIM_TOLERANCE)).all(axis=-1)


def to_linear(srgb: np.ndarray) -> np.ndarray:
    """IEC 61966-2-1, of values 0 to 1."""
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def to_srgb(linear: np.ndarray) -> np.ndarray:
    """The inverse of `to_linear`."""
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def mesh_of_points(points: np.ndarray) -> FaceMesh:
    """The skin that 478 landmarks span."""
    return build_face(points, fit_head_frame(points))


def turning(build: Build, stage: SynthStage, samples: Sequence[Sample]) -> dict[str, Any]:
    """R2 and R3 on photos: a symmetric surgical mask on the photo's largest face, photo turned and mirrored.

    Three rows: the renderer with landmarks that turn with the photo; the same with hands, hair and spectacles
    found in the turned photo; and with landmarks found anew in it too, where they are found.
    """
    photos = [found for sample in samples if (found := _largest(build, sample)) is not None]
    rows: dict[str, Any] = {
        "landmarks_turned": _turning(photos, NOTHING, lambda view: view.points),
        "things_in_front_found_again": _turning(photos, stage.front, lambda view: view.points),
    }
    finder = report.open_finder()
    rows["landmarker"] = report.landmarker_of(finder)
    rows["landmarks_found_again"] = (
        report.NO_LANDMARKER
        if finder is None
        else _turning(photos, stage.front, lambda view: found_again(finder, view))
    )
    return {"photos": len(photos), "angles_deg": list(ANGLES), **rows}


def _largest(build: Build, sample: Sample) -> tuple[np.ndarray, np.ndarray] | None:
    for face in sample.faces:
        if face.landmarks_xyz:
            return build.photo(sample), read_landmarks(face.landmarks_xyz)
    return None


def _turning(
    photos: Sequence[tuple[np.ndarray, np.ndarray]],
    front: str,
    look: Callable[[View], np.ndarray | None],
) -> dict[str, Any]:
    garment = draw_garment("surgical", "correct", np.random.default_rng(GARMENT_SEED))
    rolls: list[float | None] = []
    flips: list[float | None] = []
    for rgb, points in photos:
        before = label(rgb, points, garment, front)
        views = [(rolls, turned(rgb, points, angle)) for angle in ANGLES]
        for results, view in (*views, (flips, mirrored(rgb, points))):
            seen = look(view)
            results.append(
                None if seen is None else same(before, view, label(view.rgb, seen, garment, front))
            )
    return {"R2_roll": _ious(rolls, MIN_ROLL_IOU), "R3_flip": _ious(flips, MIN_FLIP_IOU)}


def label(rgb: np.ndarray, points: np.ndarray, garment: Garment, front: str) -> np.ndarray:
    """(H, W) float32 coverage by the mask."""
    mesh = mesh_of_points(points)
    in_front = find_in_front(rgb, mesh, front).over(rgb.shape[:2])
    drawn = dress_face(rgb, mesh, garment, in_front, Effects())
    x, y, width, height = drawn.box
    whole = np.zeros(rgb.shape[:2], dtype=np.float32)
    whole[y : y + height, x : x + width] = drawn.mask.alpha
    return whole


def _ious(values: Sequence[float | None], least: float) -> dict[str, Any]:
    found = [value for value in values if value is not None]
    if not found:
        return {"views": len(values), "found": 0}
    return {
        "views": len(values),
        "found": len(found),
        "iou_median": report.rounded(np.median(found)),
        "iou_p05": report.rounded(np.quantile(found, 0.05)),
        f"share_at_least_{least}": report.rounded(np.mean(np.array(found) >= least)),
    }


def _lines(figures: dict[str, Any]) -> list[str]:
    count, drawn, turns = figures["yield"], figures["compositing"], figures["turning"]
    lines = [
        "# Dressing real photos",
        "",
        f"{count['photos']} photos; {count['photos_with_a_masked_face']} that show a face with a mask and "
        f"{count['photos_without_a_face']} without a face are left alone. Before faces: {figures['front']}.",
        "",
    ]
    named = [(f"yaw {name}" if name != NO_POSE else name, found) for name, found in count["by_yaw"].items()]
    named += [
        ("faces with landmarks", count["faces_with_landmarks"]),
        ("large enough to dress, each head once", count["large_enough_each_head_once"]),
        ("all bare faces", count["all_bare_faces"]),
    ]
    rows: list[Sequence[object]] = [
        (
            name,
            found["faces"],
            report.percent(found["yield"]),
            ", ".join(f"{why} {number}" for why, number in found["reasons"].items()) or "–",
        )
        for name, found in named
    ]
    lines += machine.table(("R1 yield", "faces", "dressed", "the others"), rows)
    about = f"compositing, {drawn['faces']} faces in {drawn['photos']} photos"
    changed = f"{drawn['R7_of_these_changed']} of {drawn['R7_untouched_pixels']}"
    rim = [
        report.percent(drawn[f"R8_{key}"], 2)
        for key in ("inside_the_layers_range", "inside_the_neighbours_range", "the_same_of_the_bare_photo")
    ]
    rows = [
        ("R6 largest difference from 64-bit arithmetic, grey levels", drawn["R6_max_error_grey_levels"]),
        ("R7 untouched pixels that changed", changed),
        ("R8 rim pixels between the sheet's colour and the photo's", rim[0]),
        ("rim pixels within the range of their neighbours on both sides", rim[1]),
        ("the same pixels of the undressed photo", rim[2]),
    ]
    lines += ["", *machine.table((about, ""), rows), ""]
    rows = []
    for name, key, least in (("turned", "R2_roll", MIN_ROLL_IOU), ("mirrored", "R3_flip", MIN_FLIP_IOU)):
        for way in ("landmarks_turned", "things_in_front_found_again", "landmarks_found_again"):
            title = f"{name}, {way.replace('_', ' ')}"
            if isinstance(turns[way], str) or not turns[way][key]["found"]:
                rows.append((title, turns[way] if isinstance(turns[way], str) else 0, "–", "–", "–"))
                continue
            found = turns[way][key]
            share = report.percent(found[f"share_at_least_{least}"])
            rows.append(
                (
                    title,
                    f"{found['found']} of {found['views']}",
                    found["iou_median"],
                    found["iou_p05"],
                    f"{share} ≥ {least}",
                )
            )
    angles = ", ".join(f"{angle}°" for angle in turns["angles_deg"])
    header = (
        f"{turns['photos']} photos turned by {angles}, and mirrored",
        "faces",
        "IoU median",
        "p05",
        "share",
    )
    return [*lines, *machine.table(header, rows)]


if __name__ == "__main__":
    main()
