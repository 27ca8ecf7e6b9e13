"""MAnet with library encoders: three rows of ABANet's table 2 (`baselines.md` section 1.5).

Library defaults: position attention over 64 channels at the bottom, then multi-scale fusion blocks; with
ResNet-50 the decoder alone holds 124 million values.
"""

from __future__ import annotations

from baselines.models._smp import register_smp_row, table_2

register_smp_row(
    "manet_effb7",
    "manet",
    "efficientnet-b7",
    title="MAnet",
    parameters=77_998_421,
    printed=table_2(
        "MAnet / EfficientNet-B7",
        (89.587, 94.507, 91.667, 97.529, 97.159),
        "accuracy is misprinted: the released scores give .96159",
    ),
)
register_smp_row(
    "manet_r50",
    "manet",
    "resnet50",
    title="MAnet",
    parameters=147_439_993,
    printed=table_2(
        "MAnet / ResNet-50",
        (89.61, 94.21, 91.218, 97.405, 95.934),
        "IoU is misprinted: the released scores give .89061, and they are PSPNet / ResNet-50's byte for byte",
    ),
)
register_smp_row(
    "manet_vgg19",
    "manet",
    "vgg19",
    title="MAnet",
    parameters=33_236_545,
    printed=table_2(
        "MAnet / VGG-19",
        (89.242, 94.339, 91.45, 97.418, 95.999),
        "its released scores are DeepLabV3+ / EfficientNet-B7's byte for byte",
    ),
)
