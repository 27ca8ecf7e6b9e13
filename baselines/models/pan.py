"""Pyramid attention network with library encoders: two rows of ABANet's table 2 (`baselines.md` section 1.5).

The attention pyramid halves the deepest map three times, so an input must have 8 times the output stride.
"""

from __future__ import annotations

from baselines.models._smp import register_smp_row, table_2
from baselines.registry import Fidelity

register_smp_row(
    "pan_r50",
    "pan",
    "resnet50",
    title="PAN",
    parameters=24_259_816,
    least_batch=2,
    min_px=128,
    printed=table_2(
        "PAN / ResNet-50",
        (89.312, 92.967, 91.522, 97.435, 96.033),
        "F1 is misprinted: the printed precision and recall give .94386",
    ),
)
register_smp_row(
    "pan_vgg19",
    "pan",
    "vgg19",
    title="PAN (output stride 32)",
    fidelity=Fidelity.FROM_TEXT,
    parameters=20_455_144,
    least_batch=2,
    min_px=256,
    encoder_output_stride=32,
    printed=table_2(
        "PAN / VGG-19",
        (89.466, 94.457, 91.52, 97.59, 96.107),
        "the library cannot build it at its output stride of 16, ours has 32",
    ),
)
