"""One photo with all its faces: the finished picture with its labels, drawn from a recipe.

Far faces come first, each mask lies behind the nearer faces and behind what is in front of its own face, and
occluders lie on top of everything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from dataset_tools.core.errors import ItemFault
from dataset_tools.core.images import RgbImage
from dataset_tools.core.reasons import Reason
from dataset_tools.core.record import Face
from synth.assets import Garment
from synth.forehead import skin_to_hairline
from synth.front.ordering import find_in_front
from synth.geometry import FaceMesh, MaskMesh, build_mask
from synth.halves import dress_halves, place_halves
from synth.occluders.occluder import Occluder, occlude
from synth.recipe import Recipe, recipe_from_json
from synth.render import Dressing, Effects, composite, dress_face, face_coverage
from synth.resources import NOTHING, Resources
from synth.shading import Light
from synth.wearers import SAME_FACE_IOU, mesh_of, overlap

BoolMask = npt.NDArray[np.bool_]
Floats32 = npt.NDArray[np.float32]
Alpha = npt.NDArray[np.uint16]

_STEPS = 65535


@dataclass(frozen=True)
class Method:
    """A way to put a mask onto a face.

    Attributes:
        place: where the mask goes, before anything is drawn.
        draw: photo, wearer, mask, coverage of what is in front, and effects to the drawn mask.
    """

    place: Callable[[FaceMesh, Garment], MaskMesh]
    draw: Callable[[RgbImage, FaceMesh, Garment, Floats32, Effects], Dressing]


METHODS: Mapping[str, Method] = MappingProxyType(
    {
        "mesh3d": Method(lambda face, garment: build_mask(garment.shape, face), dress_face),
        "halves": Method(place_halves, dress_halves),
    }
)


@dataclass(frozen=True)
class DressedFace:
    """Labels of one face; every array is (H, W) of the photo.

    Attributes:
        face: index in the sample.
        garment: what it wears; None for a face left as it is.
        mask_alpha: uint16, 65535 = covered: what is visible of the mask after everything nearer.
        strap_alpha: the same of the straps.
        occluder_alpha: the same of the rendered occluder in front of this face.
        amodal_alpha: the mask as if nothing were in front of it; of straps that count as mask only what
            is visible.
        skin: bool, visible skin of the face up to the hairline: neither mask nor straps nor anything nearer.
        light: the light the mask was shaded with; None for a face left as it is.
    """

    face: int
    garment: Garment | None
    mask_alpha: Alpha
    strap_alpha: Alpha
    occluder_alpha: Alpha
    amodal_alpha: Alpha
    skin: BoolMask
    light: Light | None


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


def hard(alpha: Alpha) -> BoolMask:
    """The hard mask of a soft one: alpha >= 0.5."""
    return alpha >= 32768


def dress_photo(
    photo: RgbImage, faces: Sequence[Face], recipe: Recipe, resources: Resources = NOTHING
) -> DressedPhoto:
    """Draw a recipe.

    Args:
        photo: (H, W, 3) sRGB of the parent; not changed.
        faces: the parent's faces.
        recipe: what to draw; faces it does not name stay bare but hide what is behind them.
        resources: the user's pictures that the recipe names.

    Raises:
        ItemFault: `no_landmarks`, when the recipe names a face that has none.
        DataError: the recipe names a picture that `resources` does not hold.
    """
    size_hw = (photo.shape[0], photo.shape[1])
    worn = dict(recipe.garments)
    meshes = _meshes(faces, {*worn, *dict(recipe.occluders)})
    order = sorted(meshes, key=lambda i: (meshes[i].frame.px_per_mm, -i))
    covered = {index: face_coverage(meshes[index], size_hw) for index in order}
    hidden_by = _hidden_by(photo, meshes, order, covered, recipe)
    draw = METHODS[recipe.method].draw
    image, light_left = photo, np.ones(size_hw, dtype=np.float32)
    drawn: list[DressedFace] = []
    for index in order:
        if index not in hidden_by:
            continue
        skin = skin_to_hairline(photo, meshes[index], covered[index]) & (hidden_by[index] < 0.5)
        if index not in worn:
            drawn.append(_bare(index, skin))
            continue
        dressing = draw(photo, meshes[index], worn[index], hidden_by[index], recipe.effects)
        image = composite(image, dressing)
        light_left[_window(dressing)] *= 1.0 - dressing.shadow
        mask, strap = (_whole(layer.alpha, dressing, size_hw) for layer in (dressing.mask, dressing.loops))
        amodal = _whole(dressing.amodal, dressing, size_hw)
        if worn[index].strap.of_cloth:
            mask, strap, amodal = mask + strap * (1.0 - mask), np.zeros_like(strap), np.maximum(amodal, strap)
        # What this mask covers of farther ones is no longer theirs.
        drawn = [_behind(face, mask, strap) for face in drawn]
        drawn.append(
            DressedFace(
                face=index,
                garment=worn[index],
                mask_alpha=_wide(mask),
                strap_alpha=_wide(strap * (1.0 - mask)),
                occluder_alpha=np.zeros(size_hw, dtype=np.uint16),
                amodal_alpha=_wide(amodal),
                skin=skin & (mask < 0.5) & (strap < 0.5),
                light=dressing.light,
            )
        )
    for index, occluder in recipe.occluders:
        dressing = occlude(photo, meshes[index], occluder, recipe.effects, resources.cutouts)
        image = composite(image, dressing)
        light_left[_window(dressing)] *= 1.0 - dressing.shadow
        drawn = _hold_in_front(drawn, index, _whole(dressing.mask.alpha, dressing, size_hw))
    shadow = np.rint((1.0 - light_left) * 255).astype(np.uint8)
    return DressedPhoto(image, tuple(drawn), shadow)


def _hidden_by(
    photo: RgbImage,
    meshes: dict[int, FaceMesh],
    order: list[int],
    covered: dict[int, BoolMask],
    recipe: Recipe,
) -> dict[int, Floats32]:
    # For every face that is drawn or hides others: coverage of everything in front of it, near faces first.
    worn = dict(recipe.garments)
    labelled = {*worn, *dict(recipe.occluders)}
    nearer = np.zeros((photo.shape[0], photo.shape[1]), dtype=np.float32)
    hidden_by: dict[int, Floats32] = {}
    for index in reversed(order):
        if _is_bare_twin(index, worn, covered):
            continue
        hidden_by[index] = nearer.copy()
        if index in labelled:
            matte = find_in_front(photo, meshes[index], recipe.front)
            hidden_by[index] = np.maximum(nearer, matte.over(nearer.shape))
        nearer[covered[index]] = 1.0
    return hidden_by


def _meshes(faces: Sequence[Face], needed: set[int]) -> dict[int, FaceMesh]:
    meshes: dict[int, FaceMesh] = {}
    for index, face in enumerate(faces):
        try:
            meshes[index] = mesh_of(face)
        except ItemFault:
            if index in needed:
                raise
    return meshes


def _is_bare_twin(index: int, worn: Mapping[int, Garment], covered: dict[int, BoolMask]) -> bool:
    # A second detection of a dressed head must not hide that head's mask.
    if index in worn:
        return False
    return any(overlap(covered[index], covered[other]) > SAME_FACE_IOU for other in worn)


def _window(dressing: Dressing) -> tuple[slice, slice]:
    x, y, width, height = dressing.box
    return slice(y, y + height), slice(x, x + width)


def _whole(part: Floats32, dressing: Dressing, size_hw: tuple[int, int]) -> Floats32:
    whole = np.zeros(size_hw, dtype=np.float32)
    whole[_window(dressing)] = part
    return whole


def _wide(alpha: npt.NDArray[np.floating[Any]]) -> Alpha:
    steps: Alpha = np.rint(alpha * _STEPS).astype(np.uint16)
    return steps


def _bare(index: int, skin: BoolMask) -> DressedFace:
    nothing = np.zeros(skin.shape, dtype=np.uint16)
    return DressedFace(index, None, nothing, nothing, nothing, nothing, skin, None)


def _behind(face: DressedFace, *sheets: Floats32) -> DressedFace:
    # What is left of a face's labels behind sheets nearer to the camera.
    left: Floats32 = np.ones(face.skin.shape, dtype=np.float32)
    skin = face.skin
    for sheet in sheets:
        left = left * (1.0 - sheet)
        skin = skin & (sheet < 0.5)
    mask, strap, occluder = (
        _wide(alpha / np.float32(_STEPS) * left)
        for alpha in (face.mask_alpha, face.strap_alpha, face.occluder_alpha)
    )
    return replace(face, mask_alpha=mask, strap_alpha=strap, occluder_alpha=occluder, skin=skin)


def _hold_in_front(drawn: list[DressedFace], index: int, alpha: Floats32) -> list[DressedFace]:
    behind = [_behind(face, alpha) for face in drawn]
    return [
        replace(face, occluder_alpha=np.maximum(face.occluder_alpha, _wide(alpha)))
        if face.face == index
        else face
        for face in behind
    ]


def replay(
    recipe_json: str, photo: RgbImage, faces: Sequence[Face], resources: Resources = NOTHING
) -> DressedPhoto:
    """Draw a stored recipe again: same photo and faces, same bytes.

    Args:
        recipe_json: `Provenance.recipe` of the rendered child.
        photo: (H, W, 3) sRGB of the parent.
        faces: the parent's faces.
        resources: the user's pictures that the recipe names.

    Raises:
        DataError: the recipe is unreadable, of another renderer version, or names what is not at hand.
        ItemFault: `no_landmarks`, when a face of the recipe is missing its landmarks.
    """
    recipe = recipe_from_json(recipe_json)
    named: list[tuple[int, Garment | Occluder]] = [*recipe.garments, *recipe.occluders]
    missing = [index for index, _ in named if not 0 <= index < len(faces)]
    if missing:
        raise ItemFault(
            Reason.NO_LANDMARKS, f"the recipe dresses face {missing[0]}, the sample has {len(faces)}"
        )
    return dress_photo(photo, faces, recipe, resources)
