"""The spectral mask pipeline of Xu & Zheng, section 3 (`baselines.md` section 3.4), step by step.

    1 prepared           noise removed, edges raised
    2 first_guess        Otsu on NBRI, Otsu on NMRI, their union in the lower face
    3 clustered          fuzzy c-means over NBRI, NMRI, a*, b*; the cluster that overlaps step 2 most
    4 COMPENSATIONS      the picture changed by what step 3 found
    5 clustered again    on the changed picture; closed, filled, specks dropped
    6 connectivity       candidates judged by shape and texture
    7                    the union of what is kept

The paper expects masks bluer, more saturated and darker than skin; white, black and pale blue masks are
not. `sign="auto"` therefore lets each index point the way in which the lower face differs from the rest.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from baselines.classical import spectral
from baselines.classical.compensation import COMPENSATIONS, back_projection
from baselines.classical.components import closed, filled, largest
from baselines.classical.connectivity import MOST_MI, Rule, candidates, is_kept
from baselines.classical.fuzzy import fuzzy_c_means, memberships, standardised
from baselines.classical.lower_face import (
    BoolMask,
    Box,
    Example,
    Extent,
    RgbImage,
    at_working_size,
    extent,
    grey,
    label_at_working_size,
    lower_face,
    median_box,
)
from baselines.classical.otsu import above_otsu
from dataset_tools.core.errors import ConfigError

FloatMap = npt.NDArray[np.float32]
Sign = Literal["auto", "paper", "reversed"]
Smoothing = Literal["median", "bilateral"]

BACK_PROJECTION = "back_proj"
MOST_PO = "most_po"  # key of the fitted limit P2
MOST_PO_PERCENTILE = 95
CLUSTERS = 3
FITTED_PIXELS = 16_384  # of the picture, evenly spread; the specification allows 64k
EDGE_BOOST = 0.5
CLOSING_PX = 5
LEAST_SHARE = 0.005  # of the face's area


@dataclass(frozen=True, slots=True)
class SpectralOptions:
    """The pipeline's switches.

    Attributes:
        compensation: a name of `COMPENSATIONS`, or "back_proj".
        rule: see `connectivity`.
        sign: "paper": larger indices are mask; "reversed": smaller ones; "auto": decided on each picture.
        smoothing: of step 1.
        most_mi: P1.
        largest_only: answer the largest kept area alone.
    """

    compensation: str = "combined"
    rule: Rule = "corrected"
    sign: Sign = "auto"
    smoothing: Smoothing = "median"
    most_mi: float = MOST_MI
    largest_only: bool = False

    def __post_init__(self) -> None:
        known = {*COMPENSATIONS, BACK_PROJECTION}
        for name, value, allowed in (
            ("compensation", self.compensation, known),
            ("rule", self.rule, {"corrected", "literal"}),
            ("sign", self.sign, {"auto", "paper", "reversed"}),
            ("smoothing", self.smoothing, {"median", "bilateral"}),
        ):
            if value not in allowed:
                raise ConfigError(f"{name} is {value!r}, expected one of {', '.join(sorted(allowed))}")


@dataclass(frozen=True, slots=True)
class Indices:
    """NBRI and NMRI of a picture, (H, W) float32 in [-1, 1], larger where a mask is more likely."""

    nbri: FloatMap
    nmri: FloatMap


def prepared(rgb: RgbImage, smoothing: Smoothing = "median") -> RgbImage:
    """Step 1: 3×3 median or a bilateral filter, then unsharp masking by one half."""
    smooth = cv2.medianBlur(rgb, 3) if smoothing == "median" else cv2.bilateralFilter(rgb, 9, 75, 75)
    blurred = cv2.GaussianBlur(smooth, (0, 0), 1.0)
    return np.asarray(cv2.addWeighted(smooth, 1 + EDGE_BOOST, blurred, -EDGE_BOOST, 0), dtype=np.uint8)


def indices(rgb: RgbImage, within: BoolMask, sign: Sign, weights: FloatMap | None = None) -> Indices:
    """The two indices, turned so that larger means mask.

    Args:
        rgb: (H, W, 3) uint8.
        within: (H, W) bool, the lower face.
        sign: see `SpectralOptions`.
        weights: (H, W) float32 in [0, 1] of back projection; weight 0 makes an index -1.
    """
    turned = [_turned(index, within, sign) for index in (spectral.nbri(rgb), spectral.nmri(rgb))]
    if weights is not None:
        turned = [(index + 1) * weights - 1 for index in turned]
    return Indices(*turned)


def _turned(index: FloatMap, within: BoolMask, sign: Sign) -> FloatMap:
    if sign == "auto":
        high = above_otsu(index, np.ones_like(within))
        is_lower = high[within].mean() < high[~within].mean() if not within.all() else False
        return -index if is_lower else index
    return -index if sign == "reversed" else index


def first_guess(found: Indices, within: BoolMask) -> BoolMask:
    """Step 2: where either index is above its Otsu level, inside the lower face."""
    return (above_otsu(found.nbri, within) | above_otsu(found.nmri, within)) & within


def clustered(rgb: RgbImage, found: Indices, guess: BoolMask, *, seed: int = 0) -> BoolMask:
    """Step 3: the cluster of colours with the highest IoU with the guess, anywhere in the picture.

    Args:
        rgb: (H, W, 3) uint8, the picture of the indices.
        found: its indices.
        guess: (H, W) bool.
        seed: of the first centres.
    """
    planes = (found.nbri, found.nmri, *spectral.chroma(rgb))
    points = standardised(np.stack([plane.ravel() for plane in planes], axis=1).astype(np.float64))
    step = max(len(points) // FITTED_PIXELS, 1)
    centres = fuzzy_c_means(points[::step], CLUSTERS, seed=seed).centres
    nearest = memberships(points, centres).argmax(axis=0).reshape(guess.shape)
    return max((nearest == number for number in range(CLUSTERS)), key=lambda one: _iou(one, guess))


def _iou(one: BoolMask, other: BoolMask) -> float:
    return np.count_nonzero(one & other) / max(np.count_nonzero(one | other), 1)


def threshold_mask(rgb: RgbImage) -> BoolMask:
    """Table 4, "threshold": Otsu on NBRI over the whole crop."""
    return above_otsu(spectral.nbri(rgb), np.ones(rgb.shape[:2], dtype=np.bool_))


def first_cluster(rgb: RgbImage, place: Box, options: SpectralOptions) -> BoolMask:
    """Table 4, "fuzzy c-means": steps 1 to 3."""
    clean, within = prepared(rgb, options.smoothing), place.mask(len(rgb))
    found = indices(clean, within, options.sign)
    return clustered(clean, found, first_guess(found, within))


def spectral_mask(rgb: RgbImage, place: Box, most_po: float, options: SpectralOptions) -> BoolMask:
    """All seven steps.

    Args:
        rgb: (S, S, 3) uint8.
        place: the lower face.
        most_po: P2, see `fit_spectral`.
        options: the switches.

    Returns:
        (S, S) bool; empty when no candidate passes the rule.
    """
    clean, within = prepared(rgb, options.smoothing), place.mask(len(rgb))
    found = indices(clean, within, options.sign)
    area = clustered(clean, found, first_guess(found, within))
    weights = None
    if options.compensation == BACK_PROJECTION:
        weights = back_projection(clean, area)
        changed = clean
    else:
        changed = COMPENSATIONS[options.compensation](clean, area)
    again = indices(changed, within, options.sign, weights)
    second = filled(closed(clustered(changed, again, first_guess(again, within)), CLOSING_PX))
    judged = candidates(second, unit_grey(rgb), least_px=LEAST_SHARE * place.face_area_px)
    kept = [
        one for one in judged if is_kept(one, most_mi=options.most_mi, most_po=most_po, rule=options.rule)
    ]
    union = np.logical_or.reduce([one.pixels for one in kept], axis=0) if kept else np.zeros_like(second)
    return largest(union) if options.largest_only else union


def unit_grey(rgb: RgbImage) -> FloatMap:
    """Brightness in [0, 1], (H, W) float32: what texture is measured on."""
    return np.asarray(grey(rgb) / np.float32(255), dtype=np.float32)


def fit_spectral(examples: Iterable[Example]) -> dict[str, FloatMap]:
    """The lower face, and P2: the 95th percentile of Po over the areas of the true masks.

    Args:
        examples: crops (S, S, 3) uint8 and labels (S, S) bool.

    Returns:
        "lower_face" as `fit_lower_face`, and "most_po", (1,) float32; without labels neither.
    """
    boxes: list[Extent] = []
    seen: list[tuple[int, float]] = []
    for rgb, label in examples:
        small = label_at_working_size(label)
        if (box := extent(small)) is not None:
            boxes.append(box)
            brightness = unit_grey(at_working_size(rgb))
            seen.extend((one.area_px, one.po) for one in candidates(small, brightness))
    fitted = median_box(boxes)
    least_px = LEAST_SHARE * lower_face(fitted).face_area_px
    found = [po for area_px, po in seen if area_px >= least_px]
    if found:
        fitted[MOST_PO] = np.array([np.percentile(found, MOST_PO_PERCENTILE)], dtype=np.float32)
    return fitted
