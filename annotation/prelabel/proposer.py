"""What pre-labelling asks of a model, whatever kind it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from dataset_tools.core.images import RgbImage
from dataset_tools.core.labels import Label

BoxXyxy = tuple[float, float, float, float]
ProbabilityMap = npt.NDArray[np.float32]  # (H, W), in [0, 1]

# Attributes of proposed instances: what kind of number their confidence is, and, of an augmented proposer,
# how much its looks at the picture disagreed.
CONFIDENCE_FROM = "confidence_from"
CALIBRATED = "calibrated"
CALIBRATED_ELSEWHERE = "calibrated_elsewhere"
EXPECTED_IOU = "expected_iou"
DISAGREEMENT = "disagreement"


@dataclass(frozen=True, slots=True, eq=False)
class Proposal:
    """A model's opinion about one label in one picture.

    Attributes:
        label: what the model looked for.
        probability: (H, W) float32 in [0, 1], of the whole picture; 0 where it did not look.
        face: index of the face it looked at, -1 for the whole picture.
        disagreement: of several looks at the same picture, in [0, 1] (see `augment.disagreement`); None when
            it looked once.
    """

    label: Label
    probability: ProbabilityMap
    face: int = -1
    disagreement: float | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """What a model was trained with: sample ids, pictures' sha256, groups and parents' ids, in one set each.

    Attributes:
        learned: of samples that it learned from.
        chosen_on: of samples that only helped to choose among its weights.
    """

    learned: frozenset[str] = frozenset()
    chosen_on: frozenset[str] = frozenset()


NOTHING_SEEN = Seen()


class Proposer(Protocol):
    """A model that proposes masks. Must be picklable; weights load on first use.

    Attributes:
        name: of the model, without "@".
        version: changes whenever its answers may change, e.g. the first digits of the weights' sha256.
    """

    @property
    def name(self) -> str: ...  # noqa: D102

    @property
    def version(self) -> str: ...  # noqa: D102

    def propose(self, images: Sequence[RgbImage], boxes: Sequence[Sequence[BoxXyxy]]) -> list[list[Proposal]]:
        """Opinions about each picture.

        Args:
            images: (H, W, 3) uint8 RGB each.
            boxes: face boxes of each picture in pixels; no boxes: the whole picture is looked at.

        Returns:
            For each picture its proposals, one per face and label.
        """
