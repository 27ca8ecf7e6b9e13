from __future__ import annotations

from pathlib import Path

import pytest

from dataset_tools.core.errors import WeightsUnavailable
from dataset_tools.filter.faces import FaceFinder
from dataset_tools.filter.models import choose_detector, load_finder
from dataset_tools.filter.settings import FilterSettings

# The official bundle of the development data beside the checkout, where there is one.
OFFICIAL_BUNDLE = Path(__file__).resolve().parents[3] / "shared" / "data" / "models" / "face_landmarker.task"


@pytest.fixture(scope="session")
def settled() -> FilterSettings:
    """Settings with whatever models this machine can have."""
    try:
        return choose_detector(FilterSettings())
    except WeightsUnavailable as error:
        pytest.skip(f"no landmarker can be had: {error}")


@pytest.fixture(scope="session", params=["tasks", "wheel"])
def finder(request: pytest.FixtureRequest) -> FaceFinder:
    """Landmarks by either set of networks, detection by the same; small faces count."""
    bundle = OFFICIAL_BUNDLE if request.param == "tasks" and OFFICIAL_BUNDLE.exists() else None
    asked = FilterSettings(
        detector="mediapipe", landmarker=request.param, landmarker_path=bundle, min_face_px=60
    )
    try:
        return load_finder(choose_detector(asked))
    except WeightsUnavailable as error:
        pytest.skip(f"{request.param}: {error}")
