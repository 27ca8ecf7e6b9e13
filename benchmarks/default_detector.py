"""The suite's own face-mask detector beside AIZOO's published weights, on photos neither has learned from.

    uv run python benchmarks/default_detector.py --masked FOLDER --bare FOLDER… --boxes FOLDER --aizoo FOLDER

Of the photos under --masked and --bare it is known what the people on them wear; --boxes holds a COCO file
`instances.json` with the categories with_mask, without_mask and mask_weared_incorrect, and its pictures in
`images/`. --aizoo holds the Caffe pair. Both detectors see the same decoded photos in the same run, from
score 0.05 on; a face counts in the questions about whole photos from 0.5 on.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import machine  # isort: skip, it must come before what it tells to use one thread

import cv2
import numpy as np

from baselines.detection.boxes import Detections, true_boxes
from baselines.ssd.scoring import Answer, box_figures, photo_figures, wrong_answers
from dataset_tools.core.errors import DataError, ItemFault
from dataset_tools.core.images import RgbImage, decode_photo
from dataset_tools.filter.aizoo import AizooDetector, FaceDetector
from dataset_tools.filter.default_detector import SHIPPED_WEIGHTS, DefaultDetector

PROTOTXT, CAFFEMODEL = "face_mask_detection.prototxt", "face_mask_detection.caffemodel"
STATES = {"with_mask": "masked", "without_mask": "unmasked", "mask_weared_incorrect": "incorrect"}
LEAST_SCORE = 0.05
PHOTO_ROWS = {
    "has-masked right": "has_masked",
    "has-unmasked right": "has_unmasked",
    "has-masked right, wrongly worn masks counted as masks": "worn_somehow",
    "unmasked photos with a false mask": "false_masks",
    "unmasked photos with a false mask or wrongly worn mask": "false_worn",
    "no face found": "nothing",
}
BOX_ROWS = {
    "AP50, faces whatever they wear": "ap50",
    "AP50, masked": "ap50_masked",
    "AP50, unmasked": "ap50_unmasked",
    "AP50, worn wrongly": "ap50_incorrect",
}


def main() -> None:
    options = _options()
    machine.use_one_core()
    cv2.setNumThreads(1)
    detectors: dict[str, FaceDetector] = {
        "AIZOO": AizooDetector(options.aizoo / CAFFEMODEL, options.aizoo / PROTOTXT),
        "default": DefaultDetector(options.weights),
    }
    photos = list(known_photos(options.masked, "masked")) + list(known_photos(options.bare, "unmasked"))
    boxed = list(boxed_photos(options.boxes))
    figures: dict[str, Any] = {"machine": machine.describe()}
    for title, detector in detectors.items():
        figures[title] = measure(detector, photos, boxed)
    if options.name:
        machine.write(options.name, figures, lines(figures, list(detectors)))
    else:
        print("\n".join(lines(figures, list(detectors))))


Known = tuple[str, RgbImage, frozenset[str], Detections | None]


def measure(detector: FaceDetector, photos: Iterable[Known], boxed: Iterable[Known]) -> dict[str, Any]:
    """All figures of one detector, and the photos it answers wrongly."""
    begun = time.process_time()
    answers = [answered(detector, one) for one in photos]
    milliseconds = 1000 * (time.process_time() - begun) / max(len(answers), 1)
    street = [answered(detector, one) for one in boxed]
    return {
        "name": detector.name,
        "milliseconds": round(milliseconds, 1),
        "photos": photo_figures(answers),
        "boxed_photos": photo_figures(street),
        "boxes": box_figures(street),
        "wrong": wrong_answers(answers),
        "wrong_boxed": wrong_answers(street),
    }


def answered(detector: FaceDetector, known: Known) -> Answer:
    """What a detector finds on a photo, beside what is there."""
    name, rgb, states, truth = known
    faces = detector.detect(rgb, LEAST_SCORE)
    found = Detections(
        np.array([face.box_xyxy for face in faces], dtype=np.float32).reshape(-1, 4),
        np.array([face.score for face in faces], dtype=np.float32),
        tuple(face.wearing.value for face in faces),
    )
    return Answer(name, states, found, truth)


def known_photos(folders: Iterable[Path], state: str) -> Iterator[Known]:
    """The photos of folders in which everybody wears the same; files that are no photos are left out."""
    for folder in folders:
        if not folder.is_dir():
            raise DataError(f"{folder} is no folder")
        for path in sorted(folder.iterdir()):
            try:
                yield path.name, decode_photo(path.read_bytes()).rgb, frozenset({state}), None
            except ItemFault:
                continue


def boxed_photos(folder: Path) -> Iterator[Known]:
    """The pictures of a COCO file with their boxes."""
    try:
        held = json.loads((folder / "instances.json").read_bytes())
        names = {one["id"]: STATES[one["name"]] for one in held["categories"]}
        for image in held["images"]:
            own = [one for one in held["annotations"] if one["image_id"] == image["id"]]
            labels = tuple(names[one["category_id"]] for one in own)
            corners = [(x, y, x + w, y + h) for x, y, w, h in (one["bbox"] for one in own)]
            rgb = decode_photo((folder / "images" / image["file_name"]).read_bytes()).rgb
            yield image["file_name"], rgb, frozenset(labels), true_boxes(corners, labels)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{folder}: no COCO boxes ({type(error).__name__}: {error})") from None


def lines(figures: dict[str, Any], titles: list[str]) -> list[str]:
    """The figures as Markdown."""
    first = figures[titles[0]]
    rows: list[list[object]] = []
    for place, part in (("photos", "photos"), ("boxed photos", "boxed_photos")):
        count = int(first[part]["photos"])
        for label, key in PHOTO_ROWS.items():
            rows.append([f"{count} {place}: {label}", *(_percent(figures[one][part][key]) for one in titles)])
    for label, key in BOX_ROWS.items():
        rows.append([f"boxes: {label}", *(_percent(figures[one]["boxes"][key]) for one in titles)])
    rows.append(["processor time, ms a photo", *(figures[one]["milliseconds"] for one in titles)])
    names = " and ".join(figures[one]["name"] for one in titles)
    head = f"{figures['machine']['processor']}, one core; {names}."
    return [
        "# Face-mask detectors on photos they have not seen",
        "",
        head,
        "",
        *machine.table(["", *titles], rows),
    ]


def _percent(value: float) -> str:
    return "-" if np.isnan(value) else f"{100 * value:.1f} %"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--masked", type=Path, nargs="+", required=True, help="folders of masked people")
    parser.add_argument("--bare", type=Path, nargs="+", required=True, help="folders of unmasked people")
    parser.add_argument("--boxes", type=Path, required=True, help="folder of instances.json and images/")
    parser.add_argument("--aizoo", type=Path, required=True, help="folder of AIZOO's Caffe pair")
    parser.add_argument("--weights", type=Path, default=SHIPPED_WEIGHTS, help="another detector of ours")
    parser.add_argument("--name", default="", help="write results/NAME.json and NAME.md")
    return parser.parse_args()


if __name__ == "__main__":
    main()
