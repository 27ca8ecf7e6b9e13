"""DeepLabV3: in the score files of ABANet's release, not in its table."""

from __future__ import annotations

from baselines.models._smp import register_smp_row
from baselines.registry import Fidelity

register_smp_row(
    "dlv3_r50",
    "deeplabv3",
    "resnet50",
    title="DeepLabV3",
    fidelity=Fidelity.FROM_TEXT,
    parameters=39_633_729,
    least_batch=2,
)
