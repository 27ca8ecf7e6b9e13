"""Face-mask detectors against photos of known content: a yes or no per photo, and boxes. Pure functions.

Two questions are asked of a whole photo, "is there a masked face?" and "is there an unmasked face?". A face
counts from the sure score on. A mask worn wrongly is neither of both, unless a detector knows no such class.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from baselines.detection.boxes import Detections
from baselines.detection.scores import average_precision
from baselines.ssd.finding import SURE_SCORE
from dataset_tools.core.labels import Wearing

_STATES = tuple(state.value for state in (Wearing.MASKED, Wearing.UNMASKED, Wearing.INCORRECT))


@dataclass(frozen=True, slots=True)
class Answer:
    """A photo: what is on it, and what was found.

    Attributes:
        name: of the photo.
        states: wearing states that are on it; a photo of an unmasked face has {"unmasked"}.
        found: faces of any score, labels the wearing states.
        truth: true boxes with the same labels; None where only the states are known.
    """

    name: str
    states: frozenset[str]
    found: Detections
    truth: Detections | None = None


def sure_states(found: Detections, least_score: float = SURE_SCORE) -> frozenset[str]:
    """States of the faces whose score is above `least_score`."""
    return frozenset(
        name for name, score in zip(found.labels, found.scores, strict=True) if score > least_score
    )


def photo_figures(answers: Sequence[Answer], least_score: float = SURE_SCORE) -> dict[str, float]:
    """Figures of whole photos.

    Returns:
        `photos`; `has_masked`, `has_unmasked`: shares of photos answered rightly; `worn_somehow`: the first
        question with masks worn wrongly counted as masks, in truth and answer; `false_masks`: share of the
        photos of unmasked faces only with a face found to be masked, `false_worn` to be masked or worn
        wrongly; `nothing`: share of photos with no face found.
    """
    seen = [(answer.states, sure_states(answer.found, least_score)) for answer in answers]
    worn = {Wearing.MASKED.value, Wearing.INCORRECT.value}
    bare = [said for true, said in seen if true == {Wearing.UNMASKED.value}]
    figures = {
        "photos": float(len(seen)),
        "has_masked": _share([("masked" in true) == ("masked" in said) for true, said in seen]),
        "has_unmasked": _share([("unmasked" in true) == ("unmasked" in said) for true, said in seen]),
        "worn_somehow": _share([bool(true & worn) == bool(said & worn) for true, said in seen]),
        "false_masks": _share(["masked" in said for said in bare]),
        "false_worn": _share([bool(said & worn) for said in bare]),
        "nothing": _share([not said for _, said in seen]),
    }
    return {name: round(value, 4) for name, value in figures.items()}


def box_figures(answers: Sequence[Answer]) -> dict[str, float]:
    """Average precision at IoU 0.5 over the photos with true boxes.

    Returns:
        `ap50` of faces whatever they wear, and `ap50_<state>`; NaN where no photo has the state.
    """
    pairs = [(answer.found, answer.truth) for answer in answers if answer.truth is not None]
    any_state = [(_as_faces(found), _as_faces(truth)) for found, truth in pairs]
    figures = {"ap50": average_precision(any_state, "face")}
    figures |= {f"ap50_{state}": average_precision(pairs, state) for state in _STATES}
    return {name: round(value, 4) for name, value in figures.items()}


def wrong_answers(answers: Sequence[Answer]) -> Mapping[str, tuple[str, ...]]:
    """Names of the photos whose first or second question was answered wrongly, and what was found there."""
    wrong = {}
    for answer in answers:
        said = sure_states(answer.found)
        if any((state in answer.states) != (state in said) for state in ("masked", "unmasked")):
            wrong[answer.name] = tuple(sorted(said))
    return wrong


def _as_faces(objects: Detections) -> Detections:
    return dataclasses.replace(objects, labels=("face",) * len(objects.labels))


def _share(right: Sequence[bool]) -> float:
    return float(np.mean(right)) if right else float("nan")
