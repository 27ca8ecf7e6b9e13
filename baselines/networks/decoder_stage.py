"""One stage of the decoder of BASNet and ABANet: three convolutions over a skip, gated or not."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.networks.attention_gate import AttentionGate
from baselines.networks.layers import biased_conv_bn_relu

Skip = Literal["concat", "gate_only", "gate_concat"]
"""How the skip comes in: concatenated as it is; gated and alone; gated and concatenated."""


class StageWidths(NamedTuple):
    """Channels of a stage.

    Attributes:
        skip: of the encoder map.
        wide: after the first and the second convolution.
        narrow: after the third.
        dilation: of the second and third.
    """

    skip: int
    wide: int
    narrow: int
    dilation: int = 1


class StageMaps(NamedTuple):
    """What a stage gives to the next one.

    Attributes:
        guide: after its last convolution of the wide width; guides the next gate.
        last: after its last convolution; goes to the side head, and raised into the next stage.
    """

    guide: Tensor
    last: Tensor


class DecoderStage(nn.Module):
    """Takes the maps of the stage above and a skip of the same or twice their size.

    Args:
        before: channels of the `guide` and the `last` map of the stage above.
        widths: of this stage.
        skip: how the skip comes in. With "gate_only" the gated skip, batch norm and ReLU stand in the place
            of the first convolution, and the stage above is felt through the gate alone.
        is_narrowed: whether a third convolution that narrows the map exists; before a "gate_only" stage it
            would be dead. A third convolution that keeps the width always exists.
    """

    def __init__(
        self, before: tuple[int, int], widths: StageWidths, *, skip: Skip, is_narrowed: bool
    ) -> None:
        super().__init__()
        guide_before, last_before = before
        self.gate: AttentionGate | None = None
        if skip != "concat":
            self.gate = AttentionGate(guide_before, widths.skip, inner_channels=guide_before)
        self.is_concatenated = skip != "gate_only"
        self.first: nn.Module
        if self.is_concatenated:
            self.first = biased_conv_bn_relu(last_before + widths.skip, widths.wide)
        else:
            self.first = nn.Sequential(nn.BatchNorm2d(widths.skip), nn.ReLU())
        second_in = widths.wide if self.is_concatenated else widths.skip
        self.second = biased_conv_bn_relu(second_in, widths.wide, dilation=widths.dilation)
        self.keeps_width = widths.narrow == widths.wide
        self.third: nn.Sequential | None = None
        if self.keeps_width or is_narrowed:
            self.third = biased_conv_bn_relu(widths.wide, widths.narrow, dilation=widths.dilation)
        self.channels = (widths.wide, widths.wide if self.third is None else widths.narrow)

    def forward(self, above: StageMaps, skip: Tensor) -> StageMaps:
        """The maps of this stage, both of the skip's height and width."""
        passed = skip if self.gate is None else self.gate(above.guide, skip)
        if self.is_concatenated:
            size = (skip.shape[-2], skip.shape[-1])
            raised = F.interpolate(above.last, size=size, mode="bilinear", align_corners=False)
            passed = torch.cat((raised, passed), dim=1)
        wide = self.second(self.first(passed))
        last = wide if self.third is None else self.third(wide)
        return StageMaps(last if self.keeps_width else wide, last)
