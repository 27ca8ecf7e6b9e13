"""Zhakyp et al.'s network: counts, shapes and switches of `baselines.md` section 4."""

from __future__ import annotations

import pytest
import torch

from baselines.models import build_network
from baselines.networks.dlv3p_se import SqueezeExcitation
from baselines.segmenter import normalise_images
from dataset_tools.core.errors import ConfigError


@pytest.mark.parametrize(("se_at", "trainable"), [("aspp", 17_817_266), ("concat", 17_823_986)])
def test_eighteen_channels_have_the_parameters_of_the_specification(se_at: str, trainable: int) -> None:
    with torch.device("meta"):
        network = build_network("dlv3p_se18", 18, pretrained=False, se_at=se_at)
    assert sum(one.numel() for one in network.parameters()) == trainable
    if se_at == "aspp":
        statistics = [one for name, one in network.named_buffers() if "running" in name]
        assert trainable + sum(one.numel() for one in statistics) == 17_852_050


def test_maps_have_the_sizes_of_the_table() -> None:
    seen = {}
    with torch.device("meta"):
        network = build_network("dlv3p_se18", 18, pretrained=False)
        for name in ("late", "low", "pyramid", "first_se", "decoder", "second_se"):
            part = network.get_submodule(name)
            part.register_forward_hook(lambda _m, _i, out, name=name: seen.update({name: tuple(out.shape)}))
        logits = network(torch.zeros(2, 3, 128, 128)).logits
    assert seen == {
        "late": (2, 1024, 8, 8),
        "low": (2, 48, 32, 32),
        "pyramid": (2, 256, 8, 8),
        "first_se": (2, 256, 8, 8),
        "decoder": (2, 256, 32, 32),
        "second_se": (2, 256, 32, 32),
    }
    assert logits.shape == (2, 18, 128, 128)


def test_squeeze_excitation_by_hand() -> None:
    block = SqueezeExcitation(8)
    torch.nn.init.constant_(block.squeeze.weight, 0.5)
    torch.nn.init.constant_(block.excite.weight, 2.0)
    maps = torch.zeros(1, 8, 2, 2)
    maps[0, 3] = torch.tensor([[1.0, 2.0], [3.0, 6.0]])  # mean 3, times .5 is 1.5, times 2 is 3
    expected = maps / (1 + torch.tensor(-3.0).exp())
    assert torch.allclose(block(maps), expected)


def test_unit_scaling_undoes_the_normalisation_of_imagenet() -> None:
    torch.manual_seed(0)
    unit = build_network("dlv3p_se18", 1, pretrained=False, norm="unit").eval()
    as_is = build_network("dlv3p_se18", 1, pretrained=False).eval()
    as_is.load_state_dict(unit.state_dict())
    pictures = torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8)
    with torch.inference_mode():
        assert torch.allclose(
            unit(normalise_images(pictures)).logits, as_is(pictures.float() / 255).logits, atol=1e-5
        )


def test_a_switch_with_an_unknown_value_is_a_configuration_error() -> None:
    with pytest.raises(ConfigError, match="se_at is 'decoder'"):
        build_network("dlv3p_se18", 1, pretrained=False, se_at="decoder")
