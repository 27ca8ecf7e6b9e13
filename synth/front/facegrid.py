"""A face at about one pixel per millimetre, where each pixel knows which spot of the face it shows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from dataset_tools.core.images import RgbImage
from synth.geometry import FaceMesh
from synth.raster import Box, rasterise
from synth.topology import SURFACE_COUNT, canonical_face

Floats = npt.NDArray[np.float64]
Floats32 = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]
BoolMask = npt.NDArray[np.bool_]

GRID_PX_PER_MM = 1.0
MARGIN_MM = 28.0  # how far around the face oval the window reaches: hair, ears, a hand's wrist


@dataclass(frozen=True)
class FaceGrid:
    """A face's part of the photo, shrunk, with layout coordinates (`topology.canonical_face`).

    Attributes:
        box: the window in the photo.
        rgb: (h, w, 3) uint8, the window at `px_per_mm`; never enlarged.
        px_per_mm: pixels of `rgb` per millimetre of face.
        inside: (h, w) bool, within the face oval.
        across_mm: (h, w) float32 distance from the midline along the face, > 0 to the right; 0 outside.
        height_mm: (h, w) float32 layout height: 0 = eye line, 35 = nose tip, 114 = chin.
        eyes_xy: the point between the eyes, pixels of `rgb`.
        down_xy: where a millimetre down the head leads, pixels of `rgb`.
    """

    box: Box
    rgb: RgbImage
    px_per_mm: float
    inside: BoolMask
    across_mm: Floats32
    height_mm: Floats32
    eyes_xy: tuple[float, float]
    down_xy: tuple[float, float]

    @property
    def is_empty(self) -> bool:
        """Whether nothing of the face is in the picture."""
        return not self.inside.any()

    @cached_property
    def side_mm(self) -> Floats32:
        """(h, w) distance from the midline along the face, either way; 0 outside the oval."""
        side: Floats32 = np.abs(self.across_mm)
        return side

    @cached_property
    def lab(self) -> Bytes:
        """(h, w, 3) the colours in OpenCV's 8-bit Lab."""
        import cv2

        return np.asarray(cv2.cvtColor(self.rgb, cv2.COLOR_RGB2LAB), dtype=np.uint8)

    @cached_property
    def depth_mm(self) -> Floats32:
        """(h, w) how far inside the face oval a pixel lies; 0 outside."""
        return self.distance_mm(~self.inside)

    @cached_property
    def beside_mm(self) -> Floats32:
        """(h, w) how far outside the face oval a pixel lies; 0 inside."""
        return self.distance_mm(self.inside)

    @cached_property
    def drop_mm(self) -> Floats32:
        """(h, w) how far below the eye line a pixel lies, on the face and beside it."""
        rows, columns = self.inside.shape
        zero: Floats = np.zeros(1)
        across: Floats = np.arange(columns, dtype=np.float64) + 0.5
        down: Floats = np.arange(rows, dtype=np.float64) + 0.5
        along_row = self.drop_of(across, zero) - self.drop_of(zero, zero)
        drop: Floats = self.drop_of(zero, down)[:, None] + along_row[None, :]
        return drop.astype(np.float32)

    def drop_of(self, x: Floats, y: Floats) -> Floats:
        """The same of points, which may lie outside the window."""
        down_x, down_y = self.down_xy
        along = (x - self.eyes_xy[0]) * down_x + (y - self.eyes_xy[1]) * down_y
        drop: Floats = along / max(down_x**2 + down_y**2, 1e-9)
        return drop

    def distance_mm(self, mask: BoolMask) -> Floats32:
        """(h, w) distance of each pixel from the nearest one of `mask`; 1e6 when it has none."""
        import cv2

        if not mask.any():
            return np.full(mask.shape, 1e6, dtype=np.float32)
        pixels = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 3)
        return np.asarray(pixels / np.float32(self.px_per_mm), dtype=np.float32)

    def near(self, mask: BoolMask, reach_mm: float) -> BoolMask:
        """Pixels within `reach_mm` of `mask`."""
        import cv2

        return np.asarray(cv2.dilate(mask.astype(np.uint8), self._disc(reach_mm)), dtype=np.bool_)

    def opened(self, mask: BoolMask, radius_mm: float) -> BoolMask:
        """`mask` without what is thinner than twice the radius."""
        import cv2

        return np.asarray(
            cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, self._disc(radius_mm)), dtype=np.bool_
        )

    def to_grid(self, points_px: Floats) -> Floats:
        """(N, 2) photo pixels as pixels of `rgb`."""
        rows, columns = self.rgb.shape[:2]
        x, y, width, height = self.box
        grid: Floats = (points_px[:, :2] - (x, y)) * (columns / width, rows / height)
        return grid

    def _disc(self, radius_mm: float) -> Bytes:
        radius = radius_mm * self.px_per_mm
        reach = int(np.ceil(radius))
        rows, columns = np.mgrid[-reach : reach + 1, -reach : reach + 1]
        return np.asarray(rows**2 + columns**2 <= radius**2 + 0.5, dtype=np.uint8)


def face_grid(photo: RgbImage, face: FaceMesh) -> FaceGrid:
    """Look at a face closely.

    Args:
        photo: (H, W, 3) sRGB.
        face: where it is; it may reach beyond the picture.
    """
    import cv2

    points = face.skin_px[:SURFACE_COUNT]
    scale = face.frame.px_per_mm
    limit = (photo.shape[1], photo.shape[0])
    low = np.clip(np.floor(points[:, :2].min(axis=0) - MARGIN_MM * scale), 0, limit).astype(int)
    high = np.clip(np.ceil(points[:, :2].max(axis=0) + MARGIN_MM * scale), 0, limit).astype(int)
    box = (int(low[0]), int(low[1]), int(high[0] - low[0]), int(high[1] - low[1]))
    if box[2] < 2 or box[3] < 2:
        flat = np.zeros((0, 0), dtype=np.float32)
        nothing = np.zeros((0, 0, 3), dtype=np.uint8)
        return FaceGrid(box, nothing, scale, flat.astype(np.bool_), flat, flat, (0.0, 0.0), (0.0, 1.0))
    shrink = min(1.0, GRID_PX_PER_MM / scale)
    size = (max(round(box[2] * shrink), 1), max(round(box[3] * shrink), 1))
    crop = photo[low[1] : high[1], low[0] : high[0]]
    rgb = cv2.resize(crop, size, interpolation=cv2.INTER_AREA) if shrink < 1 else crop
    to_grid = np.array([size[0] / box[2], size[1] / box[3], shrink])
    surface = (points - (box[0], box[1], 0.0)) * to_grid
    hits = rasterise(
        surface,
        canonical_face().triangles,
        (0, 0, *size),
        values=canonical_face().layout_mm[:SURFACE_COUNT],
    )
    inside = np.zeros((size[1], size[0]), dtype=np.bool_)
    across, height = (np.zeros(inside.shape, dtype=np.float32) for _ in range(2))
    inside.reshape(-1)[hits.sample] = True
    across.reshape(-1)[hits.sample] = hits.value(0)
    height.reshape(-1)[hits.sample] = hits.value(1)
    eyes = (face.frame.origin_px[:2] - (box[0], box[1])) * to_grid[:2]
    down = face.frame.rotation[:2, 1] * scale * to_grid[:2]
    return FaceGrid(
        box,
        np.asarray(rgb, dtype=np.uint8),
        scale * shrink,
        inside,
        across,
        height,
        (float(eyes[0]), float(eyes[1])),
        (float(down[0]), float(down[1])),
    )
