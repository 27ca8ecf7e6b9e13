"""The surfaces of a test head, in head-space millimetres: face and skull, ears, neck, shoulders, hair.

The face is the canonical face (`topology.py`), changed by a few smooth modes of identity, with a skull added
to it. One smooth (C1) surface over the face layout runs through all these points, so the 468 landmarks lie
on it exactly and it has no facets. Sizes of what MediaPipe does not know are those of an average adult:
head breadth 152 mm, head length 195 mm, eye line to crown 117 mm (Farkas, Anthropometry of the head and
face, 1994); eyeball 24 mm across, iris 11.7 mm (Bekerman et al., J. Ophthalmol. 2014); ear 62 mm by 35 mm.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from synth.geometry import grid_triangles
from synth.placement import LEFT_EYE_CORNERS, RIGHT_EYE_CORNERS
from synth.topology import BELOW_JAW_MM, JAW, SURFACE_COUNT, canonical_face, extend_below_jaw

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

AROUND_MM = 75.0 * np.pi  # the layout's s at the back of the head
CROWN_V = -170.0  # the layout's v there: arc length above the forehead
EYEBALL_MM = 12.2  # radius
IRIS_MM = 5.9  # radius
_EYEBALL_BEHIND_MM = np.array([0.0, 0.4, 9.8])  # of the middle between the corners of the eye

INNER_LIPS = (
    (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308),
    (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308),
)
_CLOSED_GAP = 0.22  # of the canonical mouth: less would fold the surface
_LIP_REACH_MM = 8.0
UPPER_LID = (33, 246, 161, 160, 159, 158, 157, 173, 133)
LOWER_LID = (33, 7, 163, 144, 145, 153, 154, 155, 133)
_LIDS_UP, _LIDS_DOWN = 0.34, 0.12  # of the canonical opening
_LID_REACH_MM = 5.5

_FACE_POINTS = SURFACE_COUNT + len(JAW) * len(BELOW_JAW_MM)
_SMOOTH_CELLS = 1.3

# Skull: an ellipsoid; below it, slices of the back of the head down into the neck.
_SKULL_MM = np.array([0.0, -22.0, 76.0])
_SKULL_HALF_MM = np.array([77.0, 96.0, 99.0])
_BACK = np.array(  # y, half width, middle z, half depth
    [
        (-54.6, 72.0, 78.0, 91.0),
        (-22.0, 77.0, 78.0, 97.0),
        (0.0, 76.0, 80.0, 93.0),
        (25.0, 72.0, 84.0, 84.0),
        (50.0, 63.0, 90.0, 68.0),
        (80.0, 50.0, 94.0, 48.0),
        (115.0, 34.0, 96.0, 30.0),
    ]
)

# Modes of identity: |s| and v of the middle, reach in s and v, move (outwards, down, back) in mm for 1.
MODES: dict[str, tuple[float, float, float, float, float, float, float]] = {
    "jaw_width": (85.0, 85.0, 45.0, 35.0, 3.0, 0.0, 0.0),
    "chin_length": (0.0, 125.0, 45.0, 30.0, 0.0, 4.0, 0.5),
    "chin_forward": (0.0, 112.0, 30.0, 16.0, 0.0, 0.0, -2.5),
    "cheekbones": (62.0, 25.0, 22.0, 18.0, 1.5, 0.0, -2.0),
    "cheek_fullness": (55.0, 62.0, 25.0, 24.0, 2.0, 0.0, -2.2),
    "nose_length": (0.0, 42.0, 16.0, 14.0, 0.0, 2.2, 0.0),
    "nose_forward": (0.0, 32.0, 13.0, 18.0, 0.0, 0.0, -2.4),
    "nose_width": (15.0, 38.0, 8.0, 9.0, 1.6, 0.0, 0.0),
    "nose_bridge": (0.0, 2.0, 12.0, 12.0, 0.0, 0.0, -1.6),
    "mouth_width": (28.0, 68.0, 12.0, 12.0, 2.0, 0.0, 0.0),
    "mouth_height": (0.0, 70.0, 28.0, 14.0, 0.0, 1.6, 0.0),
    "lip_fullness": (0.0, 79.0, 22.0, 6.0, 0.0, 1.0, -0.8),
    "brow_ridge": (30.0, -22.0, 26.0, 9.0, 0.0, 0.0, -1.4),
    "brow_height": (32.0, -20.0, 26.0, 9.0, 0.0, 1.5, 0.0),
    "forehead": (0.0, -50.0, 60.0, 22.0, 0.0, -2.0, -1.0),
    "temple_width": (90.0, -15.0, 35.0, 40.0, 2.0, 0.0, 0.0),
}


@dataclass(frozen=True)
class Surface:
    """A smooth mesh.

    Attributes:
        vertices: (N, 3) head space, millimetres.
        triangles: (T, 3) vertex indices.
        normals: (N, 3) unit, outwards.
        layout: (N, 2) where each vertex lies on the texture, millimetres.
    """

    vertices: Floats
    triangles: Ints
    normals: Floats
    layout: Floats


@dataclass(frozen=True)
class HeadShape:
    """A head without hair.

    Attributes:
        face_mm: (468, 3) the landmarks.
        skin: face, skull and underside of the jaw as one surface; its vertices are a grid of `grid_hw`.
        ears, neck, body: further surfaces.
        eyeballs_mm: (2, 3) their centres, the viewer's left one first.
    """

    face_mm: Floats
    skin: Surface
    grid_hw: tuple[int, int]
    ears: Surface
    neck: Surface
    body: Surface
    eyeballs_mm: Floats


def build_shape(identity: tuple[float, ...], mouth_open: float) -> HeadShape:
    """The head of one person.

    Args:
        identity: one number for each of `MODES`, 0 for the mean face, within about -2..2.
        mouth_open: 0 closed, 1 as open as in the canonical face (6 mm), more to speak.
    """
    mean, layout, inside, grid_hw = _mean_skin()
    points = mean + _displacement(identity, layout)
    points[:, 1] += _lip_move(layout, 1.0 - _CLOSED_GAP - (1.0 - _CLOSED_GAP) * mouth_open)
    points[:, 1] += _lid_move(layout)
    surface = points.reshape(*grid_hw, 3)
    face = _landmarks_on(surface, layout.reshape(*grid_hw, 2))
    triangles = grid_triangles(*grid_hw)
    skin = Surface(points, triangles[inside[triangles].all(axis=1)], _soft_normals(surface), layout)
    corners = (LEFT_EYE_CORNERS, RIGHT_EYE_CORNERS)
    eyeballs = np.stack([face[list(pair)].mean(axis=0) + _EYEBALL_BEHIND_MM for pair in corners])
    return HeadShape(face, skin, grid_hw, _ears(face), _neck(), _body(), eyeballs)


def lip_lines() -> tuple[Floats, Floats]:
    """Inner edges of the upper and lower lip in the layout, (11, 2) each, left to right."""
    layout = canonical_face().layout_mm
    return layout[list(INNER_LIPS[0])], layout[list(INNER_LIPS[1])]


def _lip_move(layout: Floats, closed: float) -> Floats:
    # Both lips meet half-way, taking the skin around along; nothing folds.
    upper, lower = lip_lines()
    s, v = layout.T
    top, bottom = np.interp(s, *upper.T), np.interp(s, *lower.T)
    gap = np.where(np.abs(s) < upper[-1, 0], bottom - top, 0.0)
    beside = np.where(v < top, top - v, np.maximum(v - bottom, 0.0))
    place = np.clip((v - top) / np.maximum(gap, 1e-6), 0.0, 1.0)
    move: Floats = closed * gap * (0.5 - place) * np.exp(-((beside / _LIP_REACH_MM) ** 2))
    return move


def lid_lines() -> tuple[Floats, Floats]:
    """Edges of the upper and lower lid in the layout, (9, 2) each, of the eye at s > 0, outwards."""
    layout, mirror = canonical_face().layout_mm, canonical_face().mirror
    upper, lower = (layout[mirror[list(row)]][::-1] for row in (UPPER_LID, LOWER_LID))
    return upper, lower


def _lid_move(layout: Floats) -> Floats:
    # The canonical eye is open by 6.5 mm, a mean of blinking people; open eyes are open by 9 to 10 mm.
    upper, lower = lid_lines()
    s, v = np.abs(layout[:, 0]), layout[:, 1]
    top, bottom = np.interp(s, *upper.T), np.interp(s, *lower.T)
    gap = np.where((s > upper[0, 0]) & (s < upper[-1, 0]), bottom - top, 0.0)
    place = np.clip((v - top) / np.maximum(gap, 1e-6), 0.0, 1.0)
    beside = np.where(v < top, top - v, np.maximum(v - bottom, 0.0))
    share = np.where(place < 0.5, _LIDS_UP, _LIDS_DOWN)
    move: Floats = gap * share * (place - 0.5) * 2 * np.exp(-((beside / _LID_REACH_MM) ** 2))
    return move


def _landmarks_on(surface: Floats, layout: Floats) -> Floats:
    from scipy.interpolate import RegularGridInterpolator

    at = RegularGridInterpolator((layout[:, 0, 1], layout[0, :, 0]), surface)
    landmarks: Floats = at(canonical_face().layout_mm[:SURFACE_COUNT, ::-1])
    return landmarks


@cache
def _skull() -> tuple[Floats, Floats]:
    # Points of the skull and their layout positions, outside the face.
    found: list[tuple[float, float, float, float, float]] = []
    for v in np.linspace(-74.0, CROWN_V, 9):
        lift = np.radians(20.0 + 70.0 * (-54.6 - v) / (-54.6 - CROWN_V))
        y = _SKULL_MM[1] - _SKULL_HALF_MM[1] * np.sin(lift)
        half = _SKULL_HALF_MM * np.cos(lift)
        axis = 60.0 + (_SKULL_MM[2] - 60.0) * (lift - 0.35) / 1.22
        for s in np.linspace(-AROUND_MM, AROUND_MM, 25)[:-1]:
            x, z = _on_ellipse(s / 75.0, axis, half[0], _SKULL_MM[2], half[2])
            found.append((x, y, z, s, v))
    for y, width, middle, depth in _BACK:
        start = 95.0 if y < -40 else 128.0 if y < -10 else 140.0 if y < 20 else 175.0
        for s in np.linspace(start, AROUND_MM, 6):
            for side in (-1.0, 1.0) if s < AROUND_MM else (-1.0,):
                x, z = _on_ellipse(side * s / 75.0, 60.0, width, middle, depth)
                found.append((x, y, z, side * s, y))
    table = np.array(found)
    return table[:, :3], table[:, 3:]


def _on_ellipse(
    angle: float, axis_z: float, half_x: float, middle_z: float, half_z: float
) -> tuple[float, float]:
    # From (0, axis_z) outwards at `angle` (0 = towards the camera) to an ellipse about (0, middle_z).
    step_x, step_z = np.sin(angle), -np.cos(angle)
    a = (step_x / max(half_x, 1e-3)) ** 2 + (step_z / max(half_z, 1e-3)) ** 2
    offset = (axis_z - middle_z) / max(half_z, 1e-3)
    b = offset * step_z / max(half_z, 1e-3)
    reach = (-b + np.sqrt(max(b * b - a * (offset**2 - 1.0), 0.0))) / a
    return float(reach * step_x), float(axis_z + reach * step_z)


@cache
def _layout() -> Floats:
    return np.concatenate([canonical_face().layout_mm, _skull()[1]])


def _displacement(identity: tuple[float, ...], layout: Floats) -> Floats:
    s, v = np.abs(layout[:, 0]), layout[:, 1]
    side = np.tanh(layout[:, 0] / 8.0)
    moved = np.zeros((len(layout), 3))
    for amount, (at_s, at_v, reach_s, reach_v, out, down, back) in zip(identity, MODES.values(), strict=True):
        weight = np.exp(-0.5 * (((s - at_s) / reach_s) ** 2 + ((v - at_v) / reach_v) ** 2))
        moved += amount * weight[:, None] * np.stack([side * out, 0 * s + down, 0 * s + back], axis=1)
    return moved


@cache
def _mesh_of_layout() -> tuple[Any, Ints, Floats, tuple[int, int]]:
    # Delaunay of the layout, wrapped around the back; the source of each point; the fine grid on it.
    from scipy.spatial import Delaunay

    layout = _layout()
    wraps: list[Ints] = [np.arange(len(layout))]
    parts = [layout]
    for turn in (-2 * AROUND_MM, 2 * AROUND_MM):
        near = np.flatnonzero(np.abs(layout[:, 0] + turn) < AROUND_MM + 80.0)
        wraps.append(near)
        parts.append(layout[near] + (turn, 0.0))
    s = _steps((-AROUND_MM, -122.0, 122.0, AROUND_MM), (4.0, 1.25, 4.0))
    v = _steps((CROWN_V, -62.0, 124.0, 158.0), (4.0, 1.25, 3.0))
    grid = np.stack(np.meshgrid(s, v), axis=-1)
    return Delaunay(np.concatenate(parts)), np.concatenate(wraps), grid.reshape(-1, 2), (len(v), len(s))


def _steps(stops: tuple[float, ...], sizes: tuple[float, ...]) -> Floats:
    parts = [
        np.linspace(low, high, int(np.ceil((high - low) / size)) + 1)[:-1]
        for low, high, size in zip(stops[:-1], stops[1:], sizes, strict=True)
    ]
    return np.concatenate([*parts, [stops[-1]]])


@cache
def _mean_skin() -> tuple[Floats, Floats, npt.NDArray[np.bool_], tuple[int, int]]:
    # Grid points of the mean head, their layout, which of them lie on it, and the grid's size.
    import cv2
    from scipy.interpolate import CloughTocher2DInterpolator

    points = np.concatenate([extend_below_jaw(canonical_face().vertices_mm)[:_FACE_POINTS], _skull()[0]])
    mesh, source, grid, grid_hw = _mesh_of_layout()
    found = CloughTocher2DInterpolator(mesh, points[source])(grid)
    inside = np.isfinite(found).all(axis=1)
    surface = np.where(inside[:, None], found, 0.0).reshape(*grid_hw, 3)
    weight = inside.astype(np.float64).reshape(grid_hw)
    # 468 points leave facets and folds at nostrils and lips: smoothed away.
    sheet = np.dstack([surface, weight])
    around = np.concatenate([sheet[:, -9:-1], sheet, sheet[:, 1:9]], axis=1)
    even = cv2.GaussianBlur(around, (0, 0), _SMOOTH_CELLS)[:, 8:-8]
    surface = even[..., :3] / np.maximum(even[..., 3:], 1e-6)
    surface[0] = surface[0].mean(axis=0)  # all points of the first row are the crown
    surface = (surface + surface[:, ::-1] * (-1.0, 1.0, 1.0)) / 2
    return surface.reshape(-1, 3), grid, inside, grid_hw


def _soft_normals(surface: Floats) -> Floats:
    import cv2

    normals = cv2.GaussianBlur(grid_normals(surface), (0, 0), 1.0, borderType=cv2.BORDER_REPLICATE)
    normals /= np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-9)
    normals[0] = (0.0, -1.0, 0.0)  # all points of the first row are the crown
    flat: Floats = normals.reshape(-1, 3)
    return flat


def grid_normals(grid: Floats) -> Floats:
    """Unit normals of a (rows, columns, 3) grid whose columns run to the right and rows down as seen."""
    normals = np.cross(np.gradient(grid, axis=0), np.gradient(grid, axis=1))
    unit: Floats = normals / np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-9)
    return unit


def joined(parts: list[Surface]) -> Surface:
    """Several surfaces as one."""
    starts = np.cumsum([0] + [len(part.vertices) for part in parts[:-1]])
    return Surface(
        np.concatenate([part.vertices for part in parts]),
        np.concatenate([part.triangles + start for part, start in zip(parts, starts, strict=True)]),
        np.concatenate([part.normals for part in parts]),
        np.concatenate([part.layout for part in parts]),
    )


def _from_grid(grid: Floats, layout: Floats) -> Surface:
    rows, columns = grid.shape[:2]
    return Surface(
        grid.reshape(-1, 3),
        grid_triangles(rows, columns),
        grid_normals(grid).reshape(-1, 3),
        layout.reshape(-1, 2),
    )


def _ears(face: Floats) -> Surface:
    # A dished plate with a raised rim; its layout is (radius, angle) for the painter.
    radius = np.linspace(0.0, 1.0, 22)[:, None]
    angle = np.linspace(0.0, 2 * np.pi, 49)[None, :]
    across, up = np.cos(angle), np.sin(angle)
    # Wider above than at the lobe.
    width = 17.5 * (1.0 - 0.16 * (up + 1.0))
    local_u = radius * across * width
    local_y = radius * up * 31.0
    rim = 3.2 * np.exp(-(((radius - 0.86) / 0.11) ** 2)) * (0.5 + 0.5 * np.tanh(3 * (0.75 - up)))
    bowl = -4.5 * np.exp(-((radius / 0.45) ** 2)) + 1.6 * np.exp(-(((radius - 0.58) / 0.1) ** 2))
    raised = rim + bowl + 0 * angle
    tilt, flare = np.radians(14.0), np.radians(24.0)
    back = local_u * np.cos(tilt) - local_y * np.sin(tilt)
    down = local_u * np.sin(tilt) + local_y * np.cos(tilt)
    parts = []
    for side, root in ((-1.0, 234), (1.0, 454)):
        out = (back + 17.0) * np.sin(flare) + raised * np.cos(flare) - 2.0
        depth = back * np.cos(flare) - raised * np.sin(flare)
        grid = np.stack([side * out, down, depth], axis=-1) + face[root] + (0.0, 7.0, 18.0)
        normals_grid = grid if side > 0 else grid[:, ::-1]
        layout = np.stack(np.broadcast_arrays(radius, angle), axis=-1)
        layout = layout if side > 0 else layout[:, ::-1]
        part = _from_grid(np.ascontiguousarray(normals_grid), layout)
        outwards = np.where((part.normals[:, 0] * side).mean() > 0, 1.0, -1.0)
        parts.append(Surface(part.vertices, part.triangles, part.normals * outwards, part.layout))
    return joined(parts)


def _neck() -> Surface:
    angle = np.linspace(-np.pi, np.pi, 61)[None, :]
    down = np.linspace(0.0, 1.0, 24)[:, None]
    y = 62.0 + 150.0 * down
    wide = 53.0 + 14.0 * np.clip(down - 0.55, 0, 1) ** 2 * 6
    x = wide * np.sin(angle)
    z = 96.0 + 12.0 * down - 56.0 * np.cos(angle)
    grid = np.stack(np.broadcast_arrays(x, y, z), axis=-1)
    layout = np.stack(np.broadcast_arrays(angle * 56.0, y), axis=-1)
    return _from_grid(np.ascontiguousarray(grid), layout)


def _body() -> Surface:
    angle = np.linspace(-np.pi, np.pi, 61)[None, :]
    lift = np.linspace(np.radians(89.9), np.radians(-20.0), 40)[:, None]
    ring = np.abs(np.cos(lift)) ** 0.75
    x = 218.0 * ring * np.sin(angle)
    z = 112.0 - 105.0 * ring * np.cos(angle)
    y = 385.0 - 208.0 * np.sign(np.sin(lift)) * np.abs(np.sin(lift)) + 0 * angle
    grid = np.stack(np.broadcast_arrays(x, y, z), axis=-1)
    layout = np.stack(np.broadcast_arrays(angle * 120.0, y), axis=-1)
    return _from_grid(np.ascontiguousarray(grid), layout)


def gaze_direction(gaze_deg: tuple[float, float]) -> Floats:
    """(3,) unit, head space: where eyes look that are turned to the right and down by these degrees."""
    right, down = np.radians(gaze_deg)
    return np.array([np.sin(right) * np.cos(down), np.sin(down), -np.cos(right) * np.cos(down)])


def iris_points(shape: HeadShape, gaze_deg: tuple[float, float]) -> Floats:
    """(10, 3) landmarks 468–477: for each eye the iris' centre, then its right, top, left and bottom."""
    towards = gaze_direction(gaze_deg)
    right = np.cross(towards, (0.0, 1.0, 0.0))
    right *= np.sign(right[0]) / np.linalg.norm(right)
    down = np.cross(towards, right)
    down *= np.sign(down[1])
    rim = np.sqrt(EYEBALL_MM**2 - IRIS_MM**2) * towards
    around = [rim + IRIS_MM * step for step in (right, -down, -right, down)]
    return np.concatenate([eye + np.stack([EYEBALL_MM * towards, *around]) for eye in shape.eyeballs_mm])
