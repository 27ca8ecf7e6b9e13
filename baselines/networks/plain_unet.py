"""The U-Net that papers mean when they say no more than that (`baselines.md` section 1.9)."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from baselines.networks.layers import conv_bn_relu

WIDTHS = (64, 128, 256, 512, 1024)  # Ronneberger et al., MICCAI 2015, figure 1


class PlainUNet(nn.Module):
    """Two 3x3 convolutions with batch norm at each of five levels, joined by transposed convolutions.

    Takes sides that are multiples of `MULTIPLE`; 31,037,633 parameters with one output channel.

    Source: Ronneberger et al., U-Net (MICCAI 2015), with padding and batch norm.
    """

    MULTIPLE = 2 ** (len(WIDTHS) - 1)

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.down = nn.ModuleList(
            _double(inputs, outputs) for inputs, outputs in zip((3, *WIDTHS), WIDTHS, strict=False)
        )
        self.pool = nn.MaxPool2d(2)
        upwards = WIDTHS[::-1]
        self.rise = nn.ModuleList(
            nn.ConvTranspose2d(inputs, outputs, 2, stride=2) for inputs, outputs in pairwise(upwards)
        )
        self.up = nn.ModuleList(_double(2 * outputs, outputs) for outputs in upwards[1:])
        self.head = nn.Conv2d(WIDTHS[0], num_classes, 1)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) to logits (B, C, H, W)."""
        maps, skips = images, []
        for level, block in enumerate(self.down):
            maps = block(self.pool(maps) if level else maps)
            skips.append(maps)
        for rise, block, skip in zip(self.rise, self.up, skips[-2::-1], strict=True):
            maps = block(torch.cat((skip, rise(maps)), dim=1))
        logits: Tensor = self.head(maps)
        return logits


def _double(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(conv_bn_relu(inputs, outputs), conv_bn_relu(outputs, outputs))
