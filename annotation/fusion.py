"""Several people's masks of one object made one: by vote, or by how reliable each of them is. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from dataset_tools.core.errors import MaskShapeError
from dataset_tools.core.masks import BoolMask

Floats = npt.NDArray[np.float64]

# Sums of square roots in another order differ by less; two outlines at one distance stay a tie.
_SAME_DISTANCE_PX = 1e-9

# STAPLE looks at the box around all masks, grown on every side by this share of its longer side.
_STAPLE_MARGIN = 0.1

_UNDECIDED = 1e-6  # this near to 0.5 a probability says nothing
_STAPLE_CONVERGED = 1e-10  # largest change of a sensitivity or specificity in one round
_STAPLE_ROUNDS = 2_000  # outlines need some 50; masks that have nothing in common would go on for 10^5


def majority(masks: Sequence[BoolMask]) -> BoolMask:
    """Pixels that more than half of the masks claim; ties follow the mean of the shapes.

    A pixel that exactly half of them claim belongs to the result when its mean signed distance to the
    outlines is not negative (inside positive). So two masks are averaged as shapes, where a vote alone
    would have to choose between their intersection and their union. The distance to an empty mask is the
    negative of the picture's diagonal, that to the outline of a mask without background the diagonal.

    Args:
        masks: at least one; (H, W) bool on one pixel grid.

    Returns:
        (H, W) bool; does not depend on the order of `masks`.

    Raises:
        MaskShapeError: sizes differ.
        ValueError: no masks.

    Source: Rohlfing and Maurer, Shape-based averaging, IEEE Transactions on Image Processing 16(1), 2007,
        doi:10.1109/TIP.2006.884936
    """
    size_hw = _checked(masks)
    total = np.zeros(size_hw, dtype=np.bool_)
    # Beyond one pixel around all masks nothing can change: what is nearest lies inside.
    box = _box_of_union(masks, margin_px=1)
    if box is None:
        return total
    crops = [mask[box] for mask in masks]
    votes = np.sum(crops, axis=0, dtype=np.int64) * 2
    total[box] = votes > len(masks)
    is_tie = votes == len(masks)
    if is_tie.any():
        diagonal = math.hypot(*size_hw)
        away = np.sum([_signed_distance(crop, diagonal)[is_tie] for crop in crops], axis=0)
        total[box][is_tie] = away >= -_SAME_DISTANCE_PX
    return total


def _signed_distance(mask: BoolMask, diagonal: float) -> Floats:
    """Distance to the nearest pixel of the other kind, negative outside.

    The outline runs half a pixel nearer; where as many masks hold a pixel as do not, that cancels out.
    """
    inside, outside = _distance_to_zero(mask, diagonal), _distance_to_zero(~mask, diagonal)
    return np.where(mask, inside, -outside)


def _distance_to_zero(mask: BoolMask, if_none: float) -> Floats:
    if mask.all():
        return np.full(mask.shape, if_none)
    import cv2

    pixels = np.ascontiguousarray(mask).view(np.uint8)
    away = cv2.distanceTransform(pixels, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    # OpenCV works in float32; squared distances are whole numbers, so rounding them makes it exact.
    squares: Floats = np.rint(np.asarray(away, dtype=np.float64) ** 2)
    return np.sqrt(squares)


def staple(masks: Sequence[BoolMask]) -> tuple[BoolMask, Floats, Floats]:
    """The most likely true mask, with how reliable each person is.

    Args:
        masks: as for `staple_probabilities`.

    Returns:
        (H, W) bool, pixels more likely in the object than not, where that is undecided those of `majority`;
        then each mask's sensitivity and specificity within the box that was looked at, in [0, 1].

    Raises:
        MaskShapeError, ValueError: as `staple_probabilities`.
    """
    probabilities, sensitivities, specificities = staple_probabilities(masks)
    is_undecided = np.abs(probabilities - 0.5) < _UNDECIDED
    fused = np.where(is_undecided, majority(masks), probabilities > 0.5)
    return fused, sensitivities, specificities


def staple_probabilities(masks: Sequence[BoolMask]) -> tuple[Floats, Floats, Floats]:
    """Probability that each pixel belongs to the object, by expectation maximisation (STAPLE).

    Pixels are judged one by one, with one prior for all: the mean of all decisions. Everything far from
    the object would count as a correct decision and drown the differences, so only the box around all
    masks is looked at, grown on every side by a tenth of its longer side and by one pixel at least.

    With two masks there is nobody to say who is right: pixels that one of them claims go the way of
    whichever is larger in that box, the part both claim or the part both leave out. When one mask lies in
    the other, those pixels stay at 0.5.

    Args:
        masks: at least one; (H, W) bool on one pixel grid.

    Returns:
        (H, W) float64 in [0, 1], 0 outside of the box; (N,) sensitivities and (N,) specificities in the
        order of `masks`, 1 where there is nothing to be right or wrong about.

    Raises:
        MaskShapeError: sizes differ.
        ValueError: no masks.

    Source: Warfield, Zou and Wells, Simultaneous truth and performance level estimation (STAPLE), IEEE
        Transactions on Medical Imaging 23(7), 2004, section II, doi:10.1109/TMI.2004.828354
    """
    size_hw = _checked(masks)
    probabilities = np.zeros(size_hw, dtype=np.float64)
    box = _staple_box(masks)
    if box is None:
        return probabilities, np.ones(len(masks)), np.ones(len(masks))
    # Rounding errors grow with the rounds, so people come in an order that does not depend on the caller's.
    decisions = np.stack([mask[box].ravel() for mask in masks])
    order = sorted(range(len(masks)), key=lambda index: decisions[index].tobytes())
    decisions = decisions[order]
    # Pixels with the same decisions have the same probability: one column for each pattern that occurs.
    codes: npt.NDArray[np.int64] = np.zeros(decisions.shape[1], dtype=np.int64)
    for row in decisions:
        _, first, codes, counts = np.unique(codes * 2 + row, True, True, True)
    found, *reliability = _expectation_maximisation(decisions[:, first], counts.astype(np.float64))
    probabilities[box] = found[codes].reshape(probabilities[box].shape)
    sensitivities, specificities = (values[np.argsort(order)] for values in reliability)
    return probabilities, sensitivities, specificities


def _staple_box(masks: Sequence[BoolMask]) -> tuple[slice, slice] | None:
    tight = _box_of_union(masks, margin_px=0)
    if tight is None:
        return None
    longer = max(side.stop - side.start for side in tight)
    return _box_of_union(masks, margin_px=max(round(_STAPLE_MARGIN * longer), 1))


def _expectation_maximisation(patterns: BoolMask, counts: Floats) -> tuple[Floats, Floats, Floats]:
    """EM over decision patterns: (N, P) bool and how many pixels show each of the P patterns.

    Returns:
        (P,) probabilities, (N,) sensitivities, (N,) specificities.
    """
    truth: Floats = patterns.mean(axis=0)
    prior = float(truth @ counts / counts.sum())
    before: Floats = np.zeros(2 * len(patterns))
    sensitivities: Floats = np.ones(len(patterns))
    specificities: Floats = np.ones(len(patterns))
    for _ in range(_STAPLE_ROUNDS):
        inside, outside = truth * counts, (1.0 - truth) * counts
        sensitivities = _shares(patterns @ inside, inside.sum())
        specificities = _shares(~patterns @ outside, outside.sum())
        said_inside = np.where(patterns, sensitivities[:, None], 1.0 - sensitivities[:, None])
        said_outside = np.where(patterns, 1.0 - specificities[:, None], specificities[:, None])
        inside_weight = prior * said_inside.prod(axis=0)
        both = inside_weight + (1.0 - prior) * said_outside.prod(axis=0)
        truth = np.divide(inside_weight, both, out=truth, where=both > 0)
        now = np.concatenate([sensitivities, specificities])
        if np.abs(now - before).max() < _STAPLE_CONVERGED:
            break
        before = now
    return truth, sensitivities, specificities


def _shares(part: Floats, whole: float) -> Floats:
    return np.clip(part / whole, 0.0, 1.0) if whole > 0 else np.ones_like(part)


def _checked(masks: Sequence[BoolMask]) -> tuple[int, int]:
    if not masks:
        raise ValueError("no masks to make one of")
    shapes = {mask.shape for mask in masks}
    if len(shapes) != 1 or masks[0].ndim != 2:
        raise MaskShapeError(f"masks of one object have the shapes {sorted(shapes)}")
    return masks[0].shape[0], masks[0].shape[1]


def _box_of_union(masks: Sequence[BoolMask], *, margin_px: int) -> tuple[slice, slice] | None:
    either = np.logical_or.reduce(list(masks))
    sides = []
    for axis in (1, 0):
        found = np.flatnonzero(either.any(axis=axis))
        if not found.size:
            return None
        end = either.shape[1 - axis]
        sides.append(slice(max(int(found[0]) - margin_px, 0), min(int(found[-1]) + 1 + margin_px, end)))
    return sides[0], sides[1]
