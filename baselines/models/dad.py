"""DAD: a row of ABANet's tables 2 and 3 (`baselines.md` section 1.7)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from baselines.models._torchvision import torchvision_network
from baselines.registry import BaselineSpec, Fidelity, Printed, Recipe, register_baseline

if TYPE_CHECKING:
    from torch import nn


@register_baseline(
    BaselineSpec(
        name="dad_r50",
        title="DAD, ResNet-50",
        paper="ABANet (Expert Systems), after Li et al. (arXiv 2210.15156v1)",
        paper_url="https://arxiv.org/abs/2210.15156",
        fidelity=Fidelity.CONFIRMED,
        code_licence="Apache-2.0",
        weights_licence="BSD-3-Clause (torchvision)",
        recipe=Recipe(loss="structure", epochs=100, clip_value=0.5),
        parameters=34_343_227,
        min_px=64,  # the deepest map has a stride of 32; batch norm needs more than one value
        printed=Printed(
            table="ABANet, tables 2 and 3, row DAD / ResNet-50",
            values=(
                ("iou", 0.93240),
                ("f1_of_means", 0.96598),
                ("precision", 0.95570),
                ("recall", 0.97649),
                ("accuracy", 0.97390),
                ("mae", 0.027),
                ("f_max", 0.957),
                ("s_measure", 0.960),
            ),
            remark="which F_beta the paper prints (max, mean, adaptive) is not said",
        ),
    )
)
def dad_r50(
    num_classes: int, *, pretrained: bool, low: str = "c1", context_momentum: float = 0.1
) -> nn.Module:
    """The network of October 2022; the repository's later code is another one.

    Args:
        num_classes: output channels.
        pretrained: start the encoder from torchvision's ResNet-50.
        low: "c1" or "c2", the shallow map that joins the guide; the release declares the first and passes
            the second, which cannot run. "c2" has 9,216 parameters more.
        context_momentum: of the context modules' batch norms; .999 as in the release.

    Raises:
        ValueError: an option has a value it does not know.
    """
    from torchvision.models import ResNet50_Weights, resnet50

    from baselines.networks.dad import DAD

    encoder, weights = torchvision_network(
        lambda start: resnet50(weights=start), ResNet50_Weights.IMAGENET1K_V1, pretrained=pretrained
    )
    return DAD(encoder, num_classes, low=low, context_momentum=context_momentum, weights=weights)
