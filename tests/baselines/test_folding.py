"""Folded networks answer as the network itself, whatever network it is; what cannot be folded stays."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from baselines.folding import TOLERANCE, folded
from baselines.models import all_specs, build_network, find_spec
from baselines.segmenter import SegOutput, foreground_probabilities

TRAINED = [spec.name for spec in all_specs() if spec.is_trained]
SMALL = ("unet_effnet_lite0", "msml_osb_r18", "dlv3p_se18")


def lived_in(network: nn.Module, side_px: int) -> nn.Module:
    """A network whose normalisations have statistics as training leaves them."""
    for one in network.eval().modules():
        if isinstance(one, nn.BatchNorm2d):
            one.train().momentum = 1.0
    with torch.no_grad():
        network(torch.randn(4, 3, side_px, side_px, generator=torch.Generator().manual_seed(3)) + 0.5)
    return network.eval()


def normalisations(network: nn.Module) -> int:
    return sum(isinstance(one, nn.BatchNorm2d) for one in network.modules())


def answers_alike(name: str) -> tuple[nn.Module, nn.Module]:
    spec = find_spec(name)
    side = max(64, spec.min_px)
    channels = 1 if spec.least_labels == 1 else 1 + spec.least_labels
    network = lived_in(build_network(name, channels, pretrained=False), side)
    made = folded(network, side)
    # Another picture of another size than the one it was folded on.
    picture = torch.randn(2, 3, side + 32, side, generator=torch.Generator().manual_seed(9))
    with torch.inference_mode():
        before, after = (foreground_probabilities(one(picture).logits) for one in (network, made))
    assert float((before - after).abs().max()) <= TOLERANCE
    return network, made


@pytest.mark.parametrize("name", SMALL)
def test_a_folded_network_gives_the_same_probabilities_and_normalises_less(name: str) -> None:
    network, made = answers_alike(name)
    assert normalisations(made) < normalisations(network)


def test_nothing_is_left_to_normalise_in_the_small_baseline() -> None:
    _, made = answers_alike("unet_effnet_lite0")
    assert normalisations(made) == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in TRAINED if name not in SMALL])
def test_every_other_network_gives_the_same_probabilities_too(name: str) -> None:
    answers_alike(name)


class Odd(nn.Module):
    """Two convolutions and a normalisation, in an order that a test chooses."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.normalisation = nn.BatchNorm2d(4, track_running_stats=kind != "of the batch")
        self.last = nn.Conv2d(4, 1, 1)

    def forward(self, images: Tensor) -> SegOutput:
        found = self.first(images)
        if self.kind == "activated first":
            found = found.relu()
        said = self.normalisation(found)
        if self.kind == "used twice":
            said = said + found
        if self.kind == "asked twice":
            said = said + self.normalisation(self.first(images.flip(-1)))
        return SegOutput(self.last(said))


@pytest.mark.parametrize("kind", ["activated first", "used twice", "asked twice", "of the batch"])
def test_what_cannot_be_folded_is_left_as_it_was(kind: str) -> None:
    network = lived_in(Odd(kind), 32)
    weights = {name: value.clone() for name, value in network.state_dict().items()}
    assert folded(network, 32) is network
    assert all(torch.equal(value, weights[name]) for name, value in network.state_dict().items())


def test_a_plain_pair_is_folded_into_one_convolution_and_the_network_itself_stays() -> None:
    network = lived_in(Odd("plain"), 32)
    made = folded(network, 32)
    assert normalisations(made) == 0
    assert normalisations(network) == 1
