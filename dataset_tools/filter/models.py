"""The models that detection runs: which can be had here, and loading them."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING

from dataset_tools import weights
from dataset_tools.core.errors import WeightsUnavailable
from dataset_tools.filter.settings import FilterSettings

if TYPE_CHECKING:
    from dataset_tools.filter.aizoo import AizooDetector
    from dataset_tools.filter.faces import FaceFinder


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
    use_aizoo = settled.detect and settled.detector == "aizoo"
    landmarker: Landmarker | None = None
    if settled.landmarks or (settled.detect and not use_aizoo):
        if settled.landmarker == "tasks":
            bundle = weights.resolve("face_landmarker", explicit=settled.landmarker_path)
            landmarker = TasksLandmarker(bundle, settled.landmarker_score)
        else:
            landmarker = WheelLandmarker(*_wheel_files(), settled.landmarker_score)
    return FaceFinder(
        load_detector(settled) if use_aizoo else None,
        landmarker,
        settled.detect,
        settled.recorded_score,
        settled.landmarker_score,
        settled.landmarked_px,
    )


def load_detector(settings: FilterSettings) -> AizooDetector:
    """AIZOO's detector alone.

    Raises:
        WeightsUnavailable: its files cannot be had.
    """
    import cv2

    from dataset_tools.filter.aizoo import AizooDetector

    # One worker process per core is the plan; OpenCV's own threads would only get in the way.
    cv2.setNumThreads(1)
    return AizooDetector(*_aizoo_files(settings))


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
