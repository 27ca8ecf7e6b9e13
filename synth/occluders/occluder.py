"""Things other than masks in front of a face: geometric shapes, cut-outs of real objects, black blocks.

An `Occluder` is a handful of numbers in pixels of its photo that draws the same picture again; a cut-out is
named by the sha256 of its file and found again through an `OccluderLibrary`. All of them go through the
compositor of the masks (`render.composite`), on top of everything; their alpha is `Label.OCCLUDER`.

Source: MSML, "Face preprocessing" (random connected geometric shapes, real objects) and LFW_block.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import Field, field_validator, model_validator

from dataset_tools.core.errors import ConfigError, DataError, ItemFault
from dataset_tools.core.images import RgbImage
from dataset_tools.core.reasons import Reason
from dataset_tools.core.settings import Settings
from synth.camera import Layer, draw_noise, finish, recompress
from synth.cloth.fabric import Rgb
from synth.colour import srgb_to_linear
from synth.cover import window_of
from synth.geometry import FaceMesh
from synth.occluders.cutouts import CUTOUT_KINDS, WORN_ON_EYES, Cutout, OccluderLibrary, paste_cutout
from synth.occluders.shapes import (
    OUTLINES,
    in_one_piece,
    polygon_area,
    polygon_coverage,
    shape_outline,
    turn_xy,
)
from synth.photo_state import UNTOUCHED, read_state
from synth.placement import eye_centres, eye_roll_deg
from synth.raster import Box
from synth.render import Dressing, Effects, composite, face_coverage
from synth.shading import EVEN_LIGHT, estimate_light, read_skin
from synth.topology import SURFACE_COUNT

Floats = npt.NDArray[np.float64]
Floats32 = npt.NDArray[np.float32]

BLOCK = "block"
KINDS: tuple[str, ...] = (*OUTLINES, BLOCK, *CUTOUT_KINDS)

BLACK: Rgb = (0, 0, 0)
_MOTTLE_CELLS = 7
_MOST_MOTTLED = 0.5
_CONTACT_MM = 2.0
_CONTACT_STRENGTH = 0.35
_FRAME_PD = 1.11  # lens centres of spectacles lie 70 mm apart, pupils 63
_LENSES_BELOW_MM = 2.0
_LARGEST_ENLARGEMENT = 3.0  # a cut-out blown up further is a smear
_OBJECT_SPAN = (0.45, 0.95)  # longer side of a hand or thing over the width of the face
_TILT_DEG = {"hand": 40.0, "object": 30.0, "scarf": 6.0}
_MAX_GLASSES_YAW_DEG = 40.0  # beyond, a flat picture of spectacles cannot be worn


class OccluderSettings(Settings):
    """What else is drawn in front of faces.

    Attributes:
        probability: share of faces that get one.
        kinds: share of each kind; names of `KINDS`. Kinds that are cut-outs need `folder`.
        folder: RGBA pictures of things on nothing; a sub-folder's name is the kind of what is in it
            (sunglasses, eyeglasses, scarf, hand; anything else is an object).
        shape_share: smallest and largest area of a shape, as a share of the face's box.
        block_share: the same for black blocks.
    """

    probability: float = Field(default=0.0, ge=0.0, le=1.0)
    kinds: dict[str, float] = Field(default_factory=lambda: dict.fromkeys(OUTLINES, 1.0))
    folder: Path | None = None
    shape_share: tuple[float, float] = (0.04, 0.35)
    block_share: tuple[float, float] = (0.0, 1.0)

    @field_validator("kinds")
    @classmethod
    def _known_kinds(cls, shares: dict[str, float]) -> dict[str, float]:
        strange = sorted(set(shares) - set(KINDS))
        if strange:
            raise ValueError(f"unknown {', '.join(strange)}; known: {', '.join(KINDS)}")
        if any(not 0 <= share < float("inf") for share in shares.values()) or sum(shares.values()) <= 0:
            raise ValueError("shares must be >= 0 and not all 0")
        return shares

    @field_validator("shape_share", "block_share")
    @classmethod
    def _ordered(cls, span: tuple[float, float]) -> tuple[float, float]:
        if not 0 <= span[0] <= span[1] <= 1:
            raise ValueError("must be two shares in [0, 1], the smaller first")
        return span

    @model_validator(mode="after")
    def _cutouts_have_a_folder(self) -> OccluderSettings:
        wanted = sorted(kind for kind in CUTOUT_KINDS if self.kinds.get(kind, 0) > 0)
        if wanted and self.folder is None:
            raise ValueError(f"kinds {', '.join(wanted)} need a folder of cut-outs")
        return self


@dataclass(frozen=True)
class Occluder:
    """One thing in front of a face; everything needed to draw it again, in pixels of its photo.

    Attributes:
        kind: one of `KINDS`.
        centre_px: (x, y) of its middle, y down.
        size_px: width and height before it is turned; 0 draws nothing.
        angle_deg: how far it is turned, > 0 clockwise as the viewer sees it.
        colour: sRGB of a shape or block; cut-outs have their own.
        mottle: strength of the soft blotches on a shape, 0–0.5.
        seed: of a shape's outline and blotches.
        cutout: sha256 of the cut-out's file, "" for shapes.
    """

    kind: str
    centre_px: tuple[float, float]
    size_px: tuple[float, float]
    angle_deg: float = 0.0
    colour: Rgb = BLACK
    mottle: float = 0.0
    seed: int = 0
    cutout: str = ""


def occluder_to_json(occluder: Occluder) -> dict[str, Any]:
    """An occluder as plain JSON values."""
    return asdict(occluder)


def occluder_from_json(values: Mapping[str, Any]) -> Occluder:
    """The inverse of `occluder_to_json`, after a round trip through JSON text.

    Raises:
        DataError: keys are missing or unknown, or the kind is.
    """
    try:
        x, y = (float(value) for value in values["centre_px"])
        width, height = (float(value) for value in values["size_px"])
        red, green, blue = (int(value) for value in values["colour"])
        exact = {"centre_px": (x, y), "size_px": (width, height), "colour": (red, green, blue)}
        occluder = Occluder(**{**values, **exact})
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"not an occluder of this version: {error}") from error
    if occluder.kind not in KINDS:
        raise DataError(f"unknown kind of occluder {occluder.kind!r}; known: {', '.join(KINDS)}")
    return occluder


def draw_occluder(
    rng: np.random.Generator,
    face: FaceMesh,
    settings: OccluderSettings,
    library: OccluderLibrary | None = None,
) -> Occluder | None:
    """A random occluder for a face; None for the share of faces that get none.

    Args:
        rng: the only source of chance.
        face: whom it is to hide.
        settings: probability and shares. Spectacles are left out for heads turned by more than 40 degrees.
        library: the cut-outs of `settings.folder`; a kind it has nothing of is left out.

    Raises:
        ItemFault: `pose`, when no kind with a share is left for this face.
    """
    if rng.random() >= settings.probability:
        return None
    shares = {kind: share for kind, share in settings.kinds.items() if share > 0}
    too_far = abs(face.frame.pose_deg[0]) > _MAX_GLASSES_YAW_DEG
    for kind in CUTOUT_KINDS:
        if library is None or not library.of_kind(kind) or (too_far and kind in WORN_ON_EYES):
            shares.pop(kind, None)
    if not shares:
        raise ItemFault(
            Reason.POSE, f"no kind of occluder fits; asked for {', '.join(sorted(settings.kinds))}"
        )
    names = sorted(shares)
    weights = np.array([shares[name] for name in names])
    kind = names[int(rng.choice(len(names), p=weights / weights.sum()))]
    plane = _FacePlane.of(face)
    if kind == BLOCK:
        return black_block(rng, plane.box_xyxy, float(rng.uniform(*settings.block_share)))
    if library is not None and kind in CUTOUT_KINDS:
        known = library.of_kind(kind)
        chosen = library.read(known[int(rng.integers(len(known)))])
        return _place_cutout(rng, face, plane, chosen)
    return _draw_shape(rng, kind, plane, settings.shape_share)


def black_block(
    rng: np.random.Generator, face_box_xyxy: tuple[float, float, float, float], share: float
) -> Occluder:
    """A black block that covers a share of a box, somewhere inside it, on whole pixels (LFW_block).

    Args:
        rng: draws the position, uniform over all that fit.
        face_box_xyxy: x0, y0, x1, y1; rounded to whole pixels. For LFW_block the whole aligned picture.
        share: in [0, 1]. The covered area is `share` times the box's, to within half a pixel row.

    Raises:
        ConfigError: a share outside [0, 1], or a box without area.
    """
    if not 0 <= share <= 1:
        raise ConfigError(f"a block covers a share in [0, 1] of the face, not {share:g}")
    x0, y0, x1, y1 = (round(value) for value in face_box_xyxy)
    width, height = x1 - x0, y1 - y0
    if width < 1 or height < 1:
        raise ConfigError(f"no block fits a box of {width}x{height} pixels")
    target = share * width * height
    # The box's own proportions, and of the widths near that the one whose area comes nearest.
    around = round(width * share**0.5)
    fits: list[tuple[float, int, int]] = []
    for across in range(max(around - 2, 1), min(around + 2, width) + 1):
        down = min(round(target / across), height)
        fits.append((abs(across * down - target), abs(across - around), across))
    across = min(fits)[2]
    down = min(round(target / across), height)
    left, top = int(rng.integers(width - across + 1)), int(rng.integers(height - down + 1))
    centre = (x0 + left + across / 2, y0 + top + down / 2)
    return Occluder(BLOCK, centre, (float(across), float(down)) if down else (0.0, 0.0))


@dataclass(frozen=True)
class _FacePlane:
    # The box of a face, upright in the face's own sense: x along the eye line.
    centre: Floats
    size: Floats
    roll_deg: float
    box_xyxy: tuple[float, float, float, float]

    @staticmethod
    def of(face: FaceMesh) -> _FacePlane:
        points = face.skin_px[:SURFACE_COUNT, :2]
        roll = eye_roll_deg(*eye_centres(points))
        upright = points @ turn_xy(roll)
        low, high = upright.min(axis=0), upright.max(axis=0)
        x0, y0 = (float(value) for value in points.min(axis=0))
        x1, y1 = (float(value) for value in points.max(axis=0))
        return _FacePlane((low + high) / 2 @ turn_xy(roll).T, high - low, roll, (x0, y0, x1, y1))

    def at(self, u: float, v: float) -> tuple[float, float]:
        # u, v in [-0.5, 0.5] over the box.
        x, y = self.centre + turn_xy(self.roll_deg) @ (self.size * (u, v))
        return float(x), float(y)


def _draw_shape(
    rng: np.random.Generator, kind: str, plane: _FacePlane, share_span: tuple[float, float]
) -> Occluder:
    seed = int(rng.integers(2**31))
    share = float(rng.uniform(*share_span))
    filled = polygon_area(shape_outline(kind, seed))  # of the unit square around the outline
    stretch = float(np.exp(rng.uniform(-0.45, 0.45)))
    side = float(np.sqrt(share * plane.size[0] * plane.size[1] / filled))
    red, green, blue = (int(value) for value in rng.integers(0, 256, size=3))
    return Occluder(
        kind,
        plane.at(float(rng.uniform(-0.32, 0.32)), float(rng.uniform(-0.32, 0.32))),
        (side * stretch, side / stretch),
        float(rng.uniform(-180.0, 180.0)),
        (red, green, blue),
        float(rng.uniform(0.0, 0.3)),
        seed,
    )


def _place_cutout(rng: np.random.Generator, face: FaceMesh, plane: _FacePlane, cutout: Cutout) -> Occluder:
    if cutout.kind in WORN_ON_EYES:
        return _wear_glasses(face, cutout)
    tilt = _TILT_DEG[cutout.kind]
    angle = plane.roll_deg + float(rng.uniform(-tilt, tilt))
    height, width = cutout.size_hw
    if cutout.kind == "scarf":
        scale = float(plane.size[0] * rng.uniform(1.05, 1.3)) / width
        # Its upper edge lies somewhere between under the nose and the chin.
        top = plane.at(float(rng.uniform(-0.04, 0.04)), float(rng.uniform(0.12, 0.36)))
        x, y = np.array(top) + turn_xy(angle) @ (0.0, scale * height / 2)
        middle = (float(x), float(y))
    else:
        span = float(plane.size[0] * rng.uniform(*_OBJECT_SPAN))
        scale = min(span / max(height, width), _LARGEST_ENLARGEMENT)
        middle = plane.at(float(rng.uniform(-0.35, 0.35)), float(rng.uniform(-0.2, 0.4)))
    return Occluder(cutout.kind, middle, (scale * width, scale * height), angle, cutout=cutout.sha256)


def _wear_glasses(face: FaceMesh, cutout: Cutout) -> Occluder:
    # Across: lens centres over the eyes, as foreshortened as they are. Down: the true scale of the head.
    left, right = eye_centres(face.skin_px[:SURFACE_COUNT, :2])
    roll = eye_roll_deg(left, right)
    lens_left, lens_right = (np.array(lens) for lens in cutout.lenses_xy)
    apart = float(lens_right[0] - lens_left[0])
    across = _FRAME_PD * float(np.hypot(*(right - left))) / apart
    down = _FRAME_PD * 63.0 * face.frame.px_per_mm / apart
    height, width = cutout.size_hw
    off_middle = (lens_left + lens_right) / 2 - np.array([width, height]) / 2
    offset = -off_middle * (across, down) + (0.0, _LENSES_BELOW_MM * face.frame.px_per_mm)
    x, y = (left + right) / 2 + turn_xy(roll) @ offset
    return Occluder(
        cutout.kind, (float(x), float(y)), (across * width, down * height), roll, cutout=cutout.sha256
    )


def occlude(
    photo: RgbImage,
    face: FaceMesh | None,
    occluder: Occluder,
    effects: Effects,
    library: OccluderLibrary | None = None,
) -> Dressing:
    """Draw one occluder; the photo is only read.

    Args:
        photo: (H, W, 3) sRGB, as it was before anything was drawn into it.
        face: whom it hides; light, blur and noise are read there. None takes nothing from the photo.
        occluder: what to draw.
        effects: light and shadow are for cut-outs, camera for cut-outs and shapes; a black block takes
            nothing, so that its area is exact.
        library: where cut-outs are found again.

    Returns:
        For `render.composite`; `mask.alpha` is the label. There are no loops.

    Raises:
        DataError: the cut-out is not in the library.
    """
    size_hw = (photo.shape[0], photo.shape[1])
    corners = _corners(occluder)
    blur_room = 14.0 if occluder.kind != BLOCK else 1.0
    box = window_of(corners, blur_room, size_hw)
    is_cutout = occluder.kind in CUTOUT_KINDS
    light = EVEN_LIGHT
    if face is not None and is_cutout and effects.light:
        light = estimate_light(photo, read_skin(photo, face.skin_px, face.frame.px_per_mm))
    if is_cutout:
        cutout = _found(occluder, library)
        alpha, own = paste_cutout(cutout, occluder.centre_px, occluder.size_px, occluder.angle_deg, box)
        colour = light.colour(own)
    else:
        alpha, colour = _paint_shape(occluder, box)
    state = UNTOUCHED
    if face is not None and effects.camera and occluder.kind != BLOCK and alpha.any():
        state = read_state(photo, face)
    rng = np.random.default_rng(occluder.seed + 1)
    noise = draw_noise((box[3], box[2]), state, rng)
    layer = finish(alpha, lambda place: colour[place], state, noise, np.ones_like(alpha))
    if not is_cutout:
        alpha = in_one_piece(layer.alpha)
        layer = Layer(alpha, layer.colour, alpha)
    shadow = np.zeros_like(alpha)
    if face is not None and is_cutout and effects.shadow:
        shadow = _contact(layer.alpha, face, box, size_hw)
    nothing = np.zeros_like(alpha)
    loops = Layer(nothing, np.zeros((*alpha.shape, 3), dtype=np.float32), nothing)
    dressing = Dressing(box, layer, loops, shadow, layer.alpha, light)
    if state.jpeg is None:
        return dressing
    x, y, width, height = box
    window = photo[y : y + height, x : x + width]
    drawn = composite(window, replace(dressing, box=(0, 0, width, height)))
    return replace(dressing, mask=recompress([layer], drawn, state.jpeg, (x, y))[0])


def _found(occluder: Occluder, library: OccluderLibrary | None) -> Cutout:
    if library is None:
        raise DataError(f"cut-out {occluder.cutout[:12]} needs the folder of cut-outs it was drawn from")
    return library.read(occluder.cutout)


def _corners(occluder: Occluder) -> Floats:
    half = np.array(occluder.size_px) / 2
    square = np.array([(-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)])
    corners: Floats = square * half @ turn_xy(occluder.angle_deg).T + occluder.centre_px
    return corners


def _paint_shape(occluder: Occluder, box: Box) -> tuple[Floats32, Floats32]:
    x0, y0, width, height = box
    kind = "rectangle" if occluder.kind == BLOCK else occluder.kind
    outline = shape_outline(kind, occluder.seed) * occluder.size_px
    points = outline @ turn_xy(occluder.angle_deg).T + occluder.centre_px
    alpha = polygon_coverage(points - (x0, y0), (height, width))
    base = srgb_to_linear(np.array(occluder.colour) / 255)
    colour = np.broadcast_to(base, (height, width, 3)).astype(np.float32)
    if occluder.mottle > 0 and alpha.size:
        colour = colour * (1.0 + np.float32(occluder.mottle) * _blotches(occluder, box))[..., None]
    return alpha, colour


def _blotches(occluder: Occluder, box: Box) -> Floats32:
    import cv2

    rng = np.random.default_rng(occluder.seed + 2)
    coarse = rng.uniform(-1.0, 1.0, (_MOTTLE_CELLS, _MOTTLE_CELLS)).astype(np.float32)
    # Fixed to the shape, so that a shape half outside the picture looks the same.
    x0, y0, width, height = box
    reach = float(np.hypot(*occluder.size_px)) / 2
    cells = (_MOTTLE_CELLS - 1) / (2 * max(reach, 1.0))
    x = (x0 + 0.5 - occluder.centre_px[0] + np.arange(width) + reach) * cells
    y = (y0 + 0.5 - occluder.centre_px[1] + np.arange(height) + reach) * cells
    at_x, at_y = np.meshgrid(x.astype(np.float32), y.astype(np.float32))
    field = cv2.remap(coarse, at_x, at_y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    blotches: Floats32 = np.clip(field, -1.0, 1.0).astype(np.float32)
    return blotches


def _contact(alpha: Floats32, face: FaceMesh, box: Box, size_hw: tuple[int, int]) -> Floats32:
    # Light that a thing close to the skin takes from it; nothing beside the face gets dark.
    import cv2

    x, y, width, height = box
    if width == 0 or height == 0:
        return np.zeros_like(alpha)
    sigma = max(_CONTACT_MM * face.frame.px_per_mm, 0.5)
    around = cv2.GaussianBlur(alpha, (0, 0), sigma)
    on_face = face_coverage(face, size_hw)[y : y + height, x : x + width].astype(np.float32)
    edge = cv2.GaussianBlur(on_face, (0, 0), sigma)
    dark = _CONTACT_STRENGTH * around * np.clip(2 * edge - 1, 0, 1) * on_face
    steps: Floats32 = (np.floor(dark * 255) / 255).astype(np.float32)
    return steps
