"""Small parts that several hand-written networks share."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F


def conv_bn_relu(
    inputs: int,
    outputs: int,
    kernel: int | tuple[int, int] = 3,
    *,
    stride: int = 1,
    dilation: int = 1,
    bias: bool = False,
) -> nn.Sequential:
    """Convolution that keeps the size at stride 1 (odd kernels), batch norm, ReLU.

    Args:
        inputs, outputs: channels.
        kernel: side, or (height, width), pixels.
        stride, dilation: of the convolution.
        bias: of the convolution; it changes nothing before batch norm but the parameter count.
    """
    sides = (kernel, kernel) if isinstance(kernel, int) else kernel
    padding = (dilation * (sides[0] // 2), dilation * (sides[1] // 2))
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, sides, stride, padding, dilation, bias=bias),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


def biased_conv_bn_relu(inputs: int, outputs: int, *, dilation: int = 1) -> nn.Sequential:
    """Biased 3x3 convolution, batch norm, ReLU: BASNet's and ABANet's "CBR" (`baselines.md` 1.2)."""
    return conv_bn_relu(inputs, outputs, dilation=dilation, bias=True)


def resized(maps: Tensor, like: Tensor, *, align_corners: bool = False) -> Tensor:
    """(B, C, h, w) maps bilinearly brought to the height and width of `like`."""
    size = like.shape[-2:]
    if maps.shape[-2:] == size:
        return maps
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=align_corners)


class ResNetLevels(NamedTuple):
    """Feature maps of a ResNet for a (B, 3, H, W) picture, the finest first."""

    stem: Tensor  # H/2
    pooled: Tensor  # H/4, the stem after max-pooling
    c2: Tensor  # H/4
    c3: Tensor  # H/8
    c4: Tensor  # H/16
    c5: Tensor  # H/32


class ResNetEncoder(nn.Module):
    """A torchvision ResNet without its classifier, from (B, 3, H, W) pictures to `ResNetLevels`."""

    def __init__(self, resnet: nn.Module) -> None:
        super().__init__()
        parts = dict(resnet.named_children())
        self.stem = nn.Sequential(parts["conv1"], parts["bn1"], parts["relu"])
        self.pool = parts["maxpool"]
        self.layers = nn.ModuleList(parts[f"layer{level}"] for level in range(1, 5))

    def forward(self, images: Tensor) -> ResNetLevels:
        """Maps at strides 2, 4, 4, 8, 16, 32."""
        stem: Tensor = self.stem(images)
        pooled: Tensor = self.pool(stem)
        deeper, levels = pooled, []
        for layer in self.layers:
            deeper = layer(deeper)
            levels.append(deeper)
        return ResNetLevels(stem, pooled, *levels)


class ResNetPyramid(nn.Module):
    """The last four maps of a torchvision ResNet, as timm's `features_only` networks give them."""

    def __init__(self, resnet: nn.Module) -> None:
        super().__init__()
        self.encoder = ResNetEncoder(resnet)

    def forward(self, images: Tensor) -> list[Tensor]:
        """C2 to C5, at strides 4, 8, 16, 32."""
        return list(self.encoder(images)[2:])
