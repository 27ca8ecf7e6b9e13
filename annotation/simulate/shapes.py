"""Geometry of masks that the simulated people need: distances, holes, pieces, smooth noise. Pure arrays."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from dataset_tools.core.masks import BoolMask

FloatMap = npt.NDArray[np.float32]

# Cells of the noise grid per correlation length: a smooth field needs no value at every pixel.
_CELLS_PER_LENGTH = 2.0


def diameter_px(mask: BoolMask) -> float:
    """Diameter of the disc that has the mask's area; 0 for an empty mask."""
    return math.sqrt(4.0 * float(np.count_nonzero(mask)) / math.pi)


def signed_distance(mask: BoolMask) -> FloatMap:
    """Distance of each pixel's centre to the outline, positive inside, holes' outlines included.

    Args:
        mask: (H, W) bool with both values; the picture's frame is no outline.

    Returns:
        (H, W) float32 in pixels; half a pixel at the nearest, so its sign is the mask.
    """
    import cv2

    inside = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    outside = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.where(mask, inside - 0.5, 0.5 - outside).astype(np.float32)


def smooth_noise(size_hw: tuple[int, int], length_px: float, rng: np.random.Generator) -> FloatMap:
    """Stationary Gaussian noise: white noise blurred with a Gaussian, of mean 0 and deviation 1.

    Args:
        size_hw: of the field.
        length_px: standard deviation of the blur, at least 1; neighbours within it move together.
        rng: draws it.

    Returns:
        (H, W) float32.
    """
    import cv2

    length_px = max(length_px, 1.0)
    cell = max(length_px / _CELLS_PER_LENGTH, 1.0)
    sigma = length_px / cell
    rim = math.ceil(3 * sigma)
    rows, columns = (math.ceil(side / cell) + 2 for side in size_hw)
    white = rng.standard_normal((rows + 2 * rim, columns + 2 * rim)).astype(np.float32)
    kernel = cv2.getGaussianKernel(2 * rim + 1, sigma, cv2.CV_32F)
    blurred = cv2.sepFilter2D(white, cv2.CV_32F, kernel, kernel)[rim : rim + rows, rim : rim + columns]
    # Blurring white noise keeps a share of its variance that the kernel alone decides.
    blurred /= float((kernel**2).sum())
    at_x = np.arange(size_hw[1], dtype=np.float32) / np.float32(cell)
    at_y = np.arange(size_hw[0], dtype=np.float32) / np.float32(cell)
    grid_x, grid_y = np.meshgrid(at_x, at_y)
    return np.asarray(cv2.remap(blurred, grid_x, grid_y, cv2.INTER_LINEAR), dtype=np.float32)


def pieces(mask: BoolMask) -> list[BoolMask]:
    """The mask's connected parts (pixels touch by sides or corners), in the order rows are read."""
    return _components(mask, 8)


def holes(mask: BoolMask) -> list[BoolMask]:
    """Background that the mask encloses (pixels touch by their sides): parts that do not reach the frame."""
    return [
        part
        for part in _components(~mask, 4)
        if not (part[0].any() or part[-1].any() or part[:, 0].any() or part[:, -1].any())
    ]


def _components(mask: BoolMask, connectivity: int) -> list[BoolMask]:
    import cv2

    count, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=connectivity)
    return [labels == index for index in range(1, count)]


def mask_iou(first: BoolMask, second: BoolMask) -> float:
    """Intersection over union, 1 when both are empty."""
    either = int(np.count_nonzero(first | second))
    return int(np.count_nonzero(first & second)) / either if either else 1.0


def outline_px(mask: BoolMask) -> float:
    """Length of all outlines through the pixels' centres, holes' included; 0 for single pixels."""
    import cv2

    if not mask.any():
        return 0.0
    contours, _ = cv2.findContours(_tight(mask).astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    return float(sum(cv2.arcLength(contour, True) for contour in contours))


def thickness_px(mask: BoolMask) -> float:
    """Width of the thickest place to within half a pixel (of the widest disc inside); 0 when empty."""
    import cv2

    if not mask.any():
        return 0.0
    # A line one pixel wide and one of two have the same distances, 1: half a pixel off for either.
    # The frame counts as outside, or a mask that fills the picture would have no end.
    padded = np.pad(_tight(mask), 1).astype(np.uint8)
    return 2.0 * float(cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE).max()) - 0.5


def grown(mask: BoolMask, radius_px: float) -> BoolMask:
    """All pixels within a distance of the mask."""
    if not mask.any():
        return mask
    return mask if mask.all() else np.asarray(signed_distance(mask) >= 0.5 - radius_px)


def _tight(mask: BoolMask) -> BoolMask:
    """The part within the smallest box; most pieces are small in a large picture."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return np.ascontiguousarray(mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])
