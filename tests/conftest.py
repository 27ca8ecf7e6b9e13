"""Shared fixtures: pictures from dependencies, and the optional development data beside the checkout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of development photos beside the checkout; tests that want it skip without it."""
    folder = REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("development photos (../shared/data) are not on this machine")
    return folder


@pytest.fixture(scope="session")
def astronaut_path() -> Path:
    """scikit-image's astronaut portrait (NASA, public domain), 512x512 PNG."""
    import skimage

    return Path(skimage.__file__).parent / "data" / "astronaut.png"


@pytest.fixture(scope="session")
def hopper_path() -> Path:
    """matplotlib's Grace Hopper portrait (US Navy, public domain), JPEG."""
    import matplotlib

    return Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"


@pytest.fixture(scope="session")
def astronaut_rgb(astronaut_path: Path) -> np.ndarray:
    with Image.open(astronaut_path) as opened:
        return np.asarray(opened.convert("RGB"))
