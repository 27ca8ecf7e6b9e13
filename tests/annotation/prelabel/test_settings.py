from __future__ import annotations

from pathlib import Path

import pytest

from annotation.prelabel.from_baseline import checkpoint_folder
from annotation.prelabel.settings import PrelabelSettings
from dataset_tools.core.settings import parse_settings
from dataset_tools.weights.shipped import shipped_proposer


@pytest.mark.parametrize(
    ("values", "folder"),
    [
        ({}, shipped_proposer()),
        ({"checkpoint": "default"}, shipped_proposer()),
        ({"checkpoint": "none"}, None),
        ({"checkpoint": None}, None),
        ({"checkpoint": "models/mine"}, Path("/base/models/mine")),
        ({"checkpoint": "./default"}, Path("/base/default")),
        ({"checkpoint": "/elsewhere"}, Path("/elsewhere")),
    ],
)
def test_a_word_or_a_folder_names_the_model(values, folder):
    settings = parse_settings(PrelabelSettings, values, "config.yaml").resolved(Path("/base"))
    assert checkpoint_folder(settings) == folder
    assert parse_settings(PrelabelSettings, settings.model_dump(mode="json"), "again") == settings
