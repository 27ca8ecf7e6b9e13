"""The photo's own sharpness and noise, estimated and given to what is drawn into it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dataset_tools.core.images import RgbImage
from synth.geometry import FaceMesh

Floats32 = npt.NDArray[np.float32]

_ALPHA_STEPS = 65535
_FAINT = 1 / 512  # coverage below this cannot change an 8-bit picture
_OPTICS_PX = 0.3  # blur that pixel-sized samples have of themselves


@dataclass(frozen=True)
class Layer:
    """A coloured sheet over a window of the photo.

    Attributes:
        alpha: (h, w) float32 multiples of 1/65535: coverage, which becomes the label.
        colour: (h, w, 3) float32 linear light, not multiplied by alpha.
        opacity: (h, w) float32 <= alpha, what is drawn; less than alpha where the sheet is transparent.
    """

    alpha: Floats32
    colour: Floats32
    opacity: Floats32


@dataclass(frozen=True)
class PhotoState:
    """What the camera did to a photo.

    Attributes:
        blur_px: Gaussian sigma.
        noise: standard deviation, sRGB grey levels.
    """

    blur_px: float
    noise: float


UNTOUCHED = PhotoState(0.0, 0.0)


def read_state(photo: RgbImage, face: FaceMesh) -> PhotoState:
    # Blur and noise around the eyes, where every face has edges; at most 256 px a side.
    import cv2

    middle = face.frame.origin_px[:2]
    reach = int(np.clip(48 * face.frame.px_per_mm, 16, 128))
    height, width = photo.shape[:2]
    x0, y0 = np.clip((middle - reach).astype(int), 0, (max(width - 16, 0), max(height - 16, 0)))
    crop = photo[y0 : y0 + 2 * reach, x0 : x0 + 2 * reach]
    grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)
    return PhotoState(estimate_blur_px(grey), estimate_noise(grey))


def finish(
    alpha: Floats32,
    colour: Floats32,
    state: PhotoState,
    rng: np.random.Generator,
    visible: Floats32,
) -> Layer:
    # The sheet gets the photo's blur (its alpha too: the label is what was drawn) and its noise.
    import cv2

    sigma = float(np.sqrt(max(state.blur_px**2 - _OPTICS_PX**2, 0.0)))
    if sigma > 0.25 and alpha.size:
        sheet = cv2.GaussianBlur(np.dstack([colour * alpha[..., None], alpha]), (0, 0), sigma)
        alpha = sheet[..., 3]
        colour = sheet[..., :3] / np.maximum(alpha, 1e-6)[..., None]
    if state.noise > 0:
        # One grey level of sRGB is about 2.2 * sqrt(x) in linear light.
        drawn = np.flatnonzero(alpha.ravel() >= _FAINT)
        grain = rng.standard_normal((len(drawn), 1), dtype=np.float32) * np.float32(2.2 * state.noise / 255)
        flat = np.maximum(colour.reshape(-1, 3), 0)
        flat[drawn] += grain * np.sqrt(flat[drawn])
        colour = flat.reshape(colour.shape)
    shown = np.where(alpha < _FAINT, 0, alpha) * visible
    steps = (np.rint(np.clip(shown, 0, 1) * _ALPHA_STEPS) / _ALPHA_STEPS).astype(np.float32)
    return Layer(steps, np.clip(colour, 0, 1).astype(np.float32), steps)


def estimate_blur_px(grey: npt.NDArray[np.uint8]) -> float:
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
    strong = sharp > max(float(np.quantile(sharp, 0.97)), 6.0)
    # Only ridges of the gradient: beside an edge the ratio says nothing.
    strong &= sharp >= cv2.dilate(sharp, np.ones((3, 3), np.uint8)) - 1e-3
    if int(strong.sum()) < 12:
        return 0.0
    ratio = np.maximum(sharp[strong] / np.maximum(soft[strong], 1e-3), 1.0 + 1e-3)
    return float(np.clip(np.median(again / np.sqrt(ratio**2 - 1)), 0.0, 4.0))


def _gradient(image: Floats32) -> Floats32:
    import cv2

    slope: Floats32 = np.hypot(cv2.Sobel(image, cv2.CV_32F, 1, 0), cv2.Sobel(image, cv2.CV_32F, 0, 1)) / 8
    return slope


def estimate_noise(grey: npt.NDArray[np.uint8]) -> float:
    """Standard deviation of the photo's noise in sRGB grey levels, from its flat parts.

    Source: Immerkær, Fast noise variance estimation, 1996, with the median instead of the mean.
    """
    import cv2

    kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], dtype=np.float32)
    response = np.abs(cv2.filter2D(grey.astype(np.float32), cv2.CV_32F, kernel))
    return float(np.clip(np.median(response) / (0.6745 * 6.0), 0.0, 8.0))
