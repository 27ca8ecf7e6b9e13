"""Stand-in for Din et al.'s mask segmenter: a row of ABANet's table 4 (`baselines.md` section 1.9)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from baselines.models._smp import ABANET, ABANET_URL
from baselines.registry import BaselineSpec, Fidelity, Printed, Recipe, register_baseline

if TYPE_CHECKING:
    from torch import nn


@register_baseline(
    BaselineSpec(
        name="din_unet",
        title="Din et al. (U-Net with instance norm), stand-in",
        paper=f"{ABANET}, after Din et al., IEEE Access 8 (2020)",
        paper_url=ABANET_URL,
        fidelity=Fidelity.STAND_IN,
        code_licence="Apache-2.0",
        weights_licence="none: trained from random values",
        recipe=Recipe(loss="bce", epochs=40),
        parameters=18_860_065,
        printed=Printed(
            table="ABANet, table 4, row Din",
            values=(("iou", 0.903), ("f1_of_means", 0.957), ("mae", 0.043), ("f_max", 0.927), ("fps", 105.0)),
            remark="mean of 5 trials (sd .006, .004, .02, .004); no source exists, only an unofficial "
            "port was found; which F1 and F_beta are meant is not said",
        ),
    )
)
def din_unet(num_classes: int, *, pretrained: bool, opening: bool = False) -> nn.Module:
    """A network without published weights: `pretrained` changes nothing.

    Args:
        num_classes: output channels.
        pretrained: changes nothing.
        opening: remove specks from the answer by a 3x3 opening, as the source does.
    """
    from baselines.networks.din_unet import DinUNet
    from baselines.segmenter import RANDOM_WEIGHTS, PaddedSegmenter

    network = DinUNet(num_classes, opening=opening)
    return PaddedSegmenter(network, multiple=DinUNet.MULTIPLE, weights=RANDOM_WEIGHTS)
