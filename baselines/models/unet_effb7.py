"""U-Net with a efficientnet-b7 encoder: a row of ABANet's table 2 (`baselines.md` section 1.5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from baselines.models._smp import smp_network
from baselines.registry import BaselineSpec, Fidelity, Printed, register_baseline

if TYPE_CHECKING:
    from torch import nn


@register_baseline(
    BaselineSpec(
        name="unet_effb7",
        title="U-Net, EfficientNet-B7",
        paper="ABANet (Expert Systems)",
        paper_url="https://doi.org/10.1111/exsy.13625",
        fidelity=Fidelity.CONFIRMED,
        code_licence="MIT",
        weights_licence="Apache-2.0",
        parameters=67_095_329,
        printed=Printed(
            table="ABANet, table 2, row Unet / EfficientNet-B7",
            values=(
                ("iou", 0.89516),
                ("f1_of_means", 0.94469),
                ("precision", 0.91507),
                ("recall", 0.97630),
                ("accuracy", 0.96115),
            ),
            remark="scored on JPEG labels by another rule; a perfect prediction scores .906 there",
        ),
    )
)
def unet_effb7(num_classes: int, *, pretrained: bool) -> nn.Module:
    """Library defaults: decoder channels 256, 128, 64, 32, 16, nearest upsampling, batch norm."""
    return smp_network("unet", "efficientnet-b7", num_classes, pretrained=pretrained)
