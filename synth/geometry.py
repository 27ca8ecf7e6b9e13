"""The mask as a surface in head space: outline, drape over the real face, ear loops.

A mask is a grid. Column u runs from -1 (viewer's left edge) to 1, row v from 0 (top edge) to 1 (bottom).
Each grid point starts on the wearer's skin (`topology.on_surface`), then moves outwards, away from a point
inside the head, to where the cloth hangs: on the taut (convex) hull of the face in the middle, close to the
skin at the rim.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from synth.placement import HeadFrame
from synth.topology import (
    CHIN,
    CHIN_Y_MM,
    JAW,
    SURFACE_COUNT,
    canonical_face,
    extend_below_jaw,
    lift_over,
    on_surface,
)

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Reals = npt.NDArray[np.floating[Any]]

GRID_ROWS = 25
GRID_COLUMNS = 37

_JAW_ANGLES = (58, 288)  # their midpoint, mid-head behind the mouth, sees every mask point
_RIM_TAUT = 0.12
_NOSE_ROUND = 0.085  # half-width of the round part of the top edge, in u
_VALVE_HIGH_MM = 5.0
_JAW_TURN_MM = 3.0  # the jaw line turns under over this much
# The collar that hanging cloth falls to, from the chin; a mean adult neck in clothes.
_COLLAR_BELOW_CHIN_MM = 85.0
_COLLAR_Z_MM = 86.0
# The ear that a mask hangs from: two landmarks of the face's side, viewer's left and right.
_LAST_S_MM = 106.0  # the layout ends at 118; its last triangles are seen edge-on
_HEAD_AXIS_Z_MM = 64.0
_HANG_LENGTH = 0.95
_EAR_LANDMARKS = ((93, 132), (323, 361))


@dataclass(frozen=True)
class MaskShape:
    """A mask's outline in the face layout, and how it hangs. All lengths in millimetres of a mean adult face.

    Attributes:
        nose_y: layout height of the middle of the top edge (0 = eye line, 34 = nose tip, 118 = chin).
        corner_s: distance of the upper corners from the midline along the face.
        lower_corner_s: the same for the lower corners.
        corner_y, lower_corner_y: layout heights of the corners.
        chin_wrap: how far the bottom edge reaches below the chin.
        nose_arch: how fast the top edge falls beside the nose, >= 1; 1 is a straight line.
        chin_arch: how slowly the bottom edge rises beside the chin; 1 is a straight line (a hanging point).
        side_bow: how far the side edges bow in between the corners.
        standoff: distance of the cloth from the taut hull.
        rim_gap: distance of the rim from the skin.
        side_gap: how much further the side edges stand off between their corners.
        rim_mm: width of the band in which the cloth comes back to the skin.
        taut: 1 spans hollows like a stretched sheet, 0 follows the skin.
        soft: how much edges of the form are rounded, in grid cells; 0.9 is limp cloth, 0.3 a crease.
        frame: points (s, y, out) that hold the cloth `out` mm off the skin, like a stiff fold does; the
            cloth is stretched over them. Those beside the midline are mirrored.
        cup: how far the middle bulges out.
        seam: how far a vertical seam line over nose and mouth stands out.
        pleats: number of horizontal pleats.
        pleat_depth: how far one pleat steps.
        fall: 0: below the jaw the cloth follows the skin; 1: it falls to a collar around the neck.
        collar_mm: radius of that collar.
        folds_mm: depth of large folds; `fold_seed` places them, `fold_turn` tilts them (0 = along the rows).
        wraps: number of layers wound over each other, each edge `wrap_mm` above the next, from the height
            `wrap_from` (0 top - 1 bottom) on.
        wire_mm: length of the nose wire; 0 = none.
        valve_mm: diameter of the valve; 0 = none. `valve_u`, `valve_v`: its place on the cloth.
        hangs: -1 or 1: hangs down from the viewer's left or right ear, 0: is worn over the face.
        hang_mm: its height when it hangs, lying flat.
    """

    nose_y: float
    corner_s: float
    lower_corner_s: float
    corner_y: float
    lower_corner_y: float
    chin_wrap: float
    nose_arch: float = 2.2
    chin_arch: float = 2.3
    side_bow: float = 3.0
    standoff: float = 2.0
    rim_gap: float = 1.2
    side_gap: float = 0.0
    rim_mm: float = 16.0
    taut: float = 1.0
    soft: float = 0.9
    frame: tuple[tuple[float, float, float], ...] = ()
    cup: float = 0.0
    seam: float = 0.0
    pleats: int = 0
    pleat_depth: float = 0.0
    fall: float = 0.0
    collar_mm: float = 64.0
    folds_mm: float = 0.0
    fold_seed: int = 0
    fold_turn: float = 0.0
    wraps: int = 0
    wrap_mm: float = 0.0
    wrap_from: float = 0.0
    wire_mm: float = 0.0
    valve_mm: float = 0.0
    valve_u: float = 0.0
    valve_v: float = 0.6
    hangs: int = 0
    hang_mm: float = 95.0


@dataclass(frozen=True)
class MaskMesh:
    """A mask on one face.

    Attributes:
        grid_px: (rows, columns, 3) image space.
        grid_mm: (rows, columns, 3) head space.
        size_mm: width and height of the cloth along its middle lines.
    """

    grid_px: Floats
    grid_mm: Floats
    size_mm: tuple[float, float]


@dataclass(frozen=True)
class FaceMesh:
    """A face's skin.

    Attributes:
        frame: its head frame.
        skin_mm: (468 + rings, 3) head space, from `extend_below_jaw`.
        skin_px: the same in image space.
    """

    frame: HeadFrame
    skin_mm: Floats
    skin_px: Floats


def build_face(landmarks: Floats, frame: HeadFrame) -> FaceMesh:
    """The skin of a face from its (478, 3) landmarks in pixels."""
    skin_mm = extend_below_jaw(frame.to_head(landmarks[:SURFACE_COUNT]))
    return FaceMesh(frame, skin_mm, frame.to_image(skin_mm))


def outline_grid(shape: MaskShape, rows: int = GRID_ROWS, columns: int = GRID_COLUMNS) -> Floats:
    """Grid points of a mask in the face layout, (rows, columns, 2) millimetres (s, y)."""
    u = np.linspace(-1.0, 1.0, columns)[None, :]
    v = np.linspace(0.0, 1.0, rows)[:, None]
    # Rounded at the midline: cloth over a nose has no point there.
    beside = np.sqrt(u**2 + _NOSE_ROUND**2) - _NOSE_ROUND
    beside /= beside.max()
    top = shape.nose_y + (shape.corner_y - shape.nose_y) * (1.0 - (1.0 - beside) ** shape.nose_arch)
    lowest = CHIN_Y_MM + shape.chin_wrap
    bottom = shape.lower_corner_y + (lowest - shape.lower_corner_y) * (1.0 - beside**shape.chin_arch)
    half_width = shape.corner_s + (shape.lower_corner_s - shape.corner_s) * v
    half_width = half_width - shape.side_bow * np.sin(np.pi * v)  # the loops pull the corners
    return np.stack([u * half_width, top + (bottom - top) * v], axis=-1)


def build_mask(shape: MaskShape, face: FaceMesh) -> MaskMesh:
    """Hang a mask on a face.

    Returns:
        The grid in both spaces; the cloth is nowhere nearer to the skin than `rim_gap` (up to smoothing).
    """
    if shape.hangs:
        grid_mm = hanging_grid(shape, face.skin_mm, (GRID_ROWS, GRID_COLUMNS))
    else:
        skin = _worn_on(outline_grid(shape), shape, face.skin_mm)
        grid_mm = _drape(skin, shape, face.skin_mm)
    middle_row, middle_column = grid_mm[GRID_ROWS // 2], grid_mm[:, GRID_COLUMNS // 2]
    size = (_length(middle_row), _length(middle_column))
    return MaskMesh(face.frame.to_image(grid_mm), grid_mm, size)


@lru_cache(maxsize=8)
def bare_triangles(shape: MaskShape) -> Ints:
    """Skin triangles that the mask does not wholly cover, read-only: no others can lie in front of it.

    Skin under the cloth must never show through, however thin the gap.
    """
    mean = canonical_face()
    if shape.hangs:
        return np.concatenate([mean.skin_triangles, mean.neck_triangles])
    outline = outline_grid(shape)
    s, y = mean.layout_mm.T
    top = np.interp(s, outline[0, :, 0], outline[0, :, 1])
    bottom = np.interp(s, outline[-1, :, 0], outline[-1, :, 1])
    side = np.interp(y, outline[:, -1, 1], outline[:, -1, 0])
    under = (y > top) & (y < bottom) & (np.abs(s) < side)
    bare: Ints = mean.skin_triangles[~under[mean.skin_triangles].all(axis=1)]
    return bare


def _length(line: Floats) -> float:
    return float(np.linalg.norm(np.diff(line, axis=0), axis=1).sum())


def _worn_on(outline: Floats, shape: MaskShape, skin_mm: Floats) -> Floats:
    """Grid points before they are draped: on the skin, or on their way from the jaw to the collar."""
    s, y = outline[..., 0], outline[..., 1]
    surface = _around_head(s, y, skin_mm)
    if shape.fall == 0:
        return surface
    jaw_s, jaw_y = canonical_face().layout_mm[list(JAW)].T
    edge = np.interp(s, jaw_s, jaw_y) + _JAW_TURN_MM
    below = np.maximum(y - edge, 0.0)
    if not below.any():
        return surface
    from_jaw = _around_head(s, np.minimum(y, edge), skin_mm)
    angle = np.clip(s / 75.0, -2.4, 2.4)
    chin = skin_mm[CHIN]
    around = np.stack(
        [
            chin[0] + shape.collar_mm * np.sin(angle),
            np.full_like(s, chin[1] + _COLLAR_BELOW_CHIN_MM),
            chin[2] + _COLLAR_Z_MM - shape.collar_mm * np.cos(angle),
        ],
        axis=-1,
    )
    towards = around - from_jaw
    towards /= np.linalg.norm(towards, axis=-1, keepdims=True)
    fallen = from_jaw + below[..., None] * towards
    mixed: Floats = surface + shape.fall * (fallen - surface)
    return mixed


def _around_head(s: Floats, y: Floats, skin_mm: Floats) -> Floats:
    """Layout points on the skin; beyond the ears, where MediaPipe sees nothing, around a mean head's axis."""
    beside = np.clip(s, -_LAST_S_MM, _LAST_S_MM)
    points = on_surface(np.stack([beside, y], axis=-1), skin_mm)
    turn = (s - beside) / 75.0
    if not turn.any():
        return points
    axis = np.array([skin_mm[CHIN, 0], 0.0, _HEAD_AXIS_Z_MM])
    off = points - axis
    x = off[..., 0] * np.cos(turn) - off[..., 2] * np.sin(turn)
    z = off[..., 0] * np.sin(turn) + off[..., 2] * np.cos(turn)
    around: Floats = axis + np.stack([x, off[..., 1], z], axis=-1)
    return around


