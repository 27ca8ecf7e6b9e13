"""The face surface: canonical shape, triangles, a flat layout in millimetres, and the skin below the jaw.

`data/canonical_face.json` holds the 468 vertices of MediaPipe's canonical face model (Google, Apache-2.0, as
in the face landmarker bundle), scaled to an inter-ocular distance of 63 mm (the adult mean) and turned by
6.7 degrees, so that a face that looks straight into the camera has pitch 0. Its triangles are our own: a
Delaunay triangulation of one half of the layout below, mirrored. MediaPipe's fold over at the nostrils there.

The layout unrolls the face on a cylinder: s = 75 mm * angle around the vertical axis, y down. A mask
outline drawn there in millimetres lands on any face by barycentric coordinates.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

SURFACE_COUNT = 468  # landmarks 468–477 are the irises and lie on no surface

# Edge of the face from the viewer's left ear under the chin to the right ear.
JAW = (132, 58, 172, 136, 150, 149, 176, 148, 152, 377, 400, 378, 379, 365, 397, 288, 361)
CHIN = 152
CHIN_Y_MM = 117.6  # layout height of the chin point in the canonical face
BELOW_JAW_MM = (8.0, 18.0, 30.0, 44.0)  # rings of the skin between jaw and neck
NECK_MM = (20.0, 45.0)  # rings further down the neck; they only receive shadow

_AXIS_Z_MM = 60.0
_RADIUS_MM = 75.0
# Where the skin below the jaw runs to: middle of the neck, relative to the chin, in head space.
_THROAT_BELOW_CHIN_MM = 12.0
_THROAT_Z_MM = 65.0
_CELL_MM = 0.5


@dataclass(frozen=True)
class CanonicalFace:
    """The canonical face: MediaPipe's mean shape.

    Attributes:
        vertices_mm: (468, 3) head space.
        mirror: (468,) index of each vertex' mirror image.
        triangles: (898, 3) vertex indices, clockwise in the layout (y down).
        layout_mm: (468 + rings, 2) flat position (s, y) of face vertices, then of the rings below the jaw.
        skin_triangles: (N, 3) `triangles`, then those between jaw and throat.
        neck_triangles: (N, 3) those below, which only receive shadow.
    """

    vertices_mm: Floats
    mirror: Ints
    triangles: Ints
    layout_mm: Floats
    skin_triangles: Ints
    neck_triangles: Ints


@cache
def canonical_face() -> CanonicalFace:
    """The canonical face from its data file; treat its arrays as read-only."""
    stored = json.loads((files("synth") / "data" / "canonical_face.json").read_text("utf-8"))
    vertices = np.array(stored["vertices_mm"], dtype=np.float64)
    triangles = np.array([index for row in stored["triangles"] for index in row], dtype=np.int64).reshape(
        -1, 3
    )
    angle = np.arctan2(vertices[:, 0], _AXIS_Z_MM - vertices[:, 2])
    layout = np.stack([_RADIUS_MM * angle, vertices[:, 1]], axis=1)
    layout = np.concatenate([layout, *_layout_rings(layout)])
    below = _ring_triangles(0, len(BELOW_JAW_MM))
    neck = _ring_triangles(len(BELOW_JAW_MM), len(NECK_MM))
    mirror = np.array(stored["mirror"], dtype=np.int64)
    return CanonicalFace(vertices, mirror, triangles, layout, np.concatenate([triangles, below]), neck)


def _layout_rings(layout: Floats) -> list[Floats]:
    jaw = layout[list(JAW)]
    along = np.gradient(jaw, axis=0)
    outward = np.stack([-along[:, 1], along[:, 0]], axis=1)
    outward /= np.linalg.norm(outward, axis=1, keepdims=True)
    return [jaw + distance * outward for distance in BELOW_JAW_MM]


def _ring_triangles(first_ring: int, count: int) -> Ints:
    width = len(JAW)
    rows = [np.array(JAW)] + [
        SURFACE_COUNT + width * ring + np.arange(width) for ring in range(first_ring + count)
    ]
    found = []
    for upper, lower in zip(rows[first_ring:], rows[first_ring + 1 :], strict=False):
        for k in range(width - 1):
            # The diagonal leans the same way on both sides of the chin, so the rings mirror exactly.
            a, b, c, d = upper[k], upper[k + 1], lower[k], lower[k + 1]
            found += [(a, b, d), (a, d, c)] if k < width // 2 else [(a, b, c), (b, d, c)]
    return np.array(found, dtype=np.int64)


def extend_below_jaw(face_mm: Floats) -> Floats:
    """Face vertices followed by the rings of skin below the jaw and down the neck.

    Args:
        face_mm: (468, 3) head space.

    Returns:
        (468 + 17 * 6, 3). MediaPipe sees nothing below the jaw line; the rings run from it towards the
        middle of the throat, as far as `BELOW_JAW_MM` says, and then down the neck.
    """
    jaw = face_mm[list(JAW)]
    throat = np.array([face_mm[CHIN, 0], face_mm[CHIN, 1] + _THROAT_BELOW_CHIN_MM, _THROAT_Z_MM])
    towards = throat - jaw
    towards /= np.maximum(np.linalg.norm(towards, axis=1, keepdims=True), 1e-9)
    rings = [jaw + distance * towards for distance in BELOW_JAW_MM]
    # The neck is narrower than the jaw and set back.
    base = rings[-1] * np.array([0.82, 1.0, 1.0])
    neck = [base + np.array([0.0, distance, 0.15 * distance]) for distance in NECK_MM]
    return np.concatenate([face_mm, *rings, *neck])


@cache
def _cells() -> tuple[Ints, Floats]:
    # Which triangle covers each half-millimetre cell of the layout; empty cells take the nearest one.
    from scipy.ndimage import distance_transform_edt

    from synth.raster import rasterise

    mean = canonical_face()
    low = mean.layout_mm.min(axis=0) - 2.0
    size = np.ceil((mean.layout_mm.max(axis=0) + 2.0 - low) / _CELL_MM).astype(int)
    flat = np.concatenate([(mean.layout_mm - low) / _CELL_MM, np.zeros((len(mean.layout_mm), 1))], axis=1)
    found = rasterise(flat, mean.skin_triangles, (0, 0, int(size[0]), int(size[1])))
    cells = found.triangle_map()
    nearest = distance_transform_edt(cells < 0, return_distances=False, return_indices=True)
    return cells[tuple(nearest)], low


def on_surface(points_mm: Floats, skin: Floats) -> Floats:
    """Points of the layout as points of a real face's skin.

    Args:
        points_mm: (..., 2) layout positions (s, y).
        skin: (>= 468 + rings, 3) vertices of that face, from `extend_below_jaw`, in any 3D space.

    Returns:
        (..., 3) in the space of `skin`; positions off the layout continue the nearest triangle's plane.
    """
    mean = canonical_face()
    cells, low = _cells()
    column, row = np.moveaxis(((points_mm - low) / _CELL_MM).astype(int), -1, 0)
    rows, columns = cells.shape
    triangle = mean.skin_triangles[cells[np.clip(row, 0, rows - 1), np.clip(column, 0, columns - 1)]]
    a, b, c = np.moveaxis(mean.layout_mm[triangle], -2, 0)
    ab, ac, ap = b - a, c - a, points_mm - a
    area = ab[..., 0] * ac[..., 1] - ab[..., 1] * ac[..., 0]
    weight_b = (ap[..., 0] * ac[..., 1] - ap[..., 1] * ac[..., 0]) / area
    weight_c = (ab[..., 0] * ap[..., 1] - ab[..., 1] * ap[..., 0]) / area
    corner_a, corner_b, corner_c = np.moveaxis(skin[triangle], -2, 0)
    surface: Floats = (
        corner_a + weight_b[..., None] * (corner_b - corner_a) + weight_c[..., None] * (corner_c - corner_a)
    )
    return surface


# Skull of an adult: middle and half axes; as wide as the face between the ears, less a little, so that
# nothing that lies on the head is hidden by it.
_SKULL_MIDDLE_MM = np.array([0.0, -22.0, 77.0])
_SKULL_HALF_MM = np.array([0.98, 95.0, 97.0])
_BEFORE_EARS = (234, 454)


def behind_skull(points_mm: Floats, face_mm: Floats, rotation: Floats) -> npt.NDArray[np.bool_]:
    """Which points the head itself hides from the camera.

    The face surface ends at the ears and the hairline; what lies behind head and hair needs this as well.

    Args:
        points_mm: (..., 3) head space.
        face_mm: (>= 468, 3) the face, head space.
        rotation: (3, 3) head space to image space, from the head frame.

    Returns:
        (...,) bool.
    """
    left, right = face_mm[list(_BEFORE_EARS), 0]
    half = _SKULL_HALF_MM * (max((right - left) / 2, 1.0), 1.0, 1.0)
    # Head space shrunk until the skull is a unit ball; the ray runs from the point towards the camera.
    ray = -rotation[2] / half
    ray = ray / np.linalg.norm(ray)
    start = (points_mm - _SKULL_MIDDLE_MM - ((left + right) / 2, 0.0, 0.0)) / half
    along = start @ ray
    nearest = (start**2).sum(axis=-1) - along**2
    hidden: npt.NDArray[np.bool_] = (nearest < 1.0) & (along < 0.0)
    return hidden


def lift_over(
    rays: Floats, radius: Floats, inside: Floats, skin: Floats, bare: Ints, gap_mm: float
) -> Floats:
    """How much a cloth over a face must rise so that no landmark under it pokes through.

    Args:
        rays: (rows, columns, 3) unit directions of the cloth's points from `inside`.
        radius: (rows, columns) their distance from it.
        inside: (3,) point inside the head.
        skin: (>= 468, 3) vertices of the face, from `extend_below_jaw`.
        bare: (T, 3) triangles that the cloth does not wholly cover; their vertices may stay in front.
        gap_mm: distance to keep from the skin.

    Returns:
        (rows, columns) >= 0, smooth.
    """
    import cv2

    is_bare = np.zeros(len(skin), dtype=np.bool_)
    is_bare[bare] = True
    covered = np.flatnonzero(~is_bare[:SURFACE_COUNT])
    points = skin[covered] - inside
    height = np.linalg.norm(points, axis=1)
    towards = (points / height[:, None]).astype(np.float32)
    nearest = (towards @ rays.reshape(-1, 3).T.astype(np.float32)).argmax(axis=1)
    short = height + gap_mm - radius.ravel()[nearest]
    lift: Floats = np.zeros(radius.shape)
    np.maximum.at(lift.reshape(-1), nearest, short)
    if not lift.any():
        return lift
    # Wide enough that the blur takes nothing from the points themselves.
    wide = cv2.dilate(lift, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (7, 7)))
    return np.asarray(cv2.GaussianBlur(wide, (0, 0), 1.3, borderType=cv2.BORDER_REPLICATE))
