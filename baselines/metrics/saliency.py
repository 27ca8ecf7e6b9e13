"""Scores of soft maps from salient object detection: MAE, F_beta and the structure measure.

Maps are float64 in [0, 1] and never rescaled to their own minimum and maximum, which would hide that a model
is unsure.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from baselines.metrics.counts import BoolMask

FloatArray = npt.NDArray[np.float64]

BETA_SQUARED = 0.3  # Achanta et al., CVPR 2009: precision counts more than recall
S_ALPHA = 0.5  # Fan et al., ICCV 2017
CURVE_LEVELS = 256

_EPSILON = float(np.finfo(np.float64).eps)
_ROUNDING = 1e-12  # deviations below this share of their mean are the rounding of sums, not the map's


def mean_absolute_error(probability: FloatArray, truth: BoolMask) -> float:
    """Mean of |probability - truth| over the (H, W) pixels."""
    # Where the label is, the error is 1 - p, elsewhere p: two sums instead of three maps of that size.
    hits = float(np.dot(probability.ravel(), truth.ravel().astype(np.float64)))
    missed = int(np.count_nonzero(truth)) - hits
    return max(float(probability.sum()) - hits + missed, 0.0) / truth.size


def f_beta_adaptive(probability: FloatArray, truth: BoolMask) -> float:
    """F_beta at the threshold min(2 * mean(probability), 1); 0 without a hit.

    Source: Achanta et al., Frequency-tuned salient region detection, CVPR 2009.
    """
    predicted = probability >= min(2 * float(probability.mean()), 1.0)
    hits = int(np.count_nonzero(predicted & truth))
    if hits == 0:
        return 0.0
    p = hits / int(np.count_nonzero(predicted))
    r = hits / int(np.count_nonzero(truth))
    return (1 + BETA_SQUARED) * p * r / (BETA_SQUARED * p + r)


def f_beta_curve(probability: FloatArray, truth: BoolMask) -> FloatArray:
    """F_beta at 256 thresholds, highest first, on floor(255 * probability); (256,) float64."""
    # One histogram of level and label together; a pixel at or above a level is counted from its upper end.
    codes = (probability * 255).astype(np.uint16)
    codes |= truth.astype(np.uint16) << np.uint16(8)
    counts = np.bincount(codes.ravel(), minlength=2 * CURVE_LEVELS).reshape(2, CURVE_LEVELS)
    misses, hits = counts[:, ::-1].cumsum(axis=1)
    p = hits / np.maximum(hits + misses, 1)
    r = hits / max(int(hits[-1]), 1)
    below = np.where(hits > 0, BETA_SQUARED * p + r, 1.0)
    return np.asarray((1 + BETA_SQUARED) * p * r / below, dtype=np.float64)


def s_measure(probability: FloatArray, truth: BoolMask) -> float:
    """Structure measure: half object-aware, half region-aware similarity, at least 0.

    Source: Fan et al., Structure-measure, ICCV 2017.
    """
    share = int(np.count_nonzero(truth)) / truth.size
    if share == 0:
        return 1 - float(probability.mean())
    if share == 1:
        return float(probability.mean())
    objects = share * _object_similarity(probability[truth], is_label=True)
    objects += (1 - share) * _object_similarity(probability[~truth], is_label=False)
    return max(0.0, S_ALPHA * objects + (1 - S_ALPHA) * _region_similarity(probability, truth))


def _object_similarity(values: FloatArray, *, is_label: bool) -> float:
    mean = float(values.mean())
    off = values - mean
    if not is_label:
        mean = 1 - mean  # of 1 - values, whose deviations are as large
    deviation = float(np.sqrt(np.einsum("i,i->", off, off) / (values.size - 1))) if values.size > 1 else 0.0
    return 2 * mean / (mean**2 + 1 + deviation)


def _region_similarity(probability: FloatArray, truth: BoolMask) -> float:
    """SSIM of the four quarters around the label's centroid, weighted by their areas."""
    height, width = truth.shape
    label = truth.astype(np.float64)
    y, x = _centroid(label)
    upper, left = np.zeros((2, height)), np.zeros((width, 2))
    upper[0, :y], upper[1, y:], left[:x, 0], left[x:, 1] = 1.0, 1.0, 1.0, 1.0
    sizes = upper.sum(axis=1)[:, None] * left.sum(axis=0)
    some = np.maximum(sizes, 1.0)  # a centroid in the last row or column leaves quarters without pixels

    def summed(values: FloatArray) -> FloatArray:
        return np.asarray(upper @ values @ left)  # (2, 2): one sum a quarter

    means_x, means_y = summed(probability) / some, summed(label) / some
    off = probability - upper.T @ means_x @ left.T
    squares, products = summed(off * off), summed(off * label)
    total = 0.0
    for part in np.ndindex(2, 2):
        if sizes[part]:
            ssim = _ssim(sizes[part], means_x[part], means_y[part], squares[part], products[part])
            total += ssim * sizes[part]
    return float(total) / truth.size


def _centroid(label: FloatArray) -> tuple[int, int]:
    # The pixel of the centroid belongs to the upper left quarter, as in the authors' MATLAB code.
    rows, columns = label.sum(axis=1), label.sum(axis=0)
    count = rows.sum()
    y, x = np.arange(rows.size) @ rows / count, np.arange(columns.size) @ columns / count
    return int(np.round(y)) + 1, int(np.round(x)) + 1


def _ssim(size: float, mean_x: float, mean_y: float, square_x: float, product: float) -> float:
    """Of one quarter: means of map and label, sums of the map's squared deviation and deviation * label."""
    free = max(size - 1, 1)
    is_flat = square_x <= size * (_ROUNDING * mean_x) ** 2
    # The label holds 0 and 1 only; and the deviations add up to 0, so the label need not be centred.
    spread = ((0.0 if is_flat else square_x) + size * mean_y * (1 - mean_y)) / free
    together = 0.0 if is_flat or mean_y in (0, 1) else product / free
    above = 4 * mean_x * mean_y * together
    below = (mean_x**2 + mean_y**2) * spread
    if above != 0:
        return above / (below + _EPSILON)
    return 1.0 if below == 0 else 0.0
