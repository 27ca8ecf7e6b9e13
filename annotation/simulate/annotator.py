"""A simulated person at one picture: looks at the proposal, leaves it, mends it, or paints anew.

What is left alone stays the proposal's, faults included: people mend what they notice, and a difference below
their eye stays in the label. `errors` says what they notice and how they paint, `work` what it costs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from annotation.drawing import REGION_CHOICES, Drawing, FaceBox, Region
from annotation.simulate.errors import ErrorModel, is_open, redrawn, seen
from annotation.simulate.shapes import diameter_px, grown, holes, mask_iou, pieces, thickness_px
from annotation.simulate.work import BRUSH_WIDTH, TimeModel, count_strokes
from dataset_tools.core.masks import BoolMask, mask_to_rle, rle_to_mask
from dataset_tools.core.record import Instance, Pairs, Sample, sorted_pairs
from dataset_tools.core.seeds import derive_seed, generator

# A proposal that overlaps less with an instance is not about it.
_ABOUT_IOU = 0.1


@dataclass(frozen=True, slots=True)
class Act:
    """One simulated annotation.

    Attributes:
        drawing: what is submitted.
        seconds: model seconds, look included.
        strokes: brush strokes, painting and erasing.
        is_unchanged: submitted exactly as shown.
    """

    drawing: Drawing
    seconds: float
    strokes: int
    is_unchanged: bool


@dataclass(frozen=True, slots=True)
class _Part:
    """The work on one instance: the region it leaves (None: nothing was hit), and what it cost."""

    region: Region | None
    strokes: int = 0
    clicks: int = 0


def act(
    shown: Sample, truth: Sequence[Instance], model: ErrorModel, seed: int, time: TimeModel | None = None
) -> Act:
    """Annotate one picture.

    A lazy moment submits whatever is shown, without a look; on an empty picture there is nothing to accept,
    so it is painted. A proposed instance is left when it overlaps with the truth by at least `model.eye`
    and shows the same holes. Otherwise its noticeable differences are mended, or it is deleted and painted
    anew, whichever takes fewer seconds.

    Args:
        shown: the sample with the proposal as its instances; face boxes are left as they are.
        truth: what is really in the picture.
        model: the person's faults.
        seed: of this person; the picture's own draws follow from it and the sample's id.
        time: what work costs; the defaults of `TimeModel`.
    """
    time = time or TimeModel()
    own = derive_seed(seed, shown.id, "annotator")
    boxes = tuple(FaceBox(index, face.box_xyxy) for index, face in enumerate(shown.faces))
    is_lazy = bool(generator(own, "lazy").random() < model.laziness)
    if is_lazy and shown.instances:
        regions = tuple(_as_shown(instance).region for instance in shown.instances)
        clicks = 1  # submit
        return Act(_drawing(regions, boxes), time.seconds(looks=0, strokes=0, clicks=clicks), 0, True)
    about = _match(truth, shown.instances)
    parts = []
    for target in seen(truth, model, own, about):
        (painted,) = redrawn((target,), shown.image.size_hw, model, own) or (None,)
        proposal = about.get(target.id)
        if proposal is None:
            parts.append(_paint(target, painted))
        else:
            parts.append(_check(target, painted, proposal, model, time))
    strays = len(shown.instances) - len(about)  # each is deleted with a click
    strokes = sum(part.strokes for part in parts)
    clicks = strays + sum(part.clicks for part in parts)
    return Act(
        _drawing([part.region for part in parts], boxes),
        time.seconds(looks=1, strokes=strokes, clicks=clicks + 1),
        strokes,
        strokes == clicks == 0,
    )


def _drawing(regions: Sequence[Region | None], boxes: tuple[FaceBox, ...]) -> Drawing:
    return Drawing(tuple(region for region in regions if region is not None), boxes)


def _match(truth: Sequence[Instance], proposals: Sequence[Instance]) -> dict[str, Instance]:
    """By the truth's instance id the proposal about it: same label first, then the greatest overlap.

    Proposals that overlap with nothing by a tenth (IoU) are in no pair.
    """
    masks = [rle_to_mask(proposal.mask) for proposal in proposals]
    pairs = []
    for row, instance in enumerate(truth):
        mask = rle_to_mask(instance.mask)
        for column, proposal in enumerate(proposals):
            overlap = mask_iou(mask, masks[column])
            if overlap >= _ABOUT_IOU:
                pairs.append((proposal.label is not instance.label, -overlap, row, column))
    found: dict[str, Instance] = {}
    taken: set[int] = set()
    for _, _, row, column in sorted(pairs):
        if truth[row].id not in found and column not in taken:
            found[truth[row].id] = proposals[column]
            taken.add(column)
    return found


def _shown_choices(instance: Instance) -> dict[str, str]:
    chosen = {name: instance.attribute(name) for name in REGION_CHOICES}
    return {name: value for name, value in chosen.items() if value in REGION_CHOICES[name]}


def _as_shown(proposal: Instance) -> _Part:
    choices: Pairs = sorted_pairs(_shown_choices(proposal))
    return _Part(Region(proposal.id, proposal.id, proposal.label, proposal.mask, choices))


def _paint(target: Instance, painted: Instance | None) -> _Part:
    """Paint one instance on an empty place: a click for its label and one per choice."""
    if painted is None:
        return _Part(None)
    mask = rle_to_mask(painted.mask)
    choices = _shown_choices(target)
    region = Region("", f"simulated-{target.id}", target.label, painted.mask, sorted_pairs(choices))
    return _Part(region, count_strokes(mask, diameter_px(mask)), 1 + len(choices))


def _check(
    target: Instance, painted: Instance | None, proposal: Instance, model: ErrorModel, time: TimeModel
) -> _Part:
    """Leave, mend, or paint anew what a proposal shows."""
    wanted, there = rle_to_mask(target.mask), rle_to_mask(proposal.mask)
    before = _shown_choices(proposal)
    choices = before | _shown_choices(target)
    clicks = sum(before.get(name) != value for name, value in choices.items())
    clicks += target.label is not proposal.label
    tolerance = _tolerance_px(wanted, model.eye)
    mask, strokes = there, 0
    if mask_iou(there, wanted) < model.eye or not _same_holes(there, wanted, tolerance):
        hand = rle_to_mask(painted.mask) if painted is not None else np.zeros_like(wanted)
        mask, strokes = _mended(there, wanted, hand, tolerance)
        anew = _paint(target, painted)
        deletion = 1
        if anew.strokes * time.stroke_s + (anew.clicks + deletion) * time.click_s < (
            strokes * time.stroke_s + clicks * time.click_s
        ):
            return _Part(anew.region, anew.strokes, anew.clicks + deletion)
    if not mask.any():
        return _Part(None, strokes, clicks)
    region = Region(proposal.id, proposal.id, target.label, mask_to_rle(mask), sorted_pairs(choices))
    return _Part(region, strokes, clicks)


def _tolerance_px(mask: BoolMask, eye: float) -> float:
    """Width of a rim all round a disc of the mask's area that lowers the overlap to `eye`."""
    return diameter_px(mask) * (1.0 - math.sqrt(eye)) / 2.0


def _same_holes(first: BoolMask, second: BoolMask, tolerance: float) -> bool:
    return all(
        is_open(gap, other)
        for mask, other in ((first, second), (second, first))
        for gap in holes(mask)
        if thickness_px(gap) > tolerance
    )


def _mended(there: BoolMask, wanted: BoolMask, hand: BoolMask, tolerance: float) -> tuple[BoolMask, int]:
    """A proposal with its noticeable differences painted over, and the strokes that took.

    Args:
        there: (H, W) bool, the proposal.
        wanted: what the person sees.
        hand: `wanted` as the person's hand draws it; taken within half a brush around the differences.
        tolerance: differences up to this thickness in px go unnoticed, unless there are no others.
    """
    diameter = diameter_px(wanted)
    found = [*pieces(wanted & ~there), *pieces(there & ~wanted)]
    noticed = [piece for piece in found if thickness_px(piece) > tolerance] or found
    zone = np.zeros_like(there)
    for piece in noticed:
        zone |= piece
    mask = np.where(grown(zone, BRUSH_WIDTH * diameter / 2), hand, there)
    return mask, sum(count_strokes(piece, diameter) for piece in noticed)
