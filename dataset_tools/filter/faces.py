"""All faces of a photo: boxes, wearing state, landmarks and pose, from whichever models a build has.

What is found is recorded as candidates, so that a threshold can be changed later: every detection from a low
score on, and every face the landmarker saw. `pair_up` then decides, with a threshold and without a picture,
which of them are faces and which landmarks belong to which box.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dataset_tools.core.images import RgbImage
from dataset_tools.core.labels import Wearing
from dataset_tools.core.record import LANDMARK_COUNT, Face
from dataset_tools.filter.aizoo import DETECTOR_NAME, DetectedFace, FaceDetector
from dataset_tools.filter.default_detector import NAME as DEFAULT_NAME
from dataset_tools.filter.landmarker import (
    MATCH_IOU,
    Landmarker,
    Points,
    box_iou,
    find_in_box,
    find_with_border,
    landmark_box,
)
from dataset_tools.filter.pose import head_pose_deg
from dataset_tools.filter.quality import inside, shorter_side_px

WHOLE_PICTURE = "whole-picture@1"
_DETECTORS = frozenset({DETECTOR_NAME.partition("@")[0], DEFAULT_NAME})
_STEP = 64  # landmarks and boxes are rounded to 1/64 px
_POSE_DIGITS = 3
_SCORE_DIGITS = 4

Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Candidate:
    """Something that may be a face, and the share of it that lies inside the picture, in [0, 1]."""

    face: Face
    inside: float


@dataclass(frozen=True)
class FaceFinder:
    """Models and limits that find what may be faces in a photo.

    Attributes:
        detector: None when the landmarker's own detection must do; wearing then is unknown.
        landmarker: None when no landmarks are wanted.
        detect: False when the whole picture is known to be one face.
        candidate_score: detections below are not recorded.
        landmarker_score: score of faces that only the landmarker found; MediaPipe Tasks tells no more.
        landmark_px: smaller faces that lack landmarks get no closer look.
        unconfirmed: what the score of a detection is multiplied by that the landmarker, where there is one,
            does not confirm: it found no landmarks on it, or the box is too small for a closer look.
    """

    detector: FaceDetector | None
    landmarker: Landmarker | None
    detect: bool = True
    candidate_score: float = 0.5
    landmarker_score: float = 0.5
    landmark_px: int = 1
    unconfirmed: float = 1.0

    def find(self, image_rgb: RgbImage) -> tuple[Face, ...]:
        """Faces of a (H, W, 3) uint8 RGB photo, every candidate taken for one; largest box first."""
        found = [candidate.face for candidate in self.candidates(image_rgb)]
        faces = [joined(found, pair) for pair in pair_up(found, 0.0)]
        return tuple(sorted(faces, key=by_size))

    def candidates(self, image_rgb: RgbImage) -> tuple[Candidate, ...]:
        """Candidates of a (H, W, 3) uint8 RGB photo, largest box first.

        A face that both the detector and the landmarker saw is there twice; a detection has landmarks of
        its own only where the landmarker found none in the whole photo.
        """
        found = self._found(image_rgb)
        return tuple(sorted(found, key=lambda candidate: by_size(candidate.face)))

    def _found(self, image_rgb: RgbImage) -> list[Candidate]:
        size_hw = (image_rgb.shape[0], image_rgb.shape[1])
        meshes = [] if self.landmarker is None else self._meshes(self.landmarker, image_rgb)
        if not self.detect:
            box = (0.0, 0.0, float(size_hw[1]), float(size_hw[0]))
            whole = Face(box, 1.0, Wearing.UNKNOWN, WHOLE_PICTURE)
            largest = max(meshes, key=lambda mesh: _area(landmark_box(mesh)), default=None)
            return [Candidate(whole if largest is None else _with_landmarks(whole, largest), 1.0)]
        seen = [one for mesh in meshes if (one := self._landmarked(mesh, size_hw)) is not None]
        if self.detector is None:
            return seen
        found = self.detector.detect(image_rgb, self.candidate_score)
        detected = [_recorded(face, self.detector.name) for face in found]
        return self._looked_closer(image_rgb, detected, seen) + seen

    def _meshes(self, landmarker: Landmarker, image_rgb: RgbImage) -> list[Points]:
        return landmarker.find(image_rgb) or find_with_border(landmarker, image_rgb)

    def _landmarked(self, mesh: Points, size_hw: tuple[int, int]) -> Candidate | None:
        assert self.landmarker is not None
        x0, y0, x1, y1 = whole = landmark_box(mesh)
        box = (max(x0, 0.0), max(y0, 0.0), min(x1, float(size_hw[1])), min(y1, float(size_hw[0])))
        if _area(box) <= 0:
            return None
        face = Face(_rounded(box), self.landmarker_score, Wearing.UNKNOWN, self.landmarker.name)
        return Candidate(_with_landmarks(face, mesh), inside(whole, size_hw))

    def _looked_closer(
        self, image_rgb: RgbImage, detected: list[Candidate], seen: list[Candidate]
    ) -> list[Candidate]:
        """The detections; those on which no landmarks lie are searched for some, on a crop of their own."""
        if self.landmarker is None:
            return detected
        closer = list(detected)
        for first, second in pair_up([one.face for one in detected + seen], 0.0):
            face = detected[first].face if first < len(detected) else None
            if face is None or second is not None:
                continue
            is_small = shorter_side_px(face.box_xyxy) < self.landmark_px
            mesh = None if is_small else find_in_box(self.landmarker, image_rgb, face.box_xyxy)
            seen_face = _doubted(face, self.unconfirmed) if mesh is None else _with_landmarks(face, mesh)
            closer[first] = Candidate(seen_face, detected[first].inside)
        return closer


Pair = tuple[int, int | None]


def pair_up(faces: Sequence[Face], min_score: float) -> list[Pair]:
    """Which candidates are faces, and whose landmarks belong to which.

    The surest detection chooses first. What it chooses does not depend on less sure ones, so a higher
    `min_score` only takes detections away, as if they had never been found.

    Args:
        faces: candidates, in any order.
        min_score: detections below are left out; faces that only the landmarker saw stay.

    Returns:
        Of each face the index of its box and, or None, of the candidate whose landmarks lie on it.
    """
    detected = [index for index, face in enumerate(faces) if is_detection(face)]
    free = [index for index, face in enumerate(faces) if not is_detection(face)]
    pairs: list[Pair] = []
    for index in sorted(detected, key=lambda index: (-faces[index].score, faces[index].box_xyxy)):
        face = faces[index]
        if face.score < min_score:
            continue
        overlaps = [box_iou(_outline(faces[other]), face.box_xyxy) for other in free]
        best = int(np.argmax(overlaps)) if overlaps else -1
        matches = best >= 0 and overlaps[best] > MATCH_IOU
        pairs.append((index, free.pop(best) if matches else None))
    return pairs + [(index, None) for index in free]


def is_detection(face: Face) -> bool:
    """True for a box that a face-mask detector found, with a score and a wearing state of its own."""
    return face.detector.partition("@")[0] in _DETECTORS


def joined(faces: Sequence[Face], pair: Pair) -> Face:
    """The face of a pair: box, score and wearing state of the first, landmarks and pose of the second."""
    face, other = faces[pair[0]], pair[1]
    if other is None:
        return face
    return dataclasses.replace(face, landmarks_xyz=faces[other].landmarks_xyz, pose_deg=faces[other].pose_deg)


def by_size(face: Face) -> tuple[float, Box, str]:
    """Sorting key: largest box first."""
    return (-_area(face.box_xyxy), face.box_xyxy, face.detector)


def _outline(face: Face) -> Box:
    return landmark_box(np.asarray(face.landmarks_xyz).reshape(LANDMARK_COUNT, 3))


def _recorded(face: DetectedFace, name: str) -> Candidate:
    box, score = _rounded(face.box_xyxy), round(face.score, _SCORE_DIGITS)
    return Candidate(Face(box, score, face.wearing, name), face.inside)


def _doubted(face: Face, factor: float) -> Face:
    return dataclasses.replace(face, score=round(face.score * factor, _SCORE_DIGITS))


def _with_landmarks(face: Face, mesh: Points) -> Face:
    rounded = np.round(mesh * _STEP) / _STEP
    pose = tuple(round(angle, _POSE_DIGITS) for angle in head_pose_deg(rounded))
    return dataclasses.replace(
        face, landmarks_xyz=tuple(float(value) for value in rounded.ravel()), pose_deg=pose
    )


def _rounded(box: Box) -> Box:
    # Last digits differ between processors; rows must not.
    x0, y0, x1, y1 = (round(value * _STEP) / _STEP for value in box)
    return (x0, y0, x1, y1)


def _area(box: Box) -> float:
    return max(box[2] - box[0], 0.0) * max(box[3] - box[1], 0.0)
