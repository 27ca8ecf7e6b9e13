"""The 3x3 convolution, batch norm and ReLU that BASNet and ABANet are made of."""

from __future__ import annotations

from torch import nn


class ConvBnRelu(nn.Sequential):
    """Biased 3x3 convolution, batch norm, ReLU; keeps height and width ("CBR" of `baselines.md` 1.2)."""

    def __init__(self, channels_in: int, channels_out: int, *, dilation: int = 1) -> None:
        super().__init__(
            nn.Conv2d(channels_in, channels_out, 3, padding=dilation, dilation=dilation),
            nn.BatchNorm2d(channels_out),
            nn.ReLU(inplace=True),
        )
