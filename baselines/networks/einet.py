"""A stand-in for EINet: four levels, an edge that gates them, and multiplied neighbours, from deep to fine.

Neither code nor full text of the cited article (J. Electronic Imaging 31(5), 053002, 2022) could be found;
this is built from its title and its kin, `baselines.md` section 1.8, and is no reproduction.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from baselines.networks.layers import conv_bn_relu, resized
from baselines.segmenter import RANDOM_WEIGHTS, InitialWeights, SegOutput, padded_to

_STRIDE = 32
_WIDTH = 64


class EINet(nn.Module):
    """(B, 3, H, W) normalised RGB to logits of the finest level.

    `aux` holds the three coarser levels' logits and `extras["edge"]` (B, 1, H, W) logits of the outline, all
    brought to the picture's size; loss `einet` supervises the outline too.
    """

    def __init__(
        self,
        encoder: nn.Module,
        channels: Sequence[int],
        num_classes: int,
        weights: InitialWeights = RANDOM_WEIGHTS,
    ) -> None:
        """Set up the layers.

        Args:
            encoder: from pictures to a list of maps at strides 4, 8, 16, 32.
            channels: of those maps.
            num_classes: output channels.
            weights: where the encoder's values came from.
        """
        super().__init__()
        self.initial_weights = weights
        self.encoder = encoder
        self.fields = nn.ModuleList(ReceptiveField(width, _WIDTH) for width in channels)
        self.edge_head = nn.Sequential(conv_bn_relu(2 * _WIDTH, _WIDTH), nn.Conv2d(_WIDTH, 1, 1))
        self.interact = nn.ModuleList(conv_bn_relu(_WIDTH, _WIDTH) for _ in range(3))
        self.heads = nn.ModuleList(nn.Conv2d(_WIDTH, num_classes, 3, padding=1) for _ in range(4))

    def forward(self, images: Tensor) -> SegOutput:
        """Logits; H and W larger than 16."""
        height, width = images.shape[-2:]
        padded = padded_to(images, _STRIDE)
        fields = [field(level) for field, level in zip(self.fields, self.encoder(padded), strict=True)]
        edge = self.edge_head(torch.cat((fields[0], resized(fields[3], fields[0])), dim=1))
        gate = 1 + edge.sigmoid()
        deeper = fields[3]
        answers = [self.heads[3](deeper)]
        for level in (2, 1, 0):
            own, above = fields[level], resized(deeper, fields[level])
            deeper = self.interact[level](own + above + own * above) * resized(gate, own)
            answers.insert(0, self.heads[level](deeper))
        whole = [resized(one, padded)[..., :height, :width] for one in (*answers, edge)]
        return SegOutput(whole[0], whole[1:4], {"edge": whole[4]})


class ReceptiveField(nn.Module):
    """Four branches of growing reach, joined, plus a residual (after Liu et al., RFB, ECCV 2018)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.near = conv_bn_relu(inputs, outputs, 1)
        self.wide = nn.ModuleList(_reaching(inputs, outputs, reach) for reach in (3, 5, 7))
        self.join = nn.Sequential(*conv_bn_relu(4 * outputs, outputs)[:2])
        self.residual = nn.Sequential(*conv_bn_relu(inputs, outputs, 1)[:2])

    def forward(self, maps: Tensor) -> Tensor:
        """(B, inputs, h, w) to (B, outputs, h, w)."""
        joined = self.join(torch.cat([self.near(maps), *(branch(maps) for branch in self.wide)], dim=1))
        answer: Tensor = (joined + self.residual(maps)).relu()
        return answer


def _reaching(inputs: int, outputs: int, reach: int) -> nn.Sequential:
    return nn.Sequential(
        conv_bn_relu(inputs, outputs, 1),
        conv_bn_relu(outputs, outputs, (1, reach)),
        conv_bn_relu(outputs, outputs, (reach, 1)),
        conv_bn_relu(outputs, outputs, dilation=reach),
    )
