"""What a test head is painted with: maps of lips, brows, lids and creases over the face layout, and noise.

Every map is a picture of the layout (`topology.py`), `_PER_MM` pixels per millimetre, the same for all heads:
a head's shape moves the layout, so lips stay on lips. Skin colour follows the individual typology angle
(ITA = atan((L* - 50) / b*), Chardon et al., Int. J. Cosmet. Sci. 1991).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from synth.colour import linear_of_lab
from synth.heads.shape import LOWER_LID, UPPER_LID, lip_lines
from synth.topology import canonical_face

Floats = npt.NDArray[np.float64]
Floats32 = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

FACE_OVAL = (
    *(10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152),
    *(148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109),
)
_OUTER_LIPS = (
    *(61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291),
    *(375, 321, 405, 314, 17, 84, 181, 91, 146),
)
_BROW = (70, 63, 105, 66, 107, 55, 65, 52, 53, 46)
_BROW_TOP, _BROW_LOW = (70, 63, 105, 66, 107), (46, 53, 52, 65, 55)

_PER_MM = 4.0
_LOW = np.array([-132.0, -96.0])  # s and v of the maps' first corner
_SIZE = (int(264 * _PER_MM), int(264 * _PER_MM))  # columns, rows
_DARKEST = 0.003  # reflectance of no skin is less
_TILE = 512  # side of the noise tiles


@dataclass(frozen=True)
class Maps:
    """Coverage of each feature, (rows, columns) float32 in [0, 1].

    Attributes:
        oval: the face of the landmarks.
        lips, mouth: red of the lips; what is seen between them.
        eye: opening between the lids.
        lid_shade: shadow of the upper lid on the eyeball.
        lash: lash line and crease above it.
        brow: hairs of the brows.
        flush: cheeks, nose and chin, where blood shows.
        crease: where less light gets to.
    """

    oval: Floats32
    lips: Floats32
    mouth: Floats32
    eye: Floats32
    lid_shade: Floats32
    lash: Floats32
    brow: Floats32
    flush: Floats32
    crease: Floats32


@cache
def maps() -> Maps:
    """The maps; treat them as read-only."""
    layout = canonical_face().layout_mm
    upper, lower = lip_lines()
    mouth = _polygon(np.concatenate([upper, lower[::-1]]), 0.25)
    lips = np.clip(_polygon(_smooth(layout[list(_OUTER_LIPS)]), 0.9) - mouth, 0, 1)
    seam = _strokes([(upper + lower) / 2], 1.1, 0.5)
    eyes, lashes, lid_shade = _eyes()
    crease = 0.30 * _blobs([(14, 1, 5, 7), (31, -9, 14, 3.5), (15, 42, 2.5, 4)])  # sockets, wings of the nose
    crease += 0.16 * _blobs([(0, 50, 10, 3)]) + 0.62 * _blobs([(7.0, 45.0, 2.6, 1.3)])  # under it, nostrils
    crease += 0.16 * _blobs([(0, 86, 16, 3.5), (27.8, 68.2, 4, 3)])  # under the lip, corners of the mouth
    crease += 0.10 * _blobs([(30, 9, 13, 4)]) + 0.3 * seam
    flush = _blobs([(52, 36, 17, 14), (0, 35, 12, 9), (0, 105, 16, 10)])
    return Maps(
        _polygon(layout[list(FACE_OVAL)], 0.0),
        lips,
        mouth,
        eyes,
        lid_shade,
        lashes,
        _brows(),
        np.clip(flush, 0, 1),
        np.clip(crease, 0, 0.75),
    )


def look_up(picture: Floats32, layout: Floats32) -> Floats32:
    """Values of a map at (N, 2) layout positions (s, v); 0 outside it."""
    at = (layout - _LOW.astype(np.float32)) * np.float32(_PER_MM) - np.float32(0.5)
    return _remap(picture, at, wrap=False)


def tile_at(tile: Floats32, layout: Floats32, texels_per_mm: float) -> Floats32:
    """Values of a noise tile, repeated for ever, at (N, 2) positions in millimetres."""
    return _remap(tile, np.mod(layout * np.float32(texels_per_mm), np.float32(_TILE)), wrap=True)


def _remap(picture: Floats32, at: Floats32, *, wrap: bool) -> Floats32:
    import cv2

    # OpenCV takes no more than 32767 rows: samples are laid out in rows of 1024.
    rows = max(-(-len(at) // 1024), 1)
    padded = np.zeros((rows * 1024, 2), dtype=np.float32)
    padded[: len(at)] = at
    border = cv2.BORDER_WRAP if wrap else cv2.BORDER_CONSTANT
    x, y = (np.ascontiguousarray(padded[:, k].reshape(rows, 1024)) for k in (0, 1))
    found = cv2.remap(picture, x, y, cv2.INTER_LINEAR, borderMode=border)
    return np.asarray(found.ravel()[: len(at)], dtype=np.float32)


@cache
def noise_tile(kind: str, seed: int) -> Floats32:
    """A (512, 512) tile that repeats without a seam: zero mean, unit variance.

    Args:
        kind: "skin" for soft blotches with pores, "strands" for streaks along v.
        seed: of the noise.
    """
    import cv2

    rng = np.random.default_rng(seed)

    def blurred(across: float, along: float) -> Floats32:
        field = np.tile(rng.standard_normal((_TILE, _TILE), dtype=np.float32), (3, 3))
        soft = cv2.GaussianBlur(field, (0, 0), sigmaX=across, sigmaY=along)[
            _TILE : 2 * _TILE, _TILE : 2 * _TILE
        ]
        unit: Floats32 = (soft - soft.mean()) / soft.std()
        return unit

    if kind == "skin":
        field = 0.5 * blurred(16, 16) + 0.5 * blurred(4, 4) + 0.8 * blurred(1.0, 1.0)
    else:
        field = 0.8 * blurred(0.8, 40) + 0.7 * blurred(3, 70) + 0.35 * blurred(0.6, 12)
    return np.asarray(field / field.std(), dtype=np.float32)


def _pixels(points: Floats) -> Floats:
    placed: Floats = (points - _LOW) * _PER_MM
    return placed


def _fixed(points: Floats) -> npt.NDArray[np.int32]:
    # OpenCV draws at 1/16 pixel; its pixel centres lie at integers.
    return np.rint((_pixels(points) - 0.5) * 16).astype(np.int32)


def _polygon(points: Floats, soft_mm: float) -> Floats32:
    import cv2

    canvas = np.zeros(_SIZE[::-1], dtype=np.uint8)
    cv2.fillPoly(canvas, [_fixed(points)], 255, lineType=cv2.LINE_AA, shift=4)
    return _softened(canvas, soft_mm)


def _strokes(lines: list[Floats], width_mm: float, soft_mm: float) -> Floats32:
    import cv2

    canvas = np.zeros(_SIZE[::-1], dtype=np.uint8)
    width = max(round(width_mm * _PER_MM), 1)
    for line in lines:
        cv2.polylines(canvas, [_fixed(line)], False, 255, width, lineType=cv2.LINE_AA, shift=4)
    return _softened(canvas, soft_mm)


def _softened(canvas: npt.NDArray[np.uint8], soft_mm: float) -> Floats32:
    import cv2

    value = canvas.astype(np.float32) / 255
    if soft_mm > 0:
        value = cv2.GaussianBlur(value, (0, 0), soft_mm * _PER_MM)
    return np.asarray(value, dtype=np.float32)


def _blobs(spots: list[tuple[float, float, float, float]]) -> Floats32:
    # Gaussian spots at (|s|, v) with reach (s, v), on both sides.
    column = _LOW[0] + (np.arange(_SIZE[0], dtype=np.float32) + 0.5) / _PER_MM
    row = _LOW[1] + (np.arange(_SIZE[1], dtype=np.float32) + 0.5) / _PER_MM
    total = np.zeros(_SIZE[::-1], dtype=np.float32)
    for s, v, reach_s, reach_v in spots:
        down = np.exp(-0.5 * ((row - v) / reach_v) ** 2)[:, None]
        total += down * np.exp(-0.5 * ((np.abs(column) - s) / reach_s) ** 2)[None, :]
    return total


def _smooth(points: Floats, closed: bool = True) -> Floats:
    # Catmull-Rom through the points: lips and lids have no corners but their own.
    around = (
        np.concatenate([points[-1:], points, points[:2]]) if closed else points[[0, *range(len(points)), -1]]
    )
    a, b, c, d = (around[k : len(around) - 3 + k, None, :] for k in range(4))
    t = np.linspace(0.0, 1.0, 8, endpoint=False)[None, :, None]
    curve = b + 0.5 * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)))
    flat = curve.reshape(-1, 2)
    return flat if closed else np.concatenate([flat, points[-1:]])


def _eyes() -> tuple[Floats32, Floats32, Floats32]:
    layout, mirror = canonical_face().layout_mm, canonical_face().mirror
    openings, lines, creases, lashes = [], [], [], []
    rng = np.random.default_rng(11)
    for side in (np.arange(len(mirror)), mirror):
        upper = _smooth(layout[side[list(UPPER_LID)]], closed=False)
        lower = _smooth(layout[side[list(LOWER_LID)]], closed=False)
        openings.append(np.concatenate([upper, lower[::-1]]))
        lines.append(upper)
        middle = upper.mean(axis=0)
        creases.append(upper[4:-4] + (0.0, -3.6) + 0.04 * (upper[4:-4] - middle))
        for along in rng.uniform(0.02, 0.75, 70):
            root = upper[int(along * (len(upper) - 1))]
            lean = np.sign(root[0]) * (2.4 * (0.65 - along) + rng.normal(0, 0.3))
            lashes.append(np.stack([root, root + np.array([lean, -rng.uniform(1.5, 3.2)])]))
    opening = np.maximum(_polygon(openings[0], 0.12), _polygon(openings[1], 0.12))
    lash = np.maximum(_strokes(lines, 1.1, 0.3), 0.85 * _strokes(lashes, 0.28, 0.1))
    lash = np.maximum(lash, 0.42 * _strokes(creases, 0.9, 0.55))
    return opening, np.clip(1.2 * lash, 0, 1), _strokes(lines, 3.6, 1.3)


def _brows() -> Floats32:
    # Short hairs from the inner end outwards, thinner towards the temple.
    layout, mirror = canonical_face().layout_mm, canonical_face().mirror
    rng = np.random.default_rng(5)
    hairs, under = [], []
    for side in (np.arange(len(mirror)), mirror):
        top = _smooth(layout[side[list(_BROW_TOP)]], closed=False)
        low = _smooth(layout[side[list(_BROW_LOW)]], closed=False)
        top, low = top + np.array([0.0, 2.4]), low - np.array([0.0, 0.2])
        under.append(np.concatenate([top, low[::-1]]))
        out = np.sign(top[:, 0].mean())
        for _ in range(420):
            along, across = rng.beta(1.4, 1.1), rng.beta(1.6, 1.6)
            k = int(along * (len(top) - 1))  # 0 at the temple
            root = top[k] + across * (low[k] - top[k])
            slope = np.array(
                [out * (1.0 + 1.6 * (1 - along)), (across - 0.62) * -1.6 - 0.9 * along + 0.7 * (1 - along)]
            )
            length = rng.uniform(2.2, 4.6)
            tip = root + slope / np.linalg.norm(slope) * length
            hairs.append(np.stack([root, tip]))
    base = np.maximum(_polygon(under[0], 1.3), _polygon(under[1], 1.3))
    return np.clip(0.78 * _strokes(hairs, 0.3, 0.12) + 0.42 * base, 0, 1)


def skin_reflectance(ita_deg: float) -> Floats32:
    """Linear reflectance (3,) of skin of an individual typology angle.

    Args:
        ita_deg: > 55 very light, 41 light, 28 intermediate, 10 tan, -30 brown, below dark.
    """
    # b* of skin is lower at both ends of the scale; a* is between 10 and 15.
    b = 17.5 - 4.0 * np.clip((ita_deg - 25.0) / 35.0, 0, 1) - 5.0 * np.clip((5.0 - ita_deg) / 50.0, 0, 1)
    a = 11.5 + 1.5 * np.exp(-(((ita_deg - 5.0) / 25.0) ** 2)) - 2.5 * np.clip((-20.0 - ita_deg) / 35.0, 0, 1)
    linear = linear_of_lab((50.0 + b * np.tan(np.radians(ita_deg)), a, b))
    return np.clip(linear, _DARKEST, 1.0).astype(np.float32)
