"""Loss and figures of face parsing by hand and beside scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from baselines.parsing.loss import multilabel_dice_loss
from baselines.parsing.parts import PARTS, PRINTED_REMARK, printed_figures
from baselines.parsing.score import count_parts
from baselines.parsing.task import PartCounts, row_of, summarise_parts


def test_dice_loss_by_hand() -> None:
    target = torch.tensor([[[[1.0, 1.0]], [[0.0, 0.0]]]])  # one part present, one absent
    logits = torch.zeros_like(target)  # chance 1/2: Dice of the first 2*1/(1+2), of the second 1e-5/(1+1e-5)
    channel = ((1 - 2 / 3) + (1 - 1e-5 / (1 + 1e-5))) / 2
    assert float(multilabel_dice_loss(logits, target)) == pytest.approx(channel, abs=1e-5)
    flat = float(multilabel_dice_loss(logits, target, reduce="flatten"))  # 2*1/(2+2)
    assert flat == pytest.approx(0.5, abs=1e-5)


def test_dice_loss_equals_one_minus_the_f1_score_on_hard_guesses() -> None:
    from sklearn.metrics import f1_score

    rng = np.random.default_rng(0)
    truth, guess = (rng.random((3, 18, 6, 5)) < 0.4 for _ in range(2))
    logits = torch.from_numpy(np.where(guess, 40.0, -40.0))
    flat = [array.transpose(0, 2, 3, 1).reshape(-1, 18) for array in (truth, guess)]
    for reduce, average in (("channel", "macro"), ("flatten", "micro")):
        loss = multilabel_dice_loss(logits, torch.from_numpy(truth), reduce=reduce)
        assert float(loss) == pytest.approx(1 - f1_score(*flat, average=average), abs=1e-5)


def test_absent_parts_of_a_batch_teach_to_predict_nothing() -> None:
    logits = torch.zeros(1, 18, 4, 4, requires_grad=True)
    multilabel_dice_loss(logits, torch.zeros(1, 18, 4, 4)).backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all() and (logits.grad > 0).all()


def rows_of(table: dict[str, list[tuple[int, int, int]]]) -> list[dict[str, object]]:
    """Rows of pictures whose other parts are absent; one (tp, fp, fn) per picture."""
    count = len(next(iter(table.values())))
    return [
        row_of(f"p{place}", place, part, PartCounts(*table[part][place] if part in table else (0, 0, 0)))
        for place in range(count)
        for part in PARTS
    ]


def test_figures_by_hand() -> None:
    found = summarise_parts(rows_of({"skin": [(6, 2, 0), (2, 0, 2)], "hat": [(0, 0, 4), (0, 0, 4)]}))
    assert found["skin/iou"] == 8 / 12
    assert found["skin/precision"] == 8 / 10
    assert found["skin/recall"] == 8 / 10
    assert found["skin/f1"] == 16 / 20
    assert [found[f"hat/{one}"] for one in ("iou", "precision", "recall", "f1")] == [0, 0, 0, 0]
    assert math.isnan(found["nose/iou"])
    assert found["miou_dataset"] == (8 / 12 + 0) / 2
    assert found["iou_pooled"] == 8 / (8 + 2 + 2 + 8)


def test_the_papers_way_gives_absent_parts_a_full_score() -> None:
    found = summarise_parts(rows_of({"skin": [(6, 2, 0), (2, 0, 2)]}))  # one batch, 17 parts absent
    assert found["iou_batch_smooth"] == pytest.approx((17 + 8 / 12) / 18, abs=1e-5)
    assert found["miou_dataset"] == 8 / 12


def test_the_papers_way_averages_batches_of_four() -> None:
    full, empty = (4, 0, 0), (0, 0, 4)
    found = summarise_parts(rows_of(dict.fromkeys(PARTS, [full] * 4 + [empty])))
    assert found["iou_batch_smooth"] == pytest.approx(0.5, abs=1e-5)  # two batches: 1 and 0
    assert found["miou_dataset"] == 16 / 20


def test_figures_equal_scikit_learn() -> None:
    from sklearn.metrics import f1_score, jaccard_score, precision_score, recall_score

    rng = np.random.default_rng(0)
    truth, predicted = (rng.random((3, 18, 9, 7)) < 0.4 for _ in range(2))
    rows = [
        row_of(f"p{place}", place, part, counts)
        for place in range(3)
        for part, counts in zip(PARTS, count_parts(predicted[place], truth[place]), strict=True)
    ]
    found = summarise_parts(rows)
    columns = [array.transpose(0, 2, 3, 1).reshape(-1, 18) for array in (truth, predicted)]
    for name, score in (
        ("miou_dataset", jaccard_score),
        ("mean_precision", precision_score),
        ("mean_recall", recall_score),
        ("mean_f1", f1_score),
    ):
        assert found[name] == pytest.approx(score(*columns, average="macro"))
    assert found["iou_pooled"] == pytest.approx(jaccard_score(*columns, average="micro"))


def test_the_printed_mean_is_not_the_mean_of_the_printed_parts() -> None:
    printed = printed_figures()
    for measure, mean in (("iou", ".6467"), ("precision", ".7837"), ("recall", ".7325")):
        own = sum(printed[f"{part}/{measure}"] for part in PARTS) / 18
        assert f"{own:.4f}"[1:] == mean and mean in PRINTED_REMARK
    assert printed["iou_batch_smooth"] == 0.7255
    for part in PARTS:  # the printed F1 follows from the printed precision and recall
        p, r = printed[f"{part}/precision"], printed[f"{part}/recall"]
        assert printed[f"{part}/f1"] == pytest.approx(2 * p * r / (p + r) if p + r else 0, abs=1.1e-4)
