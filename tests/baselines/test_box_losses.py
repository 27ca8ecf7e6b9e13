"""EIoU against the specification's vectors, its parts against torchvision, and heads that learn by it."""

from __future__ import annotations

import pytest
import torch
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.ops import distance_box_iou_loss

from baselines.networks.box_losses import BOX_LOSSES, BoxLossHeads, eiou_loss
from dataset_tools.core.errors import UnknownName


def box(*corners: float) -> torch.Tensor:
    return torch.tensor([corners])


@pytest.mark.parametrize(
    ("found", "truth", "expected", "diou"),
    [
        (box(0, 0, 10, 10), box(0, 0, 10, 10), 0.0, 0.0),
        (box(0, 0, 10, 10), box(5, 0, 15, 20), 1.13, 0.88),
        (box(0, 0, 10, 10), box(20, 20, 30, 40), 1.4725, 1.41),
    ],
)
def test_eiou_gives_the_specifications_vectors_and_its_distance_is_torchvisions(
    found: torch.Tensor, truth: torch.Tensor, expected: float, diou: float
) -> None:
    assert float(eiou_loss(found, truth)) == pytest.approx(expected, abs=1e-6)
    distance = float(distance_box_iou_loss(found, truth)[0])
    assert distance == pytest.approx(diou, abs=0.005)
    width = abs(float(found[0, 2] - found[0, 0] - truth[0, 2] + truth[0, 0]))
    height = abs(float(found[0, 3] - found[0, 1] - truth[0, 3] + truth[0, 1]))
    around = torch.maximum(found, truth)[0, 2:] - torch.minimum(found, truth)[0, :2]
    sizes = (width / float(around[0])) ** 2 + (height / float(around[1])) ** 2
    assert float(eiou_loss(found, truth)) == pytest.approx(distance + sizes, abs=1e-6)


def test_equal_sizes_apart_cost_something_unlike_in_the_printed_equation_4() -> None:
    found, truth = box(0, 0, 10, 10), box(2, 3, 12, 13)
    printed = 0.0  # width and height differences of equal sizes
    assert float(eiou_loss(found, truth)) > 1 - 56 / 144 + printed


def test_eiou_does_not_depend_on_the_unit_or_on_who_is_who() -> None:
    generator = torch.Generator().manual_seed(1)
    low = torch.rand(50, 2, 2, generator=generator) * 50
    boxes = torch.cat((low, low + 1 + torch.rand(50, 2, 2, generator=generator) * 40), dim=2)
    one, other = boxes[:, 0], boxes[:, 1]
    assert torch.allclose(eiou_loss(one, other), eiou_loss(other, one), atol=1e-6)
    assert torch.allclose(eiou_loss(one, other), eiou_loss(one * 8, other * 8), atol=1e-5)


@pytest.mark.parametrize("name", sorted(BOX_LOSSES))
def test_every_box_loss_has_a_finite_gradient_that_pulls_boxes_together(name: str) -> None:
    truth = torch.tensor([[10.0, 10, 30, 40], [50, 50, 60, 60]])
    found = torch.tensor([[14.0, 6, 38, 36], [0, 0, 10, 20]], requires_grad=True)
    before = BOX_LOSSES[name](found, truth)
    before.sum().backward()
    assert found.grad is not None and torch.isfinite(found.grad).all()
    after = BOX_LOSSES[name](found.detach() - found.grad, truth)
    assert bool((after < before).all())


@pytest.fixture(scope="module")
def heads() -> BoxLossHeads:
    torch.manual_seed(0)
    body = resnet_fpn_backbone(backbone_name="resnet18", weights=None, trainable_layers=5)
    return BoxLossHeads.replacing(MaskRCNN(body, 3).roi_heads, "eiou", 2.0)


def test_a_box_loss_of_whole_boxes_divides_by_the_number_of_sampled_proposals(heads: BoxLossHeads) -> None:
    proposals = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 10], [3, 3, 9, 9]])
    truth = torch.tensor([[0.0, 0, 10, 10], [5, 0, 15, 20], [3, 3, 9, 9]])
    names = torch.tensor([1, 2, 0])
    offsets = heads.box_coder.encode_single(truth, proposals)
    untouched = torch.zeros(3, 12)  # every class answers with the proposal itself
    # Identical boxes cost 0, the second pair 1.13; background does not count, but divides.
    assert float(heads._box_loss(untouched, names, proposals, offsets)) == pytest.approx(
        2 * 1.13 / 3, abs=1e-4
    )
    exact = torch.zeros(3, 3, 4)
    exact[torch.arange(3), names] = offsets
    assert float(heads._box_loss(exact.reshape(3, 12), names, proposals, offsets)) == pytest.approx(
        0, abs=1e-5
    )


def test_the_other_losses_are_those_of_the_library(heads: BoxLossHeads) -> None:
    torch.manual_seed(1)
    features = {str(level): torch.randn(1, 256, 16 >> level, 16 >> level) for level in range(4)}
    features["pool"] = torch.randn(1, 256, 1, 1)
    boxes = torch.tensor([[8.0, 8, 40, 40], [20, 30, 60, 60]])
    masks = torch.zeros(2, 64, 64, dtype=torch.uint8)
    masks[0, 8:40, 8:40], masks[1, 30:60, 20:60] = 1, 1
    targets = [{"boxes": boxes, "labels": torch.tensor([1, 2]), "masks": masks}]
    proposals = [boxes + torch.tensor([1.0, -2, 2, 1])]
    heads.train()
    torch.manual_seed(2)
    _, ours = heads(features, proposals, [(64, 64)], targets)
    torch.manual_seed(2)
    _, theirs = super(BoxLossHeads, heads).forward(features, proposals, [(64, 64)], targets)
    for name in ("loss_classifier", "loss_mask"):
        assert float(ours[name].detach()) == pytest.approx(float(theirs[name].detach()), rel=1e-5)
    assert float(ours["loss_box_reg"].detach()) != float(theirs["loss_box_reg"].detach())


def test_an_unknown_box_loss_names_its_neighbours(heads: BoxLossHeads) -> None:
    with pytest.raises(UnknownName, match="did you mean eiou"):
        BoxLossHeads.replacing(heads, "eio", 1.0)
