"""Pyramid scene parsing: in the score files of ABANet's release, not in its table."""

from __future__ import annotations

from baselines.models._smp import register_smp_row
from baselines.registry import Fidelity

register_smp_row(
    "pspnet_r50", "pspnet", "resnet50", title="PSPNet", fidelity=Fidelity.FROM_TEXT, parameters=24_300_993
)
