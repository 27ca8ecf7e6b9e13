"""DAD: a coarse guide from deep features, sharpened twice by asking what differs inside and outside it.

Source: the network's October 2022 release, wired as `baselines.md` section 1.7 states it (decision D-22).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from baselines.networks.layers import ResNetEncoder, conv_bn_relu, resized
from baselines.segmenter import (
    RANDOM_WEIGHTS,
    InitialWeights,
    SegOutput,
    foreground_probabilities,
    padded_to,
)

_STRIDE = 32
_FUSED = 96  # channels of the three fused levels


class DAD(nn.Module):
    """(B, 3, H, W) normalised RGB to logits; `aux` holds the first sharpening and the guide.

    Attributes:
        low: which quarter-size map joins the guide: "c1", the 64-channel stem after pooling, or "c2", the
            256-channel map the release feeds into a 64-channel layer, which cannot run.
    """

    def __init__(
        self,
        resnet50: nn.Module,
        num_classes: int,
        *,
        low: str = "c1",
        context_momentum: float = 0.1,
        weights: InitialWeights = RANDOM_WEIGHTS,
    ) -> None:
        """Set up the layers.

        Args:
            resnet50: torchvision's.
            num_classes: output channels.
            low: see the class.
            context_momentum: of the batch norms of the context modules; the release has .999, with which
                the running values are those of the last batch.
            weights: where the encoder's values came from.

        Raises:
            ValueError: `low` is neither "c1" nor "c2", or the momentum lies outside (0, 1].
        """
        super().__init__()
        if low not in ("c1", "c2"):
            raise ValueError(f"low is 'c1' or 'c2', not {low!r}")
        if not 0 < context_momentum <= 1:
            raise ValueError(f"context_momentum lies in (0, 1], not {context_momentum}")
        self.low = low
        self.initial_weights = weights
        self.encoder = ResNetEncoder(resnet50)
        self.deep_context = ContextModule(2048, 256)
        self.dual = DualAttention(256, 64)
        self.low_projection = conv_bn_relu(64 if low == "c1" else 256, 48, 1)
        self.guide = nn.Sequential(
            conv_bn_relu(64 + 48, 256),
            nn.Dropout(0.5),
            conv_bn_relu(256, 256),
            nn.Dropout(0.1),
            nn.Conv2d(256, num_classes, 1),
        )
        self.fuse4 = nn.Sequential(conv_bn_relu(1024, 128, 1), ContextModule(128, 32))
        self.fuse3 = nn.Sequential(conv_bn_relu(512, 128, 1), ContextModule(128, 32))
        self.fuse2 = nn.Sequential(conv_bn_relu(256, 128, stride=2), ContextModule(128, 32))
        self.sharpen = nn.ModuleList(DifferenceAttention(_FUSED, num_classes) for _ in range(2))
        for context in self.modules():
            if isinstance(context, ContextModule):
                context.set_momentum(context_momentum)

    def forward(self, images: Tensor) -> SegOutput:
        """Logits; H and W larger than 16."""
        height, width = images.shape[-2:]
        padded = padded_to(images, _STRIDE)
        levels = self.encoder(padded)
        low = levels.pooled if self.low == "c1" else levels.c2
        enhanced = self.dual(self.deep_context(levels.c5))
        guide: Tensor = self.guide(torch.cat((_up(enhanced, levels.c2), self.low_projection(low)), dim=1))
        fused = torch.cat(
            (_up(self.fuse4(levels.c4), levels.c3), self.fuse3(levels.c3), self.fuse2(levels.c2)), dim=1
        )
        fused = _up(fused, levels.c2)
        maps = [guide]
        for sharpen in self.sharpen:
            maps.append(sharpen(fused, maps[-1]))
        whole = [_up(one, padded)[..., :height, :width] for one in reversed(maps)]
        return SegOutput(whole[0], whole[1:])


def _up(maps: Tensor, like: Tensor) -> Tensor:
    return resized(maps, like, align_corners=True)


class ContextModule(nn.Module):
    """Three branches that see ever wider, and a residual.

    The sum needs no ReLU of its own: both terms come out of one.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.near = conv_bn_relu(inputs, outputs, 1)
        self.far = _widening(inputs, outputs, (4, 8, 16, 32))
        self.middle = _widening(inputs, outputs, (2, 4, 8, 16))
        self.join = conv_bn_relu(3 * outputs, outputs)
        self.residual = conv_bn_relu(inputs, outputs, 1)

    def forward(self, maps: Tensor) -> Tensor:
        """(B, inputs, h, w) to (B, outputs, h, w)."""
        joined = self.join(torch.cat((self.near(maps), self.far(maps), self.middle(maps)), dim=1))
        answer: Tensor = joined + self.residual(maps)
        return answer

    def set_momentum(self, momentum: float) -> None:
        """Give every batch norm inside this momentum."""
        for norm in self.modules():
            if isinstance(norm, nn.BatchNorm2d):
                norm.momentum = momentum


