from __future__ import annotations

import pytest

from dataset_tools.core.errors import ConfigError
from dataset_tools.defaults.photos import build_config, parse_photos


@pytest.fixture
def folders(tmp_path):
    for name in ("mit", "a=b", "My Photos"):
        (tmp_path / name).mkdir()
    return tmp_path


def test_folders_give_their_names_and_the_last_equals_sign_divides(folders):
    found = parse_photos(
        [f"{folders}/mit=MIT", f"{folders}/a=b=CC BY 4.0", f"{folders}/My Photos=own"],
        ["mit=a repository, https://example.org/?a=1"],
    )
    assert [(one.name, one.licence) for one in found] == [
        ("mit", "MIT"),
        ("a-b", "CC BY 4.0"),
        ("My-Photos", "own"),
    ]
    assert found[0].origin == "a repository, https://example.org/?a=1"
    assert found[1].folder == folders / "a=b"


@pytest.mark.parametrize(
    ("given", "origins", "said"),
    [
        (["{0}/mit"], [], "write FOLDER=LICENCE"),
        (["{0}/mit="], [], "write FOLDER=LICENCE"),
        (["=MIT"], [], "write FOLDER=LICENCE"),
        (["{0}/none=MIT"], [], "there is no folder"),
        (["{0}/mit=MIT", "{0}/mit=MIT"], [], "two folders"),
        (["{0}/mit=MIT"], ["mti=x"], "no such source; there are mit"),
        (["{0}/mit=MIT"], ["mit"], "write NAME=WORDS"),
    ],
)
def test_what_is_not_of_that_form_is_one_line(folders, given, origins, said):
    with pytest.raises(ConfigError, match=said) as error:
        parse_photos([one.format(folders) for one in given], origins)
    assert error.value.exit_code == 2
    assert "\n" not in str(error.value)


def test_the_build_pre_labels_nothing(folders):
    photos = parse_photos([f"{folders}/mit=MIT"])
    config = build_config(photos, folders / "work", {}, seed=3, workers=2)
    assert (config.seed, config.workers, config.prelabel.checkpoint) == (3, 2, "none")
    (source,) = config.crawl.sources
    assert (source.name, source.licence) == ("mit", "MIT")
