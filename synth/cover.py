"""Coverage: which pixels of a photo a sheet shows in, how much of each, and where on the sheet they lie.

Only pixels that an outline crosses (of the sheet, of one of its folds, of the face in front of it) need more
than one sample. One pass samples every pixel at its centre; a second one supersamples those few.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from synth.geometry import FaceMesh, MaskMesh
from synth.raster import Box, Hits, Surface, nearer_part, prepare, scan

Floats = npt.NDArray[np.float64]
Floats32 = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
BoolMask = npt.NDArray[np.bool_]

_BAND_SAMPLES = 1_500_000
_FEW_SAMPLES = 60_000  # that many at once cost less than another pass
BEHIND_MM = 1.5  # cloth this little behind the skin is still in front: both surfaces are approximations
_LINE_PX = 3  # a line of this width reaches the centre of every pixel that the line itself touches
_LINE_BITS = 4  # binary places of a pixel in line ends


@dataclass(frozen=True)
class Sheet:
    """A surface to draw: cloth, ribbon, or anything else made of triangles.

    Attributes:
        vertices_px: (N, 3) image space.
        triangles: (T, 3) vertex indices.
        values: (N, K) numbers that are wanted at every pixel, e.g. texture coordinates.
    """

    vertices_px: Floats
    triangles: Ints
    values: Floats


@dataclass(frozen=True)
class Covered:
    """Where a sheet shows in a window of the photo.

    Attributes:
        alpha: (h, w) float32 in [0, 1], share of each pixel in which the sheet is visible.
        amodal: (h, w) float32 >= alpha, share that it covers with the wearer's own face taken away.
        values: (h, w, K) float32 mean of the sheet's values over the visible share; 0 where there is none.
    """

    alpha: Floats32
    amodal: Floats32
    values: Floats32


def cover(sheets: list[Sheet], face: FaceMesh, skin: Ints, box: Box, scale: int) -> list[Covered]:
    """Coverage of each sheet, alone in front of a face.

    Args:
        sheets: to draw; they do not hide each other.
        face: the wearer.
        skin: (T, 3) triangles of the wearer's skin that may lie in front of a sheet.
        box: window of the photo.
        scale: samples per pixel side where an outline crosses the pixel, >= 1.
    """
    head = _Head(face.skin_px, skin, np.float32(BEHIND_MM * face.frame.px_per_mm))
    return [_cover_one(sheet, head, box, scale) for sheet in sheets]


def window_of(points: Floats, margin: float, size_hw: tuple[int, int]) -> Box:
    """The part of a picture around points, as (x0, y0, width, height) in whole pixels; 0 wide when outside.

    Args:
        points: (N, >= 2) x, y in pixels.
        margin: added on all sides, pixels.
        size_hw: of the picture.
    """
    height, width = size_hw
    low = np.floor(points[:, :2].min(axis=0) - margin)
    high = np.ceil(points[:, :2].max(axis=0) + margin)
    x0, y0 = int(np.clip(low[0], 0, width)), int(np.clip(low[1], 0, height))
    x1, y1 = int(np.clip(high[0], 0, width)), int(np.clip(high[1], 0, height))
    return x0, y0, max(x1 - x0, 0), max(y1 - y0, 0)


def sampling(mesh: MaskMesh) -> int:
    """Samples per pixel side: the smaller a mask in the picture, the more each of its pixels counts."""
    size = float(np.ptp(mesh.grid_px[..., :2].reshape(-1, 2), axis=0).max())
    return 4 if size < 90 else 3 if size < 240 else 2


def takes_two_passes(sheet: Sheet, scale: int) -> bool:
    """Whether pixels that no outline crosses get one sample only; small sheets are quicker in one pass."""
    return scale == 1 or _area_px(sheet) * scale**2 >= _FEW_SAMPLES


@dataclass(frozen=True)
class _Head:
    # The skin that may lie in front of a sheet, and how far behind it a sheet still shows.
    skin_px: Floats
    triangles: Ints
    slack_px: np.float32

    def before(self, surface: Surface) -> Surface:
        # What of the skin may hide a sheet.
        nearer = nearer_part(self.skin_px, self.triangles, surface, float(self.slack_px))
        return prepare(self.skin_px, nearer)


def _cover_one(sheet: Sheet, head: _Head, box: Box, scale: int) -> Covered:
    if len(sheet.triangles) == 0 or box[2] == 0 or box[3] == 0:
        return _nothing(box[3], box[2], sheet.values.shape[1])
    surface = prepare(sheet.vertices_px, sheet.triangles, sheet.values)
    face = _Face(head.before(surface), head.slack_px)
    if not takes_two_passes(sheet, scale):
        part = _nothing(box[3], box[2], sheet.values.shape[1])
        _supersample(part, surface, face, box, scale, None)
        return part
    part = _sampled(surface, face, box)
    if scale > 1:
        _supersample(part, surface, face, box, scale, _rim(part, sheet, box))
    return part


@dataclass(frozen=True)
class _Face:
    # What may hide one sheet.
    skin: Surface
    slack_px: np.float32


def _nothing(height: int, width: int, kinds: int) -> Covered:
    # Values lie in planes, one after the other, as they are made and read.
    planes = np.zeros((2 + kinds, height, width), dtype=np.float32)
    return Covered(planes[0], planes[1], planes[2:].transpose(1, 2, 0))


def _area_px(sheet: Sheet) -> float:
    # Of all triangles, as the camera sees them.
    corners = sheet.vertices_px[sheet.triangles, :2]
    one, other = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    return float(np.abs(one[:, 0] * other[:, 1] - one[:, 1] * other[:, 0]).sum()) / 2


def _sampled(surface: Surface, face: _Face, box: Box) -> Covered:
    # One sample per pixel. In bands of rows: a face of 4000 px would otherwise need gigabytes.
    x, y, width, height = box
    kinds = len(surface.plane) - 1
    part = _nothing(height, width, kinds)
    step = max(1, _BAND_SAMPLES // width)
    for top in range(0, height, step):
        rows = slice(top, min(top + step, height))
        band = (x, y + top, width, rows.stop - top)
        hits = scan(surface, band)
        amodal, alpha = (one[rows].reshape(-1) for one in (part.amodal, part.alpha))
        amodal[hits.sample] = 1.0
        alpha[:] = amodal
        hidden = _hidden(hits, face, band, 1, None)
        alpha[hits.sample.take(hidden)] = 0.0
        for k in range(kinds):
            values = hits.value(k)
            values[hidden] = 0.0
            part.values[rows, :, k].reshape(-1)[hits.sample] = values
    return part


def _supersample(
    part: Covered, surface: Surface, face: _Face, box: Box, scale: int, rim: BoolMask | None
) -> None:
    # Fills the pixels of the rim; None means all.
    _, _, width, height = box
    hits = scan(surface, box, scale=scale, where=rim)
    shown = np.zeros((height, width), dtype=np.bool_)
    shown.reshape(-1)[hits.pixel] = True
    at = np.flatnonzero(shown if rim is None else rim)
    # From here on pixels are counted among those that matter.
    number = np.empty(height * width, dtype=np.int64)
    number[at] = np.arange(len(at))
    pixel = number.take(hits.pixel)
    whole = np.bincount(pixel, minlength=len(at))
    seen = np.ones(len(pixel), dtype=np.bool_)
    seen[_hidden(hits, face, box, scale, shown)] = False
    left = np.flatnonzero(seen)
    pixel = pixel.take(left)
    count = np.bincount(pixel, minlength=len(at))
    share = np.float32(1 / scale**2)
    part.amodal.reshape(-1)[at] = np.minimum(whole * share, 1)
    part.alpha.reshape(-1)[at] = np.minimum(count * share, 1)
    some = np.maximum(count, 1)
    for k in range(hits.kinds):
        total = np.bincount(pixel, hits.value(k, left), minlength=len(at))
        part.values[..., k].reshape(-1)[at] = total / some


def _hidden(hits: Hits, face: _Face, box: Box, scale: int, where: BoolMask | None) -> Ints:
    # Entries of the hits that lie behind the face; `where` holds their pixels, None = it would not pay.
    if len(face.skin.low[0]) == 0:
        return np.zeros(0, dtype=np.int64)
    skin = scan(face.skin, box, scale=scale, where=where)
    if len(skin.sample) == 0 or len(hits.sample) == 0:
        return np.zeros(0, dtype=np.int64)
    size = hits.samples_hw[0] * hits.samples_hw[1]
    is_skin = np.zeros(size, dtype=np.bool_)
    is_skin[skin.sample] = True
    meets = np.flatnonzero(is_skin.take(hits.sample))
    # Of a table this large only what is read is filled.
    table = np.empty(size, dtype=np.float32)
    table[skin.sample] = skin.depth + face.slack_px
    return meets[hits.depth_at(meets) > table.take(hits.sample.take(meets))]


def _rim(part: Covered, sheet: Sheet, box: Box) -> BoolMask:
    # Pixels that an outline may cross: the sheet's own from its edges, the face's from what it hides.
    import cv2

    visible = part.alpha.astype(np.uint8)
    changes = cv2.morphologyEx(visible, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
    rim: BoolMask = (changes > 0) | outline(sheet, box)
    return rim


def outline(sheet: Sheet, box: Box) -> BoolMask:
    """Pixels of a window that an edge of the sheet, or of one of its folds, passes through or beside."""
    import cv2

    drawn = np.zeros((box[3], box[2]), dtype=np.uint8)
    ends = (sheet.vertices_px[_outline_edges(sheet), :2] - box[:2] - 0.5) * 2**_LINE_BITS
    lines = list(np.rint(np.clip(ends, -(2**20), 2**20)).astype(np.int32))
    cv2.polylines(drawn, lines, False, 1, thickness=_LINE_PX, shift=_LINE_BITS)
    return drawn.view(np.bool_)


def _outline_edges(sheet: Sheet) -> Ints:
    # (E, 2) vertices of edges at which the sheet ends or folds over, as the camera sees it.
    edges, one, other = _edges(sheet.triangles.tobytes())
    x, y = (np.ascontiguousarray(sheet.vertices_px[:, k]).take(sheet.triangles.T) for k in (0, 1))
    turned = (x[1] - x[0]) * (y[2] - y[0]) < (y[1] - y[0]) * (x[2] - x[0])
    ends: Ints = edges[(one == other) | (turned.take(one) != turned.take(other))]
    return ends


@lru_cache(maxsize=4)
def _edges(stored: bytes) -> tuple[Ints, Ints, Ints]:
    # Every edge of the triangles, (E, 2) vertices, and the two triangles that it belongs to, the same one
    # twice at a border. Most sheets have the triangles of the mask's grid.
    triangles = np.frombuffer(stored, dtype=np.int64).reshape(-1, 3)
    ends = np.sort(np.stack([triangles, triangles[:, [1, 2, 0]]], axis=-1).reshape(-1, 2), axis=1)
    owner = np.arange(len(ends)) // 3
    order = np.lexsort(ends.T)
    ends, owner = ends[order], owner[order]
    is_new = np.append(True, (ends[1:] != ends[:-1]).any(axis=1))
    first = np.flatnonzero(is_new)
    last = np.append(first[1:], len(ends)) - 1
    return ends[first], owner[first], owner[last]
