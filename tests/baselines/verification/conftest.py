"""A few drawn people whose faces differ by colour, so that even a short training tells them apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

PEOPLE = ("ann", "ben", "cem", "dee")


@pytest.fixture
def people_folder(tmp_path: Path) -> Path:
    """Four people with three pictures each: `people/<name>/<name>_000<k>.png`."""
    folder = tmp_path / "people"
    for person, name in enumerate(PEOPLE):
        (folder / name).mkdir(parents=True)
        for number in range(1, 4):
            rng = np.random.default_rng([person, number])
            rgb = rng.integers(0, 40, (40, 40, 3)).astype(np.uint8)
            rgb[5:35, 8:32] = np.random.default_rng(person).integers(60, 250, 3)
            Image.fromarray(rgb).save(folder / name / f"{name}_{number:04d}.png")
    return folder
