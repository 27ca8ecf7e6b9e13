"""VGG-11 with its eighth convolution and wide layers taken out, and one small head.

Source: Xu & Zheng, section 2.2 and figure 2; Simonyan & Zisserman, Very Deep Convolutional Networks, 2015.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import VGG11_BN_Weights, VGG11_Weights, vgg11, vgg11_bn
from torchvision.models.vgg import make_layers

from baselines.attributes.settings import Head, VggSettings
from baselines.models._torchvision import torchvision_network
from baselines.segmenter import RANDOM_WEIGHTS

_PLACES = 7  # of VGG's last map at 224 pixels, per side
_WIDTH = 512
_FC_WIDTH = 4096
_CONV7: list[str | int] = [64, "M", 128, "M", 256, 256, "M", 512, 512, "M", 512, "M"]
_CONV8: list[str | int] = [*_CONV7[:-1], 512, "M"]


class VggAttributes(nn.Module):
    """(B, 3, H, W) `normalise_images` to (B, outputs) logits; H and W at least 32.

    At 224 pixels the "linear" and the "conv" head are the same function. Elsewhere the first averages the
    trunk's map down to 7x7, as VGG does, and the second slides over it and averages its answers.
    """

    def __init__(self, trunk: nn.Module, outputs: int, settings: VggSettings) -> None:
        super().__init__()
        self.initial_weights = RANDOM_WEIGHTS
        self.trunk = trunk
        self._head: Head = settings.head
        if settings.head == "linear":
            wide = _wide_layers() if settings.keep_fc else []
            width = _FC_WIDTH if settings.keep_fc else _WIDTH * _PLACES**2
            self.head: nn.Module = nn.Sequential(nn.Flatten(), *wide, nn.Linear(width, outputs))
        else:
            self.head = nn.Conv2d(_WIDTH, outputs, _PLACES if settings.head == "conv" else 1)

    def forward(self, images: Tensor) -> Tensor:
        """Logits; see the class."""
        found = self.trunk(images)
        if self._head == "gap":
            found = F.adaptive_avg_pool2d(found, 1)
        elif self._head == "linear" or min(found.shape[-2:]) < _PLACES:
            found = F.adaptive_avg_pool2d(found, _PLACES)
        answer: Tensor = self.head(found)
        return answer.mean(dim=(2, 3)) if answer.ndim == 4 else answer


def _wide_layers() -> list[nn.Module]:
    return [
        nn.Linear(_WIDTH * _PLACES**2, _FC_WIDTH),
        nn.ReLU(inplace=True),
        nn.Dropout(),
        nn.Linear(_FC_WIDTH, _FC_WIDTH),
        nn.ReLU(inplace=True),
        nn.Dropout(),
    ]


def build_vgg_attributes(outputs: int, settings: VggSettings, *, pretrained: bool) -> VggAttributes:
    """The network, its trunk from torchvision's ImageNet weights or from random values.

    Args:
        outputs: `OutputCoding.outputs`.
        settings: trunk and head.
        pretrained: fetch the weights of the trunk; the head always starts from random values.

    Raises:
        WeightsUnavailable: torchvision's host cannot be reached or refuses.
    """
    trunk = make_layers(_CONV8 if settings.keep_conv8 else _CONV7, batch_norm=settings.bn)
    network = VggAttributes(trunk, outputs, settings)
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    if pretrained:
        source, start = torchvision_network(_published(settings.bn), _weights(settings.bn), pretrained=True)
        theirs = source.features.state_dict()
        # Layers are numbered from the picture on, so leaving conv8 out changes no earlier name.
        trunk.load_state_dict({name: theirs[name] for name in trunk.state_dict()})
        network.initial_weights = start
    return network


def _weights(bn: bool) -> Any:
    return VGG11_BN_Weights.IMAGENET1K_V1 if bn else VGG11_Weights.IMAGENET1K_V1


def _published(bn: bool) -> Any:
    return (lambda start: vgg11_bn(weights=start)) if bn else (lambda start: vgg11(weights=start))


def count_parameters(outputs: int, settings: VggSettings) -> int:
    """Learned values, without building them."""
    with torch.device("meta"):
        network = build_vgg_attributes(outputs, settings, pretrained=False)
    return sum(one.numel() for one in network.parameters())
