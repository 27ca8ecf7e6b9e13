"""The refinement network of BASNet and ABANet: a small U-Net that corrects a coarse map."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.networks.layers import biased_conv_bn_relu

_WIDTH = 64
_LEVELS = 4


class RefinementModule(nn.Module):
    """Adds a learned correction to a map of logits; 482,177 parameters for one channel.

    Source: Qin et al., BASNet, CVPR 2019, section 3.3; `baselines.md` 1.2.2.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.enter = nn.Conv2d(channels, _WIDTH, 3, padding=1)
        self.down = nn.ModuleList(biased_conv_bn_relu(_WIDTH, _WIDTH) for _ in range(_LEVELS))
        self.bottom = biased_conv_bn_relu(_WIDTH, _WIDTH)
        self.up = nn.ModuleList(biased_conv_bn_relu(2 * _WIDTH, _WIDTH) for _ in range(_LEVELS))
        self.leave = nn.Conv2d(_WIDTH, channels, 3, padding=1)

    def forward(self, coarse: Tensor) -> Tensor:
        """(B, C, H, W) logits, H and W multiples of 16, to logits of the same shape."""
        current: Tensor = self.enter(coarse)
        skips: list[Tensor] = []
        for block in self.down:
            current = block(current)
            skips.append(current)
            current = F.max_pool2d(current, 2)
        current = self.bottom(current)
        for block in self.up:
            raised = F.interpolate(current, scale_factor=2, mode="bilinear", align_corners=False)
            current = block(torch.cat((raised, skips.pop()), dim=1))
        correction: Tensor = self.leave(current)
        return coarse + correction
