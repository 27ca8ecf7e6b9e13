"""U-Net with library encoders: three rows of ABANet's table 2 (`baselines.md` section 1.5).

Library defaults: decoder channels 256, 128, 64, 32, 16, nearest upsampling, batch norm.
"""

from __future__ import annotations

from baselines.models._smp import register_smp_row, table_2

register_smp_row(
    "unet_effb7",
    "unet",
    "efficientnet-b7",
    title="U-Net",
    parameters=67_095_329,
    printed=table_2("Unet / EfficientNet-B7", (89.516, 94.469, 91.507, 97.63, 96.115)),
)
register_smp_row(
    "unet_r50",
    "unet",
    "resnet50",
    title="U-Net",
    parameters=32_521_105,
    printed=table_2("Unet / ResNet-50", (89.188, 94.299, 91.463, 97.318, 96.032)),
)
register_smp_row(
    "unet_vgg19",
    "unet",
    "vgg19",
    title="U-Net",
    parameters=29_057_937,
    printed=table_2("Unet / VGG-19", (89.208, 94.302, 91.28, 97.533, 96.012)),
)
