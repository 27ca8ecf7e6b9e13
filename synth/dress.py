"""One photo with all its faces: who can be dressed, in what, and the finished picture with its labels.

A `Recipe` holds every number the renderer needs beside the photo and its landmarks, so `replay` gives the
same bytes again; nothing random happens after the recipe is written.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dataset_tools.core.errors import DataError, ItemFault
from dataset_tools.core.files import canonical_json
from dataset_tools.core.images import RgbImage
from dataset_tools.core.reasons import Reason
from dataset_tools.core.record import Face
from synth.assets import Garment, garment_from_json, garment_to_json
from synth.geometry import FaceMesh, build_face, build_mask
from synth.placement import fit_head_frame, read_landmarks
from synth.render import Effects, composite, dress_face, face_coverage, inside_share

BoolMask = npt.NDArray[np.bool_]
Floats32 = npt.NDArray[np.float32]

RENDERER = "mesh3d@2"  # method and version; changes whenever a recipe would draw other pixels

MAX_PITCH_DEG = 50.0
MIN_INSIDE_SHARE = 0.6  # of the mask's grid points
_SAME_FACE_IOU = 0.5
_STEPS = 65535


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
    """A face that cannot be dressed, and why."""

    face: int
    reason: Reason
    detail: str


@dataclass(frozen=True)
class Recipe:
    """What a child of a photo wears: index of the face in the sample and its garment, and the options."""

    garments: tuple[tuple[int, Garment], ...]
    effects: Effects
    seed: int


@dataclass(frozen=True)
class DressedFace:
    """Labels of one face; every array is (H, W) of the photo.

    Attributes:
        face: index in the sample.
        garment: what it wears; None for a face left as it is.
        mask_alpha: uint16, 65535 = covered: what is visible of the mask after everything nearer.
        strap_alpha: the same of the ear loops.
        amodal_alpha: the mask as if nothing were in front of it.
        skin: bool, visible skin within the face oval: neither mask nor loops nor a nearer face.
    """

    face: int
    garment: Garment | None
    mask_alpha: npt.NDArray[np.uint16]
    strap_alpha: npt.NDArray[np.uint16]
    amodal_alpha: npt.NDArray[np.uint16]
    skin: BoolMask


@dataclass(frozen=True)
class DressedPhoto:
    """The finished picture.

    Attributes:
        image: (H, W, 3) sRGB.
        faces: labels, far faces first.
        shadow: (H, W) uint8, 255 = all light taken; what the photo was darkened by.
    """

    image: RgbImage
    faces: tuple[DressedFace, ...]
    shadow: npt.NDArray[np.uint8]


def hard(alpha: npt.NDArray[np.uint16]) -> BoolMask:
    """The hard mask of a soft one: alpha >= 0.5."""
    return alpha >= 32768


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


def check_fit(mesh: FaceMesh, garment: Garment, size_hw: tuple[int, int]) -> None:
    """Refuse a mask that would hang outside the picture.

    Raises:
        ItemFault: `mask_off_image`.
    """
    share = inside_share(build_mask(garment.shape, mesh), size_hw)
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
        twin = next((other for other, mask in seen if _iou(mask, covered) > _SAME_FACE_IOU), None)
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


def _iou(one: BoolMask, other: BoolMask) -> float:
    either = int((one | other).sum())
    return int((one & other).sum()) / either if either else 0.0


def dress_photo(photo: RgbImage, faces: Sequence[Face], recipe: Recipe) -> DressedPhoto:
    """Draw a recipe: all its masks, far to near, each behind the nearer faces.

    Args:
        photo: (H, W, 3) sRGB of the parent; not changed.
        faces: the parent's faces.
        recipe: what to draw; faces it does not name stay bare but hide what is behind them.

    Raises:
        ItemFault: `no_landmarks`, when the recipe names a face that has none.
    """
    size_hw = (photo.shape[0], photo.shape[1])
    worn = dict(recipe.garments)
    meshes = _meshes(faces, worn)
    order = sorted(meshes, key=lambda i: (meshes[i].frame.px_per_mm, -i))
    covered = {index: face_coverage(meshes[index], size_hw) for index in order}
    in_front = np.zeros(size_hw, dtype=np.float32)
    hidden_by: dict[int, Floats32] = {}
    for index in reversed(order):
        hidden_by[index] = in_front.copy()
        if _is_bare_twin(index, worn, covered):
            continue
        in_front[covered[index]] = 1.0
    image, light_left = photo, np.ones(size_hw, dtype=np.float32)
    drawn: list[DressedFace] = []
    for index in order:
        if index not in worn:
            if not _is_bare_twin(index, worn, covered):
                drawn.append(_bare(index, covered[index] & (hidden_by[index] < 0.5)))
            continue
        dressing = dress_face(photo, meshes[index], worn[index], hidden_by[index], recipe.effects)
        image = composite(image, dressing)
        x, y, width, height = dressing.box
        window = (slice(y, y + height), slice(x, x + width))
        mask, strap, amodal = (np.zeros(size_hw, dtype=np.float32) for _ in range(3))
        mask[window], strap[window] = dressing.mask.alpha, dressing.loops.alpha
        amodal[window] = dressing.amodal
        light_left[window] *= 1.0 - dressing.shadow
        # What this mask covers of farther ones is no longer theirs.
        drawn = [_behind(face, mask, strap) for face in drawn]
        skin = covered[index] & (hidden_by[index] < 0.5) & (mask < 0.5) & (strap < 0.5)
        strap = strap * (1.0 - mask)
        drawn.append(DressedFace(index, worn[index], _wide(mask), _wide(strap), _wide(amodal), skin))
    shadow = np.rint((1.0 - light_left) * 255).astype(np.uint8)
    return DressedPhoto(image, tuple(drawn), shadow)


def _meshes(faces: Sequence[Face], worn: dict[int, Garment]) -> dict[int, FaceMesh]:
    meshes: dict[int, FaceMesh] = {}
    for index, face in enumerate(faces):
        try:
            meshes[index] = mesh_of(face)
        except ItemFault:
            if index in worn:
                raise
    return meshes


def _is_bare_twin(index: int, worn: dict[int, Garment], covered: dict[int, BoolMask]) -> bool:
    # A second detection of a dressed head must not hide that head's mask.
    if index in worn:
        return False
    return any(_iou(covered[index], covered[other]) > _SAME_FACE_IOU for other in worn)


def _wide(alpha: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.uint16]:
    steps: npt.NDArray[np.uint16] = np.rint(alpha * _STEPS).astype(np.uint16)
    return steps


def _bare(index: int, skin: BoolMask) -> DressedFace:
    nothing = np.zeros(skin.shape, dtype=np.uint16)
    return DressedFace(index, None, nothing, nothing, nothing, skin)


def _behind(face: DressedFace, mask: Floats32, strap: Floats32) -> DressedFace:
    left = (1.0 - mask) * (1.0 - strap)
    return DressedFace(
        face.face,
        face.garment,
        _wide(face.mask_alpha / np.float32(_STEPS) * left),
        _wide(face.strap_alpha / np.float32(_STEPS) * left),
        face.amodal_alpha,
        face.skin & (mask < 0.5) & (strap < 0.5),
    )


def recipe_to_json(recipe: Recipe) -> str:
    """A recipe as one line of JSON; equal recipes give equal text."""
    return canonical_json(
        {
            "renderer": RENDERER,
            "seed": recipe.seed,
            "effects": asdict(recipe.effects),
            "faces": [
                {"face": index, "garment": garment_to_json(garment)} for index, garment in recipe.garments
            ],
        }
    )


def recipe_from_json(text: str) -> Recipe:
    """The inverse of `recipe_to_json`.

    Raises:
        DataError: not a recipe, or of a renderer this version does not have.
    """
    try:
        values = json.loads(text)
        renderer = values["renderer"]
        if renderer != RENDERER:
            raise DataError(f"recipe is for renderer {renderer}, this is {RENDERER}")
        garments = tuple((int(row["face"]), garment_from_json(row["garment"])) for row in values["faces"])
        return Recipe(garments, Effects(**values["effects"]), int(values["seed"]))
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise DataError(f"not a recipe: {error}") from error


def replay(recipe_json: str, photo: RgbImage, faces: Sequence[Face]) -> DressedPhoto:
    """Draw a stored recipe again: same photo and faces, same bytes.

    Args:
        recipe_json: `Provenance.recipe` of the rendered child.
        photo: (H, W, 3) sRGB of the parent.
        faces: the parent's faces.

    Raises:
        DataError: the recipe is unreadable or of another renderer version.
        ItemFault: `no_landmarks`, when a face of the recipe is missing its landmarks.
    """
    recipe = recipe_from_json(recipe_json)
    missing = [index for index, _ in recipe.garments if not 0 <= index < len(faces)]
    if missing:
        raise ItemFault(
            Reason.NO_LANDMARKS, f"the recipe dresses face {missing[0]}, the sample has {len(faces)}"
        )
    return dress_photo(photo, faces, recipe)
