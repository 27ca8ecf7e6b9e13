"""DeepLabV3+ with library encoders: two rows of ABANet's table 2 (`baselines.md` section 1.5).

Library defaults: output stride 16, separable atrous rates 12, 24 and 36, dropout one half. There is no VGG
row: max-pooling cannot be dilated.
"""

from __future__ import annotations

from baselines.models._smp import register_smp_row, table_2

register_smp_row(
    "dlv3p_effb7",
    "deeplabv3plus",
    "efficientnet-b7",
    title="DeepLabV3+",
    parameters=65_106_273,
    least_batch=2,
    printed=table_2(
        "DeepLabV3+ / EfficientNet-B7",
        (89.242, 94.353, 91.45, 97.448, 95.999),
        "its released scores are MAnet / VGG-19's byte for byte, and IoU and accuracy are printed alike",
    ),
)
register_smp_row(
    "dlv3p_r50",
    "deeplabv3plus",
    "resnet50",
    title="DeepLabV3+",
    parameters=26_677_585,
    least_batch=2,
    printed=table_2("DeepLabV3+ / ResNet-50", (89.463, 94.46, 91.46, 97.665, 96.083)),
)
