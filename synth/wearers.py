"""Which faces of a photo can be dressed, and why the others cannot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from dataset_tools.core.errors import ItemFault
from dataset_tools.core.reasons import Reason
from dataset_tools.core.record import Face
from synth.geometry import FaceMesh, MaskMesh, build_face
from synth.placement import fit_head_frame, read_landmarks
from synth.render import face_coverage, inside_share

BoolMask = npt.NDArray[np.bool_]

MAX_PITCH_DEG = 50.0
# Of the mask's grid points. Real crops cut masks too; with less there is no telling what it is.
MIN_INSIDE_SHARE = 0.4
SAME_FACE_IOU = 0.5


@dataclass(frozen=True)
class Limits:
    """Which faces are dressed.

    Attributes:
        max_yaw_deg: largest yaw either way.
        min_face_px: smallest longer side of the landmarks' box.
    """

    max_yaw_deg: float
    min_face_px: float


@dataclass(frozen=True)
class Refusal:
    """What could not be put on a face, and why.

    Attributes:
        face: index in the photo's faces.
        reason, detail: why.
        part: "face" when it cannot be dressed at all; "occluder" when only what should have come in front of
            it does not fit, and the mask is worn all the same.
    """

    face: int
    reason: Reason
    detail: str
    part: Literal["face", "occluder"] = "face"


def mesh_of(face: Face) -> FaceMesh:
    """The skin of a detected face.

    Raises:
        ItemFault: `no_landmarks`.
    """
    landmarks = read_landmarks(face.landmarks_xyz)
    return build_face(landmarks, fit_head_frame(landmarks))


def check_wearer(mesh: FaceMesh, limits: Limits) -> None:
    """Refuse faces that no mask can be drawn on.

    Raises:
        ItemFault: `face_too_small` or `pose`.
    """
    side = float(np.ptp(mesh.skin_px[:468, :2], axis=0).max())
    if side < limits.min_face_px:
        raise ItemFault(Reason.FACE_TOO_SMALL, f"{side:.0f} px, at least {limits.min_face_px:g} needed")
    yaw, pitch, _ = mesh.frame.pose_deg
    if abs(yaw) > limits.max_yaw_deg or abs(pitch) > MAX_PITCH_DEG:
        allowed = f"at most {limits.max_yaw_deg:g} and {MAX_PITCH_DEG:g}"
        raise ItemFault(Reason.POSE, f"yaw {yaw:.0f}, pitch {pitch:.0f} degrees; {allowed}")


def check_fit(mask: MaskMesh, size_hw: tuple[int, int]) -> None:
    """Refuse a mask that would hang outside the picture.

    Raises:
        ItemFault: `mask_off_image`.
    """
    share = inside_share(mask, size_hw)
    if share < MIN_INSIDE_SHARE:
        raise ItemFault(Reason.MASK_OFF_IMAGE, f"only {share:.0%} of the mask would be in the picture")


def find_wearers(
    faces: Sequence[Face], size_hw: tuple[int, int], limits: Limits
) -> tuple[list[int], list[Refusal]]:
    """Faces of a photo that can be dressed, and why the others cannot.

    Two detections of one head count once: the larger keeps the mask, the other is refused as `duplicate`.
    """
    wearers: list[int] = []
    refusals: list[Refusal] = []
    seen: list[tuple[int, BoolMask]] = []
    meshes: dict[int, FaceMesh] = {}
    for index, face in enumerate(faces):
        try:
            meshes[index] = mesh_of(face)
        except ItemFault as fault:
            refusals.append(Refusal(index, fault.reason, f"face {index}: {fault}"))
    for index in sorted(meshes, key=lambda i: (-meshes[i].frame.px_per_mm, i)):
        covered = face_coverage(meshes[index], size_hw)
        twin = next((other for other, mask in seen if overlap(mask, covered) > SAME_FACE_IOU), None)
        if twin is not None:
            refusals.append(Refusal(index, Reason.DUPLICATE, f"face {index}: same head as face {twin}"))
            continue
        seen.append((index, covered))
        try:
            check_wearer(meshes[index], limits)
            wearers.append(index)
        except ItemFault as fault:
            refusals.append(Refusal(index, fault.reason, f"face {index}: {fault}"))
    return sorted(wearers), sorted(refusals, key=lambda refusal: refusal.face)


def overlap(one: BoolMask, other: BoolMask) -> float:
    """Intersection over union of two (H, W) masks; 0 for two empty ones."""
    either = int((one | other).sum())
    return int((one & other).sum()) / either if either else 0.0
