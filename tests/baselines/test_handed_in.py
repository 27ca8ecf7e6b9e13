"""Masks for a folder of pictures, and folders of anybody's masks scored again."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from baselines.cli import main
from baselines.evaluate import evaluate, evaluate_handed_in
from baselines.leaderboard import read_board
from baselines.settings import CropSettings
from dataset_tools.core.errors import DataError
from dataset_tools.core.record import Split

WHOLE = CropSettings(kind="image")


@pytest.fixture
def pictures(trained, tmp_path: Path) -> Path:
    """The pictures of split test as files, named by their sample ids."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for sample in trained.manifest.samples():
        if sample.split is Split.TEST:
            Image.fromarray(trained.images.read(sample.image)).save(folder / f"{sample.id}.png")
    return folder


def predict(trained, pictures: Path, out: Path, *more: str):
    arguments = [
        "predict",
        str(trained.checkpoint),
        str(pictures),
        "--out",
        str(out),
        "--device",
        "cpu",
        *more,
    ]
    return CliRunner().invoke(main, arguments)


def test_predicted_masks_score_as_the_checkpoint_does(trained, pictures: Path, tmp_path: Path) -> None:
    done = predict(trained, pictures, tmp_path / "masks")
    assert done.exit_code == 0, done.output
    assert {path.name for path in (tmp_path / "masks").glob("*.png")} == {
        path.name for path in pictures.iterdir()
    }
    own = evaluate(
        trained.checkpoint,
        trained.manifest,
        trained.images,
        Split.TEST,
        tmp_path / "own",
        crop=WHOLE,
        device="cpu",
    )
    again = evaluate_handed_in(
        tmp_path / "masks", "ours", trained.manifest, Split.TEST, tmp_path / "board", crop=WHOLE
    )
    for name in ("iou", "f1_mean", "precision", "boundary_iou", "hd95", "iou_dataset"):
        assert again.metrics[name] == pytest.approx(own.metrics[name], abs=1e-12), name
    # Grey values hold probabilities in steps of 1/255.
    assert again.metrics["mae"] == pytest.approx(own.metrics["mae"], abs=1 / 510)
    (section,) = read_board(tmp_path / "board").sections
    assert section.lines[0].title == "ours" and section.lines[0].card.training is None


def test_a_boards_own_predictions_give_its_figures_again(trained, tmp_path: Path) -> None:
    board = tmp_path / "own"
    own = evaluate(
        trained.checkpoint, trained.manifest, trained.images, Split.TEST, board, crop=WHOLE, device="cpu"
    )
    masks = board / own.predictions / "face_mask"
    scored = ["score", "--predictions", str(masks), "--data", str(trained.manifest.directory)]
    done = CliRunner().invoke(main, [*scored, "--board", str(tmp_path / "again"), "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["metrics"] == pytest.approx(dict(own.metrics), abs=1e-6, nan_ok=True)


def test_a_missing_mask_is_named(trained, pictures: Path, tmp_path: Path) -> None:
    predict(trained, pictures, tmp_path / "masks", "--form", "hard")
    first = min((tmp_path / "masks").glob("*.png"))
    first.unlink()
    (tmp_path / "masks" / "predictions.json").unlink()
    with pytest.raises(DataError, match=f"{first.name}: is missing"):
        evaluate_handed_in(
            tmp_path / "masks", "ours", trained.manifest, Split.TEST, tmp_path / "board", crop=WHOLE
        )


def test_an_unreadable_picture_is_named_and_the_others_are_done(
    trained, pictures: Path, tmp_path: Path
) -> None:
    (pictures / "broken.jpg").write_bytes(b"\xff\xd8 no picture")
    done = predict(trained, pictures, tmp_path / "masks", "--form", "hard", "--json")
    assert done.exit_code == 1
    assert json.loads(done.stdout)["written"] == 3
    assert "broken.jpg: " in done.stderr
    values = {
        int(value)
        for path in (tmp_path / "masks").glob("*.png")
        for value in np.unique(np.asarray(Image.open(path)))
    }
    assert values <= {0, 255}


def test_masks_do_not_go_among_the_pictures(trained, pictures: Path) -> None:
    done = predict(trained, pictures, pictures / "masks")
    assert done.exit_code == 1 and "lies inside" in done.stderr
