"""Clicks and boxes for any proposer: it looks once, and prompts are answered from what it saw."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from annotation.backend.prompts import Encoding, Prompts, Segmentation, pixels_in
from annotation.backend.regions import region_at
from annotation.prelabel.masks import FOREGROUND_PROBABILITY, expected_iou
from annotation.prelabel.proposer import BoxXyxy, ProbabilityMap, Proposal, Proposer
from dataset_tools.core.images import RgbImage
from dataset_tools.core.labels import Label
from dataset_tools.core.masks import BoolMask

DEFAULT_CACHE_BYTES = 1 << 28


class MapPrompter:
    """Answers prompts with a proposer that knows nothing of prompts, such as a trained baseline.

    The encoding of a picture is what the proposer says of it: a probability map per face and label, or per
    label where it looks at whole pictures. Clicks are answered from the maps and the picture's colours alone
    (`regions.region_at`). A box makes the proposer look once more, at just that box in place of a face.
    """

    def __init__(self, proposer: Proposer) -> None:
        self._proposer = proposer

    @property
    def name(self) -> str:
        """Of the proposer."""
        return self._proposer.name

    @property
    def version(self) -> str:
        """Of the proposer."""
        return self._proposer.version

    def encode(self, rgb: RgbImage, boxes: Sequence[BoxXyxy]) -> Encoding:
        """As `Prompter.encode`."""
        (proposals,) = self._proposer.propose([rgb], [boxes])
        return _Maps(self._proposer, rgb, proposals)


@dataclass(frozen=True, slots=True, eq=False)
class _Seen:
    """A proposal without the zeros around the place that was looked at."""

    label: Label
    top: int
    left: int
    part: ProbabilityMap

    def map(self, size_hw: tuple[int, int]) -> ProbabilityMap:
        whole = np.zeros(size_hw, dtype=np.float32)
        height, width = self.part.shape
        whole[self.top : self.top + height, self.left : self.left + width] = self.part
        return whole

    def at(self, row: int, column: int) -> float:
        row, column = row - self.top, column - self.left
        inside = 0 <= row < self.part.shape[0] and 0 <= column < self.part.shape[1]
        return float(self.part[row, column]) if inside else 0.0


def _seen(proposal: Proposal) -> _Seen:
    rows = np.flatnonzero(proposal.probability.any(axis=1))
    columns = np.flatnonzero(proposal.probability.any(axis=0))
    if not rows.size:
        return _Seen(proposal.label, 0, 0, np.zeros((0, 0), dtype=np.float32))
    top, left = int(rows[0]), int(columns[0])
    part = proposal.probability[top : int(rows[-1]) + 1, left : int(columns[-1]) + 1]
    return _Seen(proposal.label, top, left, part.copy())


class _Maps:
    """The maps of one picture, and those of the box that was asked for last."""

    def __init__(self, proposer: Proposer, rgb: RgbImage, proposals: Sequence[Proposal]) -> None:
        self._proposer = proposer
        self._rgb = rgb
        self._size_hw = (int(rgb.shape[0]), int(rgb.shape[1]))
        self._faces = tuple(_seen(one) for one in proposals)
        self._box: tuple[BoxXyxy, tuple[_Seen, ...]] | None = None

    @property
    def nbytes(self) -> int:
        """Memory of the picture and of all maps."""
        looked = self._box[1] if self._box else ()
        return self._rgb.nbytes + sum(one.part.nbytes for one in (*self._faces, *looked))

    def segment(self, prompts: Prompts) -> Segmentation:
        """As `Encoding.segment`; empty for a label that the proposer does not know."""
        known = [one for one in self._faces if one.label is prompts.label]
        if not known and not self._is_known_in(prompts):
            return Segmentation(np.zeros(self._size_hw, dtype=np.bool_), 0.0)
        probability = self._map(prompts, known)
        mask, corrected = region_at(probability, self._rgb, prompts.clicks, prompts.box_xyxy)
        return Segmentation(mask, _score(probability, corrected, mask))

    def _is_known_in(self, prompts: Prompts) -> bool:
        box = prompts.box_xyxy
        return box is not None and any(one.label is prompts.label for one in self._look_at(box))

    def _map(self, prompts: Prompts, known: Sequence[_Seen]) -> ProbabilityMap:
        """The wanted label's map: of each positive click, the face seen surest there, and of the box."""
        chosen = {
            max(range(len(known)), key=lambda index: known[index].at(click.row, click.column))
            for click in prompts.positives
            if known
        }
        found = np.zeros(self._size_hw, dtype=np.float32)
        for index in sorted(chosen):
            np.maximum(found, known[index].map(self._size_hw), out=found)
        if prompts.box_xyxy is not None:
            inside = pixels_in(prompts.box_xyxy)
            found[inside] = 0
            for one in self._look_at(prompts.box_xyxy):
                if one.label is prompts.label:
                    found[inside] = one.map(self._size_hw)[inside]
        return found

    def _look_at(self, box_xyxy: BoxXyxy) -> tuple[_Seen, ...]:
        if self._box is None or self._box[0] != box_xyxy:
            (proposals,) = self._proposer.propose([self._rgb], [[box_xyxy]])
            self._box = (box_xyxy, tuple(_seen(one) for one in proposals))
        return self._box[1]


def _score(probability: ProbabilityMap, corrected: ProbabilityMap, mask: BoolMask) -> float:
    """The IoU to be expected, leaving out other things the model saw, which nobody asked for."""
    outside = np.minimum(probability, corrected)
    outside[outside >= FOREGROUND_PROBABILITY] = 0
    return expected_iou(np.where(mask, corrected, outside), mask)


class EncodingCache:
    """The encodings used last, up to a number of bytes; the newest is always kept.

    Args:
        limit_bytes: of all encodings together.
    """

    def __init__(self, limit_bytes: int = DEFAULT_CACHE_BYTES) -> None:
        self._limit = limit_bytes
        self._kept: OrderedDict[tuple[str, str], Encoding] = OrderedDict()

    def get(self, image_sha256: str, model_version: str, make: Callable[[], Encoding]) -> Encoding:
        """The encoding of a picture by a model, made only when it is not at hand."""
        key = (image_sha256, model_version)
        if key not in self._kept:
            self._kept[key] = make()
        self._kept.move_to_end(key)
        while len(self._kept) > 1 and self.nbytes > self._limit:
            self._kept.popitem(last=False)
        return self._kept[key]

    @property
    def nbytes(self) -> int:
        """Memory of all encodings."""
        return sum(one.nbytes for one in self._kept.values())
