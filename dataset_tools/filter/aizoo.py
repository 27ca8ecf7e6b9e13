"""The AIZOO face-mask detector: an SSD that finds faces and says whether they wear a mask.

Network: 260x260, 1.01 M parameters, published by AIZOOTech/FaceMaskDetection (MIT). Anchors, decoding and
suppression are pure numpy here; OpenCV runs the network without its dead channels (`slim_caffe`). Of what was
tried on one core that is the fastest: 10.2 ms a picture, the whole network 16.4; ONNX Runtime 15.3 (13.9
without dead channels), OpenVINO 15.9 (12.1), LiteRT 17.5; batches of 8 gain nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from dataset_tools.core.anchors import (
    INPUT_SIDE_PX,
    NMS_IOU,
    AnyFloats,
    Floats,
    anchors_cxcywh,
    decode_boxes,
)
from dataset_tools.core.images import RgbImage
from dataset_tools.core.labels import Wearing
from dataset_tools.filter.slim_caffe import read_slim_network

DETECTOR_NAME = "aizoo-ssd260@1"
_CLASSES = (Wearing.MASKED, Wearing.UNMASKED)  # class ids 0 and 1
OUTPUTS = ("loc_branch_concat", "cls_branch_concat")


@dataclass(frozen=True, slots=True)
class DetectedFace:
    """A face box, its score and wearing state.

    Attributes:
        box_xyxy: pixels, x1 and y1 exclusive, clipped to the picture.
        score: in [0, 1].
        wearing: masked or unmasked; from detectors that know it, incorrect.
        inside: share of the box's area before clipping that lies inside the picture, in (0, 1].
    """

    box_xyxy: tuple[float, float, float, float]
    score: float
    wearing: Wearing
    inside: float = 1.0


class FaceDetector(Protocol):
    """What finds faces and says what they wear.

    Attributes:
        name: "name@version", as faces record it.
    """

    name: str

    def detect(self, image_rgb: RgbImage, min_score: float = 0.5) -> tuple[DetectedFace, ...]:
        """Faces of a (H, W, 3) uint8 RGB picture, best score first; those at or below `min_score` are not."""


def suppress(boxes_xyxy: Floats, scores: Floats, iou_threshold: float = NMS_IOU) -> npt.NDArray[np.intp]:
    """Greedy non-maximum suppression: indices of the boxes that stay, best score first.

    Args:
        boxes_xyxy: (N, 4), any unit.
        scores: (N,); equal scores keep their order.
        iou_threshold: a box that overlaps a better one by more is dropped.
    """
    order = np.argsort(-scores, kind="stable")
    areas = _areas(boxes_xyxy)
    kept: list[int] = []
    while order.size:
        best, rest = order[0], order[1:]
        kept.append(int(best))
        low = np.maximum(boxes_xyxy[best, :2], boxes_xyxy[rest, :2])
        high = np.minimum(boxes_xyxy[best, 2:], boxes_xyxy[rest, 2:])
        shared = np.prod(np.clip(high - low, 0, None), axis=1)
        union = areas[best] + areas[rest] - shared
        overlap = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
        order = rest[overlap <= iou_threshold]
    return np.asarray(kept, dtype=np.intp)


def decode_faces(
    offsets: AnyFloats,
    probabilities: AnyFloats,
    size_hw: tuple[int, int],
    min_score: float,
    classes: Sequence[Wearing] = _CLASSES,
) -> tuple[DetectedFace, ...]:
    """Faces of one picture from the network's raw output, best score first.

    Args:
        offsets: (5972, 4).
        probabilities: (5972, C): of each class, in [0, 1].
        size_hw: of the picture in pixels.
        min_score: anchors at or below are ignored.
        classes: C wearing states.
    """
    likely = np.flatnonzero(probabilities.max(axis=1) > min_score)
    likely_scores = probabilities[likely].astype(np.float64)
    scores, states = likely_scores.max(axis=1), likely_scores.argmax(axis=1)
    boxes = decode_boxes(offsets[likely].astype(np.float64), anchors_cxcywh()[likely])
    height, width = size_hw
    clipped = np.clip(boxes, 0.0, 1.0)
    inside = _areas(clipped) / _areas(boxes)
    pixels = clipped * (width, height, width, height)
    faces = []
    for index in suppress(pixels, scores):
        x0, y0, x1, y1 = (float(value) for value in pixels[index])
        if x1 > x0 and y1 > y0:
            score, wearing = float(scores[index]), classes[states[index]]
            faces.append(DetectedFace((x0, y0, x1, y1), score, wearing, float(inside[index])))
    return tuple(faces)


def _areas(boxes_xyxy: Floats) -> Floats:
    return (boxes_xyxy[:, 2] - boxes_xyxy[:, 0]) * (boxes_xyxy[:, 3] - boxes_xyxy[:, 1])


def run_network(
    network: Any, image_rgb: RgbImage, min_score: float, classes: Sequence[Wearing] = _CLASSES
) -> tuple[DetectedFace, ...]:
    """Faces of a (H, W, 3) uint8 RGB picture by a network of this shape in OpenCV, best score first."""
    import cv2

    blob = cv2.dnn.blobFromImage(
        image_rgb, scalefactor=1 / 255.0, size=(INPUT_SIDE_PX, INPUT_SIDE_PX), swapRB=False
    )
    network.setInput(blob)
    offsets, probabilities = network.forward(list(OUTPUTS))
    size_hw = (image_rgb.shape[0], image_rgb.shape[1])
    rows = probabilities.reshape(-1, len(classes))
    return decode_faces(offsets.reshape(-1, 4), rows, size_hw, min_score, classes)


class AizooDetector:
    """The network, run by OpenCV on the CPU; give it files that `dataset_tools.weights` has verified."""

    name = DETECTOR_NAME

    def __init__(self, caffemodel: Path, prototxt: Path) -> None:
        self._network: Any = read_slim_network(prototxt, caffemodel)

    def detect(self, image_rgb: RgbImage, min_score: float = 0.5) -> tuple[DetectedFace, ...]:
        """Faces of a (H, W, 3) uint8 RGB picture, best score first.

        The network was trained on RGB; BGR would run too, and be wrong more often.
        """
        return run_network(self._network, image_rgb, min_score)
