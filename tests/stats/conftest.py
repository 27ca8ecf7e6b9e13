"""The small labelled dataset and its report."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

FAKES = Path(__file__).resolve().parents[1] / "fakes"


@pytest.fixture(scope="session")
def labelled() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fake_labelled", FAKES / "labelled.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def report(labelled, tmp_path_factory):
    """(page, samples of the last manifest) of one report; not to be altered."""
    from dataset_tools.stats.page import write_report

    root = tmp_path_factory.mktemp("report")
    workspace, manifests = labelled.build_chain(root / "work")
    page = write_report(manifests, workspace.images, root / "report", title="Faces <& masks>")
    return page, list(manifests["split"].samples())
