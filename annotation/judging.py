"""What came back against what was shown: a verdict; and the sample that people's decision makes. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from annotation.agreement import DRAWN_PREFIX
from annotation.consensus import CONSENSUS, Decision, Outcome
from annotation.drawing import FIX, REGION_CHOICES, REJECT, BoxXyxy, Drawing, FaceBox, Region
from annotation.prelabel.proposer import CONFIDENCE_FROM, DISAGREEMENT
from dataset_tools.core.errors import ItemFault
from dataset_tools.core.labels import Label, Wearing
from dataset_tools.core.masks import BoolMask, mask_to_rle, rle_to_mask
from dataset_tools.core.reasons import Reason
from dataset_tools.core.record import (
    Face,
    Instance,
    Review,
    ReviewState,
    Sample,
    sorted_pairs,
)

# Attribute of a human instance that began as a proposal: the "model:<name>@<version>" it came from.
PROPOSED_BY = "proposed_by"

# What a region says of itself, and what a model said of its proposal: neither is carried over.
_OF_THE_PAST = (*REGION_CHOICES, CONFIDENCE_FROM, DISAGREEMENT)

# A box that came back this near to where it was has not been moved: percent and back costs some 1e-13 px.
_SAME_BOX_PX = 0.01

# A region that the reviewer started belongs to the face whose box holds at least this share of its pixels.
_IN_FACE_SHARE = 0.5

# What belongs to one face alone: strokes on two faces stay two, also where they meet.
_OF_ONE_FACE = (Label.FACE_MASK, Label.FACE, Label.STRAP)


def judge(sample: Sample, drawing: Drawing, reviewer: str) -> tuple[ReviewState, tuple[Instance, ...]]:
    """Compare an annotation with what was shown.

    Several strokes of the brush may be one object (see `join_strokes`).

    Args:
        sample: as it was shown; its instances are the proposal.
        drawing: the annotation.
        reviewer: for "human:<reviewer>" of everything drawn or confirmed.

    Returns:
        accepted when every mask, label, choice and box is as shown; corrected when anything differs;
        rejected or not_seen, with no instances, when the verdict says so (see `Verdict.state`).

    Raises:
        ItemFault: `duplicate_id`, two regions stand for one instance.
    """
    if drawing.verdict == REJECT:
        return ReviewState.REJECTED, ()
    shown = {instance.id: instance for instance in sample.instances}
    taken = [region.instance_id for region in drawing.regions if region.instance_id in shown]
    if len(set(taken)) != len(taken):
        raise ItemFault(Reason.DUPLICATE_ID, "two regions stand for one instance")
    pairs = [(region, shown.get(region.instance_id)) for region in join_strokes(drawing, sample)]
    is_untouched = (
        len(taken) == len(pairs) == len(shown)
        and all(original is not None and _is_same(region, original) for region, original in pairs)
        and _boxes_are_same(drawing.boxes, sample.faces)
    )
    if is_untouched and drawing.verdict == FIX:
        return ReviewState.NOT_SEEN, ()
    instances = tuple(_instance(region, original, reviewer) for region, original in pairs)
    return (ReviewState.ACCEPTED if is_untouched else ReviewState.CORRECTED), instances


def _shown_choices(instance: Instance) -> dict[str, str]:
    chosen = {name: instance.attribute(name) for name in REGION_CHOICES}
    return {name: value for name, value in chosen.items() if value in REGION_CHOICES[name]}


def _is_same(region: Region, original: Instance) -> bool:
    return (
        region.mask == original.mask
        and region.label == original.label
        and dict(region.attributes) == _shown_choices(original)
    )


def _is_same_box(box: FaceBox, face: Face) -> bool:
    return all(
        abs(now - before) <= _SAME_BOX_PX for now, before in zip(box.box_xyxy, face.box_xyxy, strict=True)
    )


def _boxes_are_same(boxes: Sequence[FaceBox], faces: Sequence[Face]) -> bool:
    by_index = {box.face: box for box in boxes}
    return len(boxes) == len(faces) and all(
        index in by_index and _is_same_box(by_index[index], face) for index, face in enumerate(faces)
    )


def _instance(region: Region, original: Instance | None, reviewer: str) -> Instance:
    if original is None:
        return Instance(
            id=f"{DRAWN_PREFIX}{region.region_id}",
            label=region.label,
            mask=region.mask,
            drawn_by=f"human:{reviewer}",
            attributes=region.attributes,
        )
    # An untouched rendered or published instance keeps its origin and soft label: a glance draws nothing.
    # An untouched proposal becomes the reviewer's, who vouches for it.
    if _is_same(region, original) and not original.is_proposal:
        return original
    kept = {key: value for key, value in original.attributes if key not in _OF_THE_PAST}
    if original.is_proposal:
        kept[PROPOSED_BY] = original.drawn_by
    is_same_mask = region.mask == original.mask
    if not is_same_mask:
        kept.pop(CONSENSUS, None)
    return replace(
        original,
        label=region.label,
        mask=region.mask,
        drawn_by=f"human:{reviewer}",
        confidence=None,
        soft=original.soft if is_same_mask else None,
        attributes=sorted_pairs(kept | dict(region.attributes)),
    )


@dataclass(slots=True)
class _Object:
    """A region under construction: where it began, its pixels so far, and the face it lies on, or -1."""

    region: Region
    mask: BoolMask
    face: int

    def touches(self, other: _Object) -> bool:
        """True when a pixel of one is a pixel of the other or one of its eight neighbours."""
        import cv2

        grown = cv2.dilate(self.mask.view(np.uint8), np.ones((3, 3), np.uint8))
        return bool((grown.view(np.bool_) & other.mask).any())

    def takes(self, other: _Object) -> None:
        """Make the other's pixels ours, its choices where we have none, its face if we are on none."""
        merged = dict(other.region.attributes) | dict(self.region.attributes)
        self.mask = self.mask | other.mask
        self.region = replace(self.region, mask=mask_to_rle(self.mask), attributes=sorted_pairs(merged))
        self.face = other.face if self.face < 0 else self.face


