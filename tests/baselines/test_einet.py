"""The EINet stand-in: four maps and an outline, on either backbone, and its loss."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch.nn import functional as F

from baselines.losses.einet import einet_loss, outline_of
from baselines.losses.structure import structure_loss
from baselines.models import build_network, find_spec
from baselines.registry import Fidelity
from baselines.segmenter import SegOutput
from dataset_tools.core.errors import ConfigError


@pytest.mark.parametrize("backbone", ["resnet50", "pvt_v2_b2"])
def test_four_maps_and_an_outline_come_out(backbone: str) -> None:
    with torch.device("meta"):
        network = build_network("einet_r50", 3, pretrained=False, backbone=backbone)
        output = network(torch.zeros(2, 3, 70, 100))
    assert [tuple(one.shape) for one in (output.logits, *output.aux)] == [(2, 3, 70, 100)] * 4
    assert output.extras["edge"].shape == (2, 1, 70, 100)


def test_the_pyramid_transformer_has_the_published_size() -> None:
    with torch.device("meta"):
        network = build_network("einet_r50", 1, pretrained=False, backbone="pvt_v2_b2")
    # Wang et al., PVT v2, table 1: 25.4 M with the classifier of 512 x 1000 + 1000.
    size = sum(one.numel() for one in network.get_submodule("encoder").parameters())
    assert size + 513_000 == pytest.approx(25.4e6, rel=0.005)


def test_an_unknown_backbone_is_refused() -> None:
    with pytest.raises(ConfigError, match="pvt_v2_b2"):
        build_network("einet_r50", 1, pretrained=False, backbone="vgg16")


def test_it_is_called_a_stand_in() -> None:
    spec = find_spec("einet_r50")
    assert spec.fidelity is Fidelity.STAND_IN
    assert "stand-in" in spec.title


@pytest.mark.parametrize("backbone", ["resnet50", "pvt_v2_b2"])
def test_gradients_are_finite_everywhere(backbone: str) -> None:
    torch.manual_seed(0)
    network = build_network("einet_r50", 1, pretrained=False, backbone=backbone)
    classes = torch.zeros(1, 64, 64, dtype=torch.uint8)
    classes[:, 30:60, 10:50] = 1
    pictures = torch.randn((1, 3, 64, 64), generator=torch.Generator().manual_seed(1))
    einet_loss(network(pictures), classes).backward()
    for name, one in network.named_parameters():
        assert one.grad is not None and torch.isfinite(one.grad).all(), name


def test_the_outline_is_the_morphological_gradient() -> None:
    shape = np.random.default_rng(0).random((2, 20, 24)) < 0.2
    shape = np.stack([ndimage.binary_dilation(one, iterations=2) for one in shape])
    expected = [ndimage.morphological_gradient(one.astype(int), size=3, mode="nearest") for one in shape]
    got = outline_of(torch.tensor(shape[:, None], dtype=torch.float32))
    assert np.array_equal(got[:, 0].numpy(), np.stack(expected))


def test_the_outline_of_several_labels_runs_between_them() -> None:
    classes = torch.tensor([[[1, 1, 1, 2, 2, 2]]])
    target = F.one_hot(classes, 3).permute(0, 3, 1, 2).float()
    assert outline_of(target).flatten().tolist() == [0, 0, 1, 1, 0, 0]


def test_the_loss_is_four_structures_and_one_dice() -> None:
    classes = torch.zeros(1, 16, 16, dtype=torch.uint8)
    classes[:, 4:12, 4:12] = 1
    target = classes[None].float()
    sure = (2 * target - 1) * 30
    edge = (2 * outline_of(target) - 1) * 30
    assert float(einet_loss(SegOutput(sure, (sure,) * 3, {"edge": edge}), classes)) < 1e-3
    # A silent outline: Dice is 1 - (0 + 1) / (n / 2 + 1), n = 10x10 - 6x6 outline pixels.
    none = torch.full_like(edge, -30.0)
    got = float(einet_loss(SegOutput(sure, (sure,) * 3, {"edge": none}), classes))
    assert got == pytest.approx(1 - 1 / (64 / 2 + 1), abs=1e-3)
    doubtful = torch.zeros_like(sure)
    got = float(einet_loss(SegOutput(doubtful, (doubtful,) * 3, {"edge": edge}), classes))
    assert got == pytest.approx(4 * float(structure_loss(doubtful, target)), rel=1e-4)


def test_a_network_without_an_outline_is_told_so() -> None:
    with pytest.raises(ConfigError, match="take structure"):
        einet_loss(SegOutput(torch.zeros(1, 1, 8, 8)), torch.zeros(1, 8, 8))
