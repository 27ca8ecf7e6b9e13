"""From a probability map and prompts to one region. Pure arrays.

Thresholds stand for "how sure must the model be". A click on something lowers the threshold around it until
the model agrees, and no further; a click beside it raises the threshold until the two fall apart.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from annotation.backend.prompts import Click, pixels_in
from annotation.prelabel.masks import FOREGROUND_PROBABILITY
from annotation.prelabel.proposer import BoxXyxy, ProbabilityMap
from dataset_tools.core.masks import BoolMask

FALLING = (FOREGROUND_PROBABILITY, 0.4, 0.3, 0.2, 0.1, 0.05)
RISING = (0.6, 0.7, 0.8, 0.9, 0.95, 0.99)

# What falls away at a higher threshold is mostly a thin rim all around; this share of the region's own size
# is taken for rim. It stays, so that a cut on one side leaves the outline on the others alone.
_RIM_SHARE = 0.015
_LEAST_RIM_PX = 2


def region_at(
    probability: ProbabilityMap, clicks: Sequence[Click], box_xyxy: BoxXyxy | None = None
) -> BoolMask:
    """The region that clicks and a box ask for, together.

    1. A box takes everything in it that the model holds for foreground (p >= 0.5).
    2. Each positive click adds the connected region around it, at the highest threshold of `FALLING` that
       its pixel reaches. Where the model sees next to nothing (p < 0.05), a click adds nothing.
    3. Each negative click inside takes away what comes apart from the positive clicks, or without any from
       the largest part, at the lowest threshold of `RISING` that separates them. Where the model is equally
       sure of both all the way, the line is drawn half-way between them.
    4. Of what is left, parts without a positive click go, unless a box asked for them.

    Args:
        probability: (H, W) float32 in [0, 1] of the wanted label.
        clicks: inside the picture, in the order they were made.
        box_xyxy: pixels.

    Returns:
        (H, W) bool; holes stay.
    """
    positives = [click for click in clicks if click.is_positive]
    region = np.zeros(probability.shape, dtype=np.bool_)
    if box_xyxy is not None:
        inside = pixels_in(box_xyxy)
        region[inside] = probability[inside] >= FOREGROUND_PROBABILITY
    for click in positives:
        region |= _grown(probability, click)
    for click in clicks:
        if not click.is_positive and region[click.row, click.column]:
            region &= ~_unwanted(probability, region, click, positives)
    return _parts_at(region, positives) if positives and box_xyxy is None else region


def _grown(probability: ProbabilityMap, click: Click) -> BoolMask:
    sure = probability[click.row, click.column]
    for level in FALLING:
        if sure >= level:
            return _parts_at(probability >= level, [click])
    return np.zeros(probability.shape, dtype=np.bool_)


def _unwanted(
    probability: ProbabilityMap, region: BoolMask, click: Click, positives: Sequence[Click]
) -> BoolMask:
    """The part of a region that a negative click takes away."""
    for level in RISING:
        high = region & (probability >= level)
        kept = _parts_at(high, positives) if positives else _largest_part(high)
        if not kept.any():
            break
        if not kept[click.row, click.column]:
            part = _without_rim(region & ~kept, region, click)
            if not any(part[one.row, one.column] for one in positives):
                return part
    if not positives:
        return _parts_at(region, [click])
    to_wanted = np.min([_squared_distance(region.shape, one) for one in positives], axis=0)
    return np.asarray(region & (_squared_distance(region.shape, click) < to_wanted), dtype=np.bool_)


def _squared_distance(shape: tuple[int, ...], click: Click) -> npt.NDArray[np.int64]:
    rows = np.arange(shape[0], dtype=np.int64)[:, None] - click.row
    columns = np.arange(shape[1], dtype=np.int64)[None, :] - click.column
    return rows**2 + columns**2


def _without_rim(fallen: BoolMask, region: BoolMask, click: Click) -> BoolMask:
    """The part of what fell away that the click is in, without the thin rim that hangs on to it."""
    import cv2

    rim = max(_LEAST_RIM_PX, round(_RIM_SHARE * math.sqrt(int(region.sum()))))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * rim + 1, 2 * rim + 1))
    thick = cv2.morphologyEx(fallen.astype(np.uint8), cv2.MORPH_OPEN, disc).astype(np.bool_)
    if not thick[click.row, click.column]:
        return _parts_at(fallen, [click])
    part = _parts_at(thick, [click])
    # The corners that a disc cannot reach belong to it.
    return np.asarray(fallen & (cv2.dilate(part.astype(np.uint8), disc) > 0), dtype=np.bool_)


def _parts_at(mask: BoolMask, clicks: Sequence[Click]) -> BoolMask:
    """The connected parts of a mask that a click is in."""
    import cv2

    _, numbers = cv2.connectedComponents(mask.astype(np.uint8))
    wanted = {int(numbers[click.row, click.column]) for click in clicks} - {0}
    return np.asarray(np.isin(numbers, sorted(wanted)), dtype=np.bool_)


def _largest_part(mask: BoolMask) -> BoolMask:
    import cv2

    count, numbers, facts, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    if count < 2:
        return np.zeros(mask.shape, dtype=np.bool_)
    largest = 1 + int(np.argmax(facts[1:, cv2.CC_STAT_AREA]))
    return np.asarray(numbers == largest, dtype=np.bool_)
