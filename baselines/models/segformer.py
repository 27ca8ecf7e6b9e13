"""SegFormer: beyond the face-mask papers.

With the mix transformer it was published with, whose code and weights are free for research only, and with an
encoder without that restriction.
"""

from __future__ import annotations

from baselines.models._smp import register_smp_row
from baselines.registry import Fidelity

_PAPER = "Xie et al., SegFormer (NeurIPS 2021); not a row of the face-mask papers"
_URL = "https://arxiv.org/abs/2105.15203"

register_smp_row(
    "segformer_mit_b2",
    "segformer",
    "mit_b2",
    title="SegFormer",
    paper=_PAPER,
    paper_url=_URL,
    fidelity=Fidelity.FROM_TEXT,
    code_licence="MIT; encoder NVIDIA Source Code License (non-commercial)",
    parameters=24_722_369,
)
register_smp_row(
    "segformer_r50",
    "segformer",
    "resnet50",
    title="SegFormer decoder",
    paper=_PAPER,
    paper_url=_URL,
    fidelity=Fidelity.FROM_TEXT,
    parameters=24_837_185,
)
