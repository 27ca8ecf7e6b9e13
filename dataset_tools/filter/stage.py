"""The filter: adds faces and scores to samples, drops the unusable and the ones that are there twice.

Labelled samples (published pairs, COCO) keep their instances untouched and are dropped only as exact
duplicates: throwing ground truth away because a detector missed a face would cost more than it saves. What
the filter thinks of them stands in their scores.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from dataset_tools import weights
from dataset_tools.core.errors import ItemFault, WeightsUnavailable
from dataset_tools.core.images import ImageStore, RgbImage
from dataset_tools.core.progress import Progress
from dataset_tools.core.reasons import Reason
from dataset_tools.core.record import Face, Rejection, Sample, Score
from dataset_tools.core.stage import each, reject
from dataset_tools.filter.duplicates import DuplicatePlan, fingerprint, plan_duplicates
from dataset_tools.filter.quality import crop_box, exposure, face_size, sharpness, shorter_side_px
from dataset_tools.filter.settings import FilterSettings

NAME = "filter"

# Names of the scores this stage writes, all of the largest face; "face" is 0 when there is none.
SCORE_NAMES = ("face", "face_size", "sharpness", "exposure")


def choose_detector(settings: FilterSettings) -> FilterSettings:
    """Settle every "auto" by what can be had here and now, so that the choice is part of the stage's key.

    Returns:
        Settings without "auto"; files have been fetched and verified.

    Raises:
        WeightsUnavailable: a model that was asked for by name, or every landmarker, cannot be had.
    """
    detector = settings.detector
    if settings.detect and detector in ("auto", "aizoo"):
        try:
            _aizoo_files(settings)
            detector = "aizoo"
        except WeightsUnavailable:
            if detector == "aizoo":
                raise
            detector = "mediapipe"
    landmarker = settings.landmarker
    needs_landmarker = settings.landmarks or (settings.detect and detector == "mediapipe")
    if needs_landmarker and landmarker in ("auto", "tasks"):
        try:
            weights.resolve("face_landmarker", explicit=settings.landmarker_path)
            landmarker = "tasks"
        except WeightsUnavailable:
            if landmarker == "tasks" or settings.landmarker_path is not None:
                raise
            landmarker = "wheel"
    if needs_landmarker and landmarker == "wheel":
        _wheel_files()
    return settings.model_copy(update={"detector": detector, "landmarker": landmarker})


class FilterStage:
    """The stage; build it with the settings that `choose_detector` returned."""

    name = NAME
    version = "1"
    parallel = True

    def __init__(self, settings: FilterSettings, seed: int) -> None:
        self.settings = settings
        self.seed = seed

    @property
    def config(self) -> dict[str, Any]:
        """As `Stage.config`; the seed decides nothing here."""
        return self.settings.row_config()

    def plan(self, samples: Iterable[Sample]) -> DuplicatePlan:
        """Find duplicates over the whole input; holds about 300 bytes a sample in memory."""
        return plan_duplicates(
            map(fingerprint, samples),
            drop_distance=self.settings.drop_distance,
            group_distance=self.settings.group_distance,
        )

    def run(
        self, items: Sequence[Sample], *, plan: DuplicatePlan, images: ImageStore, progress: Progress
    ) -> Iterator[Sample | Rejection]:
        """As `Stage.run`."""

        def handle(sample: Sample) -> Iterator[Sample | Rejection]:
            yield self._handle(sample, plan, images)

        yield from each(items, NAME, handle, progress)

    def _handle(self, sample: Sample, plan: DuplicatePlan, images: ImageStore) -> Sample | Rejection:
        twin = plan.dropped.get(sample.provenance.item_key)
        if twin is not None:
            detail = f"differs in {twin.distance} of 64 bits from {twin.kept_key}, which is kept"
            if twin.reason is Reason.DUPLICATE:
                detail = f"the same picture as {twin.kept_key}, which is kept"
            return reject(sample, NAME, twin.reason, detail)
        image_rgb = images.read(sample.image)
        faces = load_finder(self.settings).find(image_rgb)
        scores = face_scores(image_rgb, faces)
        if not sample.is_labelled:
            check_usable(faces, scores, self.settings)
        others = tuple(score for score in sample.scores if score.name not in SCORE_NAMES)
        return dataclasses.replace(
            sample,
            faces=faces,
            scores=(*others, *scores),
            group=plan.groups.get(sample.group, sample.group),
        )


def face_scores(image_rgb: RgbImage, faces: Sequence[Face]) -> tuple[Score, ...]:
    """Scores of the largest face, in the order of `SCORE_NAMES`; only face = 0 when there is none."""
    if not faces:
        return (Score("face", 0.0),)
    largest = faces[0]
    crop = crop_box(image_rgb, largest.box_xyxy)
    values = (largest.score, face_size(largest.box_xyxy), sharpness(crop), exposure(crop))
    return tuple(Score(name, round(value, 6)) for name, value in zip(SCORE_NAMES, values, strict=True))


def check_usable(faces: Sequence[Face], scores: Sequence[Score], settings: FilterSettings) -> None:
    """Return when an unlabelled photo is worth keeping.

    Args:
        faces: largest first.
        scores: of `face_scores`.
        settings: the limits.

    Raises:
        ItemFault: `no_face`, `face_too_small` or `blurred`.
    """
    if not faces:
        if settings.require_face:
            raise ItemFault(Reason.NO_FACE, "no face was found")
        return
    if settings.require_face:
        sides = max(shorter_side_px(face.box_xyxy) for face in faces)
        if sides < settings.min_face_px:
            raise ItemFault(
                Reason.FACE_TOO_SMALL,
                f"the largest of {len(faces)} face(s) measures {sides:.0f} px, at least "
                f"{settings.min_face_px} wanted",
            )
    found = {score.name: score.value for score in scores}["sharpness"]
    if found < settings.min_sharpness:
        raise ItemFault(Reason.BLURRED, f"sharpness {found:.3f}, at least {settings.min_sharpness:g} wanted")


def _aizoo_files(settings: FilterSettings) -> tuple[Path, Path]:
    return (
        weights.resolve("aizoo_caffemodel", explicit=settings.aizoo_caffemodel),
        weights.resolve("aizoo_prototxt", explicit=settings.aizoo_prototxt),
    )


def _wheel_files() -> tuple[Path, Path, Path]:
    return (
        weights.resolve("face_detection_short_range"),
        weights.resolve("face_landmark"),
        weights.resolve("iris_landmark"),
    )


@functools.lru_cache(maxsize=2)
def load_finder(settings: FilterSettings) -> Any:
    """The models of these settings, loaded once per process."""
    import cv2

    from dataset_tools.filter.aizoo import AizooDetector
    from dataset_tools.filter.faces import FaceFinder
    from dataset_tools.filter.landmarker import Landmarker, TasksLandmarker
    from dataset_tools.filter.wheel_landmarker import WheelLandmarker

    # One worker process per core is the plan; OpenCV's own threads would only get in the way.
    cv2.setNumThreads(1)
    settled = choose_detector(settings)
    use_aizoo = settled.detect and settled.detector == "aizoo"
    detector = AizooDetector(*_aizoo_files(settled)) if use_aizoo else None
    landmarker: Landmarker | None = None
    if settled.landmarks or (settled.detect and not use_aizoo):
        if settled.landmarker == "tasks":
            bundle = weights.resolve("face_landmarker", explicit=settled.landmarker_path)
            landmarker = TasksLandmarker(bundle, settled.min_score)
        else:
            landmarker = WheelLandmarker(*_wheel_files(), settled.min_score)
    return FaceFinder(detector, landmarker, settled.detect, settled.min_score, settled.min_face_px)
