"""Scores by what a crop shows: type of mask, how it is worn, how far the head is turned, real or rendered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from baselines.metrics import ImageScores
from baselines.statistics import Interval, score_intervals
from dataset_tools.core.errors import DataError
from dataset_tools.core.labels import MASK_TYPE, WEARING_STATE, Label
from dataset_tools.core.record import Instance, Sample

UNKNOWN = "unknown"
SEVERAL = "several"
NO_MASK = "no mask"

POSE = "pose"
ORIGIN = "origin"
FACTS = (MASK_TYPE, WEARING_STATE, POSE, ORIGIN)

# Upper edges of |yaw| in degrees; landmark finders lose faces beyond the last.
_POSES = (
    (15.0, "yaw 0-15"),
    (30.0, "yaw 15-30"),
    (45.0, "yaw 30-45"),
    (60.0, "yaw 45-60"),
    (180.0, "yaw 60+"),
)


@dataclass(frozen=True, slots=True)
class Slice:
    """The crops that share a value of a fact.

    Attributes:
        fact: one of `FACTS`.
        value: e.g. "surgical", "yaw 15-30", "unknown".
        crops: how many.
        empty_labels: how many of them hold no label.
        figures: intervals of `baselines.metrics.METRICS` by name.
    """

    fact: str
    value: str
    crops: int
    empty_labels: int
    figures: Mapping[str, Interval]


def crop_facts(sample: Sample, face: int) -> dict[str, str]:
    """What is known of a crop, one value for each of `FACTS`.

    Args:
        sample: labelled.
        face: index of the face the crop was cut around; -1 for the whole picture, which shows the sample's
            only face, or several.

    Returns:
        Type and state are the mask's attributes as the label has them: "unknown" where it says nothing, "no
        mask" where there is none, "several" where masks of the crop differ.
    """
    masks = _masks(sample, face)
    return {
        MASK_TYPE: _shared([one.attribute(MASK_TYPE) for one in masks]),
        WEARING_STATE: _shared([one.attribute(WEARING_STATE) for one in masks]),
        POSE: _pose(sample, face),
        ORIGIN: "synthetic" if sample.is_synthetic else "real",
    }


def _masks(sample: Sample, face: int) -> list[Instance]:
    masks = [item for item in sample.instances if item.label is Label.FACE_MASK and not item.is_proposal]
    if face < 0 or len(sample.faces) == 1:
        return masks
    # Published masks often belong to no face; then any of the picture's may be this one's.
    return [item for item in masks if item.face == face] or [item for item in masks if item.face < 0]


def _shared(values: Sequence[str]) -> str:
    if not values:
        return NO_MASK
    found = {value or UNKNOWN for value in values}
    return found.pop() if len(found) == 1 else SEVERAL


def _pose(sample: Sample, face: int) -> str:
    if face < 0 and len(sample.faces) > 1:
        return SEVERAL
    if not sample.faces or not sample.faces[max(face, 0)].pose_deg:
        return UNKNOWN
    return pose_bin(sample.faces[max(face, 0)].pose_deg[0])


def pose_bin(yaw_deg: float) -> str:
    """Name of the bin of a yaw, to either side."""
    return next((name for edge, name in _POSES if abs(yaw_deg) < edge), _POSES[-1][1])


def slice_scores(
    scores: Sequence[ImageScores],
    facts: Sequence[Mapping[str, str]],
    groups: Sequence[str],
    *,
    seed: int = 0,
) -> list[Slice]:
    """Figures of every slice, facts in the order of `FACTS`, values sorted; one picture may make a slice.

    Args:
        scores: of each crop.
        facts: of each crop, as `crop_facts` gives them.
        groups: of each crop; intervals are drawn over groups.
        seed: of the intervals.

    Raises:
        DataError: not as many facts or groups as scores.
    """
    if not len(scores) == len(facts) == len(groups):
        raise DataError(f"{len(scores)} crops, but facts of {len(facts)} and groups of {len(groups)}")
    found = []
    for fact in FACTS:
        for value in sorted({one.get(fact, UNKNOWN) for one in facts}):
            chosen = [index for index, one in enumerate(facts) if one.get(fact, UNKNOWN) == value]
            these = [scores[index] for index in chosen]
            figures = score_intervals(these, [groups[index] for index in chosen], seed=seed)
            empty = sum(one.is_label_empty for one in these)
            found.append(Slice(fact, value, len(these), empty, figures))
    return found
