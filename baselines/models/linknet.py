"""Linknet with library encoders: three rows of ABANet's table 2 (`baselines.md` section 1.5).

Library defaults: additive skips, transposed convolutions.
"""

from __future__ import annotations

from baselines.models._smp import register_smp_row, table_2

register_smp_row(
    "linknet_effb7",
    "linknet",
    "efficientnet-b7",
    title="Linknet",
    parameters=64_422_489,
    printed=table_2("Linknet / EfficientNet-B7", (89.484, 94.464, 91.629, 97.482, 96.113)),
)
register_smp_row(
    "linknet_r50",
    "linknet",
    "resnet50",
    title="Linknet",
    parameters=31_177_777,
    printed=table_2("Linknet / ResNet-50", (89.011, 94.202, 91.427, 97.152, 95.904)),
)
register_smp_row(
    "linknet_vgg19",
    "linknet",
    "vgg19",
    title="Linknet",
    parameters=21_288_193,
    printed=table_2("Linknet / VGG-19", (89.064, 94.239, 91.652, 96.978, 95.905)),
)
