"""MISA's own recipe: a flat picture of a mask, cut at the middle, each half resized to its side of the face.

This is the naive paste that the mesh renderer is compared with. It follows the common mask-wearing script
that MISA builds on, with that script's faults mended: the angle is applied, in degrees and with the right
sign, and both halves keep to the line from nose to chin. It has no depth, light, shadow, blur or noise.

Source: MISA section IV.A, equations 16–20, and the script's half-mask rule (mask height = |NB|, half width =
1.2 times the distance of the jaw point from the line NB; N nose bridge, B bottom of the chin).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import numpy.typing as npt

from dataset_tools.core.errors import ItemFault, UnknownName
from dataset_tools.core.images import RgbImage
from dataset_tools.core.reasons import Reason
from synth.assets import Garment
from synth.camera import Layer, finish
from synth.cloth.lit import grid_uv, sample, shaded_cloth
from synth.colour import srgb_to_linear
from synth.cover import Sheet, cover, sampling, window_of
from synth.geometry import GRID_COLUMNS, GRID_ROWS, FaceMesh, MaskMesh, build_mask, grid_triangles
from synth.occluders.shapes import turn_xy
from synth.photo_state import UNTOUCHED
from synth.placement import (
    LEFT_EYE_CORNERS,
    RIGHT_EYE_CORNERS,
    HeadFrame,
    eye_centres,
    eye_roll_by_centre_deg,
)
from synth.render import Dressing, Effects
from synth.shading import Light
from synth.straps import build_loops, loop_curves
from synth.topology import CHIN, CHIN_Y_MM, JAW, SURFACE_COUNT, canonical_face, extend_below_jaw

Floats = npt.NDArray[np.float64]
Floats32 = npt.NDArray[np.float32]

# The point that the top of the seam lies on, by wearing state: a third down the bridge of the nose, as in
# the script, or between nose and lip. States that need more than one anchor have no meaning here.
_ANCHOR = {"correct": 197, "nose_out": 164}
STATES: tuple[str, ...] = tuple(_ANCHOR)

JAW_LEFT, JAW_RIGHT = 93, 323  # 1/8 and 7/8 of the jaw contour from ear to ear, viewer's left and right
WIDTH_RATIO = 1.2

_SHORTEST_PX = 4.0  # a mask lower than this cannot be told from a line
_FALLS_MM = 25.0  # below the chin; further down is drapery, not mask
_EAR_MM = 79.0  # the picture is as wide as the mean head at the ears, whatever straps it shows
_STUB_SHARE = 0.7  # how much of a strap it shows, as pictures of masks cut them
# The picture's own light: a lamp above the camera, as shops photograph masks.
_STUDIO = Light((0.0, -0.15, -0.35), 1 / 1.37, 1.0, (1.0, 1.0, 1.0))


@dataclass(frozen=True)
class Halves:
    """Where the two halves of a mask go on a face.

    Attributes:
        top_xy: N, where the seam starts, pixels.
        height_px: length of the seam, |NB|.
        left_px, right_px: widths of the halves, viewer's left and right; 0 for a side turned out of sight.
        eye_roll_deg: angle of the eye line by equations 16–20, > 0 clockwise as the viewer sees it.
        lean_deg: what the line NB leans beyond that in the aligned face, when yaw and pitch come together.
    """

    top_xy: tuple[float, float]
    height_px: float
    left_px: float
    right_px: float
    eye_roll_deg: float
    lean_deg: float

    @property
    def angle_deg(self) -> float:
        """How far the mask is turned in the picture, > 0 clockwise."""
        return self.eye_roll_deg + self.lean_deg


def measure_halves(face: FaceMesh, state: str = "correct") -> Halves:
    """Align a face by its eyes, then measure the two halves in the aligned face.

    Raises:
        UnknownName: a wearing state that is not in `STATES`.
        ItemFault: `pose`, when nose bridge and chin fall on one point.
    """
    if state not in _ANCHOR:
        raise UnknownName("wearing state of method halves", state, STATES)
    points = face.skin_px[:SURFACE_COUNT, :2]
    left_eye, right_eye = eye_centres(points)
    # The box from eyes to chin: with the forehead, a bowed head's box has its centre above the eyes.
    outer = points[[*LEFT_EYE_CORNERS, *RIGHT_EYE_CORNERS, *JAW]]
    centre = (outer.min(axis=0) + outer.max(axis=0)) / 2
    roll = eye_roll_by_centre_deg(left_eye, right_eye, centre)
    top, bottom, jaw_left, jaw_right = (
        points[[_ANCHOR[state], CHIN, JAW_LEFT, JAW_RIGHT]] - centre
    ) @ turn_xy(roll)
    seam = bottom - top
    height = float(np.hypot(*seam))
    if height < _SHORTEST_PX:
        raise ItemFault(Reason.POSE, f"only {height:.1f} px from nose to chin, {_SHORTEST_PX:g} needed")
    across = np.array([seam[1], -seam[0]]) / height  # to the viewer's right
    # Signed: a jaw point that has turned behind the line takes its half along, it does not fold it over.
    left = WIDTH_RATIO * max(float((top - jaw_left) @ across), 0.0)
    right = WIDTH_RATIO * max(float((jaw_right - top) @ across), 0.0)
    lean = float(np.degrees(np.arctan2(-seam[0], seam[1])))
    x, y = points[_ANCHOR[state]]
    return Halves((float(x), float(y)), height, left, right, roll, lean)


def place_halves(face: FaceMesh, garment: Garment) -> MaskMesh:
    """The mask's grid where the two halves put it in the photo; `grid_mm` is that of the flat picture.

    Raises:
        UnknownName, ItemFault: as `measure_halves`.
    """
    halves = measure_halves(face, garment.state)
    template = _template(garment)
    return replace(template.mesh, grid_px=template.place(template.mesh.grid_mm, halves))


def dress_halves(
    photo: RgbImage, face: FaceMesh, garment: Garment, in_front: Floats32, effects: Effects
) -> Dressing:
    """Paste one mask on one face; the photo is only read. Takes and gives what `render.dress_face` does.

    Args:
        photo: (H, W, 3) sRGB; only its size matters.
        face: the wearer.
        garment: the mask to wear; its state must be one of `STATES`.
        in_front: (H, W) in [0, 1], coverage of what is nearer to the camera and hides this mask.
        effects: ignored: a naive paste takes no light, shadow, blur or noise from the photo.

    Raises:
        UnknownName, ItemFault: as `measure_halves`.
    """
    halves = measure_halves(face, garment.state)
    template = _template(garment)
    px_per_mm = halves.height_px / template.height_mm
    mesh = replace(template.mesh, grid_px=template.place(template.mesh.grid_mm, halves))
    curves = template.place(template.straps_mm, halves)
    loops = build_loops(curves, template.shown, garment.strap.width_mm * px_per_mm)
    points = np.concatenate([mesh.grid_px.reshape(-1, 3), loops.vertices_px])
    box = window_of(points, 2.0, (photo.shape[0], photo.shape[1]))
    x, y, width, height = box
    visible = 1.0 - in_front[y : y + height, x : x + width]
    cloth = Sheet(mesh.grid_px.reshape(-1, 3), grid_triangles(GRID_ROWS, GRID_COLUMNS), grid_uv())
    ribbon = Sheet(loops.vertices_px, loops.triangles, loops.across[:, None])
    no_skin = np.zeros((0, 3), dtype=np.int64)
    covered, strapped = cover([cloth, ribbon], face, no_skin, box, sampling(mesh))
    front = replace(template.mesh, grid_px=template.mesh.grid_mm * px_per_mm)
    lit = shaded_cloth(front, garment, _STUDIO, px_per_mm)
    narrowed = [side / (template.half_width_mm * px_per_mm) for side in (halves.left_px, halves.right_px)]
    mask = _sheet(covered.alpha, _sample_halves(lit.colour, covered.values, narrowed), visible)
    if lit.opacity is not None:
        pane = _sample_halves(lit.opacity, covered.values, narrowed)
        mask = replace(mask, opacity=mask.alpha * pane)
    cord = srgb_to_linear(np.array(garment.strap.colour) / 255) * (1.0 - 0.45 * strapped.values**2)
    strap = _sheet(strapped.alpha, cord.astype(np.float32), visible)
    no_shadow = np.zeros((height, width), dtype=np.float32)
    return Dressing(box, mask, strap, no_shadow, covered.amodal, _STUDIO)


def _sample_halves(texture: Floats32, uv: Floats32, narrowed: list[float]) -> Floats32:
    # Each half of the cloth resized by its own factor, so that stripes on a narrow one melt, not alias.
    import cv2

    middle = texture.shape[1] // 2
    found = []
    for half, shift, factor in (
        (texture[:, :middle], 0.0, narrowed[0]),
        (texture[:, middle:], 1.0, narrowed[1]),
    ):
        width = int(np.clip(round(half.shape[1] * factor), 2, half.shape[1]))
        small = cv2.resize(half, (width, half.shape[0]), interpolation=cv2.INTER_AREA)
        own = np.dstack([np.clip(2 * uv[..., 0] - np.float32(shift), 0, 1), uv[..., 1]])
        found.append(sample(small, own))
    on_left = uv[..., 0] < 0.5
    return np.where(on_left if texture.ndim == 2 else on_left[..., None], found[0], found[1])


def _sheet(alpha: Floats32, colour: Floats32, visible: Floats32) -> Layer:
    return finish(alpha, lambda place: colour[place], UNTOUCHED, None, visible)


@dataclass(frozen=True)
class _Template:
    """Front view of a mask on the mean face, in millimetres, x right of the seam, y down.

    Attributes:
        mesh: `grid_mm` and `grid_px` are both the front view.
        straps_mm: (L, points, 3) middle lines of the straps.
        shown: (L,) how many points of each the picture shows.
        top_mm, height_mm: of the picture; what falls far below the chin is not counted.
        half_width_mm: of the picture, from the seam to the ears or to the mask's edge further out.
    """

    mesh: MaskMesh
    straps_mm: Floats
    shown: npt.NDArray[np.int64]
    top_mm: float
    height_mm: float
    half_width_mm: float

    def place(self, points_mm: Floats, halves: Halves) -> Floats:
        """(..., 3) points of the picture to the photo: halves resized, joined at the seam, turned, moved."""
        x, y, z = np.moveaxis(points_mm, -1, 0)
        down_scale = halves.height_px / self.height_mm
        side = np.where(x < 0, halves.left_px, halves.right_px) / self.half_width_mm
        flat = np.stack([x * side, (y - self.top_mm) * down_scale], axis=-1)
        turned = flat @ turn_xy(halves.angle_deg).T + halves.top_xy
        placed: Floats = np.concatenate([turned, z[..., None] * down_scale], axis=-1)
        return placed


def _template(garment: Garment) -> _Template:
    mean = _mean_face()
    mesh = build_mask(garment.shape, mean)
    straps = loop_curves(mesh, mean, garment.shape, garment.strap)
    shown = np.maximum(np.rint(_STUB_SHARE * straps.facing), 2).astype(np.int64)
    top, bottom = float(mesh.grid_px[..., 1].min()), float(mesh.grid_px[..., 1].max())
    if bottom > CHIN_Y_MM + _FALLS_MM:
        bottom = CHIN_Y_MM  # a scarf ends where it likes: its place at the chin goes to the chin
    reach = max(_EAR_MM, float(np.abs(mesh.grid_px[..., 0]).max()))
    return _Template(mesh, straps.points_px, shown, top, bottom - top, reach)


@cache
def _mean_face() -> FaceMesh:
    skin = extend_below_jaw(canonical_face().vertices_mm)
    return FaceMesh(HeadFrame(np.eye(3), np.zeros(3), 1.0, 0.0), skin, skin)
