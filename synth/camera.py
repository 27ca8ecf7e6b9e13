"""The photo's own sharpness, noise and compression, given to what is drawn into it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from dataset_tools.core.images import RgbImage
from synth.colour import linear_of_byte
from synth.photo_state import Jpeg, PhotoState

Floats32 = npt.NDArray[np.float32]
Place = tuple[slice, slice]  # rows and columns of a window

_ALPHA_STEPS = 65535
FAINT = 1 / 512  # coverage below this cannot change an 8-bit picture
_LEAST_BLUR_PX = 0.25
_WORTH_PARTING_PX = 16
_SOFT_PX = 1.5  # from this blur on half the resolution holds all of a cloth's colours
_HALVED_PX2 = 1.0  # variance of the blur that halving a picture and enlarging it again makes
_OPTICS_PX = 0.7  # blur that anti-aliased drawing has of itself, as `estimate_blur_px` sees it
_MCU_PX = 16  # block of a picture with halved chroma
_GRAIN_STD = 0.857  # of unit noise enlarged twice with bicubic weights
_LEAST_NOISE = 12**-0.5  # grey levels; what rounding to bytes makes hides weaker noise


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


def finish(
    alpha: Floats32,
    colour_of: Callable[[Place], Floats32],
    state: PhotoState,
    noise: Floats32 | None,
    visible: Floats32,
) -> Layer:
    """A sheet with the photo's blur and noise.

    Args:
        alpha: (h, w) coverage in [0, 1]; it is blurred with the colours, since the label is what was drawn.
        colour_of: gives the linear light of a part of the window, (rows, columns, 3); what it gives where
            alpha is 0 does not matter.
        state: of the photo.
        noise: (h, w) from `draw_noise`, or None.
        visible: (h, w) in [0, 1], what nothing nearer hides; it is as sharp as the photo already.
    """
    import cv2

    sigma = blur_to_add(state)
    steps = np.zeros(alpha.shape, dtype=np.float32)
    painted = np.zeros((*alpha.shape, 3), dtype=np.float32)
    # Everything happens where the sheet is and its blur can reach; one pixel more, or the blur is mirrored.
    for place in places_of(alpha, _blur_size(sigma) // 2 + 1):
        drawn, planes = _blurred(alpha[place], colour_of(place), sigma)
        for plane in planes:
            if noise is not None:
                # One grey level of sRGB is about 2.2 * sqrt(x) in linear light.
                np.maximum(plane, 0, out=plane)
                plane += cv2.multiply(cv2.sqrt(plane), noise[place], scale=2.2 / 255)
            np.clip(plane, 0, 1, out=plane)
        painted[place] = cv2.merge(planes)
        steps[place] = _in_steps(np.where(drawn < FAINT, np.float32(0), drawn) * visible[place])
    return Layer(steps, painted, steps)


def _in_steps(alpha: Floats32) -> Floats32:
    np.minimum(alpha, 1, out=alpha)
    alpha *= _ALPHA_STEPS
    np.rint(alpha, out=alpha)
    alpha /= _ALPHA_STEPS
    return alpha


def drawn_every(state: PhotoState) -> int:
    """Pixels that one step of a cloth's picture may span: 2 in soft photos, else 1."""
    return 2 if blur_to_add(state) >= _SOFT_PX else 1


def _blurred(alpha: Floats32, colour: Floats32, sigma: float) -> tuple[Floats32, list[Floats32]]:
    # Coverage, and the colours, one plane each, that are blurred together with it.
    import cv2

    planes = list(cv2.split(colour))
    if sigma == 0:
        return alpha, planes
    drawn = soft = _gaussian(alpha, sigma)
    size, rest = alpha.shape[::-1], sigma
    is_halved = sigma >= _SOFT_PX and min(size) > 1
    if is_halved:
        rest = float(np.sqrt(sigma**2 - _HALVED_PX2) / 2)
        soft = _gaussian(_halved(alpha), rest)
    share = 1 / np.maximum(soft, 1e-6)
    for k, plane in enumerate(planes):
        cv2.multiply(plane, alpha, dst=plane)
        planes[k] = _gaussian(_halved(plane) if is_halved else plane, rest) * share
        if is_halved:
            planes[k] = cv2.resize(planes[k], size, interpolation=cv2.INTER_LINEAR)
    return drawn, planes


def _gaussian(plane: Floats32, sigma: float) -> Floats32:
    import cv2

    return np.asarray(cv2.GaussianBlur(plane, (_blur_size(sigma),) * 2, sigma), dtype=np.float32)


