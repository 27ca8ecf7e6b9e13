"""EU-Net: a row of ABANet's tables 2 and 3 (`baselines.md` section 1.6)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from baselines.models._torchvision import torchvision_network
from baselines.registry import BaselineSpec, Fidelity, Printed, Recipe, register_baseline

if TYPE_CHECKING:
    from torch import nn


@register_baseline(
    BaselineSpec(
        name="eunet_r34",
        title="EU-Net, ResNet-34",
        paper="ABANet (Expert Systems), after Patel et al. (CRV 2021)",
        paper_url="https://doi.org/10.1111/exsy.13625",
        fidelity=Fidelity.CONFIRMED,
        code_licence="Apache-2.0",
        weights_licence="BSD-3-Clause (torchvision)",
        recipe=Recipe(loss="eunet", epochs=100),
        parameters=30_904_245,
        min_px=64,  # the deepest map has a stride of 32; batch norm needs more than one value
        printed=Printed(
            table="ABANet, tables 2 and 3, row EU-Net / ResNet-34",
            values=(
                ("iou", 0.88834),
                ("f1_of_means", 0.94110),
                ("precision", 0.91090),
                ("recall", 0.97352),
                ("accuracy", 0.95875),
                ("mae", 0.035),
                ("f_max", 0.915),
                ("s_measure", 0.872),
            ),
            remark=(
                "table 2 repeats the released scores of PSPNet / VGG-19, where the IoU is .88844; which "
                "F_beta the paper prints (max, mean, adaptive) is not said"
            ),
        ),
    )
)
def eunet_r34(num_classes: int, *, pretrained: bool) -> nn.Module:
    """Five supervised scales; attention matrices are taken in slices, so 256 px fit in memory.

    The release holds 528,768 further parameters that its forward pass never uses; they are left out.
    """
    from torchvision.models import ResNet34_Weights, resnet34

    from baselines.networks.eunet import EUNet

    encoder, weights = torchvision_network(
        lambda start: resnet34(weights=start), ResNet34_Weights.IMAGENET1K_V1, pretrained=pretrained
    )
    return EUNet(encoder, num_classes, weights)
