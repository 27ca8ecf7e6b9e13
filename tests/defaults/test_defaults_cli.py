from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from dataset_tools.cli import main


@pytest.mark.parametrize(
    ("photos", "said"), [("nowhere=MIT", "there is no folder nowhere"), ("here", "write FOLDER=LICENCE")]
)
def test_bad_photos_are_one_line_and_exit_code_2(tmp_path, photos, said):
    done = CliRunner().invoke(
        main, ["defaults", "train", "proposer", "--photos", photos, "--out", str(tmp_path)]
    )
    assert done.exit_code == 2
    assert said in done.stderr and len(done.stderr.splitlines()) == 1


def test_show_says_what_is_shipped_and_what_it_may_be_used_for():
    done = CliRunner().invoke(main, ["defaults", "show"])
    assert done.exit_code == 0
    for words in ("proposer", "sha256", "source", "use "):
        assert words in done.stdout
    values = json.loads(CliRunner().invoke(main, ["defaults", "show", "--json"]).stdout)
    assert values["proposer"]["use"]
    assert len(values["proposer"]["weights_sha256"]) == 64
