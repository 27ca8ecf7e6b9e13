"""All faces of a photo: boxes, wearing state, landmarks and pose, from whichever models a build has."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dataset_tools.core.images import RgbImage
from dataset_tools.core.labels import Wearing
from dataset_tools.core.record import Face
from dataset_tools.filter.aizoo import DETECTOR_NAME, AizooDetector
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
from dataset_tools.filter.quality import shorter_side_px

WHOLE_PICTURE = "whole-picture@1"
_LANDMARK_STEP = 64  # landmarks are rounded to 1/64 px
_POSE_DIGITS = 3

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class FaceFinder:
    """Models and limits that find the faces of a photo.

    Attributes:
        detector: None when the landmarker's own detection must do; wearing then is unknown.
        landmarker: None when no landmarks are wanted.
        detect: False when the whole picture is known to be one face.
        min_score: detections below are ignored.
        min_face_px: smaller faces get no landmarks, so nothing is rendered onto them.
    """

    detector: AizooDetector | None
    landmarker: Landmarker | None
    detect: bool
    min_score: float
    min_face_px: int

    def find(self, image_rgb: RgbImage) -> tuple[Face, ...]:
        """Faces of a (H, W, 3) uint8 RGB photo, largest box first.

        A face that only the landmarker found has `min_score` for its score: it passed that, and MediaPipe
        Tasks tells no more.
        """
        faces = self._faces(image_rgb)
        return tuple(sorted(faces, key=lambda face: (-_area(face.box_xyxy), face.box_xyxy)))

    def _faces(self, image_rgb: RgbImage) -> list[Face]:
        height, width = image_rgb.shape[:2]
        if not self.detect:
            whole = Face((0.0, 0.0, float(width), float(height)), 1.0, Wearing.UNKNOWN, WHOLE_PICTURE)
            meshes = self._meshes(image_rgb)
            largest = max(meshes, key=lambda mesh: _area(landmark_box(mesh)), default=None)
            return [whole if largest is None else self._landmarked_if_large(whole, largest)]
        if self.detector is None:
            return self._landmarked_only(image_rgb, self._meshes(image_rgb))
        found = [
            Face(face.box_xyxy, face.score, face.wearing, DETECTOR_NAME)
            for face in self.detector.detect(image_rgb, self.min_score)
        ]
        if self.landmarker is None:
            return found
        return self._matched(image_rgb, found)

    def _meshes(self, image_rgb: RgbImage) -> list[Points]:
        if self.landmarker is None:
            return []
        return self.landmarker.find(image_rgb) or find_with_border(self.landmarker, image_rgb)

    def _landmarked_only(self, image_rgb: RgbImage, meshes: list[Points]) -> list[Face]:
        assert self.landmarker is not None
        faces = []
        for mesh in meshes:
            box = _clipped(landmark_box(mesh), image_rgb)
            if _area(box) > 0:
                face = Face(box, self.min_score, Wearing.UNKNOWN, self.landmarker.name)
                faces.append(self._landmarked_if_large(face, mesh))
        return faces

    def _matched(self, image_rgb: RgbImage, found: list[Face]) -> list[Face]:
        """Detected faces with the landmarks that lie on them, then faces only the landmarker saw."""
        assert self.landmarker is not None
        meshes = self._meshes(image_rgb)
        faces = []
        for face in found:
            overlaps = [box_iou(landmark_box(mesh), face.box_xyxy) for mesh in meshes]
            best = int(np.argmax(overlaps)) if overlaps else -1
            mesh: Points | None
            if best >= 0 and overlaps[best] > MATCH_IOU:
                mesh = meshes.pop(best)
            elif shorter_side_px(face.box_xyxy) >= self.min_face_px:
                mesh = find_in_box(self.landmarker, image_rgb, face.box_xyxy)
            else:
                mesh = None
            faces.append(face if mesh is None else self._landmarked_if_large(face, mesh))
        return faces + self._landmarked_only(image_rgb, meshes)

    def _landmarked_if_large(self, face: Face, mesh: Points) -> Face:
        large = shorter_side_px(face.box_xyxy) >= self.min_face_px
        return _with_landmarks(face, mesh) if large else face


def _with_landmarks(face: Face, mesh: Points) -> Face:
    rounded = np.round(mesh * _LANDMARK_STEP) / _LANDMARK_STEP
    pose = tuple(round(angle, _POSE_DIGITS) for angle in head_pose_deg(rounded))
    return Face(
        face.box_xyxy,
        face.score,
        face.wearing,
        face.detector,
        tuple(float(value) for value in rounded.ravel()),
        pose,
    )


def _area(box: Box) -> float:
    return max(box[2] - box[0], 0.0) * max(box[3] - box[1], 0.0)


def _clipped(box: Box, image_rgb: RgbImage) -> Box:
    height, width = image_rgb.shape[:2]
    return (max(box[0], 0.0), max(box[1], 0.0), min(box[2], float(width)), min(box[3], float(height)))
