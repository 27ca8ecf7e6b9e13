"""Which faces are usable, and which photos are kept: pure decisions over what detection recorded.

Every gate is a score in [0, 1], kept with the sample, and a threshold in the settings; a higher score is
better. Scores of the largest face carry the gate's name alone, those of a further face k its number behind a
dot, as in "sharpness.2".
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dataset_tools.core.errors import ItemFault
from dataset_tools.core.images import RgbImage
from dataset_tools.core.reasons import Reason
from dataset_tools.core.record import Face, Sample, Score
from dataset_tools.filter.faces import Candidate, by_size, joined, pair_up
from dataset_tools.filter.quality import (
    crop_box,
    exposure,
    face_size,
    frontal,
    sharpness,
    shorter_side_px,
)
from dataset_tools.filter.settings import FilterSettings

# "face" is 0 when there is none, and the others then do not stand there.
SCORE_NAMES = ("face", "face_size", "sharpness", "exposure", "inside", "frontal")
_MEASURED = ("sharpness", "exposure", "inside")  # those that cannot be had from the record of a face
_SCORE_DIGITS = 6


@dataclass(frozen=True, slots=True)
class JudgedFace:
    """A face and what of its quality cannot be had from its record, each in [0, 1]."""

    face: Face
    sharpness: float
    exposure: float
    inside: float

    def scores(self) -> tuple[float, ...]:
        """In the order of `SCORE_NAMES`."""
        values = (
            self.face.score,
            face_size(self.face.box_xyxy),
            self.sharpness,
            self.exposure,
            self.inside,
            frontal(self.face.pose_deg),
        )
        return tuple(round(value, _SCORE_DIGITS) for value in values)


def measure(image_rgb: RgbImage, candidates: Sequence[Candidate]) -> tuple[Score, ...]:
    """The scores that need the picture, of every candidate: "sharpness", …, "sharpness.1", …"""
    scores = []
    for index, candidate in enumerate(candidates):
        crop = crop_box(image_rgb, candidate.face.box_xyxy)
        values = (sharpness(crop), exposure(crop), candidate.inside)
        for name, value in zip(_MEASURED, values, strict=True):
            scores.append(Score(_numbered(name, index), round(value, _SCORE_DIGITS)))
    return tuple(scores)


def judge(sample: Sample, min_score: float) -> tuple[JudgedFace, ...]:
    """The faces among a sample's recorded candidates, largest first.

    Args:
        sample: with the faces of `FaceFinder.candidates` and the scores of `measure`.
        min_score: detections below are not faces.
    """
    values = {score.name: score.value for score in sample.scores}
    found = []
    for pair in pair_up(sample.faces, min_score):
        first = pair[0]
        seen = [values[_numbered("inside", index)] for index in pair if index is not None]
        sharp, exposed = (values[_numbered(name, first)] for name in ("sharpness", "exposure"))
        found.append(JudgedFace(joined(sample.faces, pair), sharp, exposed, min(seen)))
    return tuple(sorted(found, key=lambda one: by_size(one.face)))


def gated(sample: Sample, settings: FilterSettings) -> Sample:
    """The sample with its faces and their scores, when it is worth keeping.

    Faces that fail a gate lose landmarks and pose. Labelled samples are always kept.

    Args:
        sample: as `judge` wants it.
        settings: the thresholds.

    Raises:
        ItemFault: `no_face`, `face_too_small`, `blurred`, `exposure`, `face_truncated` or `pose`; of several
            unusable faces the largest decides.
    """
    judged = judge(sample, settings.min_score)
    faults = [next(_faults(one, settings), None) for one in judged]
    if not sample.is_labelled:
        _check_kept(faults, settings)
    others = tuple(score for score in sample.scores if not is_own_score(score.name))
    bare = [
        one.face if fault is None else dataclasses.replace(one.face, landmarks_xyz=(), pose_deg=())
        for one, fault in zip(judged, faults, strict=True)
    ]
    return dataclasses.replace(sample, faces=tuple(bare), scores=(*others, *_all_scores(judged)))


def is_own_score(name: str) -> bool:
    """True for the names that detection and gates write."""
    return name.partition(".")[0] in SCORE_NAMES


def _check_kept(faults: Sequence[ItemFault | None], settings: FilterSettings) -> None:
    if not faults:
        if settings.require_face:
            raise ItemFault(Reason.NO_FACE, "no face was found")
    elif all(faults):
        fault = next((one for one in faults if one and _counts(one, settings)), None)
        if fault is not None:
            raise fault


def _counts(fault: ItemFault, settings: FilterSettings) -> bool:
    return settings.require_face or fault.reason is not Reason.FACE_TOO_SMALL


def _faults(one: JudgedFace, settings: FilterSettings) -> Iterator[ItemFault]:
    """What is wrong with a face, in the order in which it is told."""
    side = shorter_side_px(one.face.box_xyxy)
    if side < settings.min_face_px:
        text = f"the largest face measures {side:.0f} px, at least {settings.min_face_px} wanted"
        yield ItemFault(Reason.FACE_TOO_SMALL, text)
    for name, value, least, reason in (
        ("sharpness", one.sharpness, settings.min_sharpness, Reason.BLURRED),
        ("exposure", one.exposure, settings.min_exposure, Reason.EXPOSURE),
        ("share inside the picture", one.inside, settings.min_inside, Reason.FACE_TRUNCATED),
        ("frontality", frontal(one.face.pose_deg), settings.min_frontal, Reason.POSE),
    ):
        if value < least:
            yield ItemFault(reason, f"{name} {value:.3f}, at least {least:g} wanted")


def _all_scores(judged: Sequence[JudgedFace]) -> Iterator[Score]:
    if not judged:
        yield Score(SCORE_NAMES[0], 0.0)
    for index, one in enumerate(judged):
        for name, value in zip(SCORE_NAMES, one.scores(), strict=True):
            yield Score(_numbered(name, index), value)


def _numbered(name: str, index: int) -> str:
    return f"{name}.{index}" if index else name
