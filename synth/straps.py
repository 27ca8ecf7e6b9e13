"""Straps: ear loops as ribbons from a mask's corners to where the ears are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from synth.geometry import FaceMesh, MaskMesh, grid_triangles

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class LoopMesh:
    """Ear loops as ribbons that face the camera.

    Attributes:
        vertices_px: (N, 3) image space.
        triangles: (T, 3) vertex indices.
        across: (N,) -1 and 1 on the two edges of the ribbon.
    """

    vertices_px: Floats
    triangles: Ints
    across: Floats


# Where a loop meets the ear, from the landmarks at the side of the face: mean of two landmarks (viewer's
# left side, right side) plus an offset in mm (outwards, down, back).
_EAR_TOP = ((127, 234), (356, 454), (2.0, 2.0, 20.0))
_EAR_LOBE = ((93, 132), (323, 361), (1.0, 4.0, 16.0))
_LOOP_POINTS = 18
_LOOP_BOW_MM = 2.0


def loop_curves(mask: MaskMesh, face: FaceMesh) -> Floats:
    """Middle lines of the four loop halves, (4, points, 3) image space, from the mask's corners to the ears.

    They run to the top and to the lobe of each ear, where these are on the mean head: MediaPipe sees no ears.
    """
    curves = []
    for side, column in ((-1.0, 0), (1.0, -1)):
        for row, inner, ear in ((1, 2, _EAR_TOP), (-2, -3, _EAR_LOBE)):
            start = mask.grid_mm[row, column]
            # Sewn on a little inside the edge.
            sewn = start + 0.6 * (mask.grid_mm[inner, 2 if side < 0 else -3] - start)
            outwards, down, back = ear[2]
            landmarks = ear[0] if side < 0 else ear[1]
            end = face.skin_mm[list(landmarks)].mean(axis=0) + np.array([side * outwards, down, back])
            curves.append(_loop_curve(np.stack([sewn, start, end]), side))
    return face.frame.to_image(np.stack(curves))


def _loop_curve(knots_mm: Floats, side: float) -> Floats:
    # Straight over the mask, then bowed outwards to the ear.
    sewn, start, end = knots_mm
    t = np.linspace(0.0, 1.0, _LOOP_POINTS - 2)[:, None]
    bow = np.array([side * _LOOP_BOW_MM, 0.0, 0.0]) * np.sin(np.pi * t)
    return np.concatenate([[sewn, (sewn + start) / 2], start + (end - start) * t + bow])


def build_loops(curves_px: Floats, shown: Ints, width_px: float) -> LoopMesh:
    """Ribbons of one width along loop curves.

    Args:
        curves_px: (L, points, 3) from `loop_curves`.
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
