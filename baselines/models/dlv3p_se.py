"""Zhakyp et al.'s DeepLabV3+ with squeeze-and-excitation (`baselines.md` section 4)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from baselines.models._torchvision import torchvision_network
from baselines.registry import BaselineSpec, Fidelity, Recipe, register_baseline

if TYPE_CHECKING:
    from torch import nn


@register_baseline(
    BaselineSpec(
        name="dlv3p_se18",
        title="DeepLabV3+ with squeeze-excitation, ResNet-50 to stage 3",
        paper="Zhakyp et al., Semantic Image Segmentation of Human Faces; network of Chen et al., DeepLabV3+",
        paper_url="https://arxiv.org/abs/1802.02611",
        fidelity=Fidelity.FROM_TEXT,
        code_licence="Apache-2.0",
        weights_licence="BSD-3-Clause (torchvision)",
        input_hw=(128, 128),
        recipe=Recipe(loss="dice", learning_rate=1e-3, schedule="plateau", batch=4, epochs=80),
        # 17,817,266 with the paper's 18 channels: 257 for each channel.
        parameters=17_812_897,
        least_batch=2,
    )
)
def dlv3p_se18(
    num_classes: int,
    *,
    pretrained: bool,
    se_at: Literal["aspp", "concat"] = "aspp",
    norm: Literal["imagenet", "unit"] = "imagenet",
) -> nn.Module:
    """The network alone; the paper's 18 overlapping face parts are learned by `baselines.parsing`.

    Args:
        num_classes: output channels.
        pretrained: start the trunk from torchvision's ResNet-50.
        se_at: where the first squeeze-and-excitation stands: "aspp" after the pyramid, as in the text;
            "concat" after joining the low-level maps, as in the tutorial it resembles.
        norm: "imagenet", or "unit" for RGB in [0, 1], which is all the text says.
    """
    from torchvision.models import ResNet50_Weights, resnet50

    from baselines.networks.dlv3p_se import SeDeepLab

    trunk, weights = torchvision_network(
        lambda start: resnet50(weights=start), ResNet50_Weights.IMAGENET1K_V1, pretrained=pretrained
    )
    return SeDeepLab(trunk, num_classes, se_at=se_at, norm=norm, weights=weights)
