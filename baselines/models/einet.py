"""The stand-in for EINet, a row of ABANet's tables 2 and 3 (`baselines.md` section 1.8)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from baselines.models._timm import timm_encoder
from baselines.models._torchvision import torchvision_network
from baselines.registry import BaselineSpec, Fidelity, Printed, Recipe, register_baseline

if TYPE_CHECKING:
    from torch import nn

_PVT_CHANNELS = (64, 128, 320, 512)
_RESNET_CHANNELS = (256, 512, 1024, 2048)


@register_baseline(
    BaselineSpec(
        name="einet_r50",
        title="EINet stand-in, ResNet-50",
        paper="ABANet (Expert Systems), after Li and Jiao (J. Electronic Imaging 2022); no source exists",
        paper_url="https://doi.org/10.1117/1.JEI.31.5.053002",
        fidelity=Fidelity.STAND_IN,
        code_licence="Apache-2.0",
        weights_licence="BSD-3-Clause (torchvision)",
        recipe=Recipe(loss="einet", epochs=100),
        min_px=64,  # the deepest map has a stride of 32; batch norm needs more than one value
        printed=Printed(
            table="ABANet, tables 2 and 3, row EINet / ResNet-50",
            values=(
                ("iou", 0.91435),
                ("f1_of_means", 0.96576),
                ("precision", 0.95341),
                ("recall", 0.97845),
                ("accuracy", 0.97200),
                ("mae", 0.026),
                ("f_max", 0.955),
                ("s_measure", 0.957),
            ),
            remark=(
                "the IoU does not fit its precision and recall, which imply .9338; which F_beta the paper "
                "prints (max, mean, adaptive) is not said; ours is a stand-in, not that network"
            ),
        ),
    )
)
def einet_r50(num_classes: int, *, pretrained: bool, backbone: str = "resnet50") -> nn.Module:
    """Four side maps and an outline.

    Args:
        num_classes: output channels.
        pretrained: start the backbone from ImageNet.
        backbone: "resnet50", which ABANet names, or "pvt_v2_b2" (Apache-2.0), as the cited article's title
            has it.

    Raises:
        ValueError: an unknown backbone.
    """
    from baselines.networks.einet import EINet

    if backbone == "pvt_v2_b2":
        encoder, weights = timm_encoder(backbone, pretrained=pretrained, features_only=True)
        return EINet(encoder, _PVT_CHANNELS, num_classes, weights)
    if backbone != "resnet50":
        raise ValueError(f"backbone is 'resnet50' or 'pvt_v2_b2', not {backbone!r}")
    from torchvision.models import ResNet50_Weights, resnet50

    from baselines.networks.layers import ResNetPyramid

    resnet, weights = torchvision_network(
        lambda start: resnet50(weights=start), ResNet50_Weights.IMAGENET1K_V1, pretrained=pretrained
    )
    return EINet(ResNetPyramid(resnet), _RESNET_CHANNELS, num_classes, weights)
