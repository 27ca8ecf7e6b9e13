"""Which labels are probably wrong: confident learning over the pixels of face masks. Pure.

A pixel's label is doubted when a model gives the other class at least as much probability as it gives, on
average, to pixels that carry that class's label. Nothing is assumed about how well the model is calibrated:
the averages take care of a model that is too sure or too shy.

Source: Northcutt, Jiang, Chuang, Confident Learning: Estimating Uncertainty in Dataset Labels, JAIR 2021,
https://arxiv.org/abs/1911.00068, sections 3.1 (thresholds, confident joint) and 3.2; per pixel as in Lad and
Mueller, https://arxiv.org/abs/2307.05080. Predictions should be held out: a model agrees with what it learned
from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dataset_tools.core.errors import MaskShapeError
from dataset_tools.core.masks import BoolMask

FloatMap = npt.NDArray[np.float32]
FloatTable = npt.NDArray[np.float64]

# Probabilities are counted in steps of 1/4095, so that a picture is a small table whatever its size.
_TOP = 4095

# As the reference implementation: a probability this little under the threshold still reaches it.
_SLACK = 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class PixelCounts:
    """The pixels of one picture that a model has judged.

    Attributes:
        probability: (n,) float64, probabilities of "face mask" in [0, 1].
        pixels: (2, n) int64, how many pixels have each: row 0 labelled as background, row 1 as face mask.
    """

    probability: FloatTable
    pixels: npt.NDArray[np.int64]


def count_pixels(is_mask: BoolMask, probability: npt.NDArray[np.floating]) -> PixelCounts:
    """Count a picture's pixels by label and probability.

    Args:
        is_mask: any shape, bool: the label.
        probability: the same shape, in [0, 1]: what a model says of it.

    Raises:
        MaskShapeError: the shapes differ.
    """
    if is_mask.shape != probability.shape:
        raise MaskShapeError(f"label of shape {is_mask.shape}, prediction of shape {probability.shape}")
    levels = np.rint(np.asarray(probability, dtype=np.float64) * _TOP).astype(np.int64)
    table = np.bincount((levels + (_TOP + 1) * is_mask).ravel(), minlength=2 * (_TOP + 1))
    rows = table.reshape(2, _TOP + 1)
    found = np.flatnonzero(rows.any(axis=0))
    return PixelCounts(found / _TOP, rows[:, found].astype(np.int64))


@dataclass(frozen=True, slots=True)
class Suspect:
    """What confident learning says of one picture's face masks.

    Attributes:
        extra_px: pixels labelled as face mask that are confidently background.
        missing_px: pixels labelled as background that are confidently face mask.
        label_px: pixels labelled as face mask.
        seen_px: pixels that a model has judged.
    """

    extra_px: int
    missing_px: int
    label_px: int
    seen_px: int

    @property
    def suspicion(self) -> float:
        """Doubted pixels over all that are labelled or doubted, in [0, 1]; 0 when there are none."""
        issues = self.extra_px + self.missing_px
        return issues / max(self.label_px + self.missing_px, 1)

    @property
    def quality(self) -> float:
        """Share of the judged pixels that nothing speaks against, in [0, 1]."""
        return 1.0 - (self.extra_px + self.missing_px) / max(self.seen_px, 1)


@dataclass(frozen=True, slots=True, eq=False)
class NoiseEstimate:
    """Label noise over all judged pictures.

    Attributes:
        thresholds: of background and face mask: mean probability of the class over the pixels so labelled;
            infinite for a class that no pixel is labelled with.
        confident: (2, 2) int64, confident joint: pixels by label (row) and confident class (column).
        labelled: (2,) int64, pixels by label.
        suspects: by the pictures' keys, the most suspicious first; equal ones by key.
    """

    thresholds: tuple[float, float]
    confident: npt.NDArray[np.int64]
    labelled: npt.NDArray[np.int64]
    suspects: dict[str, Suspect]

    @property
    def joint(self) -> FloatTable:
        """(2, 2) float64, estimated shares of all pixels by label (row) and true class (column); sums to 1.

        Each row of the confident joint is scaled to the number of pixels with that label (equation 3).
        """
        rows = self.confident.astype(np.float64)
        empty = rows.sum(axis=1) == 0
        rows[empty] = np.eye(2)[empty]
        scaled = rows / rows.sum(axis=1, keepdims=True) * self.labelled[:, None]
        return np.asarray(scaled / max(scaled.sum(), 1.0))

    @property
    def wrong_shares(self) -> tuple[float, float]:
        """Estimated share of the pixels labelled as background, and as face mask, that are the other."""
        joint = self.joint
        sums = np.maximum(joint.sum(axis=1), 1e-300)
        return float(joint[0, 1] / sums[0]), float(joint[1, 0] / sums[1])


def find_noise(pictures: Mapping[str, PixelCounts]) -> NoiseEstimate:
    """Estimate the label noise and rank the pictures by it.

    Args:
        pictures: judged pixels by any key, e.g. the sample id.
    """
    labelled = np.zeros(2, dtype=np.int64)
    sums = np.zeros(2)
    for item in pictures.values():
        labelled += item.pixels.sum(axis=1)
        sums += (item.pixels[0] @ (1 - item.probability), item.pixels[1] @ item.probability)
    thresholds = np.where(labelled > 0, sums / np.maximum(labelled, 1), np.inf)
    confident = np.zeros((2, 2), dtype=np.int64)
    suspects = {}
    for key, item in pictures.items():
        chosen = _confident_class(item.probability, thresholds)
        table = np.stack([item.pixels[:, chosen == number].sum(axis=1) for number in (0, 1)], axis=1)
        confident += table
        suspects[key] = Suspect(
            extra_px=int(table[1, 0]),
            missing_px=int(table[0, 1]),
            label_px=int(item.pixels[1].sum()),
            seen_px=int(item.pixels.sum()),
        )
    ranked = sorted(suspects.items(), key=lambda pair: (-pair[1].suspicion, pair[0]))
    return NoiseEstimate((float(thresholds[0]), float(thresholds[1])), confident, labelled, dict(ranked))


def _confident_class(probability: FloatTable, thresholds: FloatTable) -> npt.NDArray[np.int64]:
    # 0 or 1; -1 where neither class reaches its threshold. Where both do, the more probable one.
    both = np.stack([1 - probability, probability])
    reaches = both >= thresholds[:, None] - _SLACK
    more_probable = both.argmax(axis=0)
    only = np.where(reaches[1], 1, np.where(reaches[0], 0, -1))
    return np.where(reaches.all(axis=0), more_probable, only).astype(np.int64)
