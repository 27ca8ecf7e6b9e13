"""DeepLabV3+ on ResNet-50 without its last stage, with squeeze-and-excitation (`baselines.md` section 4)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.networks.layers import conv_bn_relu, resized
from baselines.segmenter import InitialWeights, SegOutput, padded_to, renormalised

DEEP_CHANNELS = 1024  # ResNet-50's third stage, stride 16
LOW_CHANNELS = 256  # its first stage, stride 4
WIDTH = 256
LOW_WIDTH = 48
ATROUS_RATES = (6, 12, 18)
SE_RATIO = 8

SeAt = Literal["aspp", "concat"]
Norm = Literal["imagenet", "unit"]


class SqueezeExcitation(nn.Module):
    """Weighs every channel by what all channels hold on average; (B, C, H, W) to the same shape.

    Source: Hu et al., Squeeze-and-Excitation Networks (CVPR 2018); no biases, as the parameter count asks.
    """

    def __init__(self, channels: int, ratio: int = SE_RATIO) -> None:
        super().__init__()
        self.squeeze = nn.Linear(channels, channels // ratio, bias=False)
        self.excite = nn.Linear(channels // ratio, channels, bias=False)

    def forward(self, maps: Tensor) -> Tensor:
        """The weighted maps."""
        weights: Tensor = self.excite(F.relu(self.squeeze(maps.mean(dim=(2, 3))))).sigmoid()
        return maps * weights[:, :, None, None]


class AtrousPyramid(nn.Module):
    """Image pooling, 1x1 and three dilated 3x3 branches side by side, then merged.

    (B, 1024, h, w) to (B, 256, h, w). Batch norm on the pooled branch needs two pictures in training.
    """

    def __init__(self) -> None:
        super().__init__()
        self.pooled = conv_bn_relu(DEEP_CHANNELS, WIDTH, 1)
        self.branches = nn.ModuleList(
            [
                conv_bn_relu(DEEP_CHANNELS, WIDTH, 1),
                *(conv_bn_relu(DEEP_CHANNELS, WIDTH, dilation=rate) for rate in ATROUS_RATES),
            ]
        )
        self.merge = conv_bn_relu(WIDTH * (len(ATROUS_RATES) + 2), WIDTH, 1)

    def forward(self, deep: Tensor) -> Tensor:
        """The merged maps."""
        pooled = self.pooled(deep.mean(dim=(2, 3), keepdim=True)).expand(-1, -1, *deep.shape[-2:])
        merged: Tensor = self.merge(torch.cat([pooled, *(branch(deep) for branch in self.branches)], dim=1))
        return merged


class SeDeepLab(nn.Module):
    """Zhakyp et al.'s network; 17,817,266 trainable parameters with 18 output channels.

    Args:
        resnet: torchvision's ResNet-50; its fourth stage and classifier are not used.
        num_classes: output channels.
        se_at: where the first squeeze-and-excitation stands: behind the pyramid, as the text has it, or on
            the maps joined with the low-level ones (17,823,986 parameters).
        norm: "imagenet" as the pretrained trunk wants it, or "unit" for RGB in [0, 1], as the text says.
        weights: where the trunk's values came from.
    """

    def __init__(
        self, resnet: nn.Module, num_classes: int, *, se_at: SeAt, norm: Norm, weights: InitialWeights
    ) -> None:
        super().__init__()
        if se_at not in ("aspp", "concat") or norm not in ("imagenet", "unit"):
            raise ValueError(f"se_at is {se_at!r} (aspp or concat), norm is {norm!r} (imagenet or unit)")
        self.initial_weights = weights
        self.norm = norm
        self.se_at = se_at
        parts = dict(resnet.named_children())
        first = list(parts["layer1"].children())
        # The low-level maps leave between the second and the third block of the first stage.
        self.early = nn.Sequential(
            parts["conv1"], parts["bn1"], parts["relu"], parts["maxpool"], first[0], first[1]
        )
        self.late = nn.Sequential(first[2], parts["layer2"], parts["layer3"])
        self.low = conv_bn_relu(LOW_CHANNELS, LOW_WIDTH, 1)
        self.pyramid = AtrousPyramid()
        joined = WIDTH + LOW_WIDTH
        self.first_se = SqueezeExcitation(WIDTH if se_at == "aspp" else joined)
        self.decoder = nn.Sequential(conv_bn_relu(joined, WIDTH), conv_bn_relu(WIDTH, WIDTH))
        self.second_se = SqueezeExcitation(WIDTH)
        self.head = nn.Conv2d(WIDTH, num_classes, 1)

    def forward(self, images: Tensor) -> SegOutput:
        """(B, 3, H, W) normalised by ImageNet's values, of any size, to logits (B, C, H, W)."""
        height, width = images.shape[-2:]
        pictures = padded_to(images, 16)
        if self.norm == "unit":
            pictures = renormalised(pictures, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
        low = self.early(pictures)
        deep = self.pyramid(self.late(low))
        if self.se_at == "aspp":
            deep = self.first_se(deep)
        joined = torch.cat((resized(deep, low), self.low(low)), dim=1)
        if self.se_at == "concat":
            joined = self.first_se(joined)
        logits = self.head(resized(self.second_se(self.decoder(joined)), pictures))
        return SegOutput(logits[..., :height, :width])
