"""U-Net++ with library encoders: three rows of ABANet's table 2 (`baselines.md` section 1.5).

Library defaults: decoder channels 256, 128, 64, 32, 16, dense nested skips.
"""

from __future__ import annotations

from baselines.models._smp import register_smp_row, table_2

register_smp_row(
    "unetpp_effb7",
    "unetplusplus",
    "efficientnet-b7",
    title="U-Net++",
    parameters=68_163_553,
    printed=table_2("Unet++ / EfficientNet-B7", (89.524, 94.47, 91.565, 97.567, 96.129)),
)
register_smp_row(
    "unetpp_r50",
    "unetplusplus",
    "resnet50",
    title="U-Net++",
    parameters=48_985_745,
    printed=table_2("Unet++ / ResNet-50", (88.526, 93.928, 90.952, 97.106, 95.678)),
)
register_smp_row(
    "unetpp_vgg19",
    "unetplusplus",
    "vgg19",
    title="U-Net++",
    parameters=44_657_041,
    printed=table_2("Unet++ / VGG-19", (89.242, 94.329, 91.602, 97.225, 95.998)),
)