def _widening(inputs: int, outputs: int, dilations: tuple[int, ...]) -> nn.Sequential:
    return nn.Sequential(
        conv_bn_relu(inputs, outputs, 1),
        *(conv_bn_relu(outputs, outputs, dilation=dilation) for dilation in dilations),
    )


class DualAttention(nn.Module):
    """Attention over positions plus attention over channels (Fu et al., Dual Attention, CVPR 2019)."""

    def __init__(self, inputs: int, channels: int) -> None:
        super().__init__()
        self.before_positions = conv_bn_relu(inputs, channels)
        self.before_channels = conv_bn_relu(inputs, channels)
        self.positions = PositionAttention(channels)
        self.channels = ChannelAttention()
        self.after_positions = conv_bn_relu(channels, channels)
        self.after_channels = conv_bn_relu(channels, channels)
        self.dropout = nn.Dropout(0.5)

    def forward(self, maps: Tensor) -> Tensor:
        """(B, inputs, h, w) to (B, channels, h, w)."""
        positions = self.after_positions(self.positions(self.before_positions(maps)))
        channels = self.after_channels(self.channels(self.before_channels(maps)))
        answer: Tensor = self.dropout(positions + channels)
        return answer


class PositionAttention(nn.Module):
    """x + gamma * what each position gathers from all others; gamma starts at 0."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.query = nn.Conv2d(channels, channels // 8, 1)
        self.key = nn.Conv2d(channels, channels // 8, 1)
        self.value = nn.Conv2d(channels, channels, 1)
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, maps: Tensor) -> Tensor:
        """(B, channels, h, w) to the same shape."""
        queries, keys = self.query(maps).flatten(2), self.key(maps).flatten(2)
        weights = (queries.transpose(1, 2) @ keys).softmax(dim=-1)
        gathered = self.value(maps).flatten(2) @ weights.transpose(1, 2)
        answer: Tensor = maps + self.gamma * gathered.reshape(maps.shape)
        return answer


class ChannelAttention(nn.Module):
    """x + gamma * a mix of its channels, the least alike weighing most; gamma starts at 0."""

    def __init__(self) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, maps: Tensor) -> Tensor:
        """(B, C, h, w) to the same shape."""
        flat = maps.flatten(2)
        energy = flat @ flat.transpose(1, 2)
        # softmax(max - energy) of the source; the maximum of a row cancels.
        weights = (-energy).softmax(dim=-1)
        answer: Tensor = maps + self.gamma * (weights @ flat).reshape(maps.shape)
        return answer


class DifferenceAttention(nn.Module):
    """Logits from what features say inside a map minus what they say outside it.

    The release guides the features F by their correlation with the map, repeated once for each channel: all
    columns of that energy are equal, its softmax is uniform, and what is left is F + gamma * (mean of F over
    channels), whatever the map. That closed form stands here (decision D-22).
    """

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(1))
        self.alpha = nn.Parameter(torch.ones(1))
        self.beta = nn.Parameter(torch.ones(1))
        self.inside = nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU())
        self.outside = nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU())
        self.head = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1), nn.Conv2d(channels, num_classes, 3, padding=1)
        )

    def forward(self, features: Tensor, logits: Tensor) -> Tensor:
        """(B, channels, h, w) features and (B, num_classes, h, w) logits to logits of that shape."""
        features = features + self.gamma * features.mean(dim=1, keepdim=True)
        inside = foreground_probabilities(logits).sum(dim=1, keepdim=True).to(features.dtype)
        difference = self.inside(self.alpha * features * inside) - self.outside(
            self.beta * features * (1 - inside)
        )
        answer: Tensor = self.head(difference)
        return answer
