"""Shared fixtures: pictures from dependencies, and the optional development data beside the checkout."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

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


FAKES = REPOSITORY / "tests" / "fakes"


def _load_fake(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"fake_{name}", FAKES / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def load_fake() -> Callable[[str], ModuleType]:
    """Imports a module of tests/fakes by its name."""
    return _load_fake


@pytest.fixture(scope="session")
def labelled(load_fake) -> ModuleType:
    return load_fake("labelled")


@pytest.fixture(scope="session")
def build_erasable(load_fake) -> Callable[..., Any]:
    """Makes a workspace with photos, rendered children and other files; see `tests/fakes/erasable.py`."""
    made: Callable[..., Any] = load_fake("erasable").build_erasable
    return made


@pytest.fixture
def chain(labelled, tmp_path):
    """(workspace, manifests by stage) of the small dataset."""
    return labelled.build_chain(tmp_path / "work")


@pytest.fixture(scope="session")
def exported(labelled, tmp_path_factory):
    """(folder, report, samples in it by id) of one export with all formats; not to be altered."""
    from dataset_tools.export.dataset import export_dataset
    from dataset_tools.export.settings import ExportSettings

    root = tmp_path_factory.mktemp("exported")
    workspace, manifests = labelled.build_chain(root / "work")
    settings = ExportSettings(
        name="test faces", version="1.2.0", contact="removal@example.org", description="A test set."
    )
    report = export_dataset(manifests["split"], workspace.images, settings, root / "dataset")
    samples = {sample.id: sample for sample in manifests["split"].samples() if sample.is_labelled}
    return root / "dataset", report, samples
