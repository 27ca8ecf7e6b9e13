"""MISA: Mask R-CNN on ResNeSt-101 with the EIoU box loss (`baselines.md` section 2.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from baselines.models._rcnn import SMALLEST_ANCHOR_PX, mask_rcnn
from baselines.models.maskrcnn import (
    MISA_INPUT_HW,
    MISA_LABELS,
    MISA_MIN_SCORE,
    MISA_PAPER,
    MISA_RECIPE,
    MISA_REMARK,
    MISA_URL,
)
from baselines.registry import BaselineSpec, Fidelity, Printed, register_baseline

if TYPE_CHECKING:
    from torch import nn


@register_baseline(
    BaselineSpec(
        name="misa",
        title="MISA, coarse stage",
        paper=MISA_PAPER,
        paper_url=MISA_URL,
        fidelity=Fidelity.FROM_TEXT,
        code_licence="BSD-3-Clause (torchvision), Apache-2.0 (timm)",
        weights_licence="Apache-2.0",
        labels=MISA_LABELS,
        input_hw=MISA_INPUT_HW,
        recipe=MISA_RECIPE,
        least_batch=2,
        printed=Printed(
            table="MISA, table 2, row Our Method, and table 3, row Mask R-CNN+ResNeSt",
            values=(
                ("mpa", 0.911),
                ("pa_background", 0.9488),
                ("pa_face_mask", 0.9106),
                ("pa_face", 0.8827),
                ("fps", 1000 / 249),
            ),
            remark=MISA_REMARK,
        ),
        uncompiled="what is computed depends on how many objects are found",
    )
)
def misa(
    num_classes: int,
    *,
    pretrained: bool,
    body: str = "resnest101e",
    box_loss: str = "eiou",
    box_weight: float = 1.0,
    min_score: float = MISA_MIN_SCORE,
    smallest_anchor_px: int = SMALLEST_ANCHOR_PX,
    frozen_norm: bool = False,
) -> nn.Module:
    """66,698,881 parameters for three classes; arguments and errors as `_rcnn.mask_rcnn`."""
    return mask_rcnn(
        num_classes,
        pretrained=pretrained,
        body=body,
        box_loss=box_loss,
        box_weight=box_weight,
        min_score=min_score,
        smallest_anchor_px=smallest_anchor_px,
        frozen_norm=frozen_norm,
    )
