"""Coverage: which pixels of a photo a sheet shows in, how much of each, and where on the sheet they lie."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from synth.geometry import FaceMesh, MaskMesh
from synth.raster import Box, rasterise

Floats = npt.NDArray[np.float64]
Floats32 = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

_BAND_SAMPLES = 1_500_000  # bounds memory on huge faces
_BEHIND_MM = 1.5  # cloth this little behind the skin is still in front: both surfaces are approximations


@dataclass(frozen=True)
class Sheet:
    vertices_px: Floats
    triangles: Ints
    values: Floats  # (N, K) to interpolate


@dataclass(frozen=True)
class Covered:
    alpha: Floats32  # (h, w) visible coverage
    amodal: Floats32  # (h, w) coverage without the wearer's own face in front
    values: Floats32  # (h, w, K) mean of the visible samples


def cover(sheets: list[Sheet], face: FaceMesh, skin: Ints, box: Box, scale: int) -> list[Covered]:
    # In bands of rows: a face of 4000 px would otherwise need gigabytes.
    x, y, width, height = box
    rows = max(1, _BAND_SAMPLES // max(width * scale * scale, 1))
    bands: list[list[Covered]] = []
    for top in range(0, max(height, 1), rows):
        band = (x, y + top, width, min(rows, height - top))
        hits = rasterise(face.skin_px, skin, band, scale=scale)
        behind = hits.depth_map().ravel() + np.float32(_BEHIND_MM * face.frame.px_per_mm)
        bands.append([_cover_band(sheet, behind, band, scale) for sheet in sheets])
    return [
        Covered(
            np.concatenate([part.alpha for part in parts]),
            np.concatenate([part.amodal for part in parts]),
            np.concatenate([part.values for part in parts]),
        )
        for parts in zip(*bands, strict=True)
    ]


def _cover_band(sheet: Sheet, behind: Floats32, box: Box, scale: int) -> Covered:
    _, _, width, height = box
    hits = rasterise(sheet.vertices_px, sheet.triangles, box, scale=scale, values=sheet.values)
    row, column = np.divmod(hits.sample, width * scale)
    pixel = (row // scale) * width + column // scale
    whole = np.bincount(pixel, minlength=height * width)
    seen = hits.depth <= behind[hits.sample]
    values = hits.values
    count = whole
    if not seen.all():
        pixel, values = pixel[seen], values[seen]
        count = np.bincount(pixel, minlength=height * width)
    mean = np.empty((height * width, values.shape[1]), dtype=np.float32)
    for k in range(values.shape[1]):
        mean[:, k] = np.bincount(pixel, values[:, k], minlength=height * width)
    mean /= np.maximum(count, 1)[:, None]
    share = np.float32(1 / scale**2)
    return Covered(
        np.minimum(count * share, 1).astype(np.float32).reshape(height, width),
        np.minimum(whole * share, 1).astype(np.float32).reshape(height, width),
        mean.reshape(height, width, -1),
    )


def window_of(points: Floats, margin: float, size_hw: tuple[int, int]) -> Box:
    height, width = size_hw
    low = np.floor(points[:, :2].min(axis=0) - margin)
    high = np.ceil(points[:, :2].max(axis=0) + margin)
    x0, y0 = int(np.clip(low[0], 0, width)), int(np.clip(low[1], 0, height))
    x1, y1 = int(np.clip(high[0], 0, width)), int(np.clip(high[1], 0, height))
    return x0, y0, max(x1 - x0, 0), max(y1 - y0, 0)


def sampling(mesh: MaskMesh) -> int:
    # The fewer pixels, the more each of them matters.
    size = float(np.ptp(mesh.grid_px[..., :2].reshape(-1, 2), axis=0).max())
    return 4 if size < 90 else 3 if size < 240 else 2
