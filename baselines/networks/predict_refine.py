"""BASNet and ABANet: a deeply supervised encoder and decoder, then a network that refines its map.

Both share encoder, bridge, the first decoder stages, side heads and the refinement network; they differ in
which skips are gated and how (`baselines.md` 1.2 and 1.4). Without a gate this is BASNet.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import ResNet

from baselines.networks.decoder_stage import DecoderStage, Skip, StageMaps, StageWidths
from baselines.networks.layers import biased_conv_bn_relu
from baselines.networks.refinement import RefinementModule
from baselines.networks.resnet34_six import STRIDE, ResNet34Six
from baselines.segmenter import RANDOM_WEIGHTS, InitialWeights, SegOutput, padded_to

GateMode = Literal["gate_only", "concat"]

GATEABLE_STAGES = (3, 4, 5, 6)  # in decoder order; their skips are E4, E3, E2, E1

_STAGES = (
    StageWidths(skip=512, wide=512, narrow=512, dilation=2),
    StageWidths(skip=512, wide=512, narrow=512),
    StageWidths(skip=512, wide=512, narrow=256),
    StageWidths(skip=256, wide=256, narrow=128),
    StageWidths(skip=128, wide=128, narrow=64),
    StageWidths(skip=64, wide=64, narrow=64),
)
_BRIDGE = 512


class PredictRefineNet(nn.Module):
    """The whole network.

    Args:
        resnet34: where the encoder's layers come from.
        channels: of the answer.
        gated: decoder stages whose skip passes an attention gate, of `GATEABLE_STAGES`.
        gate_mode: "gate_only": the gated skip alone enters the stage (the released wiring); "concat": it is
            concatenated to the raised map of the stage above (the text's reading). `baselines.md` D-02.
        refine: whether the last map is refined.
        shares_head: use one side head for stages 2 and 3, as the release does.
        weights: where the values of `resnet34` came from.

    Raises:
        ValueError: stages that cannot be gated, or stages 2 and 3 differ in width and cannot share a head.
    """

    def __init__(
        self,
        resnet34: ResNet,
        channels: int,
        *,
        gated: Collection[int] = (),
        gate_mode: GateMode = "gate_only",
        refine: bool = True,
        shares_head: bool = False,
        weights: InitialWeights = RANDOM_WEIGHTS,
    ) -> None:
        super().__init__()
        skips = _skips(gated, gate_mode)
        self.encoder = ResNet34Six(resnet34)
        self.bridge = nn.Sequential(*(biased_conv_bn_relu(512, _BRIDGE, dilation=2) for _ in range(3)))
        stages: list[DecoderStage] = []
        before = (_BRIDGE, _BRIDGE)
        for index, (widths, skip) in enumerate(zip(_STAGES, skips, strict=True)):
            is_narrowed = skips[index + 1 : index + 2] != ["gate_only"]
            stages.append(DecoderStage(before, widths, skip=skip, is_narrowed=is_narrowed))
            before = stages[-1].channels
        self.stages = nn.ModuleList(stages)
        widths_of_heads = [_BRIDGE, *(one.channels[1] for one in stages)]
        self.head_of = list(range(len(widths_of_heads)))
        if shares_head:
            if widths_of_heads[2] != widths_of_heads[3]:
                raise ValueError("stages 2 and 3 share a head only when stage 4 is gated with gate_only")
            # Not one module under two names: a file of tensors holds each once.
            del widths_of_heads[3]
            self.head_of = [index - (index > 2) for index in self.head_of]
        self.heads = nn.ModuleList(nn.Conv2d(width, channels, 3, padding=1) for width in widths_of_heads)
        self.refiner = RefinementModule(channels) if refine else None
        self.initial_weights = weights

    def forward(self, images: Tensor) -> SegOutput:
        """Logits of a batch of any size of at least 17 pixels a side.

        Args:
            images: (B, 3, H, W) float, ImageNet-normalised.

        Returns:
            Logits (B, C, H, W), refined if there is a refiner. `aux` holds the side outputs in the same shape
            from the finest to the coarsest: the last stage's (if refined), …, the first's, the bridge's.
        """
        height, width = images.shape[-2:]
        features = self.encoder(padded_to(images, STRIDE))
        crossed = self.bridge(features[-1])
        maps = StageMaps(crossed, crossed)
        sources = [crossed]
        for stage, skip in zip(self.stages, reversed(features), strict=True):
            maps = stage(maps, skip)
            sources.append(maps.last)
        size = (features[0].shape[-2], features[0].shape[-1])
        sides = [
            F.interpolate(self.heads[index](source), size=size, mode="bilinear", align_corners=False)
            for index, source in zip(self.head_of, sources, strict=True)
        ]
        finest_first = sides[::-1]
        if self.refiner is not None:
            finest_first.insert(0, self.refiner(finest_first[0]))
        cut = [one[..., :height, :width] for one in finest_first]
        return SegOutput(cut[0], aux=tuple(cut[1:]))


def _skips(gated: Collection[int], mode: GateMode) -> list[Skip]:
    """How the skip of each stage comes in, in decoder order."""
    unknown = sorted(set(gated) - set(GATEABLE_STAGES))
    if unknown:
        raise ValueError(f"decoder stages {unknown} have no gate; choose from {GATEABLE_STAGES}")
    if mode not in ("gate_only", "concat"):
        raise ValueError(f"unknown gate mode {mode!r}; choose gate_only or concat")
    gate: Skip = "gate_only" if mode == "gate_only" else "gate_concat"
    return [gate if number in gated else "concat" for number in range(1, len(_STAGES) + 1)]
