"""The models that detection runs: which can be had here, and loading them."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING

from dataset_tools import weights
from dataset_tools.core.errors import DataError, WeightsUnavailable
from dataset_tools.filter.default_detector import SHIPPED_WEIGHTS, read_facts
from dataset_tools.filter.settings import FilterSettings

if TYPE_CHECKING:
    from dataset_tools.filter.aizoo import FaceDetector
    from dataset_tools.filter.faces import FaceFinder


# The suite's own detector has seen few pictures without a face: a cup with two dark spots is one to it. Where
# the landmarker sees no face either, it must be surer.
UNCONFIRMED = 0.65


def choose_detector(settings: FilterSettings) -> FilterSettings:
    """Settle every "auto" by what can be had here and now, so that the choice is part of the stage's key.

    Returns:
        Settings without "auto"; files have been fetched and verified.

    Raises:
        WeightsUnavailable: a model that was asked for by name, or every landmarker, cannot be had.
        DataError: the weights of "default" are damaged, or not of the version that was asked for.
    """
    detector = settings.detector
    if settings.detect and detector in ("auto", "aizoo"):
        try:
            _aizoo_files(settings)
            detector = "aizoo"
        except WeightsUnavailable:
            if detector == "aizoo":
                raise
            detector = "default"
    version = _default_version(settings) if settings.detect and detector == "default" else ""
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
    chosen = {"detector": detector, "detector_version": version, "landmarker": landmarker}
    return settings.model_copy(update=chosen)


@functools.lru_cache(maxsize=2)
def load_finder(settings: FilterSettings) -> FaceFinder:
    """The models of these settings, loaded once per process.

    Raises:
        WeightsUnavailable: see `choose_detector`.
    """
    from dataset_tools.filter.faces import FaceFinder
    from dataset_tools.filter.landmarker import Landmarker, TasksLandmarker
    from dataset_tools.filter.wheel_landmarker import WheelLandmarker

    settled = choose_detector(settings)
    has_detector = settled.detect and settled.detector != "mediapipe"
    landmarker: Landmarker | None = None
    if settled.landmarks or (settled.detect and not has_detector):
        if settled.landmarker == "tasks":
            bundle = weights.resolve("face_landmarker", explicit=settled.landmarker_path)
            landmarker = TasksLandmarker(bundle, settled.landmarker_score)
        else:
            landmarker = WheelLandmarker(*_wheel_files(), settled.landmarker_score)
    return FaceFinder(
        load_detector(settled) if has_detector else None,
        landmarker,
        settled.detect,
        settled.recorded_score,
        settled.landmarker_score,
        settled.landmarked_px,
        UNCONFIRMED if settled.detector == "default" else 1.0,
    )


def load_detector(settings: FilterSettings) -> FaceDetector:
    """The face-mask detector alone: AIZOO's, or the suite's own where "default" says so.

    Raises:
        WeightsUnavailable: AIZOO's files cannot be had.
        DataError: the files of "default" are damaged.
    """
    import cv2

    from dataset_tools.filter.aizoo import AizooDetector
    from dataset_tools.filter.default_detector import DefaultDetector

    # One worker process per core is the plan; OpenCV's own threads would only get in the way.
    cv2.setNumThreads(1)
    if settings.detector == "default":
        return DefaultDetector(settings.detector_weights or SHIPPED_WEIGHTS)
    return AizooDetector(*_aizoo_files(settings))


def _default_version(settings: FilterSettings) -> str:
    weights_file = settings.detector_weights or SHIPPED_WEIGHTS
    version = read_facts(weights_file).version
    if settings.detector_version not in ("", version):
        raise DataError(f"{weights_file} is version {version}, not {settings.detector_version} as asked for")
    return version


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
