from __future__ import annotations

import math

import pytest

from dataset_tools.core.errors import ItemFault
from dataset_tools.core.labels import Wearing
from dataset_tools.core.reasons import Reason
from dataset_tools.core.record import Face, ImageRef, Provenance, Sample, Score
from dataset_tools.filter.aizoo import DETECTOR_NAME
from dataset_tools.filter.faces import pair_up
from dataset_tools.filter.gates import gated, judge
from dataset_tools.filter.landmarker import TASKS_NAME
from dataset_tools.filter.settings import FilterSettings


def box_at(x: float, side: float) -> tuple[float, float, float, float]:
    return (x, 10.0, x + side, 10.0 + side)


def detected(x: float, side: float, score: float, wearing: Wearing = Wearing.MASKED) -> Face:
    return Face(box_at(x, side), score, wearing, DETECTOR_NAME)


def landmarked(x: float, side: float, yaw: float = 0.0) -> Face:
    corners = (x, 10.0, 0.0, x + side, 10.0 + side, 0.0)
    points = corners + corners[:3] * 476
    return Face(box_at(x, side), 0.5, Wearing.UNKNOWN, TASKS_NAME, points, (yaw, 0.0, 0.0))


def sample_of(faces: list[Face], *, labelled: bool = False, **measured: list[float]) -> Sample:
    scores = [Score("aesthetics", 0.25)]
    for name in ("sharpness", "exposure", "inside"):
        for index, value in enumerate(measured.get(name, [0.75] * len(faces))):
            scores.append(Score(f"{name}.{index}" if index else name, value))
    return Sample(
        "0" * 32,
        ImageRef("0" * 64, (600, 900), "png"),
        Provenance("test", "a", "CC0-1.0"),
        "a",
        faces=tuple(faces),
        scores=tuple(scores),
        is_labelled=labelled,
    )


def test_a_detection_takes_the_landmarks_that_lie_on_it_and_the_surest_chooses_first() -> None:
    faces = [landmarked(100, 200), detected(110, 200, 0.6), detected(105, 200, 0.9), landmarked(600, 120)]
    assert pair_up(faces, 0.0) == [(2, 0), (1, None), (3, None)]
    assert pair_up(faces, 0.8) == [(2, 0), (3, None)]
    assert pair_up(faces, 0.95) == [(0, None), (3, None)]
    assert pair_up([], 0.5) == []


def test_a_raised_score_leaves_the_face_the_landmarker_saw_without_a_wearing_state() -> None:
    sample = sample_of([detected(100, 200, 0.6), landmarked(100, 200)], inside=[0.9, 0.7])
    (sure,) = judge(sample, 0.5)
    assert (sure.face.wearing, len(sure.face.landmarks_xyz)) == (Wearing.MASKED, 1434)
    assert sure.inside == 0.7  # the worse of both
    (unsure,) = judge(sample, 0.7)
    assert (unsure.face.wearing, unsure.face.detector) == (Wearing.UNKNOWN, TASKS_NAME)


def test_scores_are_of_the_largest_face_and_numbered_for_the_others() -> None:
    sample = sample_of([detected(0, 300, 0.9), detected(400, 150, 0.8)], sharpness=[0.5, 0.25])
    kept = gated(sample, FilterSettings())
    scores = {score.name: score.value for score in kept.scores}
    assert scores["aesthetics"] == 0.25
    assert (scores["sharpness"], scores["sharpness.1"]) == (0.5, 0.25)
    assert (scores["face"], scores["face.1"]) == (0.9, 0.8)
    assert (scores["face_size"], scores["face_size.1"]) == (0.75, 0.6)
    assert len(scores) == 1 + 2 * 6


def test_frontality_is_the_cosine_of_the_angle_to_the_camera() -> None:
    turned = sample_of([landmarked(0, 300, yaw=60.0)])
    scores = {score.name: score.value for score in gated(turned, FilterSettings()).scores}
    assert scores["frontal"] == pytest.approx(math.cos(math.pi / 3), abs=1e-6)
    with pytest.raises(ItemFault, match=r"0\.500, at least 0\.6") as caught:
        gated(turned, FilterSettings(min_frontal=0.6))
    assert caught.value.reason is Reason.POSE
    unknown = sample_of([detected(0, 300, 0.9)])
    assert {score.name: score.value for score in gated(unknown, FilterSettings()).scores}["frontal"] == 0.0


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"min_score": 0.95}, Reason.NO_FACE),
        ({"min_face_px": 301}, Reason.FACE_TOO_SMALL),
        ({"min_sharpness": 0.8}, Reason.BLURRED),
        ({"min_exposure": 0.8}, Reason.EXPOSURE),
        ({"min_inside": 0.8}, Reason.FACE_TRUNCATED),
        ({"min_frontal": 0.1}, Reason.POSE),
    ],
)
def test_every_gate_drops_with_its_own_reason_and_never_ground_truth(
    change: dict[str, float], reason: Reason
) -> None:
    settings = FilterSettings.model_validate(change)
    with pytest.raises(ItemFault) as caught:
        gated(sample_of([detected(0, 300, 0.9)]), settings)
    assert caught.value.reason is reason
    assert gated(sample_of([detected(0, 300, 0.9)], labelled=True), settings).is_labelled


def test_one_usable_face_is_enough_and_the_others_lose_their_landmarks() -> None:
    faces = [landmarked(0, 300), landmarked(400, 150), landmarked(700, 50)]
    kept = gated(sample_of(faces, sharpness=[0.1, 0.9, 0.9]), FilterSettings(min_sharpness=0.5))
    assert [bool(face.landmarks_xyz) for face in kept.faces] == [False, True, False]
    assert [face.box_xyxy for face in kept.faces] == [face.box_xyxy for face in faces]


def test_of_several_unusable_faces_the_largest_decides() -> None:
    sample = sample_of([landmarked(0, 300), landmarked(700, 50)], sharpness=[0.1, 0.9])
    with pytest.raises(ItemFault) as caught:
        gated(sample, FilterSettings(min_sharpness=0.5))
    assert caught.value.reason is Reason.BLURRED


def test_without_the_wish_for_a_face_only_quality_counts() -> None:
    settings = FilterSettings(require_face=False, min_sharpness=0.5)
    assert gated(sample_of([]), settings).scores[-1] == Score("face", 0.0)
    assert gated(sample_of([detected(0, 50, 0.9)]), settings).faces
    with pytest.raises(ItemFault) as caught:
        gated(sample_of([detected(0, 300, 0.9)], sharpness=[0.1]), settings)
    assert caught.value.reason is Reason.BLURRED
