"""U-Net with an EfficientNet-Lite0 encoder: the suite's small baseline, pretrained without a model hub."""

from __future__ import annotations

from typing import TYPE_CHECKING

from baselines.models._lite0 import lite0_network
from baselines.registry import BaselineSpec, Fidelity, Recipe, register_baseline

if TYPE_CHECKING:
    from torch import nn


@register_baseline(
    BaselineSpec(
        name="unet_effnet_lite0",
        title="U-Net, EfficientNet-Lite0",
        paper="Ronneberger et al., U-Net (MICCAI 2015); not a row of the face-mask papers",
        paper_url="https://arxiv.org/abs/1505.04597",
        fidelity=Fidelity.FROM_TEXT,
        code_licence="MIT",
        weights_licence="Apache-2.0",
        recipe=Recipe(loss="bce_dice", learning_rate=3e-4),
    )
)
def unet_effnet_lite0(num_classes: int, *, pretrained: bool) -> nn.Module:
    """Library defaults; the encoder's ImageNet weights come through `dataset_tools.weights`."""
    return lite0_network("unet", num_classes, pretrained=pretrained)
