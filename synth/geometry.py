"""The mask as a surface in head space: outline, drape over the real face, ear loops.

A mask is a grid. Column u runs from -1 (viewer's left edge) to 1, row v from 0 (top edge) to 1 (bottom).
Each grid point starts on the wearer's skin (`topology.on_surface`), then moves outwards, away from a point
inside the head, to where the cloth hangs: on the taut (convex) hull of the face in the middle, close to the
skin at the rim.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from synth.placement import HeadFrame
from synth.topology import CHIN_Y_MM, SURFACE_COUNT, canonical_face, extend_below_jaw, on_surface

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

GRID_ROWS = 25
GRID_COLUMNS = 37

_JAW_ANGLES = (58, 288)  # their midpoint, mid-head behind the mouth, sees every mask point
_RIM_MM = 16.0  # width of the band in which the cloth comes back to the skin
_RIM_TAUT = 0.12
_SMOOTH_CELLS = 0.9
_NOSE_ROUND = 0.085  # half-width of the round part of the top edge, in u


@dataclass(frozen=True)
class MaskShape:
    """A mask's outline in the face layout, and how it hangs. All lengths in millimetres of a mean adult face.

    Attributes:
        nose_y: layout height of the middle of the top edge (0 = eye line, 35 = nose tip, 114 = chin).
        corner_s: distance of the upper corners from the midline along the face.
        lower_corner_s: the same for the lower corners.
        corner_y, lower_corner_y: layout heights of the corners.
        chin_wrap: how far the bottom edge reaches under the chin.
        nose_arch: how fast the top edge falls beside the nose, >= 1; 1 is a straight line.
        standoff: distance of the cloth from the taut hull.
        rim_gap: distance of the rim from the skin.
        taut: 1 spans hollows like a stretched sheet, 0 follows the skin.
        cup: how far the middle bulges out.
        seam: how far a vertical seam line over nose and mouth stands out.
        pleats: number of horizontal pleats.
        pleat_depth: how far one pleat steps.
    """

    nose_y: float
    corner_s: float
    lower_corner_s: float
    corner_y: float
    lower_corner_y: float
    chin_wrap: float
    nose_arch: float = 2.2
    standoff: float = 2.0
    rim_gap: float = 1.2
    taut: float = 1.0
    cup: float = 0.0
    seam: float = 0.0
    pleats: int = 0
    pleat_depth: float = 0.0


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
    bottom = shape.lower_corner_y + (lowest - shape.lower_corner_y) * (1.0 - np.abs(u) ** 2.3)
    half_width = shape.corner_s + (shape.lower_corner_s - shape.corner_s) * v
    half_width = half_width - 3.0 * np.sin(np.pi * v)  # the loops pull the corners, the side edge bows in
    return np.stack([u * half_width, top + (bottom - top) * v], axis=-1)


def build_mask(shape: MaskShape, face: FaceMesh) -> MaskMesh:
    """Hang a mask on a face.

    Returns:
        The grid in both spaces; the cloth is nowhere nearer to the skin than `rim_gap` (up to smoothing).
    """
    outline = outline_grid(shape)
    skin = on_surface(outline, face.skin_mm)
    grid_mm = _drape(skin, shape, face.skin_mm[list(_JAW_ANGLES)].mean(axis=0))
    middle_row, middle_column = grid_mm[GRID_ROWS // 2], grid_mm[:, GRID_COLUMNS // 2]
    size = (_length(middle_row), _length(middle_column))
    return MaskMesh(face.frame.to_image(grid_mm), grid_mm, size)


def bare_triangles(shape: MaskShape) -> Ints:
    """Skin triangles that the mask does not wholly cover: the only ones that can lie in front of it.

    Skin under the cloth must never show through, however thin the gap.
    """
    outline = outline_grid(shape)
    mean = canonical_face()
    s, y = mean.layout_mm.T
    top = np.interp(s, outline[0, :, 0], outline[0, :, 1])
    bottom = np.interp(s, outline[-1, :, 0], outline[-1, :, 1])
    side = np.interp(y, outline[:, -1, 1], outline[:, -1, 0])
    under = (y > top) & (y < bottom) & (np.abs(s) < side)
    bare: Ints = mean.skin_triangles[~under[mean.skin_triangles].all(axis=1)]
    return bare


def _length(line: Floats) -> float:
    return float(np.linalg.norm(np.diff(line, axis=0), axis=1).sum())


def _drape(skin: Floats, shape: MaskShape, inside: Floats) -> Floats:
    import cv2

    lift = _ramp(rim_distance(skin) / _RIM_MM)
    skin_radius = np.linalg.norm(skin - inside, axis=-1)
    # Lips and nostrils bunch the landmarks; even rays keep the cloth free of their print.
    even = cv2.GaussianBlur(skin, (0, 0), 2.0, borderType=cv2.BORDER_REPLICATE)
    rays = skin + lift[..., None] * (even - skin) - inside
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
    taut = shape.taut * (_RIM_TAUT + (1.0 - _RIM_TAUT) * lift)
    hull = np.maximum(_hull_radius(skin, rays, inside), skin_radius)
    radius = skin_radius + taut * (hull - skin_radius)
    radius += shape.rim_gap + (shape.standoff - shape.rim_gap) * lift
    u = np.linspace(-1.0, 1.0, skin.shape[1])[None, :]
    v = np.linspace(0.0, 1.0, skin.shape[0])[:, None]
    dome = (1.0 - u**2) * np.sin(np.pi * np.clip(v, 0.0, 1.0)) ** 0.8
    ridge = np.maximum(1.0 - np.abs(u) * 2.2, 0.0) * np.sin(np.pi * v) ** 0.7
    radius += shape.cup * dome
    smooth = cv2.GaussianBlur(radius, (0, 0), _SMOOTH_CELLS, borderType=cv2.BORDER_REPLICATE)
    # Where smoothing let the skin through, lift the neighbourhood, not the one point: no nubs.
    short = np.maximum(skin_radius + 0.8 * shape.rim_gap - smooth, 0.0)
    lifted = cv2.GaussianBlur(cv2.dilate(short, np.ones((7, 7), np.uint8)), (0, 0), 1.5)
    smooth += np.maximum(lifted, short)
    smooth = cv2.GaussianBlur(smooth, (0, 0), 0.7, borderType=cv2.BORDER_REPLICATE) + shape.seam * ridge
    grid: Floats = inside + rays * smooth[..., None]
    return grid


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


def _ramp(value: Floats) -> Floats:
    clipped = np.clip(value, 0.0, 1.0)
    smooth: Floats = clipped * clipped * (3.0 - 2.0 * clipped)
    return smooth


def _hull_radius(skin: Floats, rays: Floats, inside: Floats) -> Floats:
    # Distance from `inside` along each ray to the convex hull of the covered skin.
    from scipy.spatial import ConvexHull

    points = skin[::2, ::2].reshape(-1, 3)
    # Far points behind close the hull, so that `inside` is inside it whatever the mask covers.
    behind = inside + np.array([[0.0, 0.0, 120.0], [0.0, -60.0, 80.0], [60.0, 0.0, 80.0], [-60.0, 0.0, 80.0]])
    planes = ConvexHull(np.concatenate([points, behind])).equations
    offset = -(planes[:, :3] @ inside + planes[:, 3])
    # The nearest plane ahead has the largest facing / offset.
    nearest = (rays @ (planes[:, :3] / offset[:, None]).T).max(axis=-1)
    radius: Floats = 1.0 / np.maximum(nearest, 1e-6)
    return radius


def grid_triangles(rows: int, columns: int) -> Ints:
    """Triangles of a grid, (2 (rows-1) (columns-1), 3); diagonals mirror about the middle column."""
    index = np.arange(rows * columns).reshape(rows, columns)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, :-1], index[1:, 1:]
    half = (columns - 1) // 2
    falling = np.stack([np.stack([a, b, d], -1), np.stack([a, d, c], -1)], axis=2)[:, :half]
    rising = np.stack([np.stack([a, b, c], -1), np.stack([b, d, c], -1)], axis=2)[:, half:]
    return np.concatenate([falling.reshape(-1, 3), rising.reshape(-1, 3)])
