"""The fake Hub, and small folders to publish there."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

TOKEN = "hf_test_token_0123456789"


@pytest.fixture
def fake_hub(monkeypatch, load_fake, tmp_path) -> Iterator[object]:
    """A contract server of the Hub's protocol on this machine; the client's token is in the environment."""
    import huggingface_hub.constants as constants
    import huggingface_hub.utils._http as http
    from huggingface_hub.utils import disable_progress_bars

    disable_progress_bars()
    # Without this the client would ask for the Hub's other storage protocol, which the server has not.
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-login"))
    monkeypatch.setattr(http.time, "sleep", lambda seconds: None)  # the client's own pauses between tries
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with load_fake("hub_server").serve(TOKEN) as server:
        # For the commands, which know no other Hub than the client's own.
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        yield server


@pytest.fixture
def make_folder(tmp_path) -> Callable[..., Path]:
    """Writes a folder as `prepare` would: (name, version, {path: bytes}) -> folder."""

    def make(name: str, version: str = "1.0.0", files: dict[str, bytes] | None = None) -> Path:
        folder = tmp_path / name
        given = files if files is not None else {"data/train-00000-of-00001.parquet": name.encode() * 300}
        facts = {"name": name, "version": version, "missing": []}
        card = f"---\nlicense: mit\n---\n\n# {name}\n"
        for path, data in {
            "dataset.json": json.dumps(facts).encode(),
            "README.md": card.encode(),
            **given,
        }.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(data)
        return folder

    return make


@pytest.fixture(scope="session")
def complete_settings() -> object:
    """Export settings with all that open publication asks for."""
    from dataset_tools.export.settings import ExportSettings

    return ExportSettings(
        name="test faces",
        version="1.2.0",
        description="A test set.",
        contact="removal@example.org",
        lawful_basis="Public-domain pictures; nobody but public figures can be recognised.",
        consent="Nobody was asked: the pictures are in the public domain.",
        revocations="https://example.org/faces/revocations.json",
        datasheet={"motivation": {"purpose": "To test the suite."}},  # type: ignore[arg-type]
    )


@pytest.fixture(scope="session")
def exported(labelled, tmp_path_factory, complete_settings):
    """As the fixture of that name above, with settings that allow open publication."""
    from dataset_tools.export.dataset import export_dataset

    root = tmp_path_factory.mktemp("exported")
    workspace, manifests = labelled.build_chain(root / "work")
    report = export_dataset(manifests["split"], workspace.images, complete_settings, root / "dataset")
    samples = {sample.id: sample for sample in manifests["split"].samples() if sample.is_labelled}
    return root / "dataset", report, samples
