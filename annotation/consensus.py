"""Several people's verdicts on one sample made one: agreed, contested, or settled by an adjudicator. Pure.

The verdicts are the facts; what they come to is worked out anew whenever it is asked for.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import combinations

import numpy as np

from annotation.agreement import DRAWN_PREFIX, assign, has_labelling, label_iou, match
from annotation.drawing import REGION_CHOICES, FaceBox
from annotation.fusion import majority, staple
from annotation.settings import ConsensusSettings
from annotation.verdict import Role, Verdict
from dataset_tools.core.errors import ItemFault
from dataset_tools.core.labels import Label
from dataset_tools.core.masks import RleMask, mask_to_rle, rle_to_mask, union
from dataset_tools.core.reasons import Reason
from dataset_tools.core.record import Instance, ReviewState, Sample, sorted_pairs

SINGLE = "single"
ADJUDICATED = "adjudicated"

# Attribute of an instance whose mask is nobody's own: how it was made of several.
CONSENSUS = "consensus"

# Two people mean one face when their boxes overlap by this much (IoU).
_AGREE_BOX_IOU = 0.8

# A region belongs to another person's object when it holds more than this share of the region's pixels.
_PART_SHARE = 0.5

# One object: for each person that has it, by position in the list of people, what they drew of it.
_Object = dict[int, list[Instance]]


class Outcome(StrEnum):
    """What the verdicts on a sample come to."""

    WAITING = "waiting"  # for more people
    AGREED = "agreed"
    CONTESTED = "contested"  # for an adjudicator
    SETTLED = "settled"  # by an adjudicator


@dataclass(frozen=True, slots=True)
class Decision:
    """What the verdicts on one sample come to.

    Attributes:
        outcome: see `Outcome`.
        state: accepted, corrected or rejected when agreed or settled, else not seen.
        instances: the labelling when agreed or settled; `Instance.face` as in `Verdict`.
        boxes: the face boxes that go with it.
        decided_by: whose work this is, "Ann+Bob"; the adjudicator's name when settled; "" when undecided.
        reviewers: everybody who looked, sorted.
        reviewed_at: when the last of them did; "" for nobody.
        note: what they wrote; names are put in front when several looked.
        method: "single", "majority", "staple" or "adjudicated"; "" when undecided.
        agreement: least overlap (IoU) over labels and pairs of annotators, in [0, 1], 1 when all left the
            picture empty; None when fewer than two left a labelling.
        reason: one line that says why people disagree; "" unless contested.
    """

    outcome: Outcome
    state: ReviewState = ReviewState.NOT_SEEN
    instances: tuple[Instance, ...] = ()
    boxes: tuple[FaceBox, ...] = ()
    decided_by: str = ""
    reviewers: tuple[str, ...] = ()
    reviewed_at: str = ""
    note: str = ""
    method: str = ""
    agreement: float | None = None
    reason: str = ""


def decide(sample: Sample, verdicts: Iterable[Verdict], settings: ConsensusSettings, needed: int) -> Decision:
    """What the verdicts on a sample come to; their order does not matter.

    An adjudicator's word is final, unless it is "fix". Tests with known truth (gold) decide nothing. Two
    verdicts of one person are one opinion, the later one.

    Args:
        sample: as it was shown.
        verdicts: on this sample.
        settings: from which overlap on people agree, and how their masks become one.
        needed: different people who have to look.

    Raises:
        ItemFault: `size_mismatch`, a verdict belongs to a picture of another size.
    """
    known = sorted(verdicts, key=lambda item: (item.order, item.lane))
    for verdict in known:
        _check_size(sample, verdict)
    people = one_per_person(verdict for verdict in known if verdict.role is Role.ANNOTATOR)
    last_words = one_per_person(verdict for verdict in known if verdict.role is Role.ADJUDICATOR)
    overlaps = _least_overlaps(people, sample)
    agreement = None if overlaps is None else min(overlaps.values(), default=1.0)
    decision = replace(_heard([*people, *last_words]), agreement=agreement)
    final = max(last_words, key=lambda item: item.order, default=None)
    if final is not None and final.state is not ReviewState.NOT_SEEN:
        return _as_it_stands(decision, final, Outcome.SETTLED, ADJUDICATED)
    if not people or len(people) < needed:
        return decision
    if reason := _states_differ(people):
        return replace(decision, outcome=Outcome.CONTESTED, reason=reason)
    if len(people) == 1:
        return _as_it_stands(decision, people[0], Outcome.AGREED, SINGLE)
    names = "+".join(verdict.reviewer for verdict in people)
    agreed = replace(decision, outcome=Outcome.AGREED, decided_by=names, method=settings.method)
    if all(verdict.state is ReviewState.REJECTED for verdict in people):
        return replace(agreed, state=ReviewState.REJECTED)
    objects, boxes = _objects(people), _matched_boxes(people)
    if reasons := [
        *_labels_differ(people, objects, overlaps or {}, settings),
        *(reason for own in objects for reason in _choices_differ(own)),
        *_boxes_differ(people, boxes),
    ]:
        return replace(decision, outcome=Outcome.CONTESTED, reason="; ".join(reasons))
    is_accepted = all(verdict.state is ReviewState.ACCEPTED for verdict in people)
    return replace(
        agreed,
        state=ReviewState.ACCEPTED if is_accepted else ReviewState.CORRECTED,
        instances=_distinct_ids(
            item for own in objects if not (item := _merged(own, names, settings)).mask.is_empty
        ),
        boxes=tuple(_mean_box(own) for own in boxes),
    )


def draft_of(
    sample: Sample, opinions: Iterable[Verdict], settings: ConsensusSettings
) -> tuple[Instance, ...]:
    """What an adjudicator begins with: the annotators' labellings merged, agreed or not.

    What only some of them drew is in it, for deleting is less work than drawing; choices that they made
    differently are left open. When nobody left a labelling, it is what was shown to everybody.
    """
    known = sorted(opinions, key=lambda item: (item.order, item.lane))
    people = one_per_person(item for item in known if item.role is Role.ANNOTATOR and has_labelling(item))
    if not people:
        return sample.instances
    names = "+".join(verdict.reviewer for verdict in people)
    drafts = []
    for own in _objects(people):
        merged = _merged(own, names, settings)
        open_choices = {name for name in REGION_CHOICES if len(set(_answers(own, name))) > 1}
        kept = [pair for pair in merged.attributes if pair[0] not in open_choices]
        drafts.append(replace(merged, attributes=tuple(kept)))
    return _distinct_ids(item for item in drafts if not item.mask.is_empty)


def _check_size(sample: Sample, verdict: Verdict) -> None:
    for instance in verdict.instances:
        if instance.mask.size_hw != sample.image.size_hw:
            raise ItemFault(
                Reason.SIZE_MISMATCH,
                f"verdict has masks of {instance.mask.size_hw}, picture is {sample.image.size_hw}",
            )


def person_key(verdict: Verdict) -> str:
    """Tells people apart: the e-mail address, or the name where there is none."""
    return verdict.reviewer_email.casefold() or verdict.reviewer


def one_per_person(verdicts: Iterable[Verdict]) -> list[Verdict]:
    """The last verdict of each person, by name; `verdicts` come in the order they were made."""
    last = {person_key(verdict): verdict for verdict in verdicts}
    return [last[key] for key in sorted(last, key=lambda key: (last[key].reviewer, key))]


def _heard(verdicts: Sequence[Verdict]) -> Decision:
    people = {person_key(verdict): verdict.reviewer for verdict in verdicts}
    notes = [verdict for verdict in verdicts if verdict.note]
    is_one = len(people) == 1
    return Decision(
        Outcome.WAITING,
        reviewers=tuple(sorted(people.values())),
        reviewed_at=max((verdict.reviewed_at for verdict in verdicts), default=""),
        note="; ".join(item.note if is_one else f"{item.reviewer}: {item.note}" for item in notes),
    )


def _as_it_stands(decision: Decision, verdict: Verdict, outcome: Outcome, method: str) -> Decision:
    return replace(
        decision,
        outcome=outcome,
        state=verdict.state,
        instances=verdict.instances,
        boxes=verdict.boxes,
        decided_by=verdict.reviewer,
        method=method,
    )


def _least_overlaps(people: Sequence[Verdict], sample: Sample) -> dict[Label, float] | None:
    """Per label, the least IoU of any two people; None when fewer than two left a labelling."""
    labelled = [verdict for verdict in people if has_labelling(verdict)]
    if len(labelled) < 2:
        return None
    least: dict[Label, float] = {}
    for one, other in combinations(labelled, 2):
        found = label_iou(one.instances, other.instances, sample.image.size_hw)
        least |= {label: min(iou, least.get(label, 1.0)) for label, iou in found.items()}
    return least


def _states_differ(people: Sequence[Verdict]) -> str:
    """Why there is nothing to compare; "" when all reject or all left a labelling."""
    rejecting = [verdict.reviewer for verdict in people if verdict.state is ReviewState.REJECTED]
    asking = [verdict.reviewer for verdict in people if verdict.state is ReviewState.NOT_SEEN]
    others = [verdict.reviewer for verdict in people if has_labelling(verdict)]
    said = []
    if rejecting and len(rejecting) < len(people):
        said.append(f"{_does(rejecting, 'reject')}" + (f", {_does_not(others)}" if others else ""))
    if asking:
        said.append(f"{_does(asking, 'ask')} for a fix")
    return "; ".join(said)


def _does(names: Sequence[str], verb: str) -> str:
    return f"{', '.join(names)} {verb}{'s' if len(names) == 1 else ''}"


def _does_not(names: Sequence[str]) -> str:
    return f"{', '.join(names)} {'does' if len(names) == 1 else 'do'} not"


def _objects(people: Sequence[Verdict]) -> list[_Object]:
    """Everything that anybody drew, sorted into objects."""
    objects: list[_Object] = [{0: [item]} for item in people[0].instances]
    for person, verdict in enumerate(people[1:], start=1):
        pairs = match([_first(own) for own in objects], verdict.instances)
        for index, mine in pairs:
            objects[index][person] = [verdict.instances[mine]]
        matched = {mine for _, mine in pairs}
        rest = (item for index, item in enumerate(verdict.instances) if index not in matched)
        objects += [{person: [item]} for item in rest]
    return _with_parts_joined(objects, len(people))


def _first(own: _Object) -> Instance:
    return own[min(own)][0]


def _with_parts_joined(objects: list[_Object], count: int) -> list[_Object]:
    """Objects that one person drew in several regions and another in one become one.

    Face masks stay apart: there the number of regions is the number of masks worn.
    """
    whole = list(objects)
    for part in objects:
        if len(part) == count or _first(part).label is Label.FACE_MASK:
            continue
        missing = set(range(count)) - part.keys()
        hosts = [own for own in whole if own is not part and _first(own).label is _first(part).label]
        shares = [_share_inside(part, own, missing) for own in hosts]
        best = max(range(len(hosts)), key=lambda index: shares[index], default=None)
        if best is None or shares[best] <= _PART_SHARE:
            continue
        for person, items in part.items():
            hosts[best].setdefault(person, []).extend(items)
        whole = [own for own in whole if own is not part]
    return whole


def _share_inside(part: _Object, host: _Object, people: set[int]) -> float:
    """Share of the part's pixels that those people gave to the host."""
    size_hw = _first(part).mask.size_hw
    mine = union((item.mask for items in part.values() for item in items), size_hw)
    theirs = union((item.mask for person in people for item in host.get(person, [])), size_hw)
    return int(np.count_nonzero(mine & theirs)) / max(int(np.count_nonzero(mine)), 1)


