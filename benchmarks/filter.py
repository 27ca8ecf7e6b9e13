"""Photos per second of the AIZOO detector: ours beside the steps of its own repository's OpenCV script.

    uv run python benchmarks/filter.py PHOTOS… --weights FOLDER

Both get the same decoded photos, run the published weights in OpenCV on one core, and give boxes in pixels.
The peer does what `opencv_dnn_infer.py` of AIZOOTech/FaceMaskDetection does, without drawing: resize to
260x260, scale by 1/255, run the network, decode all 5,972 anchors, suppress overlaps class-blind at IoU 0.4
above score 0.5, clip, truncate to whole pixels. The decoding is written anew here. What is counted is
processor time; in each round the ways take turns, and their boxes are compared before they are timed.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import machine  # isort: skip, it must come before what it tells to use one thread

import cv2
import numpy as np
import report

from dataset_tools.core.anchors import anchors_cxcywh
from dataset_tools.core.images import RgbImage, decode_photo
from dataset_tools.filter.aizoo import AizooDetector
from dataset_tools.filter.models import load_finder
from dataset_tools.filter.settings import FilterSettings

PROTOTXT, CAFFEMODEL = "face_mask_detection.prototxt", "face_mask_detection.caffemodel"
MIN_SCORE, MAX_IOU = 0.5, 0.4
ASKED = 1.5  # times as fast as the peer
Box = tuple[int, int, int, int]


def main() -> None:
    parser = report.parser(__doc__)
    parser.add_argument("photos", type=Path, nargs="+", help="folders of photos")
    parser.add_argument("--weights", type=Path, required=True, help="folder of the Caffe pair")
    parser.add_argument("--count", type=int, default=40, help="photos in a round")
    parser.add_argument("--runs", type=int, default=7, help="rounds after the first, which warms up")
    options = parser.parse_args()
    core = machine.use_one_core()
    cv2.setNumThreads(1)
    per_folder = -(-options.count // len(options.photos))
    paths = [path for folder in options.photos for path in report.some(folder.iterdir(), per_folder)]
    photos = [decode_photo(path.read_bytes()).rgb for path in paths]
    ours = AizooDetector(options.weights / CAFFEMODEL, options.weights / PROTOTXT)
    theirs = Peer(options.weights)
    ways: dict[str, Callable[[RgbImage], Any]] = {
        "the repository's steps": theirs.detect,
        "ours": ours.detect,
        "the peer's network with our decoding": whole_network(options.weights).detect,
        "ours with landmarks, pose and quality": everything(options.weights),
    }
    compared = compare(ours, theirs, photos)
    rounds = [{name: rate(way, photos) for name, way in ways.items()} for _ in range(options.runs + 1)][1:]
    figures = {
        "photos_per_second": {
            name: round(statistics.median(one[name] for one in rounds), 1) for name in ways
        },
        "ours / the repository's steps": round(
            statistics.median(one["ours"] / one["the repository's steps"] for one in rounds), 2
        ),
        "photos_per_second_each_round": {name: [round(one[name], 1) for one in rounds] for name in ways},
        **compared,
        "photos": len(photos),
        "runs": options.runs,
        "bound_to_one_core": core is not None,
    }
    report.publish(figures, lines(figures), options.json)


class Peer:
    """The steps of the repository's script."""

    def __init__(self, weights: Path) -> None:
        self._network: Any = cv2.dnn.readNet(str(weights / CAFFEMODEL), str(weights / PROTOTXT))
        self._outputs = self._network.getUnconnectedOutLayersNames()
        self._anchors = anchors_cxcywh()[None]

    def detect(self, image_rgb: RgbImage) -> list[tuple[Box, float, int]]:
        """Box, score and class (0 masked, 1 bare) of every face, best first."""
        height, width = image_rgb.shape[:2]
        blob = cv2.dnn.blobFromImage(image_rgb, scalefactor=1 / 255.0, size=(260, 260))
        self._network.setInput(blob)
        offsets, probabilities = self._network.forward(self._outputs)
        boxes = self._decoded(offsets)[0]
        best = np.max(probabilities[0], axis=1)
        classes = np.argmax(probabilities[0], axis=1)
        return [
            (
                (
                    max(0, int(boxes[index, 0] * width)),
                    max(0, int(boxes[index, 1] * height)),
                    min(int(boxes[index, 2] * width), width),
                    min(int(boxes[index, 3] * height), height),
                ),
                float(best[index]),
                int(classes[index]),
            )
            for index in self._suppressed(boxes, best)
        ]

    def _decoded(self, offsets: np.ndarray) -> np.ndarray:
        scaled = offsets * np.array([0.1, 0.1, 0.2, 0.2])
        centres = scaled[..., :2] * self._anchors[..., 2:] + self._anchors[..., :2]
        halves = np.exp(scaled[..., 2:]) * self._anchors[..., 2:] / 2
        return np.concatenate([centres - halves, centres + halves], axis=-1)

    def _suppressed(self, boxes: np.ndarray, scores: np.ndarray) -> list[int]:
        likely = np.where(scores > MIN_SCORE)[0]
        x0, y0, x1, y1 = boxes[likely].T
        areas = (x1 - x0 + 1e-3) * (y1 - y0 + 1e-3)  # the script's own slack
        left = np.argsort(scores[likely])
        chosen = []
        while len(left):
            best, others = left[-1], left[:-1]
            chosen.append(int(likely[best]))
            wide = np.maximum(0, np.minimum(x1[best], x1[others]) - np.maximum(x0[best], x0[others]))
            high = np.maximum(0, np.minimum(y1[best], y1[others]) - np.maximum(y0[best], y0[others]))
            shared = wide * high
            left = others[shared / (areas[best] + areas[others] - shared) <= MAX_IOU]
        return chosen