def join_strokes(drawing: Drawing, sample: Sample) -> tuple[Region, ...]:
    """The drawing's regions, with strokes that show one object made one region.

    A region that the reviewer started joins one of its label that it touches or overlaps (eight
    neighbours), be it shown or begun by an earlier stroke; a stroke of the face mask also joins the mask in
    the same face box, for one face wears one mask. What lies on two faces is not joined, save occluders. A
    stroke between two begun objects makes them one; two shown objects stay two.

    Args:
        drawing: boxes as the reviewer left them say which face a region lies on.
        sample: as it was shown.

    Returns:
        Regions in drawing order, each where its first part stands; that part's choices win.
    """
    if all(region.instance_id for region in drawing.regions) or len(drawing.regions) == 1:
        return drawing.regions
    boxes = [FaceBox(index, box.box_xyxy) for index, box in enumerate(drawing.boxes)]
    box_of = {box.face: index for index, box in enumerate(drawing.boxes) if box.face >= 0}
    face_of = {item.id: box_of.get(item.face, -1) for item in sample.instances}
    objects: dict[int, _Object] = {}  # by place in the drawing, shown ones first
    for place, region in sorted(enumerate(drawing.regions), key=lambda item: not item[1].instance_id):
        mask = rle_to_mask(region.mask)
        face = face_of.get(region.instance_id, -1)
        new = _Object(region, mask, face if face >= 0 else _face_of(mask, boxes))
        homes = [] if region.instance_id else [key for key, item in objects.items() if _are_one(item, new)]
        if not homes:
            objects[place] = new
            continue
        # Touching is the better ground; `sorted` keeps the order among equals.
        first, *others = sorted(homes, key=lambda key: not objects[key].touches(new))
        objects[first].takes(new)
        for key in others:
            if not objects[key].region.instance_id and _are_one(objects[first], objects[key]):
                objects[first].takes(objects.pop(key))
    return tuple(objects[place].region for place in sorted(objects))


def _are_one(first: _Object, second: _Object) -> bool:
    label = first.region.label
    if label is not second.region.label:
        return False
    if label in _OF_ONE_FACE and min(first.face, second.face) >= 0:
        if first.face != second.face:
            return False
        if label is Label.FACE_MASK:
            return True
    return first.touches(second)


def apply_decision(sample: Sample, decision: Decision) -> Sample:
    """The sample as people's decision leaves it.

    What is agreed or settled becomes the ground truth; while people wait for one another or disagree, the
    sample only says who has looked, and stays the proposal that it was. Nobody's word changes nothing.

    Args:
        sample: the one that was decided on.
        decision: from `annotation.consensus.decide`.

    Raises:
        ItemFault: `review_rejected`, with who rejected it and why.
    """
    if not decision.reviewers:
        return sample
    review = Review(
        decision.state,
        decision.reviewers,
        decision.reviewed_at,
        decision.note,
        decision.method,
        decision.agreement,
    )
    if decision.outcome in (Outcome.WAITING, Outcome.CONTESTED):
        return replace(sample, review=review)
    if decision.state is ReviewState.REJECTED:
        note = f": {decision.note}" if decision.note else ""
        raise ItemFault(Reason.REVIEW_REJECTED, f"rejected by {decision.decided_by}{note}")
    faces, new_index = _faces(sample.faces, decision.boxes, decision.decided_by)
    boxes = [FaceBox(index, face.box_xyxy) for index, face in enumerate(faces)]
    return replace(
        sample,
        faces=faces,
        instances=tuple(
            replace(item, face=new_index[item.face])
            if item.face in new_index
            else replace(item, face=_face_of(rle_to_mask(item.mask), boxes))
            for item in decision.instances
        ),
        review=review,
        is_labelled=True,
    )


def _faces(
    faces: Sequence[Face], boxes: Sequence[FaceBox], reviewer: str
) -> tuple[tuple[Face, ...], dict[int, int]]:
    """Faces after review, largest first, and where each face that was shown has gone."""
    entries: list[tuple[int, Face]] = []
    for box in boxes:
        before = faces[box.face] if 0 <= box.face < len(faces) else None
        if before is not None and _is_same_box(box, before):
            entries.append((box.face, before))
        else:
            # Landmarks and score belong to the box that the detector saw.
            wearing = before.wearing if before is not None else Wearing.UNKNOWN
            entries.append((box.face, Face(box.box_xyxy, 1.0, wearing, f"human:{reviewer}")))
    entries.sort(key=lambda entry: -_area(entry[1].box_xyxy))
    new_index = {old: new for new, (old, _) in enumerate(entries) if old >= 0}
    return tuple(face for _, face in entries), new_index


def _area(box_xyxy: BoxXyxy) -> float:
    x0, y0, x1, y1 = box_xyxy
    return (x1 - x0) * (y1 - y0)


def _face_of(mask: BoolMask, boxes: Sequence[FaceBox]) -> int:
    """The face whose box holds most of the mask, the smaller one when boxes hold as much; -1 for none."""
    total = max(int(np.count_nonzero(mask)), 1)
    best, best_share = -1, _IN_FACE_SHARE
    for box in sorted(boxes, key=lambda item: -_area(item.box_xyxy)):
        x0, y0, x1, y1 = (max(round(value), 0) for value in box.box_xyxy)
        share = int(np.count_nonzero(mask[y0:y1, x0:x1])) / total
        if share >= best_share:
            best, best_share = box.face, share
    return best
