"""How long a mask takes: per face after landmarks, step by step, and pictures per second with landmarks.

    uv run python benchmarks/overlay.py --photos DIR [--masktheface CHECKOUT]

Everything runs on one core, and what is counted is the processor time of the process, which another
program on the same core does not lengthen. Our runs and MaskTheFace's alternate, so both see the same state
of the machine; compare the ratios, not the milliseconds of two days. MaskTheFace gets an interpreter of its
own with the packages it needs from PyPI; without a checkout its figures are "not measured".
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import machine  # isort: skip, it must come before what it tells to use one thread

import cv2
import numpy as np

from dataset_tools.filter.models import load_finder
from dataset_tools.filter.settings import FilterSettings
from synth import render, scene
from synth.assets import Garment, draw_garment
from synth.forehead import skin_to_hairline
from synth.front import ordering
from synth.geometry import FaceMesh
from synth.scene import Effects
from synth.wearers import mesh_of

PEER_PACKAGES = (
    *("dlib-bin", "face_recognition_models", "opencv-python-headless", "numpy", "pillow"),
    *("imutils", "dotmap", "requests", "tqdm"),
)
FACE_PX = 512
NOT_MEASURED = "not measured"
# step → functions, where `scene` and `render` call them by these names
STEPS: dict[str, tuple[tuple[Any, str], ...]] = {
    "look for what is in front": ((ordering, "find_in_front"),),
    "hang the mask": ((scene, "build_mask"), (scene, "loop_curves"), (scene, "build_loops")),
    "read light and skin": (*((scene, name) for name in ("read_skin", "estimate_light", "visible_lengths")),),
    "read blur, noise, JPEG": ((scene, "read_state"), (scene, "draw_noise")),
    "light the cloth": ((scene, "shaded_cloth"),),
    "coverage": ((render, "cover"),),
    "sample the cloth": ((render, "sample"), (render, "_strap_colour")),
    "blur and noise": ((render, "finish"),),
    "shadow": ((render, "cast_shadow"), (render, "_receiver")),
    "JPEG": ((render, "_compressed"),),
    "composite": ((render, "composite"),),
}


def main() -> None:
    options = _options()
    core = machine.use_one_core()
    cv2.setNumThreads(1)
    finder = load_finder(FilterSettings(detector="mediapipe"))
    photos = _photos(options.photos, options.count)
    faces = [one for path in photos if (one := _large_face(path, finder)) is not None]
    if not faces:
        sys.exit(f"no face found in {len(photos)} photos of {options.photos}")
    with tempfile.TemporaryDirectory() as folder, _peer(options.masktheface) as peer:
        files = []
        for index, (rgb, _) in enumerate(faces):
            files.append(str(Path(folder) / f"{index}.png"))
            cv2.imwrite(files[-1], rgb[..., ::-1])
        rounds = [
            _round([str(path) for path in photos], files, faces, finder, peer)
            for _ in range(options.runs + 1)
        ][1:]  # the first one warms up
    figures = _figures(rounds, len(faces), len(photos))
    figures |= {
        "machine": machine.describe(),
        "bound_to_one_core": core is not None,
        "faces": len(faces),
        "photos": len(photos),
        "runs": options.runs,
        "landmarker": finder.landmarker.name,
        "peer": "MaskTheFace" if peer else f"{NOT_MEASURED}: no --masktheface",
    }
    machine.write("overlay", figures, _report(figures))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True, help="folder of photos with bare faces")
    parser.add_argument("--masktheface", type=Path, help="a checkout of github.com/aqeelanwar/MaskTheFace")
    parser.add_argument("--count", type=int, default=12, help="photos to take, evenly from the folder")
    parser.add_argument("--runs", type=int, default=7, help="rounds after the first, which warms up")
    return parser.parse_args()


def _photos(folder: Path, count: int) -> list[Path]:
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    return found[:: max(len(found) // count, 1)][:count]


def _read(path: str) -> np.ndarray:
    # RGB from the decoder: turning the channels around afterwards takes half as long as decoding.
    return np.asarray(cv2.imread(path, cv2.IMREAD_COLOR_RGB))


def _large_face(path: Path, finder: Any) -> tuple[np.ndarray, FaceMesh] | None:
    # The largest face of a photo, cut out so that its landmarks are 512 pixels high.
    rgb = _read(str(path))
    faces = [face for face in finder.find(rgb) if face.landmarks_xyz]
    if not faces:
        return None
    points = np.array(faces[0].landmarks_xyz).reshape(-1, 3)
    low, high = points[:, :2].min(axis=0), points[:, :2].max(axis=0)
    margin = 0.35 * (high[1] - low[1])
    x0, y0 = np.maximum(low - margin, 0).astype(int)
    x1, y1 = np.minimum(high + margin, rgb.shape[1::-1]).astype(int)
    scale = FACE_PX / (high[1] - low[1])
    size = (round((x1 - x0) * scale), round((y1 - y0) * scale))
    large = np.ascontiguousarray(cv2.resize(rgb[y0:y1, x0:x1], size, interpolation=cv2.INTER_CUBIC))
    found = [face for face in finder.find(large) if face.landmarks_xyz]
    return (large, mesh_of(found[0])) if found else None


def _dress(rgb: np.ndarray, mesh: FaceMesh, seed: int) -> np.ndarray:
    garment = draw_garment("surgical", "correct", np.random.default_rng(seed))
    return _worn(rgb, rgb, mesh, garment)


def _worn(rgb: np.ndarray, image: np.ndarray, mesh: FaceMesh, garment: Garment) -> np.ndarray:
    # As a build does it where no model file is: what is in front of the face is looked for, too.
    in_front = ordering.find_in_front(rgb, mesh, ordering.SKIN_EDGES).over(rgb.shape[:2])
    return render.composite(image, render.dress_face(rgb, mesh, garment, in_front, Effects()))


def _round(
    photos: list[str],
    files: list[str],
    faces: list[tuple[np.ndarray, FaceMesh]],
    finder: Any,
    peer: Callable[[list[str]], dict[str, float]] | None,
) -> dict[str, Any]:
    face_ms = []
    for seed, (rgb, mesh) in enumerate(faces):
        start = time.process_time()
        _dress(rgb, mesh, seed)
        face_ms.append(1000 * (time.process_time() - start))
    label_ms = []
    for rgb, mesh in faces:
        start = time.process_time()
        skin_to_hairline(rgb, mesh, render.face_coverage(mesh, rgb.shape[:2]))
        label_ms.append(1000 * (time.process_time() - start))
    with _timed_steps() as spent:
        for seed, (rgb, mesh) in enumerate(faces):
            _dress(rgb, mesh, seed)
    found: dict[str, Any] = {
        "face_ms": statistics.median(face_ms),
        "label_ms": statistics.median(label_ms),
        "steps": dict(spent),
    }
    found["faces"], _ = _whole(files, finder)
    if peer:
        found["peer_faces"] = peer(files)
    found["photos"], found["dressed"] = _whole(photos, finder)
    if peer:
        found["peer_photos"] = peer(photos)
    return found


def _whole(files: list[str], finder: Any) -> tuple[dict[str, float], int]:
    # From file to composite: decoding, landmarks, all faces.
    start, landmarks, dressed = time.process_time(), 0.0, 0
    for path in files:
        rgb = image = _read(path)
        before = time.process_time()
        faces = finder.find(rgb)
        landmarks += time.process_time() - before
        for face in faces:
            if face.landmarks_xyz:
                mesh = mesh_of(face)
                garment = draw_garment("surgical", "correct", np.random.default_rng(dressed))
                image = _worn(rgb, image, mesh, garment)
                dressed += 1
    return {"seconds": time.process_time() - start, "landmarks": landmarks}, dressed


@contextmanager
def _timed_steps() -> Iterator[dict[str, float]]:
    # Seconds spent in each step itself: what a step calls of another one counts there.
    spent: dict[str, float] = defaultdict(float)
    stack: list[float] = []
    originals = []

    def timed(step: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **values: Any) -> Any:
            stack.append(0.0)
            start = time.process_time()
            try:
                return function(*args, **values)
            finally:
                taken = time.process_time() - start
                spent[step] += taken - stack.pop()
                if stack:
                    stack[-1] += taken

        return call

    for step, functions in STEPS.items():
        for module, name in functions:
            originals.append((module, name, getattr(module, name)))
            setattr(module, name, timed(step, getattr(module, name)))
    whole = render.dress_face
    originals.append((render, "dress_face", whole))
    render.dress_face = timed("the rest", whole)
    try:
        yield spent
    finally:
        for module, name, function in originals:
            setattr(module, name, function)


@contextmanager
def _peer(checkout: Path | None) -> Iterator[Callable[[list[str]], dict[str, float]] | None]:
    if checkout is None:
        yield None
        return
    packages = [part for name in PEER_PACKAGES for part in ("--with", name)]
    script = Path(__file__).with_name("masktheface_peer.py").resolve()
    command = [
        "uv",
        "run",
        "--no-project",
        "--quiet",
        *packages,
        "python",
        str(script),
        str(checkout.resolve()),
    ]
    environment = {key: value for key, value in os.environ.items() if key != "VIRTUAL_ENV"}
    with subprocess.Popen(
        command,
        cwd=checkout,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdin and process.stdout
        requests, answers = process.stdin, process.stdout

        def ask(files: list[str]) -> dict[str, float]:
            requests.write(json.dumps([str(Path(file).resolve()) for file in files]) + "\n")
            requests.flush()
            answer = answers.readline()
            if not answer:
                raise SystemExit("MaskTheFace stopped; run masktheface_peer.py by hand to see why")
            return dict(json.loads(answer))

        yield ask
        requests.close()


def _figures(rounds: list[dict[str, Any]], faces: int, photos: int) -> dict[str, Any]:
    def middle(values: list[float]) -> float:
        return round(statistics.median(values), 3)

    steps = {
        step: middle([1000 * one["steps"].get(step, 0.0) / faces for one in rounds])
        for step in (*STEPS, "the rest")
    }
    figures: dict[str, Any] = {
        "ours": {
            "ms_per_face_after_landmarks": middle([one["face_ms"] for one in rounds]),
            "ms_per_face_label": middle([one["label_ms"] for one in rounds]),
            "ms_per_face_each_round": [round(one["face_ms"], 1) for one in rounds],
            "ms_per_step": steps,
            "images_per_second_512px_faces": middle([faces / one["faces"]["seconds"] for one in rounds]),
            "images_per_second_photos": middle([photos / one["photos"]["seconds"] for one in rounds]),
            "ms_landmarks_512px_faces": middle([1000 * one["faces"]["landmarks"] / faces for one in rounds]),
            "ms_landmarks_photos": middle([1000 * one["photos"]["landmarks"] / photos for one in rounds]),
            "faces_dressed_in_photos": rounds[0]["dressed"],
        }
    }
    if "peer_photos" not in rounds[0]:
        return figures
    peer = [(one["peer_faces"], one["peer_photos"]) for one in rounds]
    figures["masktheface"] = {
        "ms_per_face_after_landmarks": middle(
            [1000 * large["overlay_seconds"] / max(large["faces"], 1) for large, _ in peer]
        ),
        "images_per_second_512px_faces": middle([faces / large["seconds"] for large, _ in peer]),
        "images_per_second_photos": middle([photos / whole["seconds"] for _, whole in peer]),
        "faces_dressed_512px": peer[0][0]["faces"],
        "faces_dressed_in_photos": peer[0][1]["faces"],
    }
    figures["ours_over_masktheface"] = {
        "time_per_face_after_landmarks": middle(
            [
                one["face_ms"] / (1000 * large["overlay_seconds"] / max(large["faces"], 1))
                for one, (large, _) in zip(rounds, peer, strict=True)
            ]
        ),
        "images_per_second_512px_faces": middle(
            [one["peer_faces"]["seconds"] / one["faces"]["seconds"] for one in rounds]
        ),
        "images_per_second_photos": middle(
            [one["peer_photos"]["seconds"] / one["photos"]["seconds"] for one in rounds]
        ),
    }
    return figures


def _report(figures: dict[str, Any]) -> list[str]:
    ours, about = figures["ours"], figures["machine"]
    peer = figures.get("masktheface", {})
    ratio = figures.get("ours_over_masktheface", {})
    rows = [
        (
            "ms per 512-px face after landmarks",
            "ms_per_face_after_landmarks",
            "time_per_face_after_landmarks",
        ),
        ("pictures/s, one 512-px face each, landmarks included", *["images_per_second_512px_faces"] * 2),
        ("pictures/s, photos as they are, landmarks included", *["images_per_second_photos"] * 2),
    ]
    total = sum(ours["ms_per_step"].values())
    return [
        "# Overlay: time on one core",
        "",
        f"{about['processor']}, {about['cores']} cores (one used), load {about['load'][0]}; "
        f"median of {figures['runs']} rounds over {figures['faces']} faces and {figures['photos']} photos; "
        "default surgical mask with light, shadow, blur, noise and JPEG state. The face's label, which "
        f"MaskTheFace has not and the first line leaves out, takes {ours['ms_per_face_label']:.1f} ms more. "
        f"Landmarks by {figures['landmarker']}: {ours['ms_landmarks_512px_faces']:.1f} ms of each picture "
        f"with a 512-px face, {ours['ms_landmarks_photos']:.1f} ms of each photo.",
        "",
        *machine.table(
            ("", "ours", "MaskTheFace", "ours / theirs"),
            [(title, ours[key], peer.get(key, NOT_MEASURED), ratio.get(of, "–")) for title, key, of in rows],
        ),
        "",
        *machine.table(
            ("step, after landmarks", "ms", "share"),
            [(step, round(ms, 1), f"{ms / total:.0%}") for step, ms in ours["ms_per_step"].items()],
        ),
    ]


if __name__ == "__main__":
    main()
