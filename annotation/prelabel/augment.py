"""Several looks at one picture: mirrored and at other sizes, averaged, with how much they disagree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from annotation.prelabel.masks import FOREGROUND_PROBABILITY, overlap
from annotation.prelabel.proposer import NOTHING_SEEN, BoxXyxy, ProbabilityMap, Proposal, Proposer, Seen
from dataset_tools.core.images import RgbImage
from dataset_tools.core.masks import BoolMask

_Pixel = TypeVar("_Pixel", bound=np.generic)


@dataclass(frozen=True, slots=True)
class Look:
    """One way to show a picture.

    Attributes:
        scale: both sides are multiplied by it, and rounded.
        is_mirrored: left and right change places.
    """

    scale: float = 1.0
    is_mirrored: bool = False

    def size_hw(self, size_hw: tuple[int, int]) -> tuple[int, int]:
        """Size of the picture shown."""
        return max(round(size_hw[0] * self.scale), 1), max(round(size_hw[1] * self.scale), 1)

    def show(self, rgb: RgbImage) -> RgbImage:
        """The picture as it is shown, (H', W', 3) uint8."""
        height, width = self.size_hw((rgb.shape[0], rgb.shape[1]))
        if (height, width) != rgb.shape[:2]:
            rgb = np.asarray(Image.fromarray(rgb).resize((width, height), Image.Resampling.BILINEAR))
        return _mirrored(rgb) if self.is_mirrored else rgb

    def move(self, box_xyxy: BoxXyxy, size_hw: tuple[int, int]) -> BoxXyxy:
        """A box of a picture of `size_hw`, where it lies in the picture shown."""
        height, width = self.size_hw(size_hw)
        along_y, along_x = height / size_hw[0], width / size_hw[1]
        x0, y0, x1, y1 = box_xyxy
        x0, y0, x1, y1 = x0 * along_x, y0 * along_y, x1 * along_x, y1 * along_y
        return (width - x1, y0, width - x0, y1) if self.is_mirrored else (x0, y0, x1, y1)

    def move_back(self, probability: ProbabilityMap, size_hw: tuple[int, int]) -> ProbabilityMap:
        """A map of the picture shown as a map of the picture itself, which is `size_hw`."""
        upright = _mirrored(probability) if self.is_mirrored else probability
        if upright.shape == size_hw:
            return upright
        resized = Image.fromarray(upright).resize((size_hw[1], size_hw[0]), Image.Resampling.BILINEAR)
        return np.asarray(resized, dtype=np.float32).clip(0.0, 1.0)


# A network that resizes whatever it is shown to its own input size notices little of a scale; one that works
# at the picture's own size notices much. Mirroring is seen by all.
LOOKS = (Look(), Look(is_mirrored=True), Look(scale=0.8), Look(scale=1.25))


class Augmented:
    """A proposer that looks several times and answers with the mean.

    Each proposal also says how much its looks disagreed. Holes stay: nothing is filled or smoothed.

    Args:
        proposer: who looks.
        looks: how often and how; the first one's proposals are those that are answered.

    Attributes:
        name: of the proposer inside.
        version: of the proposer inside, with "+tta".
    """

    def __init__(self, proposer: Proposer, looks: Sequence[Look] = LOOKS) -> None:
        self.name = proposer.name
        self.version = f"{proposer.version}+tta"
        self.looks = tuple(looks)
        self._proposer = proposer

    @property
    def weights_sha256(self) -> str:
        """Of the proposer inside; "" when it has none."""
        return str(getattr(self._proposer, "weights_sha256", ""))

    @property
    def seen(self) -> Seen:
        """Of the proposer inside."""
        found: Seen = getattr(self._proposer, "seen", NOTHING_SEEN)
        return found

    def propose(self, images: Sequence[RgbImage], boxes: Sequence[Sequence[BoxXyxy]]) -> list[list[Proposal]]:
        """As `Proposer.propose`."""
        return [self._look_at(rgb, own) for rgb, own in zip(images, boxes, strict=True)]

    def _look_at(self, rgb: RgbImage, boxes: Sequence[BoxXyxy]) -> list[Proposal]:
        size_hw = (rgb.shape[0], rgb.shape[1])
        answers = self._proposer.propose(
            [look.show(rgb) for look in self.looks],
            [[look.move(box, size_hw) for box in boxes] for look in self.looks],
        )
        # What a look has no proposal for, it denies.
        nothing = np.zeros(size_hw, dtype=np.float32)
        by_place = [
            {(item.label, item.face): look.move_back(item.probability, size_hw) for item in answer}
            for look, answer in zip(self.looks, answers, strict=True)
        ]
        result = []
        for first in answers[0]:
            maps = [found.get((first.label, first.face), nothing) for found in by_place]
            mean = (np.stack(maps).sum(axis=0, dtype=np.float64) / len(maps)).astype(np.float32)
            masks = [one >= FOREGROUND_PROBABILITY for one in maps]
            result.append(Proposal(first.label, mean, first.face, disagreement(masks)))
        return result


def disagreement(masks: Sequence[BoolMask]) -> float:
    """How much several masks of one thing differ: 1 - mean IoU over all pairs.

    Args:
        masks: (H, W) bool each.

    Returns:
        Value in [0, 1]: 0 when all are equal (also when all are empty) or when there is only one.
    """
    pairs = [overlap(first, second) for first, second in combinations(masks, 2)]
    return 1.0 - sum(pairs) / len(pairs) if pairs else 0.0


def _mirrored(pixels: npt.NDArray[_Pixel]) -> npt.NDArray[_Pixel]:
    return np.ascontiguousarray(pixels[:, ::-1])
