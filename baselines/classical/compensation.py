"""Ten ways to change a picture between two clusterings (Xu & Zheng, table 3; `baselines.md` section 3.5).

Each takes the picture and the area that the first clustering found, and answers a picture of the same size.
Back projection answers weights for the colour indices instead; see `back_projection`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from types import MappingProxyType

import cv2
import numpy as np
import numpy.typing as npt

from baselines.classical.lower_face import BoolMask, RgbImage

FloatMap = npt.NDArray[np.float32]
Compensation = Callable[[RgbImage, BoolMask], RgbImage]

SUPPRESSION = 0.8  # mu of equation 18
MINKOWSKI = 6.0  # t of equations 19 and 20; their factor x cancels in equation 21
FEATHER_PX = 3
RETINEX_SIGMAS_PX = (15.0, 80.0, 250.0)
EXPOSURE_GAMMA = 0.6
EXPOSURE_SIGMA = 0.2
CLIPPED_SHARE = 0.01
BACK_PROJECTION_BINS = (30, 32)


def unchanged(rgb: RgbImage, area: BoolMask) -> RgbImage:
    """No compensation."""
    return rgb


def inhibition(rgb: RgbImage, area: BoolMask) -> RgbImage:
    """Blue times 0.8 inside the area (equation 18)."""
    changed = rgb.astype(np.float32)
    changed[..., 2][area] *= SUPPRESSION
    return _to_uint8(changed)


def grey_world(rgb: RgbImage, area: BoolMask) -> RgbImage:
    """Every channel scaled to the mean of the channels' means."""
    means = rgb.reshape(-1, 3).mean(axis=0)
    return _to_uint8(rgb * (means.mean() / np.maximum(means, 1e-6)))


def equalised(rgb: RgbImage, area: BoolMask) -> RgbImage:
    """Histogram equalisation of the luma of YCrCb."""
    return _with_luma(rgb, cv2.equalizeHist)


def locally_equalised(rgb: RgbImage, area: BoolMask) -> RgbImage:
    """Contrast-limited equalisation of the luma, clip 2, 8×8 tiles."""
    return _with_luma(rgb, cv2.createCLAHE(clipLimit=2.0, tileGridSize=(8, 8)).apply)


def bilateral(rgb: RgbImage, area: BoolMask) -> RgbImage:
    """Bilateral filter of diameter 9, deviations 75 in colour and 75 px in space."""
    return np.asarray(cv2.bilateralFilter(rgb, 9, 75, 75), dtype=np.uint8)


def retinex(rgb: RgbImage, area: BoolMask) -> RgbImage:
    """Multi-scale retinex with colour restoration, stretched from its 1st to its 99th percentile.

    Source: Jobson et al., A multiscale retinex, IEEE Trans. Image Processing 1997 (their 125 and 46).
    """
    light = rgb.astype(np.float32) + 1
    logs = np.log(light)
    detail = sum(logs - np.log(cv2.GaussianBlur(light, (0, 0), sigma)) for sigma in RETINEX_SIGMAS_PX)
    colour = 46.0 * (np.log(125.0 * light) - np.log(light.sum(axis=2, keepdims=True)))
    return _stretched(np.asarray(colour * detail / len(RETINEX_SIGMAS_PX), dtype=np.float32))


def gaussian_fusion(rgb: RgbImage, area: BoolMask) -> RgbImage:
    """The picture and its gamma 0.6 version, mixed on the 4 levels of their Gaussian pyramids.

    On each level the two are averaged by how well exposed they are; the levels, enlarged, are averaged.
    """
    size = rgb.shape[1], rgb.shape[0]
    total: FloatMap = np.zeros(rgb.shape, dtype=np.float32)
    levels = [_gaussian_pyramid(one, 4) for one in _exposures(rgb)]
    for original, brighter in zip(*levels, strict=True):
        weight = _exposure_weight(original, brighter)[..., None]
        mixed = original * weight + brighter * (1 - weight)
        total += cv2.resize(mixed, size, interpolation=cv2.INTER_LINEAR) / 4
    return _to_uint8(total * 255)


def laplacian_fusion(rgb: RgbImage, area: BoolMask) -> RgbImage:
    """The same two pictures, blended on the 5 levels of their Laplacian pyramids.

    Source: Mertens et al., Exposure fusion, Pacific Graphics 2007.
    """
    original, brighter = _exposures(rgb)
    weights = _gaussian_pyramid(_exposure_weight(original, brighter), 5)
    details = zip(_laplacian_pyramid(original, 5), _laplacian_pyramid(brighter, 5), weights, strict=True)
    levels = [two + (one - two) * weight[..., None] for one, two, weight in details]
    blended = levels.pop()
    while levels:
        level = levels.pop()
        blended = _enlarged(blended, level) + level
    return _to_uint8(blended * 255)


def colour_balance(rgb: RgbImage, area: BoolMask) -> RgbImage:
    """Every channel stretched to [0, 255] after 1 % of its pixels at each end were clipped."""
    return np.stack([_stretched(rgb[..., channel].astype(np.float32)) for channel in range(3)], axis=2)