def _labels_differ(
    people: Sequence[Verdict],
    objects: Sequence[_Object],
    overlaps: Mapping[Label, float],
    settings: ConsensusSettings,
) -> Iterator[str]:
    for label, least in overlaps.items():
        if least < settings.agree_iou[label]:
            yield f"{label}: IoU {_rounded_down(least)} < {settings.agree_iou[label]:g}"
            continue
        for own in objects:
            if _first(own).label is label and len(own) < len(people):
                names = ", ".join(people[person].reviewer for person in sorted(own))
                yield f"{label}: one drawn only by {names}"


def _rounded_down(share: float) -> str:
    # 0.8996 is no "0.90 < 0.9"; the small number is for shares such as 0.29, which floats hold from below.
    return f"{math.floor(share * 100 + 1e-9) / 100:.2f}"


def _boxes_differ(people: Sequence[Verdict], faces: Sequence[Sequence[FaceBox]]) -> Iterator[str]:
    counts = [len(verdict.boxes) for verdict in people]
    if len(set(counts)) > 1:
        yield "face boxes: " + " / ".join(map(str, counts))
        return
    overlaps = [_box_iou(one, other) for own in faces for one, other in combinations(own, 2)]
    least = min(overlaps, default=1.0) if len(faces) == counts[0] else 0.0
    if least < _AGREE_BOX_IOU:
        yield f"face box: IoU {_rounded_down(least)} < {_AGREE_BOX_IOU:g}"


