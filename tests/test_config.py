from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from dataset_tools.config import read_config
from dataset_tools.core.errors import ConfigError
from dataset_tools.starter import STARTER_CONFIG

MINIMAL = "name: x\ncrawl:\n  sources:\n    - {type: folder, name: p, path: ./photos, licence: CC0-1.0}\n"


def problem(tmp_path: Path, text: str) -> str:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    (tmp_path / "photos").mkdir(exist_ok=True)
    with pytest.raises(ConfigError) as error:
        read_config(path)
    assert "\n" not in str(error.value)
    assert error.value.exit_code == 2
    return str(error.value)


def test_the_starter_file_is_a_valid_configuration(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "config.yaml").write_text(STARTER_CONFIG)
    config = read_config(tmp_path / "config.yaml")
    assert config.workspace == tmp_path / "work"
    assert config.filter.min_face_px == 100


def test_a_minimal_file_gets_all_defaults(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(MINIMAL)
    assert read_config(tmp_path / "config.yaml").train is None


def test_an_unknown_key_names_its_nearest_neighbour(tmp_path: Path) -> None:
    assert "did you mean workers" in problem(tmp_path, MINIMAL + "wrokers: 2\n")
    assert "did you mean min_face_px" in problem(tmp_path, MINIMAL + "filter: {min_face_pix: 2}\n")


def test_a_bad_value_says_what_was_found(tmp_path: Path) -> None:
    assert "'many'" in problem(tmp_path, MINIMAL + "workers: many\n")
    assert "seed" in problem(tmp_path, MINIMAL + "seed: -1\n")


@pytest.mark.parametrize("text", ["name: [", "- a\n- b\n", "\x00\x01", "!!python/object:os.system x"])
def test_what_is_no_mapping_of_settings_is_refused(tmp_path: Path, text: str) -> None:
    problem(tmp_path, text)


def test_a_missing_file_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="build-dataset init"):
        read_config(tmp_path / "none.yaml")


def test_a_source_without_a_licence_is_refused(tmp_path: Path) -> None:
    values = yaml.safe_load(MINIMAL)
    del values["crawl"]["sources"][0]["licence"]
    assert "licence" in problem(tmp_path, yaml.safe_dump(values))


def test_a_source_type_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    assert "folder" in problem(tmp_path, MINIMAL.replace("type: folder", "type: foldr"))