def combined(rgb: RgbImage, area: BoolMask) -> RgbImage:
    """Suppression of blue, then the improved grey world (equations 18 to 21)."""
    return improved_grey_world(inhibition(rgb, area), area)


def improved_grey_world(rgb: RgbImage, area: BoolMask) -> RgbImage:
    """The area's pixels under the light of the rest.

    The light of a region is the Minkowski norm (t = 6) of its smoothed pixels, a channel at a time. The
    change fades over 3 px at the area's outline. Without an area, or without a rest, nothing changes.
    """
    if not area.any() or area.all():
        return rgb
    smooth = cv2.GaussianBlur(rgb, (0, 0), 1.0)
    inside, rest = illuminant(smooth[area]), illuminant(smooth[~area])
    gain = np.where(inside > 0, rest / np.where(inside > 0, inside, 1), 1).astype(np.float32)
    share = cv2.GaussianBlur(area.astype(np.float32), (0, 0), FEATHER_PX / 2)[..., None]
    return _to_uint8(rgb * (1 + share * (gain - 1)))


def illuminant(pixels: npt.NDArray[np.uint8], t: float = MINKOWSKI) -> npt.NDArray[np.float64]:
    """Minkowski mean ((sum v^t) / n)^(1/t) of each channel: (N, 3) uint8, N >= 1, to (3,) float64."""
    return np.asarray(((pixels / 255.0) ** t).mean(axis=0) ** (1 / t) * 255)


def back_projection(rgb: RgbImage, area: BoolMask) -> FloatMap:
    """How much each pixel's hue and saturation are those of the area.

    Returns:
        (H, W) float32 in [0, 1], smoothed over 5×5 pixels; 1 everywhere without an area.
    """
    if not area.any():
        return np.ones(area.shape, dtype=np.float32)
    hsv = cv2.cvtColor(rgb, cv2.COLOR_RGB2HSV)
    ranges = [0, 180, 0, 256]
    histogram = cv2.calcHist([hsv], [0, 1], area.astype(np.uint8), list(BACK_PROJECTION_BINS), ranges)
    cv2.normalize(histogram, histogram, 0, 255, cv2.NORM_MINMAX)
    chances = cv2.calcBackProject([hsv], [0, 1], histogram, ranges, 1)
    return np.asarray(cv2.blur(chances, (5, 5)).astype(np.float32) / 255, dtype=np.float32)


COMPENSATIONS: Mapping[str, Compensation] = MappingProxyType(
    {
        "none": unchanged,
        "inhibition": inhibition,
        "gray_world": grey_world,
        "hist_eq": equalised,
        "clahe": locally_equalised,
        "bilateral": bilateral,
        "retinex": retinex,
        "gauss_pyr": gaussian_fusion,
        "lap_pyr": laplacian_fusion,
        "color_balance": colour_balance,
        "combined": combined,
    }
)


def _with_luma(rgb: RgbImage, change: Callable[[RgbImage], RgbImage]) -> RgbImage:
    parts = cv2.cvtColor(rgb, cv2.COLOR_RGB2YCrCb)
    parts[..., 0] = change(np.ascontiguousarray(parts[..., 0]))
    return np.asarray(cv2.cvtColor(parts, cv2.COLOR_YCrCb2RGB), dtype=np.uint8)


def _stretched(values: FloatMap) -> RgbImage:
    """The 1st to the 99th percentile spread over [0, 255]; a constant stays, clipped to that range."""
    low, high = np.quantile(values, (CLIPPED_SHARE, 1 - CLIPPED_SHARE))
    if high <= low:
        return _to_uint8(values)
    return _to_uint8((values - low) * (255 / (high - low)))


def _exposures(rgb: RgbImage) -> tuple[FloatMap, FloatMap]:
    unit = np.asarray(rgb / np.float32(255), dtype=np.float32)
    return unit, np.asarray(unit**EXPOSURE_GAMMA, dtype=np.float32)


def _exposure_weight(original: FloatMap, brighter: FloatMap) -> FloatMap:
    """The original's share, (H, W): Gaussian of each channel's distance from one half, multiplied."""
    distances = [np.square(one - 0.5).sum(axis=2) for one in (original, brighter)]
    above = (distances[0] - distances[1]) / (2 * EXPOSURE_SIGMA**2)
    return np.asarray(1 / (1 + np.exp(above)), dtype=np.float32)


def _gaussian_pyramid(values: FloatMap, levels: int) -> list[FloatMap]:
    pyramid = [values]
    while len(pyramid) < levels:
        pyramid.append(cv2.pyrDown(pyramid[-1]))
    return pyramid


def _laplacian_pyramid(values: FloatMap, levels: int) -> list[FloatMap]:
    blurred = _gaussian_pyramid(values, levels)
    details = [fine - _enlarged(coarse, fine) for fine, coarse in pairwise(blurred)]
    return [*details, blurred[-1]]


def _enlarged(coarse: FloatMap, like: FloatMap) -> FloatMap:
    return np.asarray(cv2.pyrUp(coarse, dstsize=(like.shape[1], like.shape[0])), dtype=np.float32)


def _to_uint8(values: npt.NDArray[np.floating]) -> RgbImage:
    return np.round(values).clip(0, 255).astype(np.uint8)