def _drape(skin: Floats, shape: MaskShape, skin_mm: Floats) -> Floats:
    import cv2

    inside = skin_mm[list(_JAW_ANGLES)].mean(axis=0)
    lift = _ramp(rim_distance(skin) / shape.rim_mm)
    skin_radius = np.linalg.norm(skin - inside, axis=-1)
    # Lips and nostrils bunch the landmarks; even rays keep the cloth free of their print.
    even = cv2.GaussianBlur(skin, (0, 0), 2.0, borderType=cv2.BORDER_REPLICATE)
    rays = skin + lift[..., None] * (even - skin) - inside
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
    taut = shape.taut * (_RIM_TAUT + (1.0 - _RIM_TAUT) * lift)
    points = np.concatenate([skin[::2, ::2].reshape(-1, 3), _frame_points(shape, skin_mm, inside)])
    hull = np.maximum(_hull_radius(points, rays, inside), skin_radius)
    radius = skin_radius + taut * (hull - skin_radius)
    u = np.linspace(-1.0, 1.0, skin.shape[1])[None, :]
    v = np.linspace(0.0, 1.0, skin.shape[0])[:, None]
    gap = shape.rim_gap + shape.side_gap * np.abs(u) ** 6 * np.sin(np.pi * v) ** 2
    radius += gap + (shape.standoff - shape.rim_gap) * lift
    dome = (1.0 - u**2) * np.sin(np.pi * np.clip(v, 0.0, 1.0)) ** 0.8
    ridge = np.maximum(1.0 - np.abs(u) * 2.2, 0.0) * np.sin(np.pi * v) ** 0.7
    radius += shape.cup * dome
    if shape.folds_mm > 0:
        radius += shape.folds_mm * (0.3 + 0.7 * lift) * large_folds(shape, u, v)
    smooth = cv2.GaussianBlur(radius, (0, 0), shape.soft, borderType=cv2.BORDER_REPLICATE)
    # Where smoothing let the skin through, lift the neighbourhood, not the one point: no nubs.
    short = np.maximum(skin_radius + 0.8 * shape.rim_gap - smooth, 0.0)
    lifted = cv2.GaussianBlur(cv2.dilate(short, np.ones((7, 7), np.uint8)), (0, 0), 1.5)
    smooth += np.maximum(lifted, short)
    finish = min(0.7, shape.soft)
    smooth = cv2.GaussianBlur(smooth, (0, 0), finish, borderType=cv2.BORDER_REPLICATE)
    smooth += lift_over(rays, smooth, inside, skin_mm, bare_triangles(shape), 0.8 * shape.rim_gap)
    smooth += shape.seam * ridge
    grid: Floats = inside + rays * smooth[..., None]
    if shape.valve_mm > 0:
        off = np.hypot(*_from_valve(grid, shape))
        grid += rays * (_VALVE_HIGH_MM * _ramp((0.5 * shape.valve_mm + 2.0 - off) / 4.0))[..., None]
    return grid


