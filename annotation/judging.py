"""What came back against what was shown: the verdict, and the sample that it makes. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from annotation.codec import Drawing, FaceBox, Region
from annotation.labelling import FIX, REGION_CHOICES, REJECT
from annotation.verdict import Verdict
from dataset_tools.core.errors import ItemFault
from dataset_tools.core.labels import Wearing
from dataset_tools.core.masks import rle_to_mask
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

# A box that came back this near to where it was has not been moved: percent and back costs some 1e-13 px.
_SAME_BOX_PX = 0.01

# A region that the reviewer started belongs to the face whose box holds at least this share of its pixels.
_IN_FACE_SHARE = 0.5


def judge(sample: Sample, drawing: Drawing, reviewer: str) -> tuple[ReviewState, tuple[Instance, ...]]:
    """Compare an annotation with what was shown.

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
    pairs = [(region, shown.get(region.instance_id)) for region in drawing.regions]
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
            id=f"drawn-{region.region_id}",
            label=region.label,
            mask=region.mask,
            drawn_by=f"human:{reviewer}",
            attributes=region.attributes,
        )
    # An untouched rendered or published instance keeps its origin and soft label: a glance draws nothing.
    # An untouched proposal becomes the reviewer's, who vouches for it.
    if _is_same(region, original) and not original.is_proposal:
        return original
    kept = {key: value for key, value in original.attributes if key not in REGION_CHOICES}
    if original.is_proposal:
        kept[PROPOSED_BY] = original.drawn_by
    is_same_mask = region.mask == original.mask
    return replace(
        original,
        label=region.label,
        mask=region.mask,
        drawn_by=f"human:{reviewer}",
        confidence=None,
        soft=original.soft if is_same_mask else None,
        attributes=sorted_pairs(kept | dict(region.attributes)),
    )


def apply_verdict(sample: Sample, verdict: Verdict) -> Sample:
    """The sample as the verdict leaves it.

    Accepted and corrected samples become labelled; a `not_seen` verdict only leaves its note.

    Raises:
        ItemFault: `review_rejected`, with the reviewer's note; `size_mismatch`, when the verdict belongs to
            a picture of another size.
    """
    review = Review(verdict.state, (verdict.reviewer,), verdict.reviewed_at, verdict.note)
    if verdict.state is ReviewState.REJECTED:
        note = f": {verdict.note}" if verdict.note else ""
        raise ItemFault(Reason.REVIEW_REJECTED, f"rejected by {verdict.reviewer}{note}")
    if verdict.state is ReviewState.NOT_SEEN:
        return replace(sample, review=review)
    for instance in verdict.instances:
        if instance.mask.size_hw != sample.image.size_hw:
            raise ItemFault(
                Reason.SIZE_MISMATCH,
                f"verdict has masks of {instance.mask.size_hw}, picture is {sample.image.size_hw}",
            )
    faces, new_index = _faces(sample.faces, verdict.boxes, verdict.reviewer)
    return replace(
        sample,
        faces=faces,
        instances=tuple(
            replace(item, face=new_index.get(item.face, _face_of(item, faces))) for item in verdict.instances
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
    entries.sort(key=lambda entry: -_area(entry[1]))
    new_index = {old: new for new, (old, _) in enumerate(entries) if old >= 0}
    return tuple(face for _, face in entries), new_index


def _area(face: Face) -> float:
    x0, y0, x1, y1 = face.box_xyxy
    return (x1 - x0) * (y1 - y0)


def _face_of(instance: Instance, faces: Sequence[Face]) -> int:
    mask = rle_to_mask(instance.mask)
    best, best_share = -1, _IN_FACE_SHARE
    for index, face in enumerate(faces):
        x0, y0, x1, y1 = (max(round(value), 0) for value in face.box_xyxy)
        share = float(mask[y0:y1, x0:x1].sum()) / max(instance.mask.area_px, 1)
        if share >= best_share:
            best, best_share = index, share
    return best
