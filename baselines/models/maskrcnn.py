"""Plain Mask R-CNNs: Sola & Gera's row of ABANet's table 4, MISA's comparators (`baselines.md` 1.9, 2.6)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from baselines.models._rcnn import mask_rcnn
from baselines.registry import BaselineSpec, Fidelity, Printed, Recipe, register_baseline

if TYPE_CHECKING:
    from torch import nn

_COMPILED_NOT = "what is computed depends on how many objects are found"
MISA_PAPER = "MISA (IEEE Access 2022)"
MISA_URL = "https://doi.org/10.1109/ACCESS.2022.3192026"
MISA_RECIPE = Recipe(loss="", weight_decay=1e-4, batch=4, epochs=500)
MISA_INPUT_HW = (255, 255)
MISA_LABELS = ("face_mask", "face")
MISA_MIN_SCORE = 0.9  # boxes below are dropped, section IV-B
MISA_REMARK = (
    "the row means of table 3 are .9035, .9140 and .9311: gains of .0105 and .0275, printed as .0102 and "
    ".0269, and table 2 has other means; 105 test pictures, nothing released"
)


@register_baseline(
    BaselineSpec(
        name="sola_maskrcnn",
        title="Sola & Gera: Mask R-CNN, ResNet-50",
        paper="Sola & Gera 2023, as ABANet (Expert Systems) reran it",
        paper_url="https://doi.org/10.1111/exsy.13625",
        fidelity=Fidelity.FROM_TEXT,
        code_licence="BSD-3-Clause (torchvision)",
        weights_licence="BSD-3-Clause (torchvision)",
        recipe=Recipe(loss=""),
        parameters=43_975_515,
        printed=Printed(
            table="ABANet, table 4, row Sola & Gera",
            values=(("iou", 0.914), ("f1_of_means", 0.962), ("mae", 0.027), ("f_max", 0.956), ("fps", 66.0)),
            remark="mean of 5 trials with new splits; which F_beta is meant is not said",
        ),
        uncompiled=_COMPILED_NOT,
    )
)
def sola_maskrcnn(num_classes: int, *, pretrained: bool) -> nn.Module:
    """Library defaults; the map is the highest chance over the objects that score at least 0.5."""
    return mask_rcnn(num_classes, pretrained=pretrained, body="resnet50")


@register_baseline(
    BaselineSpec(
        name="maskrcnn_r101",
        title="Mask R-CNN, ResNet-101",
        paper=MISA_PAPER,
        paper_url=MISA_URL,
        fidelity=Fidelity.FROM_TEXT,
        code_licence="BSD-3-Clause (torchvision)",
        weights_licence="BSD-3-Clause (torchvision)",
        labels=MISA_LABELS,
        input_hw=MISA_INPUT_HW,
        recipe=MISA_RECIPE,
        printed=Printed(
            table="MISA, table 2, row Mask R-CNN, and table 3, row Mask R-CNN+ResNet",
            values=(
                ("mpa", 0.899),
                ("pa_background", 0.9439),
                ("pa_face_mask", 0.9002),
                ("pa_face", 0.8665),
                ("fps", 1000 / 238),
            ),
            remark=MISA_REMARK,
        ),
        uncompiled=_COMPILED_NOT,
    )
)
def maskrcnn_r101(num_classes: int, *, pretrained: bool) -> nn.Module:
    """Library defaults, objects painted from a score of 0.9 on; 62,973,025 parameters for three classes."""
    return mask_rcnn(num_classes, pretrained=pretrained, body="resnet101", min_score=MISA_MIN_SCORE)


@register_baseline(
    BaselineSpec(
        name="maskrcnn_rs101",
        title="Mask R-CNN, ResNeSt-101",
        paper=MISA_PAPER,
        paper_url=MISA_URL,
        fidelity=Fidelity.FROM_TEXT,
        code_licence="BSD-3-Clause (torchvision), Apache-2.0 (timm)",
        weights_licence="Apache-2.0",
        labels=MISA_LABELS,
        input_hw=MISA_INPUT_HW,
        recipe=MISA_RECIPE,
        least_batch=2,
        uncompiled=_COMPILED_NOT,
    )
)
def maskrcnn_rs101(num_classes: int, *, pretrained: bool) -> nn.Module:
    """MISA's network with the library's own box loss: what its body alone brings."""
    return mask_rcnn(num_classes, pretrained=pretrained, body="resnest101e", min_score=MISA_MIN_SCORE)
