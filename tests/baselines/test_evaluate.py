"""Checkpoint to score card to leaderboard, with leaks found and edited rows refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from baselines.board_forms import as_markdown, as_text
from baselines.board_page import as_html
from baselines.cards import read_card
from baselines.cli import main
from baselines.evaluate import evaluate
from baselines.leaderboard import CAVEAT, read_board
from baselines.predict import Predictor
from baselines.settings import CropSettings, TrainSettings
from baselines.train import train
from dataset_tools.core.errors import ConfigError, DataError
from dataset_tools.core.images import ImageStore
from dataset_tools.core.labels import Label
from dataset_tools.core.record import Split

SETTINGS = TrainSettings(steps=2, batch=2, input_px=64, pretrained=False, device="cpu", learning_rate=1e-3)


def score(trained, board: Path, **more):
    return evaluate(
        trained.checkpoint, trained.manifest, trained.images, Split.TEST, board, device="cpu", **more
    )


def test_a_card_says_what_was_measured_and_on_what(trained, tmp_path: Path) -> None:
    card = score(trained, tmp_path / "board")
    assert (card.samples, card.crops, card.empty_labels, card.leaked_samples) == (3, 3, 0, 0)
    assert card.dataset_digest == trained.manifest.canonical_digest()
    assert card.training.steps == 2 and card.training.initial_weights == "random"
    table = pq.read_table(tmp_path / "board" / card.table).to_pandas()
    assert len(table) == 3
    assert table["iou"].mean() == pytest.approx(card.metrics["iou"], abs=1e-12)
    assert read_card(tmp_path / "board" / f"{card.stem}.json") == card


def test_scores_are_those_of_the_predictors_own_answer(trained, tmp_path: Path) -> None:
    from sklearn.metrics import jaccard_score

    from dataset_tools.core.masks import union

    checkpoint, manifest, images = trained.checkpoint, trained.manifest, trained.images
    card = score(trained, tmp_path / "board", crop=CropSettings(kind="image"))
    predictor = Predictor.load(checkpoint, "cpu")
    expected = []
    for sample in manifest.samples():
        if sample.split is Split.TEST:
            guess = predictor.predict(images.read(sample.image)) >= 0.5
            masks = [item.mask for item in sample.instances if item.label is Label.FACE_MASK]
            truth = union(masks, sample.image.size_hw)
            expected.append(jaccard_score(truth.ravel(), guess.ravel()))
    assert card.metrics["iou"] == pytest.approx(np.mean(expected), abs=1e-4)


def test_what_training_saw_is_refused_or_marked(trained, tmp_path: Path) -> None:
    checkpoint, manifest, images = trained.checkpoint, trained.manifest, trained.images
    with pytest.raises(DataError, match="training saw 2 of the samples"):
        evaluate(checkpoint, manifest, images, Split.TRAIN, tmp_path / "board", device="cpu")
    card = evaluate(
        checkpoint, manifest, images, Split.TRAIN, tmp_path / "board", device="cpu", allow_leaks=True
    )
    assert card.leaked_samples == 2
    assert "UNFAIR: training saw 2" in as_markdown(read_board(tmp_path / "board"))


def test_one_planted_relative_is_found(make_manifest, images: ImageStore, tmp_path: Path) -> None:
    manifest = make_manifest(
        [Split.TRAIN, Split.TRAIN, Split.TEST, Split.TEST], groups=["anna", "berta", "carla", "anna"]
    )
    train(SETTINGS, manifest, images, tmp_path / "model")
    planted = next(s.id for s in manifest.samples() if s.split is Split.TEST and s.group == "anna")
    with pytest.raises(DataError, match=f"1 of the samples.*{planted}"):
        evaluate(tmp_path / "model", manifest, images, Split.TEST, tmp_path / "board", device="cpu")


def test_the_split_that_chose_the_weights_may_be_scored_and_the_row_says_so(
    make_manifest, images: ImageStore, tmp_path: Path
) -> None:
    manifest = make_manifest([Split.TRAIN, Split.VAL])
    train(SETTINGS, manifest, images, tmp_path / "model")
    card = evaluate(tmp_path / "model", manifest, images, Split.VAL, tmp_path / "board", device="cpu")
    assert card.leaked_samples == 0
    assert card.metrics["iou"] == pytest.approx(card.training.best_val_iou, abs=1e-6)
    assert "chosen on this very split" in as_text(read_board(tmp_path / "board"))


def test_a_split_without_labels_is_an_error(trained, tmp_path: Path) -> None:
    checkpoint, manifest, images = trained.checkpoint, trained.manifest, trained.images
    with pytest.raises(DataError, match="no labelled sample in split val"):
        evaluate(checkpoint, manifest, images, Split.VAL, tmp_path / "board", device="cpu")


def test_edited_cards_and_tables_are_refused_and_honest_ones_stay(trained, tmp_path: Path) -> None:
    board = tmp_path / "board"
    whole = score(trained, board, crop=CropSettings(kind="image"))
    card = score(trained, board)
    path = board / f"{card.stem}.json"
    values = json.loads(path.read_text())
    values["metrics"]["iou"] = 0.99
    path.write_text(json.dumps(values))
    read = read_board(board)
    assert [line.card.stem for section in read.sections for line in section.lines] == [whole.stem]
    assert "iou is 0.990000, its table gives" in read.refused[0].reason
    (board / whole.table).write_bytes(b"PAR1")
    assert len(read_board(board).refused) == 2
    (board / whole.table).unlink()
    assert "is missing" in " ".join(one.reason for one in read_board(board).refused)


def test_predictions_lie_in_the_pictures_own_coordinates(trained) -> None:
    checkpoint, manifest, images = trained.checkpoint, trained.manifest, trained.images
    predictor = Predictor.load(checkpoint, "cpu")
    sample = next(iter(manifest.samples()))
    rgb = np.pad(images.read(sample.image), ((0, 40), (0, 10), (0, 0)))
    whole = predictor.predict(rgb)
    assert whole.shape == rgb.shape[:2] and whole.dtype == np.float32
    assert whole.min() >= 0 and whole.max() <= 1
    boxed = predictor.predict(rgb, (20.0, 20.0, 40.0, 40.0))
    assert boxed[20:40, 20:40].min() > 0
    assert boxed[60:, :].max() == 0 and boxed[:, 60:].max() == 0  # beyond the box and its margin
    assert len(predictor.version) == 12 and predictor.name == "unet_effnet_lite0"
    with pytest.raises(ConfigError, match="trained on face_mask, not on strap"):
        predictor.channel(Label.STRAP)


def test_a_three_class_predictor_answers_per_label(make_manifest, images: ImageStore, tmp_path: Path) -> None:
    manifest = make_manifest([Split.TRAIN])
    settings = SETTINGS.model_copy(update={"steps": 1, "labels": (Label.FACE_MASK, Label.FACE)})
    train(settings, manifest, images, tmp_path / "model")
    predictor = Predictor.load(tmp_path / "model", "cpu")
    chances = predictor.predict(np.zeros((50, 40, 3), dtype=np.uint8))
    assert chances.shape == (50, 40, 2)
    assert chances.sum(axis=2).max() <= 1 + 1e-5


@pytest.mark.parametrize("cut", [0, 10, 1000])
def test_a_damaged_checkpoint_is_one_line(trained, tmp_path: Path, cut: int) -> None:
    checkpoint = trained.copy_to(tmp_path / "model")
    weights = checkpoint / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-cut] if cut else b"")
    with pytest.raises(DataError, match="missing or damaged"):
        Predictor.load(checkpoint, "cpu")
    with pytest.raises(DataError, match="no finished training"):
        Predictor.load(tmp_path, "cpu")


# -- the command line ---------------------------------------------------------------------------------


def test_train_score_and_show_from_the_command_line(make_manifest, tmp_path: Path) -> None:
    manifest = str(make_manifest([Split.TRAIN] * 2 + [Split.TEST] * 2).directory)
    run = CliRunner().invoke
    model, board = str(tmp_path / "model"), str(tmp_path / "board")
    small = ["--steps", "2", "--batch", "2", "--input-px", "64", "--random-init", "--device", "cpu", "--json"]
    done = run(main, ["train", "unet_effnet_lite0", "--manifest", manifest, "--out", model, *small])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["training"]["steps"] == 2
    scoring = ["score", "--checkpoint", model, "--manifest", manifest, "--board", board, "--device", "cpu"]
    done = run(main, scoring)
    assert done.exit_code == 0, done.output
    assert "iou " in done.stdout
    for form in ("table", "md", "csv", "json"):
        done = run(main, ["show", "--board", board, "--format", form])
        assert done.exit_code == 0, done.output
        assert "U-Net, EfficientNet-Lite0" in done.stdout
        assert form == "csv" or CAVEAT in done.stdout
    page = tmp_path / "board.html"
    assert run(main, ["show", "--board", board, "--format", "html", "--out", str(page)]).exit_code == 0
    html = page.read_text()
    assert "prefers-color-scheme: dark" in html
    assert "http://" not in html and "src=" not in html  # self-contained
    (card,) = Path(board).glob("*.json")
    card.write_text(card.read_text().replace('"split": "test"', '"split": "<script>"'))
    done = run(main, ["show", "--board", board])
    assert done.exit_code == 1 and "refused:" in done.stderr


def test_names_in_cards_are_escaped_in_html(trained, tmp_path: Path) -> None:
    card = score(trained, tmp_path / "board")
    path = tmp_path / "board" / f"{card.stem}.json"
    values = json.loads(path.read_text())
    values["baseline"] = "<script>alert(1)</script>|x"
    path.write_text(json.dumps(values))
    board = read_board(tmp_path / "board")
    assert "<script>alert" not in as_html(board, tmp_path / "board")
    assert "<script>" not in as_markdown(board) and "\\|x" in as_markdown(board)


def test_the_papers_figure_stands_beside_ours(trained, tmp_path: Path) -> None:
    card = score(trained, tmp_path / "board")
    path = tmp_path / "board" / f"{card.stem}.json"
    path.write_text(path.read_text().replace('"unet_effnet_lite0"', '"unet_r50"'))
    text = as_markdown(read_board(tmp_path / "board"))
    assert "| 89.19 | 94.30 | 91.46 | 97.32 | 96.03 | – | – | – | ABANet, table 2" in text
    assert "a perfect prediction scores .906" in text


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["train", "unet_r5", "--manifest", "."], 2, "error: unknown baseline 'unet_r5'; did you mean"),
        (["train", "unet_r50", "--data", "/nowhere"], 1, "error: /nowhere is neither a manifest, nor"),
        (["train", "--data", "."], 2, "error: name one baseline or --suite"),
        (
            ["train", "--suite", "abanet-table22", "--data", "."],
            2,
            "error: unknown suite 'abanet-table22'; did",
        ),
        (["train", "--suite", "floors", "--row", "x", "--data", "."], 2, "error: unknown row of floors 'x'"),
        (["train", "unet_r50", "--option", "a", "--data", "."], 2, "error: --option a: write NAME=VALUE"),
        (["score", "--board", ".", "--data", "."], 2, "error: name --checkpoint or --predictions"),
        (["train", "unet_r50", "--data", ".", "--input-px", "3"], 2, "error: command line: input_px"),
        (["show", "--board", "/nowhere"], 1, "error: /nowhere holds no score card"),
        (["show", "--board", ".", "--format", "pdf"], 2, "error: --format pdf: choose one of"),
    ],
)
def test_mistakes_are_one_line_with_their_exit_code(arguments: list[str], code: int, said: str) -> None:
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == code
    assert done.stderr.startswith(said)
    assert done.stderr.count("\n") == 1


def test_list_shows_every_baseline() -> None:
    done = CliRunner().invoke(main, ["list", "--json"])
    names = [row["name"] for row in json.loads(done.stdout)]
    assert "unet_r50" in names and names == sorted(names)
    assert "unet_vgg19" in CliRunner().invoke(main, ["list"]).stdout


def test_the_command_line_knows_every_split() -> None:
    (option,) = [one for one in main.commands["score"].params if one.name == "split"]
    assert sorted(option.type.choices) == sorted(split.value for split in Split)
