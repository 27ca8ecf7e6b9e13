"""The plain U-Net twice: stand-in for Geng et al. in ABANet's table 4, and in Xu & Zheng's table 4."""

from __future__ import annotations

from typing import TYPE_CHECKING

from baselines.models._smp import ABANET, ABANET_URL
from baselines.registry import BaselineSpec, Fidelity, Printed, Recipe, register_baseline

if TYPE_CHECKING:
    from torch import nn

_PARAMETERS = 31_037_633
_NO_WEIGHTS = "none: trained from random values"


@register_baseline(
    BaselineSpec(
        name="geng_unet",
        title="Geng et al. (U-Net of IAMGAN), stand-in",
        paper=f"{ABANET}, after Geng et al., IAMGAN (ACM MM 2020)",
        paper_url=ABANET_URL,
        fidelity=Fidelity.STAND_IN,
        code_licence="Apache-2.0",
        weights_licence=_NO_WEIGHTS,
        recipe=Recipe(loss="bce", epochs=40),
        parameters=_PARAMETERS,
        printed=Printed(
            table="ABANet, table 4, row Geng",
            values=(("iou", 0.889), ("f1_of_means", 0.942), ("mae", 0.067), ("f_max", 0.919), ("fps", 115.0)),
            remark="mean of 5 trials (sd .004, .003, .06, .003); no source exists; which F1 and F_beta are "
            "meant is not said",
        ),
    )
)
def geng_unet(num_classes: int, *, pretrained: bool) -> nn.Module:
    """Plain U-Net with binary cross entropy; without published weights `pretrained` changes nothing."""
    return _plain_unet(num_classes)


@register_baseline(
    BaselineSpec(
        name="xu_unet",
        title="U-Net of Xu & Zheng",
        paper="Xu & Zheng (Traitement du Signal 40(1), 2023)",
        paper_url="https://doi.org/10.18280/ts.400221",
        fidelity=Fidelity.FROM_TEXT,
        code_licence="Apache-2.0",
        weights_licence=_NO_WEIGHTS,
        recipe=Recipe(loss="bce_dice", epochs=40),
        parameters=_PARAMETERS,
        printed=Printed(
            table="Xu & Zheng, table 4, row U-Net",
            values=(("miou_set_1", 0.7994), ("miou_set_2", 0.9075)),
            remark="mean of the IoU of mask and background, on the paper's own sets, which are not published",
        ),
    )
)
def xu_unet(num_classes: int, *, pretrained: bool) -> nn.Module:
    """Plain U-Net with cross entropy and Dice (our choice); `pretrained` changes nothing."""
    return _plain_unet(num_classes)


def _plain_unet(num_classes: int) -> nn.Module:
    from baselines.networks.plain_unet import PlainUNet
    from baselines.segmenter import RANDOM_WEIGHTS, PaddedSegmenter

    return PaddedSegmenter(PlainUNet(num_classes), multiple=PlainUNet.MULTIPLE, weights=RANDOM_WEIGHTS)
