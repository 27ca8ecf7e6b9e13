"""The `synth` commands, run as a user runs them."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from PIL import Image, ImageDraw

from dataset_tools.core.errors import WeightsUnavailable
from dataset_tools.demo import demo_config, demo_server
from dataset_tools.pipeline import Pipeline
from synth.add_mask import load_user_designs
from synth.assets import DESIGNS
from synth.cli import DESIGN_NAMES, main
from synth.front.ordering import METHODS as FRONT_METHODS


def run(*words: object) -> tuple[int, str]:
    done = CliRunner().invoke(main, [str(word) for word in words])
    return done.exit_code, done.output


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("build")
    with demo_server() as origin:
        config = demo_config(folder, origin)
        build = Pipeline(config.model_copy(update={"synth": config.synth.model_copy(update={"per_face": 1})}))
        try:
            for name in ("crawl", "filter", "synth"):
                build.run(name)
        except WeightsUnavailable as error:
            pytest.skip(f"no face landmarker can be had here: {error}")
    path = folder / "again.yaml"
    path.write_text(yaml.safe_dump(build.config.model_dump(mode="json")))
    return build, path


def test_the_written_out_names_are_those_of_the_registry():
    assert tuple(sorted(DESIGNS)) == DESIGN_NAMES


def test_heads_come_with_their_truth(tmp_path):
    code, said = run("heads", tmp_path / "out", "--count", 2, "--size-px", 96, "--json")
    assert code == 0
    assert json.loads(said)["count"] == 2
    rows = list(csv.DictReader((tmp_path / "out" / "heads.csv").read_text().splitlines()))
    assert len(rows) == 2
    assert len(list((tmp_path / "out" / "images").glob("*.png"))) == 2


def test_a_photo_of_a_mask_becomes_a_design_that_can_be_worn(tmp_path):
    flat = Image.new("RGBA", (320, 200))
    ImageDraw.Draw(flat).rounded_rectangle((40, 40, 280, 160), 20, fill=(200, 40, 60, 255))
    flat.save(tmp_path / "flat.png")
    code, said = run("add-mask", tmp_path / "flat.png", "--name", "mine", "--dir", tmp_path / "masks")
    assert code == 0, said
    assert "masks_dir" in said
    assert set(load_user_designs(tmp_path / "masks")) == {"mine"}


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("add-mask", "{}/nothing.png", "--name", "mine"), "nothing.png"),
        (("add-mask", "{}/text.png", "--name", "mine"), "text.png"),
        (("add-mask", "{}/text.png", "--name", "Not a name"), "mask name"),
        (("replay", "{}/nothing.yaml"), "nothing.yaml"),
    ],
)
def test_what_cannot_be_used_is_one_line(tmp_path, words, what):
    (tmp_path / "text.png").write_text("no picture")
    code, said = run(*(word.format(tmp_path) for word in words))
    assert code in (1, 2)
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert what in said


def test_every_rendered_picture_replays_to_its_bytes(built, tmp_path):
    build, config = built
    code, said = run("replay", config, "--json", "--out", tmp_path)
    assert code == 0, said
    told = json.loads(said)
    children = [sample for sample in build.manifest("synth").samples() if sample.is_synthetic]
    assert told == {"same": len(children), "total": len(children), "problems": []}
    for child in children:
        again = np.asarray(Image.open(tmp_path / f"{child.id}.png"))
        assert np.array_equal(again, build.workspace.images.read(child.image))


def test_one_child_can_be_asked_for_by_the_start_of_its_id(built):
    build, config = built
    child = next(sample for sample in build.manifest("synth").samples() if sample.is_synthetic)
    code, said = run("replay", config, "--sample", child.id[:12])
    assert (code, said.splitlines()[-1]) == (0, "1 of 1 rendered pictures drawn again to the same bytes")
    code, said = run("replay", config, "--sample", "nobody")
    assert code == 2
    assert "starts with 'nobody'" in said


def test_the_recipe_names_how_things_in_front_were_found(built):
    build, _ = built
    child = next(sample for sample in build.manifest("synth").samples() if sample.is_synthetic)
    assert json.loads(child.provenance.recipe)["front"] in FRONT_METHODS
