"""The state a camera leaves a photo in, read off the photo: sharpness, noise and compression."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import numpy.typing as npt

from dataset_tools.core.images import RgbImage
from synth.geometry import FaceMesh

Floats32 = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]

# Luminance table of the JPEG standard (ITU-T T.81, table K.1), which libjpeg's quality 1-100 scales.
_BASE_TABLE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
)
# The frequencies (row, column) that pictures fill even after compression.
_FREQUENCIES = ((0, 1), (1, 0), (0, 2), (1, 1), (2, 0), (0, 3), (1, 2), (2, 1), (3, 0))
_QUALITIES = np.arange(20, 98)
_MAX_STEP = 60
_MAX_BLOCKS = 200
_MIN_COEFFICIENTS = 60
_ROUNDING = 0.65  # standard deviation that rounding to bytes leaves in a coefficient
_STRAY = 0.1  # share of coefficients that clipping and colour conversion move off the lattice
_MIN_EVIDENCE = 0.1  # mean log-likelihood gain per coefficient; photos without JPEG stay below 0

_NOISE_REACH_PX = 96
_FLATTEST = 0.1
_STRONGEST = 0.97  # share of pixels whose gradient is weaker than that of an edge that counts
_LEAST_SLOPE = 2.5  # grey levels a pixel; an eye blurred by 3 pixels still has it
_CLIPPED = (6.0, 249.0)
# How the two kinds of noise, of standard deviation 1, answer Immerkær's filter (simulated).
_TILE_GAIN = 6.0 * 0.645  # mean of |N(0, 1)| is 0.80, its 0.1 quantile over tiles of 64 pixels about this
_NOISE_AT_HALF = 0.25
_GRAIN_AT_FULL = 0.0154
_GRAIN_AT_HALF = 0.497


@dataclass(frozen=True)
class Jpeg:
    """Compression a photo has been through.

    Attributes:
        quality: 1-100 as libjpeg counts.
        phase_xy: column and row, 0-7, where the photo's first whole block begins.
    """

    quality: int
    phase_xy: tuple[int, int]


@dataclass(frozen=True)
class PhotoState:
    """What the camera did to a photo.

    Attributes:
        blur_px: Gaussian sigma.
        noise: standard deviation of noise that differs from pixel to pixel, sRGB grey levels.
        grain: the same of noise two pixels wide, which enlarging and compressing leave.
        jpeg: None where no trace of compression is left.
    """

    blur_px: float
    noise: float
    grain: float = 0.0
    jpeg: Jpeg | None = None


UNTOUCHED = PhotoState(0.0, 0.0)


def read_state(photo: RgbImage, face: FaceMesh) -> PhotoState:
    """What the camera did to the face: read around the eyes, where every face has edges.

    Args:
        photo: (H, W, 3) sRGB.
        face: the wearer; at most 256 pixels a side around its eyes are looked at.
    """
    import cv2

    middle = face.frame.origin_px[:2]
    reach = int(np.clip(48 * face.frame.px_per_mm, 16, 128))
    eyes, _ = _around(photo, middle, reach)
    # A small face is all features; noise and compression are the same around it.
    crop, (x0, y0) = _around(photo, middle, max(reach, _NOISE_REACH_PX))
    noise, grain = estimate_noise(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY))
    jpeg = estimate_jpeg(crop)
    if jpeg is not None:
        jpeg = replace(jpeg, phase_xy=((jpeg.phase_xy[0] + x0) % 8, (jpeg.phase_xy[1] + y0) % 8))
    return PhotoState(estimate_blur_px(cv2.cvtColor(eyes, cv2.COLOR_RGB2GRAY)), noise, grain, jpeg)


def _around(photo: RgbImage, middle: npt.NDArray[np.float64], reach: int) -> tuple[RgbImage, tuple[int, int]]:
    # From a multiple of 8 on, where the blocks of an uncut JPEG lie.
    height, width = photo.shape[:2]
    x0, y0 = np.clip((middle - reach).astype(int), 0, (max(width - 16, 0), max(height - 16, 0))) // 8 * 8
    return photo[y0 : y0 + 2 * reach, x0 : x0 + 2 * reach], (int(x0), int(y0))


def estimate_jpeg(rgb: RgbImage) -> Jpeg | None:
    """The JPEG compression a picture shows, from the lattice its cosine coefficients lie on.

    Args:
        rgb: (H, W, 3) sRGB, decoded and not resized since, at least about 80 x 80 pixels.

    Returns:
        Quality and phase of the block grid; None when no lattice is found: never compressed, so lightly
        (quality above about 91) that nothing is left, or resized since.

    Source: Fan and de Queiroz, Identification of bitmap compression history, 2003: the step of each
    frequency maximises the likelihood of coefficients on multiples of it, against a smooth density.
    """
    import cv2

    luminance = np.asarray(cv2.cvtColor(rgb.astype(np.float32), cv2.COLOR_RGB2GRAY), dtype=np.float32)
    for phase in dict.fromkeys([(0, 0), _block_phase(luminance)]):
        quality, evidence = _best_quality(luminance[phase[1] :, phase[0] :])
        if evidence > _MIN_EVIDENCE:
            return Jpeg(quality, phase)
    return None


def _block_phase(luminance: Floats32) -> tuple[int, int]:
    # Steps between neighbours are larger where two blocks meet than one pixel to either side.
    def phase(step: Floats32) -> int:
        edge = np.zeros(8, dtype=np.float64)
        for k in range(8):
            edge[k] = step[k::8].mean() if len(step) > k else 0.0
        sharp = edge - (np.roll(edge, 1) + np.roll(edge, -1)) / 2
        return int((sharp.argmax() + 1) % 8)

    return (
        phase(np.abs(np.diff(luminance, axis=1)).mean(axis=0)),
        phase(np.abs(np.diff(luminance, axis=0)).mean(axis=1)),
    )


@cache
def _quality_steps() -> npt.NDArray[np.int64]:
    # (qualities, frequencies): libjpeg's scaling of the standard table.
    base = np.array([_BASE_TABLE[row][column] for row, column in _FREQUENCIES])
    scale = np.where(_QUALITIES < 50, 5000 // _QUALITIES, 200 - 2 * _QUALITIES)
    steps: npt.NDArray[np.int64] = np.clip((base * scale[:, None] + 50) // 100, 1, _MAX_STEP)
    return steps


@cache
def _possible_steps() -> list[npt.NDArray[np.int64]]:
    # Of each frequency, every one once.
    return [np.unique(steps) for steps in _quality_steps().T]


@cache
def _cosines() -> Floats32:
    # (4, 8): the four lowest cosines of a block side.
    k, x = np.arange(4)[:, None], np.arange(8)[None, :]
    size = np.where(k == 0, np.sqrt(1 / 8), 0.5)
    cosines: Floats32 = (np.cos((2 * x + 1) * k * np.pi / 16) * size).astype(np.float32)
    return cosines


def _best_quality(luminance: Floats32) -> tuple[int, float]:
    rows, columns = luminance.shape[0] // 8, luminance.shape[1] // 8
    tiles = luminance[: 8 * rows, : 8 * columns].reshape(rows, 8, columns, 8).transpose(0, 2, 1, 3)
    blocks = tiles.reshape(-1, 8, 8)[:: max(-(-rows * columns // _MAX_BLOCKS), 1)]
    spectrum = _cosines() @ blocks @ _cosines().T
    size = np.abs(np.stack([spectrum[:, row, column] for row, column in _FREQUENCIES], axis=1))
    gain = np.zeros((_MAX_STEP + 1, len(_FREQUENCIES)))
    count = np.zeros_like(gain)
    for number, steps in enumerate(_possible_steps()):
        # Coefficients that round to nothing fit any lattice and tell nothing.
        step = steps.astype(np.float32)
        values = size[:, number]
        values = values[values > step[0] / 2, None]
        off = values - np.rint(values / step) * step
        on_lattice = step / np.float32(_ROUNDING * np.sqrt(2 * np.pi)) * np.exp(-0.5 * (off / _ROUNDING) ** 2)
        tells = values > step / 2
        chance = np.where(tells, (1 - _STRAY) * on_lattice + _STRAY, np.float32(1))
        gain[steps, number] = np.log(chance).sum(axis=0)
        count[steps, number] = tells.sum(axis=0)
    each = np.arange(len(_FREQUENCIES))
    total, told = gain[_quality_steps(), each].sum(axis=1), count[_quality_steps(), each].sum(axis=1)
    best = int(total.argmax())
    if told[best] < _MIN_COEFFICIENTS:
        return int(_QUALITIES[best]), 0.0
    return int(_QUALITIES[best]), float(total[best] / told[best])


def estimate_blur_px(grey: Bytes) -> float:
    """Width of the photo's blur (Gaussian sigma, pixels) from its strongest edges; 0 when there are none.

    Args:
        grey: (H, W) sRGB grey of the face.

    Source: Zhuo and Sim, Defocus map estimation from a single image, 2011: an edge of blur sigma blurred
    again by s loses gradient by the factor sqrt(1 + s²/sigma²).
    """
    import cv2

    again = 1.0
    image = grey.astype(np.float32)
    if min(image.shape) < 16:
        return 0.0
    sharp = _gradient(image)
    soft = _gradient(cv2.GaussianBlur(image, (0, 0), again))
    # Only ridges of the gradient, across or down: beside an edge the ratio says nothing.
    ridge = sharp >= cv2.dilate(sharp, np.ones((1, 3), np.uint8)) - 1e-3
    ridge |= sharp >= cv2.dilate(sharp, np.ones((3, 1), np.uint8)) - 1e-3
    strong = ridge & (sharp > max(float(np.quantile(sharp[::2, ::2], _STRONGEST)), _LEAST_SLOPE))
    if int(strong.sum()) < 12:
        return 0.0
    ratio = np.maximum(sharp[strong] / np.maximum(soft[strong], 1e-3), 1.0 + 1e-3)
    return float(np.clip(np.median(again / np.sqrt(ratio**2 - 1)), 0.0, 4.0))


def _gradient(image: Floats32) -> Floats32:
    import cv2

    slope = cv2.magnitude(cv2.Sobel(image, cv2.CV_32F, 1, 0), cv2.Sobel(image, cv2.CV_32F, 0, 1))
    return np.asarray(slope / 8, dtype=np.float32)


def estimate_noise(grey: Bytes) -> tuple[float, float]:
    """Noise of a photo in its flat parts, as standard deviations in sRGB grey levels.

    Args:
        grey: (H, W) sRGB grey.

    Returns:
        Noise from pixel to pixel, and grain: noise two pixels wide.

    Source: Immerkær, Fast noise variance estimation, 1996, on the picture and on its half; over the
    flattest tenth of 8 x 8 tiles instead of all.
    """
    import cv2

    image = grey.astype(np.float32)
    if min(image.shape) < 32:
        return 0.0, 0.0
    half = cv2.resize(image, (image.shape[1] // 2, image.shape[0] // 2), interpolation=cv2.INTER_AREA)
    fine, coarse = _flat_response(image) ** 2, _flat_response(half) ** 2
    # Both kinds answer at both scales: solve for their shares.
    grain = max(coarse - _NOISE_AT_HALF * fine, 0.0) / (_GRAIN_AT_HALF - _NOISE_AT_HALF * _GRAIN_AT_FULL)
    noise = max(fine - _GRAIN_AT_FULL * grain - 1 / 12, 0.0)  # rounding to bytes is noise too
    return float(min(np.sqrt(noise), 8.0)), float(min(np.sqrt(grain), 8.0))


def _flat_response(image: Floats32) -> float:
    import cv2

    kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], dtype=np.float32)
    response = np.abs(cv2.filter2D(image, cv2.CV_32F, kernel))
    tiles = (max(image.shape[1] // 8, 1), max(image.shape[0] // 8, 1))
    mean = cv2.resize(response, tiles, interpolation=cv2.INTER_AREA)
    level = cv2.resize(image, tiles, interpolation=cv2.INTER_AREA)
    usable = mean[(level > _CLIPPED[0]) & (level < _CLIPPED[1])]
    if usable.size == 0:
        return 0.0
    return float(np.quantile(usable, _FLATTEST)) / _TILE_GAIN
