"""Several classes: figures against scikit-learn and torchmetrics, and a card's way to disk and back."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from baselines import semantic, tasks
from baselines.semantic import CLASSES, class_figures, confusion, crop_row, crop_table, figures_of_sums
from baselines.statistics import bootstrap
from dataset_tools.core.errors import DataError, MaskShapeError


def random_maps(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    size_hw = [(1, 1), (9, 7), (30, 20)][seed % 3]
    present = rng.permutation(3)[: rng.integers(1, 4)]
    truth = rng.choice(present, size_hw).astype(np.uint8)
    guess = np.where(rng.random(size_hw) < 0.6, truth, rng.integers(0, 3, size_hw))
    return guess.astype(np.uint8), truth


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 100_000))
def test_confusion_matrix_and_class_scores_equal_scikit_learn(seed: int) -> None:
    from sklearn import metrics as sk

    guess, truth = random_maps(seed)
    matrix = confusion(guess, truth)
    labels = list(range(3))
    assert (matrix == sk.confusion_matrix(truth.ravel(), guess.ravel(), labels=labels)).all()
    ours = class_figures(matrix)
    options = {"labels": labels, "average": None, "zero_division": np.nan}
    recalls = sk.recall_score(truth.ravel(), guess.ravel(), **options)
    precisions = sk.precision_score(truth.ravel(), guess.ravel(), **options)
    for index, name in enumerate(CLASSES):
        assert ours[f"pa_{name}"] == pytest.approx(recalls[index], nan_ok=True)
        assert ours[f"precision_{name}"] == pytest.approx(precisions[index], nan_ok=True)
        assert ours[f"frequency_{name}"] == pytest.approx((truth == index).mean())
    present = np.unique(np.concatenate([truth.ravel(), guess.ravel()])).tolist()
    ious = sk.jaccard_score(truth.ravel(), guess.ravel(), labels=present, average=None)
    dices = sk.f1_score(truth.ravel(), guess.ravel(), labels=present, average=None)
    assert [ours[f"iou_{CLASSES[index]}"] for index in present] == pytest.approx(ious.tolist())
    assert [ours[f"dice_{CLASSES[index]}"] for index in present] == pytest.approx(dices.tolist())
    assert ours["classes"] == len(present)
    assert ours["miou"] == pytest.approx(ious.mean())
    assert ours["mdice"] == pytest.approx(dices.mean())
    assert ours["mpa"] == pytest.approx(np.nanmean(recalls))
    assert ours["pa"] == pytest.approx(sk.accuracy_score(truth.ravel(), guess.ravel()))
    weighted = sk.jaccard_score(truth.ravel(), guess.ravel(), average="weighted", zero_division=0)
    assert ours["fwiou"] == pytest.approx(weighted)


def test_figures_of_a_set_equal_torchmetrics_on_all_pixels() -> None:
    import torch
    from torchmetrics.functional.classification import (
        multiclass_accuracy,
        multiclass_f1_score,
        multiclass_jaccard_index,
    )

    pairs = [random_maps(seed) for seed in range(2, 40)]
    rows = [crop_row(str(index), -1, confusion(*pair)) for index, pair in enumerate(pairs)]
    ours = semantic.summarise(rows)
    guess, truth = (
        torch.tensor(np.concatenate([pair[side].ravel() for pair in pairs]).astype(np.int64))
        for side in (0, 1)
    )
    for prefix, metric in (
        ("iou", multiclass_jaccard_index),
        ("dice", multiclass_f1_score),
        ("pa", multiclass_accuracy),
    ):
        values = metric(guess, truth, num_classes=3, average="none").tolist()
        assert [ours[f"{prefix}_{name}"] for name in CLASSES] == pytest.approx(values, abs=1e-6)
        mean = {"iou": "miou", "dice": "mdice", "pa": "mpa"}[prefix]
        assert ours[mean] == pytest.approx(np.mean(values), abs=1e-6)
    assert ours["miou_foreground"] == pytest.approx((ours["iou_face_mask"] + ours["iou_face"]) / 2)


def test_figures_by_hand() -> None:
    truth = np.array([[0, 0, 1, 1], [0, 2, 2, 1]])
    guess = np.array([[0, 1, 1, 1], [0, 2, 1, 0]])
    ours = class_figures(confusion(guess, truth))
    assert ours["pa"] == pytest.approx(5 / 8)
    assert [ours[f"pa_{name}"] for name in CLASSES] == pytest.approx([2 / 3, 2 / 3, 1 / 2])
    assert [ours[f"iou_{name}"] for name in CLASSES] == pytest.approx([2 / 4, 2 / 5, 1 / 2])
    assert [ours[f"dice_{name}"] for name in CLASSES] == pytest.approx([4 / 6, 4 / 7, 2 / 3])


def test_a_class_that_nobody_shows_or_claims_has_no_figure() -> None:
    ours = class_figures(confusion(np.zeros((3, 3), int), np.zeros((3, 3), int)))
    assert math.isnan(ours["iou_face_mask"])
    assert math.isnan(ours["miou_foreground"])
    assert (ours["miou"], ours["mpa"], ours["classes"]) == (1.0, 1.0, 1.0)


def test_two_classes_agree_with_the_figures_of_one_label() -> None:
    from baselines.metrics import score_image, summarise

    pairs = [random_maps(seed) for seed in range(2, 30)]
    total = np.zeros((2, 2), dtype=np.int64)
    scores = []
    for guess, truth in pairs:
        total += confusion((guess == 1).astype(int), (truth == 1).astype(int), 2)
        scores.append(score_image((guess == 1).astype(float), truth == 1))
    ours, single = class_figures(total, ("rest", "mask")), summarise(scores)
    for several, one in (
        ("iou_mask", "iou_dataset"),
        ("dice_mask", "dice_dataset"),
        ("precision_mask", "precision_dataset"),
        ("pa_mask", "recall_dataset"),
        ("pa", "pa_dataset"),
        ("mpa", "mpa_dataset"),
        ("miou", "miou_dataset"),
    ):
        assert ours[several] == pytest.approx(single[one]), several


def test_intervals_come_from_the_rows() -> None:
    rows = [crop_row(str(seed), 0, confusion(*random_maps(seed * 3 + 2))) for seed in range(30)]
    found = bootstrap(crop_table(rows), figures_of_sums, [row["sample_id"] for row in rows])
    assert found["miou"].value == pytest.approx(semantic.summarise(rows)["miou"])
    assert found["miou"].low < found["miou"].value < found["miou"].high


def test_maps_that_cannot_be_compared_are_refused() -> None:
    zeros = np.zeros((2, 2), dtype=np.uint8)
    with pytest.raises(MaskShapeError, match=r"label is \(3, 2\)"):
        confusion(zeros, np.zeros((3, 2), dtype=np.uint8))
    with pytest.raises(DataError, match="the label holds classes 0 to 3, known are 0 to 2"):
        confusion(zeros, np.array([[0, 3], [0, 0]]))
    with pytest.raises(DataError, match="the prediction is float64"):
        confusion(zeros.astype(float), zeros)
    row = crop_row("a", 0, confusion(zeros, zeros))
    with pytest.raises(DataError, match="below 0"):
        semantic.summarise([row | {"face_as_face": -1}])


def task_card(**changes: object) -> tasks.TaskCard:
    training = tasks.RunFacts(
        data="drawn", data_digest="d" * 64, items=4, steps=1, seconds=1.0, device="cpu",
        initial_weights="random", seed=0, settings={},
    )  # fmt: skip
    values = {
        "task": "classes", "baseline": "misa", "title": "MISA", "fidelity": "B", "version": "0" * 12,
        "dataset": "drawn", "dataset_digest": "e" * 64, "split": "test", "items": 0, "metrics": {},
        "parameters": 1, "seconds_per_item": 0.1, "device": "cpu", "training": training,
    }  # fmt: skip
    return tasks.TaskCard(**(values | changes))


def test_a_card_is_recomputed_from_its_rows(tmp_path: Path) -> None:
    rows = [crop_row(str(seed), 0, confusion(*random_maps(seed))) for seed in range(6)]
    card = tasks.write_card(tmp_path, task_card(), rows)
    path = tmp_path / f"{card.stem}.json"
    assert tasks.read_card(path).metrics["mpa"] == pytest.approx(semantic.summarise(rows)["mpa"])
    path.write_text(path.read_text().replace('"mpa": 0.', '"mpa": 1.'))
    with pytest.raises(DataError, match="mpa is"):
        tasks.read_card(path)