def _from_valve(grid: Floats, shape: MaskShape) -> tuple[Floats, Floats]:
    # Distance of each grid point from the valve's middle across and down the cloth, millimetres.
    rows, columns = grid.shape[:2]
    across = np.linalg.norm(np.diff(grid[rows // 2], axis=0), axis=-1).sum() / 2
    down = np.linalg.norm(np.diff(grid[:, columns // 2], axis=0), axis=-1).sum()
    u = np.linspace(-1.0, 1.0, columns)[None, :] - shape.valve_u
    v = np.linspace(0.0, 1.0, rows)[:, None] - shape.valve_v
    return np.broadcast_to(u * across, (rows, columns)), np.broadcast_to(v * down, (rows, columns))


def large_folds(shape: MaskShape, u: Reals, v: Reals) -> Floats:
    """Folds too large for the cloth's relief, (rows, columns) in about [-1, 1]; `fold_seed` places them."""
    rng = np.random.default_rng(shape.fold_seed)
    total: Floats = np.zeros(np.broadcast_shapes(u.shape, v.shape))
    for count, weight in ((2.2, 0.5), (3.7, 0.35), (5.9, 0.2)):
        phase, bend, lean = rng.uniform(0, 2 * np.pi), rng.uniform(0.1, 0.5), rng.uniform(-0.5, 0.5)
        along = v * np.cos(shape.fold_turn) + 0.5 * u * np.sin(shape.fold_turn)
        wave = 2 * np.pi * count * (along + 0.12 * lean * u + 0.1 * bend * u**2) + phase
        total = total + weight * np.sin(wave + 0.5 * np.sin(wave))
    return total


def _frame_points(shape: MaskShape, skin_mm: Floats, inside: Floats) -> Floats:
    if not shape.frame:
        return np.zeros((0, 3))
    points = np.array(shape.frame)
    both = np.concatenate([points, points[points[:, 0] != 0] * (-1.0, 1.0, 1.0)])
    on_skin = on_surface(both[:, :2], skin_mm)
    outwards = on_skin - inside
    outwards /= np.linalg.norm(outwards, axis=-1, keepdims=True)
    held: Floats = on_skin + both[:, 2:] * outwards
    return held


def rim_distance(grid: Floats) -> Floats:
    """Distance of each grid point from the nearest of the four edges, along its row or column."""
    across = np.linalg.norm(np.diff(grid, axis=1), axis=-1)
    down = np.linalg.norm(np.diff(grid, axis=0), axis=-1)
    from_left = np.pad(np.cumsum(across, axis=1), ((0, 0), (1, 0)))
    from_top = np.pad(np.cumsum(down, axis=0), ((1, 0), (0, 0)))
    sideways = np.minimum(from_left, from_left[:, -1:] - from_left)
    upright = np.minimum(from_top, from_top[-1:] - from_top)
    distance: Floats = np.minimum(sideways, upright)
    return distance


def _ramp(value: Reals) -> Floats:
    clipped = np.clip(value, 0.0, 1.0)
    smooth: Floats = clipped * clipped * (3.0 - 2.0 * clipped)
    return smooth


def _hull_radius(points: Floats, rays: Floats, inside: Floats) -> Floats:
    # Distance from `inside` along each ray to the convex hull of the points.
    from scipy.spatial import ConvexHull

    # Far points behind close the hull, so that `inside` is inside it whatever the mask covers.
    behind = inside + np.array([[0.0, 0.0, 120.0], [0.0, -60.0, 80.0], [60.0, 0.0, 80.0], [-60.0, 0.0, 80.0]])
    planes = ConvexHull(np.concatenate([points, behind])).equations
    offset = -(planes[:, :3] @ inside + planes[:, 3])
    # The nearest plane ahead has the largest facing / offset.
    nearest = ((planes[:, :3] / offset[:, None]) @ rays.reshape(-1, 3).T).max(axis=0)
    radius: Floats = 1.0 / np.maximum(nearest, 1e-6)
    return radius.reshape(rays.shape[:-1])


def hanging_grid(shape: MaskShape, skin_mm: Floats, size: tuple[int, int]) -> Floats:
    """A mask that hangs down beside the face by one ear loop, (rows, columns, 3) head space.

    Its side edge is up, its top edge towards the face, its outside outwards.
    """
    side = float(shape.hangs)
    rows, columns = size
    u = np.linspace(-1.0, 1.0, columns)[None, :]
    v = np.linspace(0.0, 1.0, rows)[:, None]
    outline = outline_grid(shape, rows, columns)
    depth = outline[-1, :, 1] - outline[0, :, 1]
    # A pleated mask is a rectangle when nothing opens its pleats.
    height = shape.hang_mm * (np.ones(columns) if shape.pleats else depth / depth.max())[None, :]
    length = 2 * shape.corner_s * _HANG_LENGTH
    down = 0.5 * (1.0 - side * u)
    gathered = 0.62 + 0.38 * _ramp(down / 0.35)  # pulled together under the ear
    across = (v - 0.5) * height * gathered
    waves = large_folds(shape, np.broadcast_to(down * 0.6, (rows, columns)), v)
    out = 6.0 * np.cos(np.pi * (v - 0.5)) * gathered + (3.5 + shape.folds_mm) * waves * (1.2 - 0.5 * down)
    ear = skin_mm[list(_EAR_LANDMARKS[0 if side < 0 else 1])].mean(axis=0)
    start = ear + np.array([side * 9.0, 30.0, 12.0])
    twist = 0.45 + 0.5 * np.random.default_rng(shape.fold_seed + 1).uniform(-0.6, 0.6)
    facing = np.array([side * np.cos(twist), 0.0, -np.sin(twist)])
    away = np.array([side * np.sin(twist), 0.0, np.cos(twist)])
    grid: Floats = (
        start
        + (down * length)[..., None] * np.array([side * 0.05, 0.995, 0.02])
        + across[..., None] * away
        + out[..., None] * facing
    )
    return grid


@cache
def grid_triangles(rows: int, columns: int) -> Ints:
    """Triangles of a grid, (2 (rows-1) (columns-1), 3), not to be changed; diagonals mirror in the middle."""
    index = np.arange(rows * columns).reshape(rows, columns)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, :-1], index[1:, 1:]
    half = (columns - 1) // 2
    falling = np.stack([np.stack([a, b, d], -1), np.stack([a, d, c], -1)], axis=2)[:, :half]
    rising = np.stack([np.stack([a, b, c], -1), np.stack([b, d, c], -1)], axis=2)[:, half:]
    return np.concatenate([falling.reshape(-1, 3), rising.reshape(-1, 3)])
