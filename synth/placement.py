"""Where a face is: eye-angle alignment, the head frame in millimetres, pose, and landmark groups.

Image space is x right, y down, z away from the camera, all in pixels (MediaPipe's z, made positive
backwards). Head space is the same axes for an upright face that looks straight into the camera, in
millimetres, origin between the eyes.

The index lists below were read off a plot of the mean face (`topology.py`) with all 468 numbers drawn in,
and each list is checked by a test: mirror-symmetric, ordered along its curve, on the side it claims.
"left" and "right" are the viewer's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dataset_tools.core.errors import ItemFault
from dataset_tools.core.reasons import Reason
from dataset_tools.core.record import LANDMARK_COUNT
from synth.topology import SURFACE_COUNT, canonical_face

Floats = npt.NDArray[np.float64]

LEFT_EYE_CORNERS = (33, 133)  # outer, inner
RIGHT_EYE_CORNERS = (263, 362)
NOSE_BRIDGE = (168, 6, 197, 195, 5, 4)  # from between the eyes down to the tip
# Points that expression moves little: forehead, eye corners, nose bridge, cheekbones, face sides.
RIGID = (
    *(10, 151, 9, 8, 168, 6, 197, 195, 5, 4, 33, 133, 362, 263),
    *(54, 67, 103, 109, 284, 297, 332, 338, 21, 251, 162, 389, 127, 356, 234, 454),
    *(93, 323, 116, 345, 117, 346, 118, 347, 123, 352, 227, 447, 137, 366),
)

# Below this many pixels per millimetre a head is a speck and the fit means nothing.
_MIN_PX_PER_MM = 0.05


def eye_roll_deg(left_xy: npt.ArrayLike, right_xy: npt.ArrayLike) -> float:
    """In-plane rotation of the eye line, degrees in (-180, 180], > 0 clockwise as seen by the viewer.

    Args:
        left_xy, right_xy: eye centres, x right, y down; the viewer's left eye first.

    Source: MISA equations 16–20. The printed equation 20 mixes two triangles; this is the equivalent of
    what it means (see `eye_roll_by_centre_deg` for the paper's own route, corrected).
    """
    left, right = np.asarray(left_xy, dtype=np.float64), np.asarray(right_xy, dtype=np.float64)
    return float(np.degrees(np.arctan2(right[1] - left[1], right[0] - left[0])))


def eye_roll_by_centre_deg(
    left_xy: npt.ArrayLike, right_xy: npt.ArrayLike, centre_xy: npt.ArrayLike
) -> float:
    """The same angle by MISA's route over the face centre: direction L→C minus the triangle's angle at L.

    Args:
        left_xy, right_xy: eye centres, y down.
        centre_xy: centre of the face box, (x + w/2, y + h/2); must lie below the eye line as the face
            sees it (it does in any face box that holds a whole face).

    Source: MISA equations 16–20 with the law of cosines at L, signs for y down.
    """
    left, right, centre = (np.asarray(p, dtype=np.float64) for p in (left_xy, right_xy, centre_xy))
    eyes, to_left, to_right = (float(np.hypot(*d)) for d in (right - left, centre - left, centre - right))
    if min(eyes, to_left) == 0.0:
        return eye_roll_deg(left, right)
    cosine = np.clip((eyes**2 + to_left**2 - to_right**2) / (2 * eyes * to_left), -1.0, 1.0)
    towards_centre = np.arctan2(centre[1] - left[1], centre[0] - left[0])
    angle = np.degrees(towards_centre - np.arccos(cosine))
    return float(-((180.0 - angle) % 360.0 - 180.0))


def eye_centres(landmarks: Floats) -> tuple[Floats, Floats]:
    """Midpoints of the two eyes' corners, (x, y) in pixels, the viewer's left one first."""
    left = landmarks[list(LEFT_EYE_CORNERS), :2].mean(axis=0)
    right = landmarks[list(RIGHT_EYE_CORNERS), :2].mean(axis=0)
    return left, right


@dataclass(frozen=True)
class HeadFrame:
    """The similarity that takes head space to image space: `image = origin + px_per_mm * R @ head`.

    Attributes:
        rotation: (3, 3) proper rotation R.
        origin_px: (3,) where the point between the eyes lies in image space.
        px_per_mm: scale, > 0; the bigger, the nearer the head.
        eye_roll_deg: angle of the eye line in the picture.
    """

    rotation: Floats
    origin_px: Floats
    px_per_mm: float
    eye_roll_deg: float

    def to_image(self, points_mm: Floats) -> Floats:
        """(..., 3) head-space millimetres to image-space pixels."""
        return points_mm @ (self.rotation.T * self.px_per_mm) + self.origin_px

    def to_head(self, points_px: Floats) -> Floats:
        """(..., 3) image-space pixels to head-space millimetres."""
        return (points_px - self.origin_px) @ self.rotation / self.px_per_mm

    @property
    def pose_deg(self) -> tuple[float, float, float]:
        """Yaw, pitch, roll in degrees; signs as in `core.record.Face`.

        The head is first nodded, then turned, then tilted in the picture (R = Rz Ry Rx), so yaw and pitch
        mean the same whichever way up the photo is.
        """
        matrix = self.rotation
        yaw = np.degrees(np.arctan2(matrix[2, 0], np.hypot(matrix[0, 0], matrix[1, 0])))
        pitch = np.degrees(np.arctan2(matrix[2, 1], matrix[2, 2]))
        roll = np.degrees(np.arctan2(matrix[1, 0], matrix[0, 0]))
        return float(yaw), float(pitch), float(roll)


def read_landmarks(values: tuple[float, ...]) -> Floats:
    """The flat landmark numbers of a `Face` as (478, 3) float64.

    Raises:
        ItemFault: `no_landmarks` when there are none, or not 478 finite triples.
    """
    if len(values) != LANDMARK_COUNT * 3:
        raise ItemFault(Reason.NO_LANDMARKS, f"{len(values) // 3} landmarks, {LANDMARK_COUNT} needed")
    landmarks = np.asarray(values, dtype=np.float64).reshape(LANDMARK_COUNT, 3)
    if not np.isfinite(landmarks).all():
        raise ItemFault(Reason.NO_LANDMARKS, "landmarks hold values that are not finite")
    return landmarks


def fit_head_frame(landmarks: Floats) -> HeadFrame:
    """The head frame of a face: eye-angle alignment first, then the best similarity to the mean face.

    Args:
        landmarks: (478, 3) pixels as `read_landmarks` gives them.

    Raises:
        ItemFault: `no_landmarks` when the points coincide or lie on a line.

    Source: Umeyama, Least-squares estimation of transformation parameters between two point patterns,
    PAMI 1991, over the points that expression moves little.
    """
    left, right = eye_centres(landmarks)
    roll_deg = eye_roll_deg(left, right)
    turn = _roll_matrix(roll_deg)
    pivot = np.array([*(left + right) / 2, 0.0])
    upright = (landmarks[:SURFACE_COUNT] - pivot) @ turn  # the inverse rotation
    rotation, scale, offset = _similarity(canonical_face().vertices_mm[list(RIGID)], upright[list(RIGID)])
    if not scale > _MIN_PX_PER_MM:
        raise ItemFault(Reason.NO_LANDMARKS, "landmarks coincide: no face can be fitted")
    return HeadFrame(turn @ rotation, turn @ offset + pivot, scale, roll_deg)


def _roll_matrix(angle_deg: float) -> Floats:
    cosine, sine = np.cos(np.radians(angle_deg)), np.sin(np.radians(angle_deg))
    return np.array([[cosine, -sine, 0.0], [sine, cosine, 0.0], [0.0, 0.0, 1.0]])


def _similarity(source: Floats, target: Floats) -> tuple[Floats, float, Floats]:
    source_mean, target_mean = source.mean(axis=0), target.mean(axis=0)
    from_mean, to_mean = source - source_mean, target - target_mean
    left, sizes, right = np.linalg.svd(to_mean.T @ from_mean)
    signs = np.array([1.0, 1.0, np.sign(np.linalg.det(left @ right))])
    rotation = (left * signs) @ right
    scale = float((sizes * signs).sum() / (from_mean**2).sum())
    return rotation, scale, target_mean - scale * rotation @ source_mean
