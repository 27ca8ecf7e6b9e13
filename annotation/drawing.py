"""What a person left on one picture, whatever tool it was drawn in; and the words of their verdict."""

from __future__ import annotations

from dataclasses import dataclass

from dataset_tools.core.labels import MASK_TYPE, MASK_TYPES, WEARING_STATE, WEARING_STATES, Label
from dataset_tools.core.masks import RleMask
from dataset_tools.core.record import Pairs

BoxXyxy = tuple[float, float, float, float]

# Choices made for one region, and what may be chosen.
REGION_CHOICES = {MASK_TYPE: MASK_TYPES, WEARING_STATE: WEARING_STATES}

# Verdicts; none of them means: right as it now stands.
ACCEPT = "accept"
FIX = "fix"  # still wrong and not mended here: somebody else has to
REJECT = "reject"  # the picture does not belong into the dataset


@dataclass(frozen=True, slots=True)
class Region:
    """A painted region.

    Attributes:
        instance_id: instance it was made from, "" when the reviewer started it.
        region_id: the tool's own id.
        label: what it shows.
        mask: its pixels.
        attributes: choices made for this region, sorted by key.
    """

    instance_id: str
    region_id: str
    label: Label
    mask: RleMask
    attributes: Pairs = ()


@dataclass(frozen=True, slots=True)
class FaceBox:
    """A face box.

    Attributes:
        face: index of the sample's face it was made from, -1 when the reviewer drew it.
        box_xyxy: pixels, x1 and y1 exclusive.
    """

    face: int
    box_xyxy: BoxXyxy


@dataclass(frozen=True, slots=True)
class Drawing:
    """All that stands in one annotation.

    Attributes:
        regions: painted regions in drawing order, without those erased to nothing.
        boxes: face boxes.
        verdict: the choice made, "" for none.
        note: free text, "" for none.
    """

    regions: tuple[Region, ...] = ()
    boxes: tuple[FaceBox, ...] = ()
    verdict: str = ""
    note: str = ""