def whole_network(weights: Path) -> AizooDetector:
    """Our detector with the network as it was published."""
    made = AizooDetector(weights / CAFFEMODEL, weights / PROTOTXT)
    made._network = cv2.dnn.readNetFromCaffe(str(weights / PROTOTXT), str(weights / CAFFEMODEL))
    return made


def everything(weights: Path) -> Callable[[RgbImage], Any]:
    """What the stage `detect` does with a decoded photo, with whatever landmarker can be had."""
    from dataset_tools.filter.gates import measure

    files = {"aizoo_caffemodel": weights / CAFFEMODEL, "aizoo_prototxt": weights / PROTOTXT}
    finder = load_finder(FilterSettings.model_validate({"detector": "aizoo", **files}))
    return lambda rgb: measure(rgb, finder.candidates(rgb))


def compare(ours: AizooDetector, theirs: Peer, photos: list[RgbImage]) -> dict[str, Any]:
    """Every face of the one must be a face of the other, of the same kind."""
    faces, strayed, scores = 0, 0.0, 0.0
    for photo in photos:
        mine, others = ours.detect(photo, MIN_SCORE), theirs.detect(photo)
        assert len(mine) == len(others), (len(mine), len(others))
        for face, (box, score, kind) in zip(mine, others, strict=True):
            assert (face.wearing.value == "masked") is (kind == 0)
            # The script truncates to whole pixels, so up to one pixel is its own doing.
            strayed = max(strayed, *(abs(int(a) - b) for a, b in zip(face.box_xyxy, box, strict=True)))
            scores = max(scores, abs(face.score - score))
            faces += 1
    assert strayed <= 1, strayed
    return {"faces": faces, "largest_difference_px": strayed, "largest_difference_of_scores": scores}


def rate(way: Callable[[RgbImage], Any], photos: list[RgbImage]) -> float:
    start = time.process_time()
    for photo in photos:
        way(photo)
    return len(photos) / (time.process_time() - start)


def lines(figures: dict[str, Any]) -> list[str]:
    about, ratio = machine.describe(), figures["ours / the repository's steps"]
    return [
        "# Filter: photos per second on one core",
        "",
        f"{about['processor']}, {about['cores']} cores (one used), load {about['load'][0]}; median of "
        f"{figures['runs']} rounds over {figures['photos']} decoded photos with {figures['faces']} faces. "
        f"Boxes in whole pixels differ by at most {figures['largest_difference_px']:.0f}, scores by at most "
        f"{figures['largest_difference_of_scores']:.0e}.",
        "",
        *machine.table(("way", "photos/s"), list(figures["photos_per_second"].items())),
        "",
        *machine.table(
            ("", "times as fast", "asked for"),
            [("ours / the repository's steps", ratio, f"at least {ASKED}")],
        ),
    ]


if __name__ == "__main__":
    main()
