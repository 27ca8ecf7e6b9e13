"""A mask's cloth as a lit picture: albedo and relief of the fabric under the photo's light."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from synth.assets import Garment
from synth.fabric import albedo, relief_mm
from synth.geometry import GRID_COLUMNS, GRID_ROWS, MaskMesh
from synth.shading import Light

Floats = npt.NDArray[np.float64]
Floats32 = npt.NDArray[np.float32]

_MAX_TEXELS = 1024
_DIFFERENCE = np.array([[-0.5, 0.0, 0.5]], dtype=np.float32)


def grid_uv() -> Floats:
    v, u = np.meshgrid(np.linspace(0, 1, GRID_ROWS), np.linspace(0, 1, GRID_COLUMNS), indexing="ij")
    return np.stack([u.ravel(), v.ravel()], axis=1)


def shaded_cloth(mesh: MaskMesh, garment: Garment, light: Light, px_per_mm: float) -> Floats32:
    # Colour of the cloth at texels of about one pixel: albedo times light on the relief's own normals.
    import cv2

    width = int(np.clip(mesh.size_mm[0] * px_per_mm, 48, _MAX_TEXELS))
    height = int(np.clip(mesh.size_mm[1] * px_per_mm, 40, _MAX_TEXELS))
    columns = np.linspace(0, GRID_COLUMNS - 1, width, dtype=np.float32)
    rows = np.linspace(0, GRID_ROWS - 1, height, dtype=np.float32)
    at_x, at_y = np.meshgrid(columns, rows)
    grid = mesh.grid_px.astype(np.float32)
    smooth = cv2.remap(grid, at_x, at_y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    normals = _normals(smooth)
    relief = relief_mm(garment.fabric, garment.shape, mesh.size_mm, (height, width))
    bumped = _normals(smooth + normals * (relief * np.float32(px_per_mm))[..., None])
    # Folds lie in their own shadow: compare the height with its surroundings.
    texel_mm = mesh.size_mm[0] / width
    around = cv2.GaussianBlur(relief, (0, 0), max(2.0 / texel_mm, 0.6))
    open_sky = np.clip(1.0 + 0.16 * (relief - around), 0.7, 1.1)
    colour = albedo(garment.fabric, mesh.size_mm, (height, width))
    shaded: Floats32 = light.colour(colour) * (light.shade(bumped) * open_sky)[..., None]
    return shaded


def _normals(points: Floats32) -> Floats32:
    import cv2

    # Columns run right and rows down, so down x across points towards the camera (z < 0).
    ax, ay, az = cv2.split(cv2.filter2D(points, -1, _DIFFERENCE, borderType=cv2.BORDER_REPLICATE))
    dx, dy, dz = cv2.split(cv2.filter2D(points, -1, _DIFFERENCE.T, borderType=cv2.BORDER_REPLICATE))
    x, y, z = dy * az - dz * ay, dz * ax - dx * az, dx * ay - dy * ax
    length = np.maximum(np.sqrt(x * x + y * y + z * z), np.float32(1e-9))
    return np.asarray(cv2.merge([x / length, y / length, z / length]), dtype=np.float32)


def sample(texture: Floats32, uv: Floats32) -> Floats32:
    import cv2

    height, width = texture.shape[:2]
    x = np.ascontiguousarray(uv[..., 0]) * np.float32(width - 1)
    y = np.ascontiguousarray(uv[..., 1]) * np.float32(height - 1)
    found = cv2.remap(texture, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(found, dtype=np.float32)
