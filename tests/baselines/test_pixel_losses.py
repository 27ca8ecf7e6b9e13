"""Losses equal closed forms and library versions."""

from __future__ import annotations

import math

import pytest
import torch

from baselines.losses import find_loss, one_vs_rest, supervised_loss
from baselines.losses.pixel import bce_dice_loss, bce_loss, dice_loss, focal_loss, iou_loss
from baselines.segmenter import SegOutput
from dataset_tools.core.errors import UnknownName

PERFECT = 30.0
LOSSES = {
    "bce": bce_loss,
    "bce_dice": bce_dice_loss,
    "dice": dice_loss,
    "focal": focal_loss,
    "iou": iou_loss,
}


def random_case(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    source = torch.Generator().manual_seed(seed)
    logits = torch.randn((2, 1, 6, 5), generator=source)
    target = (torch.rand((2, 1, 6, 5), generator=source) < 0.4).float()
    return logits, target


def test_bce_of_an_undecided_network_is_log_two() -> None:
    _, target = random_case()
    assert float(bce_loss(torch.zeros_like(target), target)) == pytest.approx(math.log(2))


@pytest.mark.parametrize("seed", range(4))
def test_dice_and_focal_equal_segmentation_models_pytorch(seed: int) -> None:
    import segmentation_models_pytorch as smp

    logits, target = random_case(seed)
    dice = smp.losses.DiceLoss("binary", from_logits=True, smooth=1.0)
    assert float(dice_loss(logits, target)) == pytest.approx(float(dice(logits, target)), abs=1e-6)
    focal = smp.losses.FocalLoss("binary", alpha=0.3, gamma=2.0)
    assert float(focal_loss(logits, target)) == pytest.approx(float(focal(logits, target)), abs=1e-6)


def test_bce_dice_is_the_sum_of_both() -> None:
    logits, target = random_case()
    both = bce_loss(logits, target) + dice_loss(logits, target)
    assert torch.equal(bce_dice_loss(logits, target), both)


def test_focal_without_focus_is_cross_entropy_weighted_three_to_seven() -> None:
    logits, target = random_case()
    entropy = torch.nn.functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    weighted = torch.where(target > 0.5, 0.3 * entropy, 0.7 * entropy).mean()
    assert float(focal_loss(logits, target, gamma=0.0)) == pytest.approx(float(weighted), abs=1e-6)


def test_iou_loss_by_hand() -> None:
    # Chance 1/2 everywhere, 2 of 4 pixels are label: overlap 1, union 4 * 1/2 + 2 - 1 = 3.
    target = torch.tensor([[[[1.0, 1.0], [0.0, 0.0]]]])
    assert float(iou_loss(torch.zeros_like(target), target)) == pytest.approx(1 - 1 / 3, abs=1e-6)


def test_iou_loss_averages_pictures_rather_than_pooling_them() -> None:
    target = torch.tensor([[[[1.0, 1.0, 1.0, 1.0]]], [[[1.0, 0.0, 0.0, 0.0]]]])
    logits = torch.where(torch.tensor([[[[True]]], [[[False]]]]), PERFECT, -PERFECT).expand_as(target)
    assert float(iou_loss(logits, target)) == pytest.approx(0.5, abs=1e-4)


@pytest.mark.parametrize("name", sorted(LOSSES))
@pytest.mark.parametrize("kind", ["mixed", "empty", "full"])
def test_a_perfect_guess_beats_a_bad_one_and_gradients_are_finite(name: str, kind: str) -> None:
    _, target = random_case()
    if kind != "mixed":
        target = torch.full_like(target, float(kind == "full"))
    perfect = (2 * target - 1) * PERFECT
    bad = (-perfect).requires_grad_()
    good_loss, bad_loss = LOSSES[name](perfect, target), LOSSES[name](bad, target)
    assert float(good_loss) == pytest.approx(0.0, abs=1e-3)
    assert float(good_loss) < float(bad_loss.detach())
    bad_loss.backward()
    assert bad.grad is not None and torch.isfinite(bad.grad).all()


def test_one_vs_rest_logits_have_the_softmax_as_sigmoid() -> None:
    logits = torch.randn((2, 3, 4, 4), generator=torch.Generator().manual_seed(1)) * 5
    assert torch.allclose(one_vs_rest(logits).sigmoid(), logits.softmax(dim=1), atol=1e-6)


def test_auxiliary_outputs_are_supervised_with_the_same_weight() -> None:
    logits, target = random_case()
    classes = target[:, 0].to(torch.uint8)
    alone = supervised_loss(bce_loss, SegOutput(logits), classes)
    three = supervised_loss(bce_loss, SegOutput(logits, aux=(logits, logits)), classes)
    assert float(three) == pytest.approx(3 * float(alone), rel=1e-6)


def test_three_class_targets_count_background_and_labels() -> None:
    classes = torch.tensor([[[0, 1], [2, 1]]], dtype=torch.uint8)
    perfect = torch.nn.functional.one_hot(classes.long(), 3).permute(0, 3, 1, 2) * 2 * PERFECT
    assert float(supervised_loss(dice_loss, SegOutput(perfect.float()), classes)) < 1e-3


def test_an_unknown_loss_names_its_neighbour() -> None:
    with pytest.raises(UnknownName, match="did you mean dice"):
        find_loss("dyce")
