"""FPN with an EfficientNet-Lite0 encoder: the network of the default proposer, small and fast on a CPU."""

from __future__ import annotations

from typing import TYPE_CHECKING

from baselines.models._lite0 import lite0_network
from baselines.registry import BaselineSpec, Fidelity, Recipe, register_baseline

if TYPE_CHECKING:
    from torch import nn


@register_baseline(
    BaselineSpec(
        name="fpn_effnet_lite0",
        title="FPN, EfficientNet-Lite0",
        paper="Kirillov et al., Panoptic Feature Pyramid Networks (CVPR 2019); not a row of the papers",
        paper_url="https://arxiv.org/abs/1901.02446",
        fidelity=Fidelity.FROM_TEXT,
        code_licence="MIT",
        weights_licence="Apache-2.0",
        recipe=Recipe(loss="bce_dice", optimiser="adamw", learning_rate=1e-3, weight_decay=1e-2, batch=16),
    )
)
def fpn_effnet_lite0(num_classes: int, *, pretrained: bool) -> nn.Module:
    """Pyramid of 64 channels and segmentation branches of 32, a quarter of the library's; logits at 1/4."""
    return lite0_network(
        "fpn",
        num_classes,
        pretrained=pretrained,
        decoder_pyramid_channels=64,
        decoder_segmentation_channels=32,
    )
