"""Dense prediction transformer: beyond the face-mask papers."""

from __future__ import annotations

from baselines.models._smp import register_smp_row
from baselines.registry import Fidelity

register_smp_row(
    "dpt_vit_s",
    "dpt",
    "tu-vit_small_patch16_224.augreg_in21k",
    title="DPT",
    paper="Ranftl et al., Dense Prediction (ICCV 2021); not a row of the face-mask papers",
    paper_url="https://arxiv.org/abs/2103.13413",
    fidelity=Fidelity.FROM_TEXT,
    parameters=60_663_892,
    # Positions are interpolated from the 14 × 14 of its pretraining to any grid.
    dynamic_img_size=True,
)
