"""RefineNet: the specification's counts with three classes, and its blocks by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from baselines.losses import find_loss
from baselines.models import build_network, find_spec
from baselines.networks.refinenet import ChainedPooling, ResidualUnit
from baselines.segmenter import SegOutput


def count(network: nn.Module) -> int:
    return sum(one.numel() for one in network.parameters())


@pytest.mark.parametrize(
    ("name", "total"), [("refinenet_rs101", 121_736_803), ("refinenet_r101", 118_010_947)]
)
def test_three_classes_have_the_specified_parameters(name: str, total: int) -> None:
    with torch.device("meta"):
        network = build_network(name, 3, pretrained=False)
    assert count(network) == total
    assert count(network) - count(network.get_submodule("encoder")) == 75_510_787


@pytest.mark.parametrize("name", ["refinenet_rs101", "refinenet_r101"])
def test_any_size_comes_back(name: str) -> None:
    with torch.device("meta"):
        output = build_network(name, 3, pretrained=False)(torch.zeros(2, 3, 255, 70))
    assert output.logits.shape == (2, 3, 255, 70)
    assert output.aux == ()


def test_chained_pooling_by_hand() -> None:
    # Convolutions that copy: each stage is a wider maximum, and all five terms are added.
    block = ChainedPooling(1)
    for stage in block.stages:
        nn.init.dirac_(stage[1].weight)
    maps = torch.zeros(1, 1, 1, 21)
    maps[..., 10] = 1
    reach = [sum(abs(column - 10) <= 2 * stage for stage in range(5)) for column in range(21)]
    assert block(maps).flatten().tolist() == reach


def test_a_residual_unit_adds_what_two_convolutions_make_of_its_positive_part() -> None:
    unit = ResidualUnit(2)
    for index in (1, 3):
        nn.init.dirac_(unit.body[index].weight)
    nn.init.constant_(unit.body[1].bias, -1.0)
    maps = torch.tensor([[[[3.0]], [[-2.0]]]])
    assert unit(maps).flatten().tolist() == [3 + (3 - 1), -2 + 0]


def test_gradients_are_finite_everywhere() -> None:
    torch.manual_seed(0)
    network = build_network("refinenet_r101", 3, pretrained=False)
    classes = torch.zeros(2, 64, 64, dtype=torch.uint8)
    classes[:, 30:60, 10:50] = 1
    classes[:, :30, 10:50] = 2
    pictures = torch.randn((2, 3, 64, 64), generator=torch.Generator().manual_seed(1))
    loss = find_loss(find_spec("refinenet_r101").recipe.loss)
    loss(network(pictures), classes).backward()
    for name, one in network.named_parameters():
        assert one.grad is not None and torch.isfinite(one.grad).all(), name


def test_cross_entropy_is_that_of_scikit_learn() -> None:
    from sklearn.metrics import log_loss

    logits = torch.randn((2, 3, 4, 5), generator=torch.Generator().manual_seed(0))
    classes = torch.randint(0, 3, (2, 4, 5), generator=torch.Generator().manual_seed(1))
    chances = logits.softmax(dim=1).permute(0, 2, 3, 1).reshape(-1, 3).double()
    chances /= chances.sum(dim=1, keepdim=True)
    expected = log_loss(classes.flatten(), chances, labels=[0, 1, 2])
    loss = find_loss("cross_entropy")
    assert float(loss(SegOutput(logits), classes)) == pytest.approx(expected, rel=1e-5)


def test_cross_entropy_of_one_channel_is_that_of_two_classes() -> None:
    logits = torch.randn((2, 1, 4, 5), generator=torch.Generator().manual_seed(0))
    classes = torch.randint(0, 2, (2, 4, 5), generator=torch.Generator().manual_seed(1))
    loss = find_loss("cross_entropy")
    both = SegOutput(torch.cat((torch.zeros_like(logits), logits), dim=1))
    assert float(loss(SegOutput(logits), classes)) == pytest.approx(float(loss(both, classes)), rel=1e-5)
