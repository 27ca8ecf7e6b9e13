"""Coverage: which pixels of a photo a sheet shows in, how much of each, and where on the sheet they lie.

Only pixels that an outline crosses (of the sheet, of one of its folds, of the face in front of it) need more
than one sample. One pass samples every pixel at its centre; a second one supersamples those few.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from synth.geometry import FaceMesh, MaskMesh
from synth.raster import Box, Hits, Surface, prepare, scan

Floats = npt.NDArray[np.float64]
Floats32 = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
BoolMask = npt.NDArray[np.bool_]

_BAND_SAMPLES = 1_500_000  # bounds memory on huge faces
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
    head = _Head(prepare(face.skin_px, skin), np.float32(BEHIND_MM * face.frame.px_per_mm))
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
    skin: Surface
    slack_px: np.float32


def _cover_one(sheet: Sheet, head: _Head, box: Box, scale: int) -> Covered:
    x, y, width, height = box
    whole = _nothing(height, width, sheet.values.shape[1])
    for part in _islands(sheet, scale):
        used = part.vertices_px[np.unique(part.triangles)]
        left, top, columns, rows = window_of(used - (x, y, 0.0), 1.0, (height, width))
        if columns > 0 and rows > 0:
            found = _cover_island(part, head, (x + left, y + top, columns, rows), scale)
            window = (slice(top, top + rows), slice(left, left + columns))
            # Islands lie so far apart that their windows do not overlap.
            whole.alpha[window], whole.amodal[window] = found.alpha, found.amodal
            whole.values[window] = found.values
    return whole


def _islands(sheet: Sheet, scale: int) -> list[Sheet]:
    # Parts with a wide gap between them, side by side or one above the other: the straps of both sides.
    if len(sheet.triangles) == 0:
        return []
    first, second, third = (sheet.vertices_px[sheet.triangles[:, k], :2] for k in range(3))
    low, high = (pick(pick(first, second), third) for pick in (np.minimum, np.maximum))
    extent = high.max(axis=0) - low.min(axis=0)
    for axis in (0, 1):
        order = np.argsort(low[:, axis], kind="stable")
        reached = np.maximum.accumulate(high[order, axis])
        gaps = low[order[1:], axis] - reached[:-1]
        cuts = np.flatnonzero(gaps * extent[1 - axis] * scale**2 > _FEW_SAMPLES) + 1
        if cuts.size:
            pieces = [sheet.triangles[np.sort(piece)] for piece in np.split(order, cuts)]
            return [Sheet(sheet.vertices_px, piece, sheet.values) for piece in pieces]
    return [sheet]


def _cover_island(sheet: Sheet, head: _Head, box: Box, scale: int) -> Covered:
    surface = prepare(sheet.vertices_px, sheet.triangles, sheet.values)
    if not takes_two_passes(sheet, scale):
        part = _nothing(box[3], box[2], sheet.values.shape[1])
        _supersample(part, surface, head, box, scale, None)
        return part
    part = _sampled(surface, head, box)
    if scale > 1:
        _supersample(part, surface, head, box, scale, _rim(part, sheet, box))
    return part


def _nothing(height: int, width: int, kinds: int) -> Covered:
    shapes = ((height, width), (height, width), (height, width, kinds))
    return Covered(*(np.zeros(shape, dtype=np.float32) for shape in shapes))


def _area_px(sheet: Sheet) -> float:
    # Of all triangles, as the camera sees them.
    corners = sheet.vertices_px[sheet.triangles, :2]
    one, other = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    return float(np.abs(one[:, 0] * other[:, 1] - one[:, 1] * other[:, 0]).sum()) / 2


def _sampled(surface: Surface, head: _Head, box: Box) -> Covered:
    # One sample per pixel. In bands of rows: a face of 4000 px would otherwise need gigabytes.
    x, y, width, height = box
    kinds = len(surface.plane) - 1
    part = _nothing(height, width, kinds)
    step = max(1, _BAND_SAMPLES // width)
    for top in range(0, height, step):
        rows = slice(top, min(top + step, height))
        band = (x, y + top, width, rows.stop - top)
        hits = scan(surface, band)
        part.amodal[rows].reshape(-1)[hits.sample] = 1.0
        sample, values = _in_front(hits, _behind(head, band, 1, part.amodal[rows] > 0))
        part.alpha[rows].reshape(-1)[sample] = 1.0
        part.values[rows].reshape(-1, kinds)[sample] = values
    return part


def _supersample(
    part: Covered, surface: Surface, head: _Head, box: Box, scale: int, rim: BoolMask | None
) -> None:
    # Fills the pixels of the rim; None means all.
    _, _, width, height = box
    size, fine = height * width, width * scale
    hits = scan(surface, box, scale=scale, where=rim)

    def pixels(sample: Ints) -> Ints:
        row = sample // fine
        return (row // scale) * width + (sample - row * fine) // scale

    whole = np.bincount(pixels(hits.sample), minlength=size)
    shown = (whole > 0).reshape(height, width)
    sample, values = _in_front(hits, _behind(head, box, scale, shown))
    pixel = pixels(sample)
    count = np.bincount(pixel, minlength=size)
    at = np.flatnonzero(shown if rim is None else rim)
    share = np.float32(1 / scale**2)
    part.amodal.reshape(-1)[at] = np.minimum(whole[at] * share, 1)
    part.alpha.reshape(-1)[at] = np.minimum(count[at] * share, 1)
    for k in range(values.shape[1]):
        total = np.bincount(pixel, values[:, k], minlength=size)[at]
        part.values.reshape(-1, values.shape[1])[at, k] = total / np.maximum(count[at], 1)


def _in_front(hits: Hits, behind: Floats32) -> tuple[Ints, Floats32]:
    # Samples, and their values, that the face does not hide.
    seen = hits.depth <= behind[hits.sample]
    if seen.all():
        return hits.sample, hits.values
    return hits.sample[seen], hits.values[seen]


def _behind(head: _Head, box: Box, scale: int, where: BoolMask) -> Floats32:
    # Depth, at every sample, beyond which a sheet is hidden by the face.
    return scan(head.skin, box, scale=scale, where=where).depth_map().ravel() + head.slack_px


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
    corners = sheet.vertices_px[sheet.triangles, :2]
    one, other = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    turned = one[:, 0] * other[:, 1] - one[:, 1] * other[:, 0] < 0
    # With all triangles turned to the camera, an edge inside the sheet is run through in both directions.
    facing = np.where(turned[:, None], sheet.triangles[:, ::-1], sheet.triangles)
    start, end = facing.ravel(), facing[:, [1, 2, 0]].ravel()
    count = len(sheet.vertices_px)
    alone = ~np.isin(start * count + end, end * count + start, kind="table")
    return np.stack([start[alone], end[alone]], axis=1)
