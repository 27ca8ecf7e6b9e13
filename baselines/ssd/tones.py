"""What cameras do to a picture: colour, contrast, blur, grain, JPEG. Numbers are drawn at random."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dataset_tools.core.images import RgbImage


def toned(rgb: RgbImage, random: np.random.Generator) -> RgbImage:
    """The same (H, W, 3) uint8 picture as another camera might have taken it."""
    import cv2

    if random.random() < 0.3:
        rgb = _softened(rgb, random)
    out = np.asarray(cv2.transform(rgb, _colours(random)), dtype=np.uint8)
    if random.random() < 0.25:
        grain = random.standard_normal(out.shape[:2], dtype=np.float32) * np.float32(random.uniform(2, 12))
        out = np.clip(out + grain[..., None], 0, 255).astype(np.uint8)
    if random.random() < 0.3:
        done, data = cv2.imencode(".jpg", out, [cv2.IMWRITE_JPEG_QUALITY, int(random.integers(25, 90))])
        if done:
            out = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), dtype=np.uint8)
    return out


def _colours(random: np.random.Generator) -> npt.NDArray[np.float64]:
    """(3, 4) matrix: brightness, white balance, contrast and saturation in one."""
    matrix, offset = np.eye(3), np.zeros(3)
    if random.random() < 0.8:
        gains = random.uniform(0.65, 1.35) * random.normal(1, 0.06, 3)
        contrast, middle = random.uniform(0.65, 1.3), random.uniform(90, 150)
        matrix = np.diag(gains * contrast)
        offset += middle * (1 - contrast)
    greyness = 1.0 if random.random() < 0.05 else random.uniform(-0.3, 0.6) * (random.random() < 0.6)
    grey = np.full((3, 3), 1 / 3)
    mixed = np.eye(3) + greyness * (grey - np.eye(3))
    return np.concatenate([mixed @ matrix, (mixed @ offset)[:, None]], axis=1)


def _softened(rgb: RgbImage, random: np.random.Generator) -> RgbImage:
    import cv2

    height, width = rgb.shape[:2]
    if random.random() < 0.5:
        return np.asarray(cv2.GaussianBlur(rgb, (0, 0), random.uniform(0.4, 1.8)), dtype=np.uint8)
    # A small picture blown up: what most pictures of the web once were.
    factor = random.uniform(0.35, 0.9)
    small = cv2.resize(rgb, (round(width * factor), round(height * factor)), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR), dtype=np.uint8)
