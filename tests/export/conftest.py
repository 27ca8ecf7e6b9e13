"""The fake Hub."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture
def fake_hub(monkeypatch, load_fake) -> Iterator[object]:
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
