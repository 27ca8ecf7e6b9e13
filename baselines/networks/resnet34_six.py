"""BASNet's encoder: the four layers of ResNet-34 at full resolution, and two more stages below them."""

from __future__ import annotations

from torch import Tensor, nn
from torchvision.models import ResNet
from torchvision.models.resnet import BasicBlock

from baselines.networks.layers import biased_conv_bn_relu

SKIP_CHANNELS = (64, 128, 256, 512, 512, 512)  # of E1 to E6
STRIDE = 32  # of E6


class ResNet34Six(nn.Module):
    """Six feature maps E1 to E6, of stride 1, 2, 4, 8, 16 and 32.

    Only `layer1` to `layer4` of the given ResNet-34 are kept: the stem is a 3x3 convolution of stride 1
    without pooling, for which no published values exist.

    Source: Qin et al., BASNet, CVPR 2019, section 3.2; `baselines.md` 1.2.
    """

    def __init__(self, resnet34: ResNet) -> None:
        super().__init__()
        self.stem = biased_conv_bn_relu(3, 64)
        self.e1 = resnet34.layer1
        self.e2 = resnet34.layer2
        self.e3 = resnet34.layer3
        self.e4 = resnet34.layer4
        self.e5 = _pooled_blocks()
        self.e6 = _pooled_blocks()

    def forward(self, images: Tensor) -> list[Tensor]:
        """(B, 3, H, W) float, H and W multiples of 32, to E1 … E6."""
        features: list[Tensor] = []
        current = self.stem(images)
        for stage in (self.e1, self.e2, self.e3, self.e4, self.e5, self.e6):
            current = stage(current)
            features.append(current)
        return features


def _pooled_blocks() -> nn.Sequential:
    return nn.Sequential(nn.MaxPool2d(2), *(BasicBlock(512, 512) for _ in range(3)))
