"""Straps: ear loops and head bands as ribbons from a mask's corners to where they go out of sight.

MediaPipe sees no ears and no back of the head, so both are where they are on the mean head.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dataset_tools.core.images import RgbImage
from synth.designs.design import Strap
from synth.geometry import FaceMesh, MaskMesh, MaskShape, grid_triangles
from synth.shading import Skin, points_on_skin
from synth.topology import behind_skull, on_surface

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class LoopMesh:
    """Straps as ribbons that face the camera.

    Attributes:
        vertices_px: (N, 3) image space.
        triangles: (T, 3) vertex indices.
        across: (N,) -1 and 1 on the two edges of the ribbon.
    """

    vertices_px: Floats
    triangles: Ints
    across: Floats


@dataclass(frozen=True)
class StrapCurves:
    """Middle lines of a mask's straps, each from the mask outwards.

    Attributes:
        points_px: (L, points, 3) image space; L may be 0.
        facing: (L,) how many points, from the start, lie on the side of the head that the camera sees.
        under_hair: (L,) bool: goes under hair; a dangling loop does not.
    """

    points_px: Floats
    facing: Ints
    under_hair: npt.NDArray[np.bool_]


# Where a loop meets the ear, from the landmarks at the side of the face: mean of two landmarks (viewer's
# left side, right side) plus an offset in mm (outwards, down, back).
_EAR_TOP = ((127, 234), (356, 454), (2.0, -1.0, 21.0))
_EAR_LOBE = ((93, 132), (323, 361), (1.0, 5.0, 17.0))
# Middle of the head at ear height, relative to the point between the eyes, and its half axes: mean adult.
_HEAD_MIDDLE_MM = np.array([0.0, -12.0, 88.0])
_HEAD_HALF_MM = np.array([79.0, 112.0, 98.0])
# Where head bands pass the ear (outwards, down, back) and reach the back of the head, head space.
_BAND_OVER_EAR = np.array([80.0, -22.0, 84.0])
_BAND_CROWN = np.array([40.0, -62.0, 160.0])
_BAND_UNDER_EAR = np.array([73.0, 62.0, 86.0])
_BAND_NAPE = np.array([40.0, 74.0, 140.0])
_POINTS = 28
_AROUND = 13  # of them behind the cheek
_OFF_SKIN_MM = 1.8
_LAST_S_MM = 117.0  # layout position up to which there is skin to lie on
_BOW_MM = 2.0
_TURNED_AWAY = 0.12  # a curve ends where the head's surface looks away from the camera by more than this


def loop_curves(mask: MaskMesh, face: FaceMesh, shape: MaskShape, strap: Strap) -> StrapCurves:
    """Middle lines of a mask's straps.

    Ear loops run from the corners to the top and to the lobe of each ear; the rest of the loop is behind the
    ear. Head bands run above and below the ears around the head. A mask that hangs from one ear has its
    upper loop there, and the other loop dangles.
    """
    curves: Floats
    outwards: Floats
    if strap.kind == "none":
        curves = outwards = np.zeros((0, _POINTS, 3))
    elif shape.hangs:
        curves, outwards = _hanging_loops(mask, face, shape.hangs)
    elif strap.kind == "head":
        curves, outwards = _head_bands(mask, face)
    else:
        curves, outwards = _ear_loops(mask, face)
    away = outwards @ face.frame.rotation.T
    hidden = (away[..., 2] > _TURNED_AWAY) | behind_skull(curves, face.skin_mm, face.frame.rotation)
    facing = np.where(hidden.any(axis=1), hidden.argmax(axis=1), _POINTS)
    under_hair = np.ones(len(curves), dtype=np.bool_)
    if shape.hangs:
        under_hair[2:] = False
    return StrapCurves(face.frame.to_image(curves), facing.astype(np.int64), under_hair)


def visible_lengths(curves: StrapCurves, photo: RgbImage, skin: Skin) -> Ints:
    """(L,) how many points of each curve are to be seen: up to where it turns away or goes under hair."""
    if not len(curves.points_px):
        return curves.facing
    on_skin = points_on_skin(photo, skin, curves.points_px)
    return np.where(curves.under_hair, np.minimum(on_skin, curves.facing), curves.facing)


def _ear_loops(mask: MaskMesh, face: FaceMesh) -> tuple[Floats, Floats]:
    curves = []
    for side, column in ((-1.0, 0), (1.0, -1)):
        for row, inner, ear in ((1, 2, _EAR_TOP), (-2, -3, _EAR_LOBE)):
            start = mask.grid_mm[row, column]
            # Sewn on a little inside the edge.
            sewn = start + 0.6 * (mask.grid_mm[inner, 2 if side < 0 else -3] - start)
            end = _at_ear(face, ear, side)
            curves.append(_over([sewn, start, end], np.array([side, 0.0, 0.0])))
    points = np.stack(curves)
    points[:, 2:] = _off_skin(points[:, 2:], face)
    # They end at the ear, before the head turns away.
    return points, np.zeros((4, _POINTS, 3))


def _at_ear(
    face: FaceMesh, ear: tuple[tuple[int, int], tuple[int, int], tuple[float, float, float]], side: float
) -> Floats:
    outwards, down, back = ear[2]
    landmarks = ear[0] if side < 0 else ear[1]
    point: Floats = face.skin_mm[list(landmarks)].mean(axis=0) + np.array([side * outwards, down, back])
    return point


def _over(knots: list[Floats], outwards: Floats) -> Floats:
    # Straight over the mask, then bowed outwards to the last knot.
    sewn, start, end = knots
    t = np.linspace(0.0, 1.0, _POINTS - 2)[:, None]
    bow = _BOW_MM * outwards * np.sin(np.pi * t)
    return np.concatenate([[sewn, (sewn + start) / 2], start + (end - start) * t + bow])


def _head_bands(mask: MaskMesh, face: FaceMesh) -> tuple[Floats, Floats]:
    curves, rows = [], len(mask.grid_mm)
    for side, column, inner in ((-1.0, 0, 2), (1.0, -1, -3)):
        for row, (s, y), knots in (
            (round(0.16 * rows), (108.0, -8.0), (_BAND_OVER_EAR, _BAND_CROWN)),
            (round(0.84 * rows), (108.0, 68.0), (_BAND_UNDER_EAR, _BAND_NAPE)),
        ):
            start = mask.grid_mm[row, column]
            sewn = start + 0.5 * (mask.grid_mm[row, inner] - start)
            beside = on_surface(np.array([side * s, y]), face.skin_mm)
            t = np.linspace(0.0, 1.0, _POINTS - _AROUND - 1)[:, None]
            cheek = start + (beside - start) * t
            passed, behind = (knot * (side, 1.0, 1.0) for knot in knots)
            back = _on_head(_evenly(np.stack([beside, passed, behind]), _AROUND + 1)[1:])
            curves.append(np.concatenate([[sewn], cheek, back]))
    points = np.stack(curves)
    points[:, 1:] = _off_skin(points[:, 1:], face)
    outwards = (points - _HEAD_MIDDLE_MM) / _HEAD_HALF_MM**2
    outwards /= np.linalg.norm(outwards, axis=-1, keepdims=True)
    outwards[:, :-_AROUND] = 0.0  # over the cheek the face itself hides it
    return points, outwards


def _off_skin(points: Floats, face: FaceMesh) -> Floats:
    # A taut line that would cut through the cheek lies on it.
    inside = face.skin_mm[[58, 288]].mean(axis=0)
    for _ in range(2):  # lifting a point moves it along the face a little
        s = 75.0 * np.arctan2(points[..., 0], 60.0 - points[..., 2])
        skin = on_surface(np.stack([s, points[..., 1]], axis=-1), face.skin_mm)
        out = points - inside
        radius = np.linalg.norm(out, axis=-1)
        least = np.linalg.norm(skin - inside, axis=-1) + _OFF_SKIN_MM
        lifted = inside + out * (np.maximum(radius, least) / radius)[..., None]
        points = np.where((np.abs(s) < _LAST_S_MM)[..., None], lifted, points)
    return points


def _evenly(knots: Floats, count: int) -> Floats:
    # Points at even steps along the line through the knots.
    at = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(knots, axis=0), axis=1))])
    steps = np.linspace(0.0, at[-1], count)
    return np.stack([np.interp(steps, at, knots[:, k]) for k in range(3)], axis=1)


def _on_head(curve: Floats) -> Floats:
    off = (curve - _HEAD_MIDDLE_MM) / _HEAD_HALF_MM
    length = np.linalg.norm(off, axis=1, keepdims=True)
    # The lower band goes around the neck, which is inside the head's ellipsoid: only ever pull in.
    on: Floats = _HEAD_MIDDLE_MM + off / np.maximum(length, 1.0) * _HEAD_HALF_MM
    return on


def _hanging_loops(mask: MaskMesh, face: FaceMesh, hangs: int) -> tuple[Floats, Floats]:
    side = float(hangs)
    upper, lower, inward = (0, -1, 2) if hangs < 0 else (-1, 0, -3)
    curves = []
    for row, ear in ((1, _EAR_TOP), (-2, _EAR_LOBE)):
        start = mask.grid_mm[row, upper]
        sewn = start + 0.5 * (mask.grid_mm[row, inward] - start)
        curves.append(_over([sewn, start, _at_ear(face, ear, side)], np.array([side, 0.0, 0.0])))
    corners = mask.grid_mm[[1, -2], lower]
    t = np.linspace(0.0, 1.0, _POINTS)[:, None]
    sag = np.array([0.0, 62.0, 0.0]) * (1 - (2 * t - 1) ** 2)
    curves.append(corners[0] + (corners[1] - corners[0]) * t + sag)
    return np.stack(curves), np.zeros((3, _POINTS, 3))


def build_loops(curves_px: Floats, shown: Ints, width_px: float) -> LoopMesh:
    """Ribbons of one width along strap curves.

    Args:
        curves_px: (L, points, 3), `StrapCurves.points_px`.
        shown: (L,) how many points of each curve are to be seen, from the mask on.
        width_px: width in the picture.
    """
    count = curves_px.shape[1]
    along = np.gradient(curves_px[..., :2], axis=1)
    along /= np.maximum(np.linalg.norm(along, axis=-1, keepdims=True), 1e-9)
    sideways = np.zeros_like(curves_px)
    sideways[..., 0], sideways[..., 1] = -along[..., 1], along[..., 0]
    half = sideways * (width_px / 2)
    vertices = np.stack([curves_px - half, curves_px + half], axis=2).reshape(-1, 3)
    pieces = [grid_triangles(int(seen), 2) + 2 * count * k for k, seen in enumerate(shown) if seen >= 2]
    triangles = np.concatenate([np.zeros((0, 3), dtype=np.int64), *pieces])
    return LoopMesh(vertices, triangles, np.tile([-1.0, 1.0], len(vertices) // 2))
