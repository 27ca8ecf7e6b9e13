"""Light and exposure read off a photo.

Everything is in linear light unless a name says sRGB; normals and light directions are in image space
(x right, y down, z away from the camera), so a surface that looks at the camera has normal (0, 0, -1).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from dataset_tools.core.images import RgbImage
from synth.colour import LUMINANCE, linear_of_byte
from synth.topology import SURFACE_COUNT, canonical_face

Floats = npt.NDArray[np.float64]
Floats32 = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

# Cameras and people expose for a full range: over 21 real white masks (MFSD) the linear level of the mask
# hardly follows that of the skin above it. An exponent of 0.1-0.2 predicts it best (spread 20 %); taking all
# skin for equally light, which is an exponent of 1, is off by a factor of two.
_SKIN_EXPONENT = 0.2
_WHITE_OVER_SKIN = 1.18
_OVER_BRIGHTEST = 1.5  # white is at most this much brighter than the brightest of the photo: dark scenes
_LIGHTEST_SKIN = 0.55  # reflectance in linear light: skin this bright leaves no doubt
_DARKEST_SKIN = 0.03
_MAX_EXPOSURE = 1.05
_DARKEST_SHADE = 0.42
_LIT_MOST = 1.6
_MOST_DIRECTED = 0.75
# Cloth shows light harder than skin, which scatters it: chosen so that brightness varies over drawn masks as
# much as over real ones (MFSD).
_CLOTH_CONTRAST = 1.25
_RIDGE = 0.02
# What passes for skin beside the face, against the median of the face: luminance ratio, chromaticity.
_SKIN_LEVELS = (0.22, 2.6)
_SKIN_HUE = 0.09


@dataclass(frozen=True)
class Light:
    """First-order spherical-harmonics light and the exposure, as the photo shows them.

    Attributes:
        direction: (3,) towards the light, times its strength relative to the ambient part; length <= 0.75.
        ambient: brightness of a surface that the directed part leaves alone; 1 is the mean of the skin.
        exposure: linear value of a white surface under mean light.
        tint: (3,) colour of the light, luminance 1.
        saturation: 0 for a black-and-white photo, 1 for one in full colour.
    """

    direction: tuple[float, float, float]
    ambient: float
    exposure: float
    tint: tuple[float, float, float]
    saturation: float = 1.0

    def colour(self, reflectance: Floats32) -> Floats32:
        """Linear colour, in the photo's light and saturation, of (..., 3) reflectances; shade left out."""
        grey = (reflectance @ LUMINANCE)[..., None]
        seen = grey + np.float32(self.saturation) * (reflectance - grey)
        lit = seen * np.asarray(self.tint, dtype=np.float32) * np.float32(self.exposure)
        return lit.astype(np.float32, copy=False)

    def shade(self, normals: Floats32) -> Floats32:
        """Brightness of surfaces with these (..., 3) unit normals."""
        lit = self.ambient * (1.0 + normals @ np.asarray(self.direction, dtype=np.float32))
        shade: Floats32 = np.clip(lit, _DARKEST_SHADE, _LIT_MOST).astype(np.float32)
        return shade


EVEN_LIGHT = Light((0.0, 0.0, 0.0), 1.0, 1.0, (1.0, 1.0, 1.0))


def vertex_normals(points: Floats, triangles: Ints) -> Floats:
    """(N, 3) unit normals, area-weighted, turned towards the camera for a face that looks at it."""
    corners = points[triangles]
    facets = np.cross(corners[:, 2] - corners[:, 0], corners[:, 1] - corners[:, 0])
    total = np.stack(
        [
            sum(np.bincount(triangles[:, k], facets[:, axis], minlength=len(points)) for k in range(3))
            for axis in range(3)
        ],
        axis=1,
    )
    unit: Floats = total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-12)
    return unit


@cache
def _skin_vertices() -> Ints:
    # Bare skin: no eyes, brows, lips, nostrils, hairline or sideburns.
    s, y = (
        np.abs(canonical_face().layout_mm[:SURFACE_COUNT, 0]),
        canonical_face().layout_mm[:SURFACE_COUNT, 1],
    )
    eyes = (s > 8) & (s < 58) & (y > -27) & (y < 9)
    lips = (s < 34) & (y > 55) & (y < 84)
    nostrils = (s < 15) & (y > 38) & (y < 48)
    border = (y < -40) | (s > 100) | (y > 108)
    return np.flatnonzero(~(eyes | lips | nostrils | border))


