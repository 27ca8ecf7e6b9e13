"""RefineNet: a comparator of MISA's table 2 (`baselines.md` section 2.7), on two encoders."""

from __future__ import annotations

from typing import TYPE_CHECKING

from baselines.models._timm import timm_encoder
from baselines.models._torchvision import torchvision_network
from baselines.registry import BaselineSpec, Fidelity, Printed, Recipe, register_baseline

if TYPE_CHECKING:
    from torch import nn

_PAPER = "MISA (IEEE Access), after Lin et al. (CVPR 2017)"
_URL = "https://arxiv.org/abs/1611.06612"
_LABELS = ("face_mask", "face")
# MISA trains every semantic network like its detector: "500 times", taken as at most 500 passes.
_RECIPE = Recipe(loss="cross_entropy", learning_rate=1e-4, weight_decay=1e-4, batch=4, epochs=500)


@register_baseline(
    BaselineSpec(
        name="refinenet_rs101",
        title="RefineNet, ResNeSt-101",
        paper=_PAPER,
        paper_url=_URL,
        fidelity=Fidelity.FROM_TEXT,
        code_licence="Apache-2.0",
        weights_licence="Apache-2.0 (timm resnest101e.in1k)",
        labels=_LABELS,
        recipe=_RECIPE,
        parameters=121_732_193,
        least_batch=2,  # split attention normalises a 1x1 map
        min_px=64,
        printed=Printed(
            table="MISA, table 2, row RefineNet",
            values=(("mpa", 0.802),),
            remark="three classes, 105 pictures; the backbone is named in the text only",
        ),
    )
)
def refinenet_rs101(num_classes: int, *, pretrained: bool) -> nn.Module:
    """121,736,803 parameters with three classes."""
    from baselines.networks.refinenet import RefineNet

    encoder, weights = timm_encoder(
        "resnest101e", pretrained=pretrained, features_only=True, out_indices=(1, 2, 3, 4)
    )
    return RefineNet(encoder, num_classes, weights)


@register_baseline(
    BaselineSpec(
        name="refinenet_r101",
        title="RefineNet, ResNet-101",
        paper=_PAPER,
        paper_url=_URL,
        fidelity=Fidelity.FROM_TEXT,
        code_licence="Apache-2.0",
        weights_licence="BSD-3-Clause (torchvision)",
        labels=_LABELS,
        recipe=_RECIPE,
        parameters=118_006_337,
        min_px=64,  # the deepest map has a stride of 32; batch norm needs more than one value
    )
)
def refinenet_r101(num_classes: int, *, pretrained: bool) -> nn.Module:
    """118,010,947 parameters with three classes; MISA prints no figure for this encoder."""
    from torchvision.models import ResNet101_Weights, resnet101

    from baselines.networks.layers import ResNetPyramid
    from baselines.networks.refinenet import RefineNet

    encoder, weights = torchvision_network(
        lambda start: resnet101(weights=start), ResNet101_Weights.IMAGENET1K_V1, pretrained=pretrained
    )
    return RefineNet(ResNetPyramid(encoder), num_classes, weights)
