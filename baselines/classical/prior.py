"""The average mask of the training crops: what a model knows that has never looked at a picture."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt

from baselines.crops import FloatMap, resize_map

PRIOR_PX = 64
AVERAGE_MASK = "average_mask"  # key of the fitted map


def fit_average_mask(
    examples: Iterable[tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]],
) -> dict[str, FloatMap]:
    """The mean of the labels at 64 × 64.

    Args:
        examples: crops (S, S, 3) uint8 and labels (S, S) bool; empty labels count too.

    Returns:
        "average_mask": (64, 64) float32 in [0, 1]; nothing without examples.
    """
    total, count = np.zeros((PRIOR_PX, PRIOR_PX)), 0
    for _, label in examples:
        total += resize_map(label.astype(np.float32), PRIOR_PX)
        count += 1
    return {AVERAGE_MASK: (total / count).astype(np.float32)} if count else {}


def average_mask(fitted: Mapping[str, FloatMap], side: int) -> FloatMap:
    """The fitted map as (side, side) float32 in [0, 1]; 0 everywhere when nothing was fitted."""
    if AVERAGE_MASK not in fitted:
        return np.zeros((side, side), dtype=np.float32)
    return resize_map(fitted[AVERAGE_MASK], side)
