"""U-Net with a vgg19 encoder: a row of ABANet's table 2 (`baselines.md` section 1.5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from baselines.models._smp import smp_network
from baselines.registry import BaselineSpec, Fidelity, Printed, register_baseline

if TYPE_CHECKING:
    from torch import nn


@register_baseline(
    BaselineSpec(
        name="unet_vgg19",
        title="U-Net, VGG-19",
        paper="ABANet (Expert Systems)",
        paper_url="https://doi.org/10.1111/exsy.13625",
        fidelity=Fidelity.CONFIRMED,
        code_licence="MIT",
        weights_licence="BSD-3-Clause (torchvision)",
        parameters=29_057_937,
        printed=Printed(
            table="ABANet, table 2, row Unet / VGG-19",
            values=(
                ("iou", 0.89208),
                ("f1_of_means", 0.94302),
                ("precision", 0.91280),
                ("recall", 0.97533),
                ("accuracy", 0.96012),
            ),
            remark="scored on JPEG labels by another rule; a perfect prediction scores .906 there",
        ),
    )
)
def unet_vgg19(num_classes: int, *, pretrained: bool) -> nn.Module:
    """Library defaults: decoder channels 256, 128, 64, 32, 16, nearest upsampling, batch norm."""
    return smp_network("unet", "vgg19", num_classes, pretrained=pretrained)
