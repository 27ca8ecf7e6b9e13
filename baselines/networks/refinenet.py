"""RefineNet with four cascades: each level of a ResNet is refined and added to what the deeper ones found.

Source: Lin et al., RefineNet, CVPR 2017, as `baselines.md` section 2.7 states it.
"""

from __future__ import annotations

from torch import Tensor, nn

from baselines.networks.layers import resized
from baselines.segmenter import RANDOM_WEIGHTS, InitialWeights, SegOutput, padded_to

_STRIDE = 32
_LEVELS = (256, 512, 1024, 2048)  # channels of C2 to C5
_WIDTHS = (256, 256, 256, 512)  # channels of the four cascades, the finest first


class RefineNet(nn.Module):
    """(B, 3, H, W) normalised RGB to logits."""

    def __init__(
        self, encoder: nn.Module, num_classes: int, weights: InitialWeights = RANDOM_WEIGHTS
    ) -> None:
        """Set up the layers.

        Args:
            encoder: from pictures to a list of C2 to C5, 256 to 2048 channels at strides 4 to 32.
            num_classes: output channels.
            weights: where the encoder's values came from.
        """
        super().__init__()
        self.initial_weights = weights
        self.encoder = encoder
        self.dropout = nn.Dropout(0.5)
        self.adapters = nn.ModuleList(
            nn.Sequential(_conv(inputs, width), ResidualUnit(width), ResidualUnit(width))
            for inputs, width in zip(_LEVELS, _WIDTHS, strict=True)
        )
        self.into_sum = nn.ModuleList(_conv(width, width) for width in _WIDTHS[:3])
        self.refiners = nn.ModuleList(
            nn.Sequential(nn.ReLU(), ChainedPooling(width), *(ResidualUnit(width) for _ in range(3)))
            for width in _WIDTHS
        )
        self.hand_on = nn.ModuleList(_conv(width, 256) for width in _WIDTHS[1:])
        self.head = nn.Sequential(nn.Dropout(0.5), nn.Conv2d(256, num_classes, 3, padding=1))

    def forward(self, images: Tensor) -> SegOutput:
        """Logits; H and W larger than 16."""
        height, width = images.shape[-2:]
        padded = padded_to(images, _STRIDE)
        levels = list(self.encoder(padded))
        levels[2:] = [self.dropout(level) for level in levels[2:]]
        refined: Tensor = self.refiners[3](self.adapters[3](levels[3]))
        for level in (2, 1, 0):
            own = self.into_sum[level](self.adapters[level](levels[level]))
            deeper = resized(self.hand_on[level](refined), own, align_corners=True)
            refined = self.refiners[level](own + deeper)
        logits = resized(self.head(refined), padded, align_corners=True)
        return SegOutput(logits[..., :height, :width])


def _conv(inputs: int, outputs: int, *, bias: bool = False) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1, bias=bias)


class ResidualUnit(nn.Module):
    """Residual convolution unit: two convolutions, each after a ReLU, without normalisation."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.ReLU(), _conv(channels, channels, bias=True), nn.ReLU(), _conv(channels, channels)
        )

    def forward(self, maps: Tensor) -> Tensor:
        """(B, channels, h, w) to the same shape."""
        answer: Tensor = maps + self.body(maps)
        return answer


class ChainedPooling(nn.Module):
    """Chained residual pooling: four times a 5x5 maximum and a convolution, all added up."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.stages = nn.ModuleList(
            nn.Sequential(nn.MaxPool2d(5, stride=1, padding=2), _conv(channels, channels)) for _ in range(4)
        )

    def forward(self, maps: Tensor) -> Tensor:
        """(B, channels, h, w) to the same shape."""
        total, link = maps, maps
        for stage in self.stages:
            link = stage(link)
            total = total + link
        return total
