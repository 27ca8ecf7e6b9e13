"""UPerNet: beyond the face-mask papers."""

from __future__ import annotations

from baselines.models._smp import register_smp_row
from baselines.registry import Fidelity

register_smp_row(
    "upernet_convnext_t",
    "upernet",
    "tu-convnext_tiny.in12k_ft_in1k",
    title="UPerNet",
    paper="Xiao et al., Unified Perceptual Parsing (ECCV 2018); not a row of the face-mask papers",
    paper_url="https://arxiv.org/abs/1807.10221",
    fidelity=Fidelity.FROM_TEXT,
    parameters=37_043_873,
    least_batch=2,
)
