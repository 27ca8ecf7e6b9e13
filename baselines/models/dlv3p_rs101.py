"""DeepLabV3+ on ResNeSt-101: a comparator of MISA (`baselines.md` section 2.6)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from baselines.models._smp import smp_network
from baselines.models.maskrcnn import MISA_INPUT_HW, MISA_LABELS, MISA_PAPER, MISA_REMARK, MISA_URL
from baselines.registry import BaselineSpec, Fidelity, Printed, Recipe, register_baseline

if TYPE_CHECKING:
    from torch import nn


@register_baseline(
    BaselineSpec(
        name="dlv3p_rs101",
        title="DeepLabV3+, ResNeSt-101",
        paper=MISA_PAPER,
        paper_url=MISA_URL,
        fidelity=Fidelity.FROM_TEXT,
        code_licence="MIT (smp), Apache-2.0 (timm)",
        weights_licence="Apache-2.0",
        labels=MISA_LABELS,
        input_hw=MISA_INPUT_HW,
        recipe=Recipe(loss="cross_entropy", weight_decay=1e-4, batch=4, epochs=500),
        least_batch=2,
        printed=Printed(
            table="MISA, table 2, row DeeplabV3+",
            values=(("mpa", 0.815), ("fps", 1000 / 195)),
            remark=MISA_REMARK,
        ),
    )
)
def dlv3p_rs101(num_classes: int, *, pretrained: bool) -> nn.Module:
    """Library defaults, output stride 16; 49,396,083 parameters for three classes."""
    return smp_network("deeplabv3plus", "tu-resnest101e", num_classes, pretrained=pretrained)
