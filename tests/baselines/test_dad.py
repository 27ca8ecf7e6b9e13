"""DAD: three maps, its options, and the closed forms its attentions reduce to."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from baselines.losses import find_loss
from baselines.models import build_network, find_spec
from baselines.networks.dad import ChannelAttention, ContextModule, DifferenceAttention, PositionAttention
from dataset_tools.core.errors import ConfigError


def random_maps(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def count(network: nn.Module) -> int:
    return sum(one.numel() for one in network.parameters())


def test_three_maps_of_the_pictures_size_come_out() -> None:
    with torch.device("meta"):
        output = build_network("dad_r50", 1, pretrained=False)(torch.zeros(2, 3, 100, 70))
    maps = (output.logits, *output.aux)
    assert [tuple(one.shape) for one in maps] == [(2, 1, 100, 70)] * 3


def test_the_other_shallow_map_changes_one_layer() -> None:
    with torch.device("meta"):
        shallow = build_network("dad_r50", 1, pretrained=False)
        other = build_network("dad_r50", 1, pretrained=False, low="c2")
        output = other(torch.zeros(2, 3, 64, 64))
    assert count(other) - count(shallow) == (256 - 64) * 48
    assert output.logits.shape == (2, 1, 64, 64)


def test_the_released_momentum_reaches_the_context_modules_alone() -> None:
    with torch.device("meta"):
        network = build_network("dad_r50", 1, pretrained=False, context_momentum=0.999)
    inside = {
        norm
        for module in network.modules()
        if isinstance(module, ContextModule)
        for norm in module.modules()
        if isinstance(norm, nn.BatchNorm2d)
    }
    norms = [one for one in network.modules() if isinstance(one, nn.BatchNorm2d)]
    assert len(inside) == 4 * 13  # four modules of 13 convolutions
    assert all(norm.momentum == (0.999 if norm in inside else 0.1) for norm in norms)


@pytest.mark.parametrize("options", [{"low": "c3"}, {"context_momentum": 0.0}])
def test_options_it_does_not_know_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="dad_r50"):
        build_network("dad_r50", 1, pretrained=False, **options)


def test_the_closed_form_is_what_the_release_computes_the_long_way() -> None:
    """Correlate the features with the map repeated once a channel, softmax, mix the features by it."""
    features, answer = random_maps(2, 6, 4, 4), random_maps(2, 1, 4, 4, seed=1)
    block = DifferenceAttention(6, 1).eval()
    nn.init.constant_(block.gamma, 0.7)
    flat = features.flatten(2)
    repeated = answer.sigmoid().expand(2, 6, 4, 4).flatten(2)
    energy = flat @ repeated.transpose(1, 2)
    weights = (energy.amax(dim=-1, keepdim=True) - energy).softmax(dim=-1)
    assert torch.allclose(weights, torch.full_like(weights, 1 / 6), atol=1e-6)
    guided = features + 0.7 * (weights @ flat).reshape(features.shape)
    inside, outside = answer.sigmoid(), 1 - answer.sigmoid()
    difference = block.inside(guided * inside) - block.outside(guided * outside)
    assert torch.allclose(block(features, answer), block.head(difference), atol=1e-5)


def test_where_the_guide_is_undecided_nothing_differs() -> None:
    # With chance 1/2 everywhere inside and outside are alike, so only the head's biases speak.
    block = DifferenceAttention(6, 1)
    silent = block.head(torch.zeros(1, 6, 4, 4))
    assert torch.allclose(block(random_maps(1, 6, 4, 4), torch.zeros(1, 1, 4, 4)), silent, atol=1e-6)


def test_several_classes_are_guided_by_the_chance_of_any_label() -> None:
    features, logits = random_maps(1, 6, 4, 4), random_maps(1, 3, 4, 4, seed=1)
    block = DifferenceAttention(6, 3).eval()
    chance = 1 - logits.softmax(dim=1)[:, :1]
    difference = block.inside(features * chance) - block.outside(features * (1 - chance))
    assert torch.allclose(block(features, logits), block.head(difference), atol=1e-5)


def test_fresh_attentions_change_nothing() -> None:
    maps = random_maps(2, 16, 5, 4)
    assert torch.equal(PositionAttention(16)(maps), maps)
    assert torch.equal(ChannelAttention()(maps), maps)


def test_channel_attention_prefers_what_is_unlike() -> None:
    # Two equal channels and one that is zero: energies of the first row are (4, 4, 0).
    maps = torch.stack((torch.ones(2, 2), torch.ones(2, 2), torch.zeros(2, 2)))[None]
    block = ChannelAttention()
    nn.init.ones_(block.gamma)
    weight = torch.tensor([0.0, 0.0, 4.0]).softmax(dim=0)
    first = 1 + float(weight[0] + weight[1])
    assert torch.allclose(block(maps)[0, 0], torch.full((2, 2), first), atol=1e-6)


def test_position_attention_without_an_opinion_adds_the_mean() -> None:
    block = PositionAttention(8)
    nn.init.ones_(block.gamma)
    nn.init.zeros_(block.query.weight)
    nn.init.zeros_(block.query.bias)
    maps = random_maps(1, 8, 3, 3)
    expected = maps + block.value(maps).mean(dim=(2, 3), keepdim=True)
    assert torch.allclose(block(maps), expected, atol=1e-5)


def test_its_own_loss_gives_finite_gradients_everywhere() -> None:
    torch.manual_seed(0)
    network = build_network("dad_r50", 1, pretrained=False)
    classes = torch.zeros(1, 64, 64, dtype=torch.uint8)
    classes[:, 30:60, 10:50] = 1
    find_loss(find_spec("dad_r50").recipe.loss)(network(random_maps(1, 3, 64, 64)), classes).backward()
    for name, one in network.named_parameters():
        assert one.grad is not None and torch.isfinite(one.grad).all(), name
