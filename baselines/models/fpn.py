"""Feature pyramid network: in the score files of ABANet's release, not in its table."""

from __future__ import annotations

from baselines.models._smp import register_smp_row
from baselines.registry import Fidelity

register_smp_row(
    "fpn_r50", "fpn", "resnet50", title="FPN", fidelity=Fidelity.FROM_TEXT, parameters=26_116_033
)
