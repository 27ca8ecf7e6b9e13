"""BASNet: a row of ABANet's table 2, and without its refiner the baseline of table 5."""

from __future__ import annotations

from typing import TYPE_CHECKING

from baselines.models._torchvision import torchvision_network
from baselines.registry import BaselineSpec, Fidelity, Printed, Recipe, register_baseline

if TYPE_CHECKING:
    from torch import nn


@register_baseline(
    BaselineSpec(
        name="basnet",
        title="BASNet, ResNet-34",
        paper="ABANet (Expert Systems), after Qin et al. (CVPR 2019)",
        paper_url="https://doi.org/10.1111/exsy.13625",
        fidelity=Fidelity.CONFIRMED,
        code_licence="Apache-2.0",
        weights_licence="BSD-3-Clause (torchvision)",
        recipe=Recipe(loss="basnet", epochs=100),
        parameters=87_060_360,
        min_px=64,  # E6 has a stride of 32; batch norm needs more than one value
        printed=Printed(
            table="ABANet, tables 2 and 3, row BASNet",
            values=(
                ("iou", 0.91680),
                ("f1_of_means", 0.95488),
                ("precision", 0.94754),
                ("recall", 0.96235),
                ("accuracy", 0.96787),
                ("mae", 0.018),
                ("f_max", 0.948),
                ("s_measure", 0.953),
            ),
            remark="which F_beta the paper prints (max, mean, adaptive) is not said",
        ),
    )
)
def basnet(num_classes: int, *, pretrained: bool, refine: bool = True) -> nn.Module:
    """Eight supervised outputs, seven without the refiner; only layers 1 to 4 start from ImageNet.

    Args:
        num_classes: output channels.
        pretrained: start layers 1 to 4 of the encoder from torchvision's ResNet-34.
        refine: False leaves the refiner out: the "baseline" of ABANet's table 5 (86,578,183 parameters).

    Source: Qin et al., BASNet, CVPR 2019; `baselines.md` 1.4.
    """
    from torchvision.models import ResNet34_Weights, resnet34

    from baselines.networks.predict_refine import PredictRefineNet

    trunk, weights = torchvision_network(
        lambda start: resnet34(weights=start), ResNet34_Weights.IMAGENET1K_V1, pretrained=pretrained
    )
    return PredictRefineNet(trunk, num_classes, refine=refine, weights=weights)