def _choices_differ(own: _Object) -> Iterator[str]:
    for name in REGION_CHOICES:
        answers = _answers(own, name)
        if len(set(answers)) > 1:
            yield f"{name}: " + " / ".join(answer or "none" for answer in answers)


def _answers(own: _Object, choice: str) -> list[str]:
    """What each person who has the object chose for it, "" for nothing."""
    return [
        next((made for item in own[person] if (made := item.attribute(choice))), "") for person in sorted(own)
    ]


def _merged(own: _Object, names: str, settings: ConsensusSettings) -> Instance:
    """One instance of what everybody drew of one object; its mask may be empty."""
    items = [item for person in sorted(own) for item in own[person]]
    shown = next((item for item in items if not item.id.startswith(DRAWN_PREFIX)), items[0])
    is_one_mask = all(item.mask == shown.mask for item in items)
    masks = [shown.mask] if is_one_mask else [_mask_of(own[person]) for person in sorted(own)]
    is_same = all(mask == masks[0] for mask in masks)
    makers = {item.drawn_by for item in items}
    attributes = {key: value for item in reversed(items) for key, value in item.attributes}
    if not is_same:
        attributes[CONSENSUS] = settings.method
    return replace(
        shown,
        mask=masks[0] if is_same else _fused(masks, settings),
        # All name one maker only where nobody changed a rendered or published instance.
        drawn_by=shown.drawn_by if is_same and len(makers) == 1 else f"human:{names}",
        confidence=None,
        soft=shown.soft if is_one_mask and all(item.soft == shown.soft for item in items) else None,
        attributes=sorted_pairs(attributes),
    )


