"""Named facial keypoints in COCO's person-keypoints form, taken from MediaPipe's 478 face landmarks.

Left and right are the person's own. Names and order follow COCO's head keypoints, then mouth and chin. The
standard's 17 sigmas do not fit 8 keypoints: set `params.kpt_oks_sigmas` before scoring with COCOeval.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from dataset_tools.core.labels import Label
from dataset_tools.core.masks import BoolMask, mask_to_rle, union
from dataset_tools.core.record import LANDMARK_COUNT, Face, Instance

# Name -> landmark: iris centres, nose tip, outermost points beside the ears, lip corners, chin.
KEYPOINTS: dict[str, int] = {
    "nose": 1,
    "left_eye": 473,
    "right_eye": 468,
    "left_ear": 454,
    "right_ear": 234,
    "mouth_left": 291,
    "mouth_right": 61,
    "chin": 152,
}

# Pairs to draw lines between, counted from 1 as in COCO.
SKELETON = ((1, 2), (1, 3), (2, 4), (3, 5), (1, 6), (1, 7), (6, 7), (6, 8), (7, 8))

# Standard's visibility flags.
NOT_LABELLED, HIDDEN, VISIBLE = 0, 1, 2

# Beyond this yaw the head hides its own far ear, degrees.
_FAR_EAR_DEG = 30.0

_COVERING = (Label.FACE_MASK, Label.OCCLUDER)


def keypoint_category(number: int) -> dict[str, Any]:
    """The category entry that names the keypoints."""
    return {
        "id": number,
        "name": Label.FACE.value,
        "supercategory": "person",
        "keypoints": list(KEYPOINTS),
        "skeleton": [list(pair) for pair in SKELETON],
    }


def covered_pixels(instances: Sequence[Instance], size_hw: tuple[int, int]) -> BoolMask:
    """Pixels where a face mask or an occluder hides what lies behind, (H, W) bool."""
    return union((item.mask for item in instances if item.label in _COVERING), size_hw)


def face_keypoints(face: Face, covered: BoolMask) -> list[float]:
    """x, y, visibility of every keypoint, flattened; x and y in pixels to a hundredth, x right, y down.

    A keypoint outside the picture is not labelled (0, 0, 0). Under a face mask or an occluder, or when it is
    the ear that a turned head hides, it is labelled but not visible (1).

    Args:
        face: with 478 landmarks.
        covered: of `covered_pixels`.
    """
    height, width = covered.shape
    points: npt.NDArray[np.float64] = np.asarray(face.landmarks_xyz).reshape(LANDMARK_COUNT, 3)[:, :2]
    yaw = face.pose_deg[0] if face.pose_deg else 0.0
    far = "left_ear" if yaw > _FAR_EAR_DEG else "right_ear" if yaw < -_FAR_EAR_DEG else ""
    flat: list[float] = []
    for name, landmark in KEYPOINTS.items():
        x, y = (float(value) for value in points[landmark])
        if not (0 <= x < width and 0 <= y < height):
            flat += [0, 0, NOT_LABELLED]
            continue
        is_hidden = name == far or bool(covered[int(y), int(x)])
        flat += [round(x, 2), round(y, 2), HIDDEN if is_hidden else VISIBLE]
    return flat


def face_annotation(
    index: int, face: Face, instances: Sequence[Instance], covered: BoolMask
) -> tuple[dict[str, Any], BoolMask | None]:
    """Annotation entry of one face without its ids, and the pixels of all that is labelled on it.

    Area is that of the pixels; only a face on which nothing is labelled has its box's, since the standard's
    score needs a scale.

    Args:
        index: of the face in its sample.
        face: with 478 landmarks.
        instances: of the sample.
        covered: of `covered_pixels`.
    """
    own = [item.mask for item in instances if item.face == index and not item.mask.is_empty]
    pixels = union(own, (covered.shape[0], covered.shape[1])) if own else None
    left, top, right, bottom = face.box_xyxy
    points = face_keypoints(face, covered)
    entry = {
        "bbox": [left, top, right - left, bottom - top],
        "area": (right - left) * (bottom - top) if pixels is None else mask_to_rle(pixels).area_px,
        "iscrowd": 0,
        "keypoints": points,
        "num_keypoints": sum(flag != NOT_LABELLED for flag in points[2::3]),
        "face": index,
        "score": face.score,
        "wearing": face.wearing.value,
        "detector": face.detector,
    }
    return entry, pixels
