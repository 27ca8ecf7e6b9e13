"""OpenCV's blur, shift, reduction and enlargement as matrices: steps along one axis of a picture."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats32 = npt.NDArray[np.float32]


def gaussian_kernel(sigma: float) -> Floats32:
    """(2 n + 1,) weights as OpenCV takes for float pictures, four sigma to either side; sigma 0: [1]."""
    import cv2

    if sigma <= 0:
        return np.ones(1, dtype=np.float32)
    size = round(sigma * 8 + 1) | 1
    return np.asarray(cv2.getGaussianKernel(size, sigma, cv2.CV_32F), dtype=np.float32)[:, 0]


def blur_matrix(side: int, sigma: float) -> Floats32:
    """(side, side) Gaussian blur, mirrored at both ends without repeating the last pixel."""
    kernel = gaussian_kernel(sigma)
    reach = len(kernel) // 2
    matrix = np.zeros((side, side), dtype=np.float32)
    rows = np.arange(side)
    period = max(2 * (side - 1), 1)
    for k, weight in enumerate(kernel):
        folded = (rows + k - reach) % period
        np.add.at(matrix, (rows, np.where(folded < side, folded, period - folded)), weight)
    return matrix


def shift_matrix(side: int, shift: float) -> Floats32:
    """(side, side) move by that many pixels towards higher indices, linear between neighbours, 0 outside."""
    matrix = np.zeros((side, side), dtype=np.float32)
    at = np.arange(side) - shift
    low = np.floor(at).astype(int)
    for index, weight in ((low, 1 - (at - low)), (low + 1, at - low)):
        inside = (index >= 0) & (index < side)
        matrix[np.flatnonzero(inside), index[inside]] += weight[inside]
    return matrix


def reduce_matrix(side: int, small: int) -> Floats32:
    """(small, side) reduction: mean over the part of the line that each small pixel covers."""
    edges = np.arange(small + 1) * (side / small)
    pixel = np.arange(side)
    overlap = np.minimum(edges[1:, None], pixel + 1) - np.maximum(edges[:-1, None], pixel)
    weights: Floats32 = (np.clip(overlap, 0, 1) * (small / side)).astype(np.float32)
    return weights


def enlarge_matrix(side: int, small: int) -> Floats32:
    """(side, small) enlargement with linear weights, the outer edges aligned."""
    at = np.clip((np.arange(side) + 0.5) * (small / side) - 0.5, 0, small - 1)
    low = np.minimum(at.astype(int), max(small - 2, 0))
    matrix = np.zeros((side, small), dtype=np.float32)
    matrix[np.arange(side), low] = 1 - (at - low)
    matrix[np.arange(side), np.minimum(low + 1, small - 1)] += (at - low).astype(np.float32)
    return matrix