def _mask_of(items: Sequence[Instance]) -> RleMask:
    return mask_to_rle(union((item.mask for item in items), items[0].mask.size_hw))


def _fused(masks: Sequence[RleMask], settings: ConsensusSettings) -> RleMask:
    arrays = [rle_to_mask(mask) for mask in masks]
    return mask_to_rle(majority(arrays) if settings.method == "majority" else staple(arrays)[0])


def _distinct_ids(instances: Iterable[Instance]) -> tuple[Instance, ...]:
    """Two tools may have given two people's own regions the same id."""
    found: dict[str, Instance] = {}
    for item in instances:
        number, name = 1, item.id
        while name in found:
            number += 1
            name = f"{item.id}-{number}"
        found[name] = replace(item, id=name)
    return tuple(found.values())


def _matched_boxes(people: Sequence[Verdict]) -> list[list[FaceBox]]:
    """Each face with every person's box of it; those that somebody lacks are left out."""
    faces = [[box] for box in people[0].boxes]
    for verdict in people[1:]:
        by_face = {box.face: index for index, box in enumerate(verdict.boxes) if box.face >= 0}
        pairs = [(index, by_face[own[0].face]) for index, own in enumerate(faces) if own[0].face in by_face]
        mine = sorted(set(range(len(faces))) - {index for index, _ in pairs})
        theirs = sorted(set(range(len(verdict.boxes))) - {index for _, index in pairs})
        found = assign([[_box_iou(faces[one][0], verdict.boxes[two]) for two in theirs] for one in mine])
        pairs += [(mine[one], theirs[two]) for one, two in found]
        faces = [[*faces[one], verdict.boxes[two]] for one, two in sorted(pairs)]
    return faces


def _box_iou(first: FaceBox, second: FaceBox) -> float:
    """Overlap of two boxes in [0, 1]."""
    a, b = first.box_xyxy, second.box_xyxy
    wide, high = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(wide, 0.0) * max(high, 0.0)
    either = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared
    return shared / either if either > 0 else 0.0


def _mean_box(boxes: Sequence[FaceBox]) -> FaceBox:
    shown = {box.face for box in boxes if box.face >= 0}
    face = shown.pop() if len(shown) == 1 else -1
    if all(box.box_xyxy == boxes[0].box_xyxy for box in boxes):
        return FaceBox(face, boxes[0].box_xyxy)
    x0, y0, x1, y1 = (
        math.fsum(values) / len(boxes) for values in zip(*(box.box_xyxy for box in boxes), strict=True)
    )
    return FaceBox(face, (x0, y0, x1, y1))
