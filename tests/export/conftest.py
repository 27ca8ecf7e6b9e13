"""The small labelled dataset, its export, and the fake Hub."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

FAKES = Path(__file__).resolve().parents[1] / "fakes"


def load_fake(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"fake_{name}", FAKES / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def labelled() -> ModuleType:
    return load_fake("labelled")


@pytest.fixture
def chain(labelled, tmp_path):
    """(workspace, manifests by stage) of the small dataset."""
    return labelled.build_chain(tmp_path / "work")


@pytest.fixture(scope="session")
def exported(labelled, tmp_path_factory):
    """(folder, report, samples in it by id) of one export with all formats; not to be altered."""
    from dataset_tools.export.dataset import export_dataset
    from dataset_tools.export.job import ExportSettings

    root = tmp_path_factory.mktemp("exported")
    workspace, manifests = labelled.build_chain(root / "work")
    settings = ExportSettings(
        name="test faces", version="1.2.0", contact="removal@example.org", description="A test set."
    )
    report = export_dataset(manifests["split"], workspace.images, settings, root / "dataset")
    samples = {sample.id: sample for sample in manifests["split"].samples() if sample.is_labelled}
    return root / "dataset", report, samples


@pytest.fixture
def fake_hub(monkeypatch) -> Iterator[object]:
    """A contract server of the Hub's protocol on this machine; the client's token is in the environment."""
    import huggingface_hub.constants as constants
    from huggingface_hub.utils import disable_progress_bars

    disable_progress_bars()
    # Without this the client would ask for the Hub's other storage protocol, which the server has not.
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
    monkeypatch.setenv("HF_TOKEN", "hf_test_token_0123456789")
    with load_fake("hub_server").serve("hf_test_token_0123456789") as server:
        yield server