@dataclass(frozen=True)
class Skin:
    """What the photo shows of a face's bare skin.

    Attributes:
        patch: (P, 3) linear colours of all pixels around the face, at about 1 pixel per millimetre.
        normals: (N, 3) of the bare-skin vertices.
        colours: (N, 3) linear colour there.
        inside: (N,) whether the vertex lies in the picture.
    """

    patch: Floats32
    normals: Floats
    colours: Floats32
    inside: npt.NDArray[np.bool_]


def read_skin(photo: RgbImage, skin_px: Floats, px_per_mm: float) -> Skin:
    """Colours and normals of bare skin.

    Args:
        photo: (H, W, 3) sRGB.
        skin_px: (>= 468, 3) face vertices in image space.
        px_per_mm: scale of the face.
    """
    import cv2

    face = skin_px[:SURFACE_COUNT]
    normals = vertex_normals(face, canonical_face().triangles)[_skin_vertices()]
    points = face[_skin_vertices(), :2]
    height, width = photo.shape[:2]
    low = np.clip(np.floor(points.min(axis=0) - 4 * px_per_mm), 0, (width - 2, height - 2)).astype(int)
    high = np.clip(np.ceil(points.max(axis=0) + 4 * px_per_mm), low + 2, (width, height)).astype(int)
    crop = photo[low[1] : high[1], low[0] : high[0]]
    shrink = min(1.0, 1.0 / px_per_mm)
    if shrink < 1.0:
        small = (max(int(crop.shape[1] * shrink), 2), max(int(crop.shape[0] * shrink), 2))
        if shrink <= 0.5:
            # OpenCV halves a picture fifteen times as fast as it shrinks one by any other factor.
            even = crop[: crop.shape[0] // 2 * 2, : crop.shape[1] // 2 * 2]
            crop = cv2.resize(even, (even.shape[1] // 2, even.shape[0] // 2), interpolation=cv2.INTER_AREA)
        crop = cv2.resize(crop, small, interpolation=cv2.INTER_AREA)
    patch = cv2.GaussianBlur(linear_of_byte()[crop], (0, 0), 1.2)
    at = (points - low) / (high - low) * (crop.shape[1], crop.shape[0]) - 0.5
    inside = ((at >= 0) & (at <= np.array([crop.shape[1] - 1, crop.shape[0] - 1]))).all(axis=1)
    x, y = (at.astype(np.float32)[:, k : k + 1] for k in (0, 1))
    colours = cv2.remap(patch, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)[:, 0]
    return Skin(patch.reshape(-1, 3), normals, np.asarray(colours, dtype=np.float32), inside)


def estimate_light(photo: RgbImage, skin: Skin) -> Light:
    """Light on a face from the brightness of its skin and the normals of its surface.

    Args:
        photo: (H, W, 3) sRGB, the whole picture: it tells tint and exposure.
        skin: of that face.

    Returns:
        The light; even light of the photo's own exposure when fewer than 30 skin points are visible.

    Source: Ramamoorthi and Hanrahan 2001 (order-1 irradiance), fitted with Tukey weights so that beard,
    hair and spectacles count as outliers.
    """
    seen = skin.inside & (skin.normals[:, 2] < -0.15)
    scene = _scene(photo)
    tint = _tint(scene)
    saturation = _saturation(skin.patch)
    if int(seen.sum()) < 30:
        mean = float(np.median(skin.patch @ LUMINANCE))
        return Light((0.0, 0.0, 0.0), 1.0, _exposure(mean, scene), tint, saturation)
    brightness = (skin.colours[seen] @ LUMINANCE).astype(np.float64)
    level = max(float(np.median(brightness)), 1e-4)
    ambient, directed = _fit_light(skin.normals[seen], brightness / level)
    strength = float(np.linalg.norm(directed)) / ambient
    directed = directed / ambient * min(_CLOTH_CONTRAST, _MOST_DIRECTED / max(strength, 1e-9))
    towards = (float(directed[0]), float(directed[1]), float(directed[2]))
    return Light(towards, ambient, _exposure(level, scene), tint, saturation)


def _fit_light(normals: Floats, brightness: Floats) -> tuple[float, Floats]:
    basis = np.concatenate([np.ones((len(normals), 1)), normals], axis=1)
    weights: npt.NDArray[np.floating] = np.ones(len(normals))
    ridge = np.diag([0.0, 1.0, 1.0, 1.0]) * _RIDGE * len(normals)
    solution: Floats = np.zeros(4)
    for _ in range(6):
        weighted = basis * weights[:, None]
        solution = np.linalg.solve(basis.T @ weighted + ridge, weighted.T @ brightness)
        residual = brightness - basis @ solution
        spread = max(1.4826 * float(np.median(np.abs(residual))), 0.02)
        weights = np.maximum(1 - (residual / (4.0 * spread)) ** 2, 0.0) ** 2
        if weights.sum() < 8:
            break
    return max(float(solution[0]), 0.2), solution[1:]


def _exposure(skin: float, scene: Floats) -> float:
    # Dark skin and a dark photo look alike by the skin alone; the brightest of the photo tells them apart.
    brightest = float(np.quantile(scene @ LUMINANCE, 0.98))
    guess = min(_WHITE_OVER_SKIN * max(skin, 1e-4) ** _SKIN_EXPONENT, _OVER_BRIGHTEST * brightest)
    possible = np.clip(guess, skin / _LIGHTEST_SKIN, skin / _DARKEST_SKIN)
    return float(np.clip(possible, 0.02, _MAX_EXPOSURE))


def _scene(photo: RgbImage) -> Floats:
    # (P, 3) linear colours of a coarse grid over the whole photo.
    step = max(1, min(photo.shape[:2]) // 64)
    return linear_of_byte()[photo[::step, ::step]].reshape(-1, 3).astype(np.float64)


def _tint(scene: Floats) -> tuple[float, float, float]:
    # Shades of grey (Finlayson and Trezzi 2004, p = 6), a third of the way: skin, wood and coloured walls are
    # no grey world. On drawn heads before coloured walls half the way errs twice as much as white light.
    cube = scene * scene * scene
    norm = np.maximum((cube * cube).mean(axis=0) ** (1 / 6), 1e-4)
    tint = np.clip((norm / norm.mean()) ** (1 / 3), 0.6, 1.5)
    tint /= float(tint @ LUMINANCE)
    return float(tint[0]), float(tint[1]), float(tint[2])


def _saturation(patch: Floats32) -> float:
    # Skin of any tone has (max - min) / max of 0.4 and more in linear light when the photo has colour.
    red, green, blue = patch.T
    high, low = (pick(pick(red, green), blue) for pick in (np.maximum, np.minimum))
    return float(np.clip(np.median((high - low) / np.maximum(high, 1e-4)) / 0.35, 0.0, 1.0))


def points_on_skin(photo: RgbImage, skin: Skin, curves_px: Floats) -> Ints:
    """How many points of each curve lie on something that looks like the wearer's skin, from its start on.

    A loop that has gone under hair, a collar or a cap, or has left the head, does not come back. This is a
    colour test, so it takes fair hair for skin.

    Args:
        photo: (H, W, 3) sRGB.
        skin: of the wearer.
        curves_px: (L, N, 3) image space.

    Returns:
        (L,) counts in 2..N (the first two points lie on the mask).
    """
    import cv2

    known = skin.colours[skin.inside] if skin.inside.any() else skin.colours
    usual = np.median(known, axis=0)
    height, width = photo.shape[:2]
    x, y = (curves_px[..., k].astype(np.float32) - 0.5 for k in (0, 1))
    found = cv2.remap(photo, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    linear = np.maximum(linear_of_byte()[found], 1e-4)
    level = (linear @ LUMINANCE) / max(float(usual @ LUMINANCE), 1e-4)
    hue = linear / linear.sum(axis=-1, keepdims=True) - usual / max(float(usual.sum()), 1e-4)
    like = (level > _SKIN_LEVELS[0]) & (level < _SKIN_LEVELS[1]) & (np.abs(hue).max(axis=-1) < _SKIN_HUE)
    like &= (x >= 0) & (y >= 0) & (x < width) & (y < height)
    # A single odd point (an edge, a freckle) does not end the loop; two in a row do.
    gone = ~like[:, 2:-1] & ~like[:, 3:]
    first = np.where(gone.any(axis=1), gone.argmax(axis=1), like.shape[1] - 2)
    return np.asarray(first + 2, dtype=np.int64)