def _halved(plane: Floats32) -> Floats32:
    import cv2

    size = ((plane.shape[1] + 1) // 2, (plane.shape[0] + 1) // 2)
    return np.asarray(cv2.resize(plane, size, interpolation=cv2.INTER_AREA), dtype=np.float32)


def _blur_size(sigma: float) -> int:
    # Beyond three sigma an edge's blur is fainter than `FAINT`.
    return 2 * int(np.ceil(3 * sigma)) + 1


def blur_kernel(sigma: float) -> Floats32:
    """(2 n + 1,) weights of the blur that a sheet gets, along one axis; sigma 0: [1]."""
    import cv2

    if sigma <= 0:
        return np.ones(1, dtype=np.float32)
    return np.asarray(cv2.getGaussianKernel(_blur_size(sigma), sigma, cv2.CV_32F), dtype=np.float32)[:, 0]


def blur_to_add(state: PhotoState) -> float:
    """Sigma, in pixels, of the blur that makes what is drawn as soft as the photo; 0 = none."""
    sigma = float(np.sqrt(max(state.blur_px**2 - _OPTICS_PX**2, 0.0)))
    return sigma if sigma > _LEAST_BLUR_PX else 0.0


def places_of(alpha: Floats32, margin: int) -> Iterator[Place]:
    """Windows around a sheet.

    Args:
        alpha: (h, w) of the sheet.
        margin: added on all sides, pixels.

    Yields:
        Windows that hold all of the sheet and do not overlap; parts far apart side by side, such as the
        straps of both ears, get windows of their own. They start at even places and have an even size,
        unless the window of the photo ends there.
    """
    import cv2

    columns = np.flatnonzero(cv2.reduce(alpha, 0, cv2.REDUCE_MAX)) if alpha.size else np.zeros(0, np.int64)
    for run in np.split(columns, np.flatnonzero(np.diff(columns) > 2 * margin + _WORTH_PARTING_PX) + 1):
        if run.size == 0:
            continue
        across = _even(int(run[0]) - margin, int(run[-1]) + 1 + margin, alpha.shape[1])
        _, y, _, height = cv2.boundingRect((alpha[:, across] > 0).view(np.uint8))
        yield _even(y - margin, y + height + margin, alpha.shape[0]), across


def _even(start: int, stop: int, size: int) -> slice:
    return slice(max(start // 2 * 2, 0), min(-(-stop // 2) * 2, size))


def draw_noise(size_hw: tuple[int, int], state: PhotoState, rng: np.random.Generator) -> Floats32 | None:
    """Noise like the photo's, (h, w) in sRGB grey levels; None where rounding to bytes would hide it."""
    import cv2

    height, width = size_hw
    if state.noise**2 + state.grain**2 < _LEAST_NOISE**2 or height * width == 0:
        return None
    noise = np.zeros((height, width), dtype=np.float32)
    if state.noise > 0:
        noise += _normal((height, width), rng) * np.float32(state.noise)
    if state.grain > 0:
        coarse = _normal((height // 2 + 1, width // 2 + 1), rng)
        grain = cv2.resize(coarse, (2 * coarse.shape[1], 2 * coarse.shape[0]), interpolation=cv2.INTER_CUBIC)
        noise += grain[:height, :width] * np.float32(state.grain / _GRAIN_STD)
    return noise


def _normal(size_hw: tuple[int, int], rng: np.random.Generator) -> Floats32:
    # Numbers of a standard normal distribution, (h, w): in a fifth of the time that the generator's own take.
    return _normal_quantiles().take(rng.integers(0, 1 << 16, size_hw, dtype=np.uint16))


@cache
def _normal_quantiles() -> Floats32:
    # The middles of 65,536 steps of equal probability.
    from scipy.special import ndtri

    quantiles: Floats32 = ndtri((np.arange(1 << 16) + 0.5) / (1 << 16)).astype(np.float32)
    return quantiles


def recompress(layers: list[Layer], drawn: RgbImage, jpeg: Jpeg, at_xy: tuple[int, int]) -> list[Layer]:
    """Layers whose composite is what the photo's own compression would have made of them.

    The change that compressing makes to the finished window is added to the colours of the layers, so
    whatever lies outside them, and every alpha, stays as it is.

    Args:
        layers: sheets over a window of the photo.
        drawn: (h, w, 3) sRGB, that window with the layers composited.
        jpeg: compression of the photo.
        at_xy: column and row of the window in the photo.
    """
    import cv2

    # Chroma blocks are 16 pixels wide: start the window where one starts. The photo's own phase in 16 is
    # not known from the luminance; either guess has the luminance right.
    pad_x, pad_y = ((at - phase) % _MCU_PX for at, phase in zip(at_xy, jpeg.phase_xy, strict=True))
    padded = cv2.copyMakeBorder(drawn, pad_y, 0, pad_x, 0, cv2.BORDER_REPLICATE)
    _, stored = cv2.imencode(".jpg", padded[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, jpeg.quality])
    again = np.asarray(cv2.imdecode(stored, cv2.IMREAD_COLOR))[pad_y:, pad_x:, ::-1]
    change = cv2.subtract(*(cv2.LUT(np.ascontiguousarray(rgb), linear_of_byte()) for rgb in (again, drawn)))
    changed = [np.clip(cv2.add(layer.colour, change), 0, 1) for layer in layers]
    return [
        Layer(layer.alpha, np.asarray(colour, dtype=np.float32), layer.opacity)
        for layer, colour in zip(layers, changed, strict=True)
    ]
