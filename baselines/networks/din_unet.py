"""The U-Net variant of Din et al.'s mask removal, as far as it is known (`baselines.md` section 1.9)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

FIRST_WIDTH = 32
LEVELS = 5
LEAK = 0.2
SPECK_PX = 3


class DinUNet(nn.Module):
    """One convolution per level, instance norm, leaky ReLU; five levels down to 1024 channels and up again.

    Takes sides that are multiples of `MULTIPLE`; 18,860,065 parameters with one output channel. The first
    level going down has no norm.

    Args:
        num_classes: output channels.
        opening: when not training, remove specks from each channel by a 3x3 opening of the logits. A grey
            opening commutes with any threshold, so this is the opening of the binary mask.
    """

    MULTIPLE = 2**LEVELS

    def __init__(self, num_classes: int, *, opening: bool) -> None:
        super().__init__()
        widths = [FIRST_WIDTH * 2**level for level in range(LEVELS + 1)]
        self.opening = opening
        self.stem = nn.Conv2d(3, FIRST_WIDTH, 1)
        self.down = nn.ModuleList(
            _block(inputs, 2 * inputs, is_normed=level > 0) for level, inputs in enumerate(widths[:-1])
        )
        self.pool = nn.MaxPool2d(2)
        self.rise = nn.ModuleList(
            nn.ConvTranspose2d(inputs, inputs // 2, 3, stride=2, padding=1, output_padding=1)
            for inputs in widths[:0:-1]
        )
        self.up = nn.ModuleList(_block(inputs, inputs // 2, is_normed=True) for inputs in widths[:0:-1])
        self.head = nn.Conv2d(FIRST_WIDTH, num_classes, 1)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) to logits (B, C, H, W)."""
        maps = self.stem(images)
        skips = []
        for block in self.down:
            skips.append(maps)
            maps = self.pool(block(maps))
        for rise, block, skip in zip(self.rise, self.up, skips[::-1], strict=True):
            maps = block(torch.cat((skip, rise(maps)), dim=1))
        logits: Tensor = self.head(maps)
        return opened(logits) if self.opening and not self.training else logits


def opened(maps: Tensor) -> Tensor:
    """(B, C, H, W) without bright specks that no `SPECK_PX` square fits into; the border counts as bright."""
    margin = SPECK_PX // 2
    eroded = -F.max_pool2d(-maps, SPECK_PX, stride=1, padding=margin)
    return F.max_pool2d(eroded, SPECK_PX, stride=1, padding=margin)


def _block(inputs: int, outputs: int, *, is_normed: bool) -> nn.Sequential:
    norm = [nn.InstanceNorm2d(outputs)] if is_normed else []
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), *norm, nn.LeakyReLU(LEAK, inplace=True))
