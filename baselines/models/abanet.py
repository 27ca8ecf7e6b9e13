"""ABANet: BASNet with attention gates on its finer skips and a focal loss in its hybrid loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from baselines.models._torchvision import torchvision_network
from baselines.registry import BaselineSpec, Fidelity, Printed, Recipe, register_baseline

if TYPE_CHECKING:
    from torch import nn


@register_baseline(
    BaselineSpec(
        name="abanet",
        title="ABANet, ResNet-34",
        paper="ABANet (Expert Systems)",
        paper_url="https://doi.org/10.1111/exsy.13625",
        fidelity=Fidelity.CONFIRMED,
        code_licence="Apache-2.0",
        weights_licence="BSD-3-Clause (torchvision)",
        recipe=Recipe(loss="abanet", epochs=100),
        parameters=84_488_401,
        min_px=64,  # E6 has a stride of 32; batch norm needs more than one value
        printed=Printed(
            table="ABANet, tables 2 and 3, row Ours",
            values=(
                ("iou", 0.93814),
                ("f1_of_means", 0.96817),
                ("precision", 0.97164),
                ("recall", 0.96474),
                ("accuracy", 0.97623),
                ("mae", 0.014),
                ("f_max", 0.971),
                ("s_measure", 0.968),
            ),
            remark="scored by another rule than the library rows of its table (D-01); which F_beta the paper "
            "prints (max, mean, adaptive) is not said",
        ),
    )
)
def abanet(
    num_classes: int,
    *,
    pretrained: bool,
    refine: bool = True,
    ag_stages: Sequence[int] = (4, 5, 6),
    ag_mode: Literal["gate_only", "concat"] = "gate_only",
    shared_head: bool = False,
) -> nn.Module:
    """Eight supervised outputs, seven without the refiner; only layers 1 to 4 start from ImageNet.

    Args:
        num_classes: output channels.
        pretrained: start layers 1 to 4 of the encoder from torchvision's ResNet-34.
        refine: False leaves the refiner out (table 5).
        ag_stages: gated decoder stages, of 3 (skip E4) to 6 (skip E1) (table 6); none gives BASNet.
        ag_mode: "gate_only" as released; "concat" as the text may be read (D-02; 87,582,737 parameters).
        shared_head: one side head for two stages, as released (84,483,792 parameters).

    Source: ABANet sections 4.1 to 4.4; `baselines.md` 1.2.
    """
    from torchvision.models import ResNet34_Weights, resnet34

    from baselines.networks.predict_refine import PredictRefineNet

    trunk, weights = torchvision_network(
        lambda start: resnet34(weights=start), ResNet34_Weights.IMAGENET1K_V1, pretrained=pretrained
    )
    return PredictRefineNet(
        trunk,
        num_classes,
        gated=ag_stages,
        gate_mode=ag_mode,
        refine=refine,
        shares_head=shared_head,
        weights=weights,
    )
