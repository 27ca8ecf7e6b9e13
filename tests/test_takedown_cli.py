"""The commands that take pictures down and show duplicates."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from click.testing import CliRunner
from PIL import Image

from dataset_tools.config import read_config
from dataset_tools.core.tombstones import FILE_NAME, Tombstones
from dataset_tools.leaks_cli import duplicates as duplicates_command
from dataset_tools.pipeline import Pipeline
from dataset_tools.takedown_cli import takedown as takedown_command


def test_the_command_takes_down_and_writes_anew_what_named_it(
    tmp_path: Path, astronaut_rgb: np.ndarray
) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, shift in enumerate((0, 100, 200)):
        Image.fromarray(np.roll(astronaut_rgb, shift, axis=1)).save(folder / f"{number}.png")
    config = tmp_path / "config.yaml"
    source = "{type: folder, name: mine, path: photos, licence: CC0-1.0, author: Me}"
    config.write_text(f"name: toy\ncrawl:\n  sources:\n    - {source}\n")
    build = Pipeline(read_config(config))
    build.run("crawl")
    build.report()
    handed_in = tmp_path / "me.jpg"
    Image.fromarray(astronaut_rgb).resize((256, 256)).save(handed_in, quality=80)

    command = [str(config), "--photo", str(handed_in), "--reason", "not me please", "--json"]
    dry = CliRunner().invoke(takedown_command, [*command, "--dry-run"])
    assert dry.exit_code == 0
    assert not (build.workspace.root / FILE_NAME).exists()
    done = CliRunner().invoke(takedown_command, command)
    assert done.exit_code == 0, done.output
    values = json.loads(done.output)
    assert values["samples"] == json.loads(dry.output)["samples"] and len(values["samples"]) == 1
    assert (values["remade"], values["objects"]) == (["report"], 1)
    assert (build.workspace.root / "report" / "report.html").exists()
    left = {s.provenance.item_key for s in build.manifest("crawl").samples()}
    assert left == {"mine/1.png", "mine/2.png"}
    assert {stone.reason for stone in Tombstones.read(build.workspace.root).stones} == {"not me please"}
    assert "Label Studio" in values["out_of_reach"]
    assert CliRunner().invoke(takedown_command, [str(config)]).exit_code == 2
    assert CliRunner().invoke(takedown_command, [str(config), "--sha256", "12"]).exit_code == 2


def test_the_duplicates_page_shows_what_goes_and_what_stays(
    tmp_path: Path, astronaut_rgb: np.ndarray
) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.fromarray(astronaut_rgb).save(folder / "large.png")
    Image.fromarray(astronaut_rgb).resize((300, 300)).save(folder / "<i>small.jpg")
    Image.fromarray(np.roll(astronaut_rgb, 200, axis=1)).save(folder / "other.png")
    config = tmp_path / "config.yaml"
    source = "{type: folder, name: mine, path: photos, licence: CC0-1.0}"
    config.write_text(f"name: toy\ncrawl:\n  sources:\n    - {source}\n")
    Pipeline(read_config(config)).run("crawl")
    done = CliRunner().invoke(duplicates_command, [str(config), "--json"])
    assert done.exit_code == 0, done.output
    values = json.loads(done.output)
    assert values["dropped"] == {"mine/<i>small.jpg": "mine/large.png"}
    page = Path(values["page"]).read_text()
    assert page.count("<img") == 2 and "other.png" not in page
    assert "mine/&lt;i&gt;small.jpg" in page and "<i>" not in page
    assert page.index("mine/large.png") < page.index("mine/&lt;i&gt;small.jpg")
