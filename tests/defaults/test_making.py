"""From folders of photos to a model that loads, with a card that says what it is made of."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from PIL import Image, ImageDraw

from annotation.prelabel.settings import PrelabelSettings
from annotation.prelabel.stage import PrelabelStage
from baselines.checkpoint import read_record
from baselines.predict import Predictor
from dataset_tools.core.errors import ConfigError, DataError
from dataset_tools.core.files import sha256_file
from dataset_tools.defaults.about import ABOUT_FILE, read_about
from dataset_tools.defaults.card import CARD_FILE
from dataset_tools.defaults.making import make_detector, make_proposer
from dataset_tools.defaults.photos import Photos
from dataset_tools.defaults.recipe import DETECTOR_RECIPE


def test_it_makes_a_folder_that_pre_labels(made, astronaut_rgb):
    predictor = Predictor.load(made.order.out, "cpu")
    maps = np.atleast_3d(predictor.predict(astronaut_rgb, (170.0, 60.0, 290.0, 210.0)))
    assert maps.shape == (512, 512, len(made.recipe.train.labels))
    assert 0 < maps.max() <= 1
    stage = PrelabelStage(PrelabelSettings(checkpoint=made.order.out, device="cpu"), 0)
    assert stage.config["model"] == made.about.name
    assert stage.config["weights_sha256"] == made.about.weights_sha256


def test_what_is_known_of_it_is_true(made):
    about, out = made.about, made.order.out
    assert read_about(out) == about
    assert about.weights_sha256 == sha256_file(out / about.weights_file)
    assert (about.steps, about.seed) == (2 + made.recipe.finish.steps, made.order.seed)
    assert about.data_digest == read_record(out).dataset_digest
    assert [(one.name, one.photos) for one in about.sources] == [("nasa", 1), ("navy", 1)]
    assert all(one.rendered > 0 for one in about.sources)
    assert about.tells == tuple(made.recipe.train.labels)


def test_the_card_names_sources_and_licences_and_what_follows_from_them(made):
    card = (made.order.out / CARD_FILE).read_text()
    for words in ("nasa", "scikit-image's astronaut", "LicenseRef-public-domain", "navy", "CC-BY-NC-4.0"):
        assert words in card
    assert "No commercial use: of 1 photo (CC-BY-NC-4.0), nor of the weights." in card
    assert made.about.data_digest in card and made.about.weights_sha256 in card
    assert "defaults train proposer" in card


def test_neither_names_of_files_nor_places_leave_the_machine(made):
    for path in made.order.out.iterdir():
        content = path.read_bytes()
        assert b"Eileen" not in content
        assert str(made.order.workspace.parent).encode() not in content


def test_labelled_pictures_give_figures_with_an_interval_and_their_digest(made):
    first = made.about.measures[0]
    assert (first.what, first.data, first.items) == ("face_mask: IoU, mean over pictures", "scored", 5)
    assert first.low <= first.value <= first.high
    assert len(first.digest) == 64


def test_a_second_call_finds_everything_done(made):
    before = {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in made.order.out.iterdir()}
    said: list[str] = []
    again = make_proposer(dataclasses.replace(made.order, say=said.append), made.recipe)
    assert again == made.about
    assert said[-1] == f"{made.order.out} holds exactly this already"
    after = {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in made.order.out.iterdir()}
    assert after == before


def test_a_damaged_or_unfinished_folder_is_made_again_from_what_is_trained(made, tmp_path):
    order = dataclasses.replace(made.order, out=tmp_path / "again", say=lambda line: None)
    make_proposer(order, made.recipe)
    whole = {path.name: path.read_bytes() for path in order.out.iterdir() if path.name != CARD_FILE}
    (order.out / ABOUT_FILE).unlink()
    make_proposer(order, made.recipe)
    (order.out / made.about.weights_file).write_bytes(b"cut")
    make_proposer(order, made.recipe)
    assert {path.name: path.read_bytes() for path in order.out.iterdir() if path.name != CARD_FILE} == whole


def test_a_training_from_elsewhere_is_packed_and_one_on_other_samples_refused(made, tmp_path, monkeypatch):
    trained = sorted(path.parent for path in (made.order.workspace / "models").glob("*/training.json"))
    order = dataclasses.replace(made.order, out=tmp_path / "packed", trained=tuple(trained))
    monkeypatch.setattr("dataset_tools.pipeline.Pipeline.train", None)
    assert make_proposer(order, made.recipe).weights_sha256 == made.about.weights_sha256
    other = made.recipe.model_copy(update={"synth": made.recipe.synth.model_copy(update={"per_face": 1})})
    with pytest.raises(DataError, match="other samples"):
        make_proposer(dataclasses.replace(order, workspace=tmp_path / "work"), other)


def test_trainings_from_elsewhere_must_follow_each_other(made, tmp_path):
    trained = sorted(path.parent for path in (made.order.workspace / "models").glob("*/training.json"))
    order = dataclasses.replace(made.order, out=tmp_path / "packed", trained=(trained[1], trained[0]))
    with pytest.raises(DataError, match="did not begin where"):
        make_proposer(order, made.recipe)


def test_cut_outs_are_a_source_of_their_own(made, tmp_path):
    picture = Image.new("RGBA", (140, 70), (255, 255, 255, 0))
    for x in (38, 92):
        ImageDraw.Draw(picture).ellipse((x - 24, 12, x + 24, 48), outline=(20, 20, 25, 255), width=4)
    (tmp_path / "things" / "eyeglasses").mkdir(parents=True)
    picture.save(tmp_path / "things" / "eyeglasses" / "a.png")
    order = dataclasses.replace(
        made.order,
        out=tmp_path / "packed",
        workspace=tmp_path / "work",
        score_on=(),
        occluders=Photos("things", tmp_path / "things", "CC0-1.0", "drawn"),
    )
    synth = made.recipe.synth.model_copy(update={"per_face": 6})
    recipe = made.recipe.model_copy(update={"synth": synth, "finish": None})
    about = make_proposer(order, recipe)
    source = about.sources[-1]
    assert (source.name, source.licence, source.photos) == ("things", "CC0-1.0", 1)
    assert 1 <= source.rendered <= 12
    assert "--occluders things=CC0-1.0" in about.command


def test_without_photos_nothing_is_begun(made):
    with pytest.raises(ConfigError, match="--photos FOLDER=LICENCE"):
        make_proposer(dataclasses.replace(made.order, photos=()), made.recipe)


def test_the_detector_is_made_too(made, tmp_path):
    order = dataclasses.replace(
        made.order, out=tmp_path / "detector", workspace=tmp_path / "work", score_on=()
    )
    train = DETECTOR_RECIPE.train.model_copy(update={"batch": 1, "hidden_per_photo": 1, "val_share": 0.0})
    synth = DETECTOR_RECIPE.synth.model_copy(update={"per_face": 1})
    recipe = DETECTOR_RECIPE.model_copy(update={"train": train, "synth": synth})
    about = make_detector(order, recipe)
    assert about.weights_sha256 == sha256_file(order.out / about.weights_file)
    assert about.tells == ("masked", "unmasked", "incorrect")
    assert "navy" in (order.out / CARD_FILE).read_text()
    assert make_detector(order, recipe) == about
    with pytest.raises(ConfigError, match="go with the proposer"):
        make_detector(made.order, recipe)
