"""Pictures of the geometry behind a rendered photo: depth, normals, and place on the cloth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from synth.assets import Garment
from synth.cloth.lit import grid_uv
from synth.cover import window_of
from synth.geometry import FaceMesh, build_mask, grid_triangles
from synth.raster import rasterise
from synth.shading import vertex_normals
from synth.topology import SURFACE_COUNT, canonical_face

Floats = npt.NDArray[np.float64]

DEPTH_STEPS_PER_MM = 50  # 16 bit reach 1.3 m


@dataclass(frozen=True)
class Surfaces:
    """Geometry at the centre of every pixel, of the nearest of all heads and masks; 0 where there is none.

    Attributes:
        depth: (H, W) uint16: 1 + 50 * millimetres behind the nearest point of that head.
        normals: (H, W, 3) uint8: 127.5 * (n + 1), n a unit normal, x right, y down, z away from the camera.
        uv: (H, W, 3) uint8: place on the cloth: 255 * u (from the left), 255 * v (from the top), and 255
            where there is a mask.
    """

    depth: npt.NDArray[np.uint16]
    normals: npt.NDArray[np.uint8]
    uv: npt.NDArray[np.uint8]


def draw_surfaces(heads: Sequence[tuple[FaceMesh, Garment | None]], size_hw: tuple[int, int]) -> Surfaces:
    """Rasterise heads with the masks they wear.

    Args:
        heads: far ones first; each hides what is behind it.
        size_hw: of the photo.
    """
    depth = np.zeros(size_hw, dtype=np.uint16)
    normals, uv = np.zeros((*size_hw, 3), dtype=np.uint8), np.zeros((*size_hw, 3), dtype=np.uint8)
    for face, garment in heads:
        points, triangles, values = _soup(face, garment)
        box = window_of(points, 1.0, size_hw)
        if box[2] == 0 or box[3] == 0:
            continue
        hits = rasterise(points, triangles, box, values=values)
        row, column = np.divmod(hits.sample, box[2])
        at = (row + box[1], column + box[0])
        behind_mm = (hits.depth - hits.depth.min()) / face.frame.px_per_mm
        depth[at] = np.clip(1 + np.rint(behind_mm * DEPTH_STEPS_PER_MM), 1, 65535).astype(np.uint16)
        unit = hits.values[:, :3] / np.maximum(
            np.linalg.norm(hits.values[:, :3], axis=1, keepdims=True), 1e-9
        )
        normals[at] = np.rint(127.5 * (unit + 1.0)).astype(np.uint8)
        uv[at] = np.rint(255 * np.clip(hits.values[:, 3:], 0, 1)).astype(np.uint8)
    return Surfaces(depth, normals, uv)


def _soup(face: FaceMesh, garment: Garment | None) -> tuple[Floats, npt.NDArray[np.int64], Floats]:
    # One set of triangles of skin and cloth; values are normal (3), u, v, "is cloth".
    skin = face.skin_px[:SURFACE_COUNT]
    triangles = canonical_face().triangles
    values = np.concatenate([vertex_normals(skin, triangles), np.zeros((len(skin), 3))], axis=1)
    if garment is None:
        return skin, triangles, values
    grid = build_mask(garment.shape, face).grid_px
    cloth = grid.reshape(-1, 3)
    facets = grid_triangles(*grid.shape[:2])
    on_cloth = np.concatenate([vertex_normals(cloth, facets), grid_uv(), np.ones((len(cloth), 1))], axis=1)
    return (
        np.concatenate([skin, cloth]),
        np.concatenate([triangles, facets + len(skin)]),
        np.concatenate([values, on_cloth]),
    )
