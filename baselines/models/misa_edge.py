"""MISA with its edge segmentation (`baselines.md` sections 2.4 and 2.5)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from baselines.models._rcnn import SMALLEST_ANCHOR_PX, mask_rcnn
from baselines.models.maskrcnn import (
    MISA_INPUT_HW,
    MISA_LABELS,
    MISA_MIN_SCORE,
    MISA_PAPER,
    MISA_RECIPE,
    MISA_REMARK,
    MISA_URL,
)
from baselines.registry import BaselineSpec, Fidelity, Printed, register_baseline
from dataset_tools.core.errors import ConfigError

if TYPE_CHECKING:
    from torch import nn


def coarse_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Of the options of `misa_edge`, those of its coarse stage `misa`."""
    from baselines.rpdsn.settings import EdgeSettings

    return {name: value for name, value in options.items() if name not in EdgeSettings.model_fields}


@register_baseline(
    BaselineSpec(
        name="misa_edge",
        title="MISA, with edge segmentation",
        paper=MISA_PAPER,
        paper_url=MISA_URL,
        fidelity=Fidelity.FROM_TEXT,
        code_licence="BSD-3-Clause (torchvision), Apache-2.0 (timm)",
        weights_licence="Apache-2.0",
        labels=MISA_LABELS,
        input_hw=MISA_INPUT_HW,
        recipe=MISA_RECIPE,
        trained_by="baselines.rpdsn.training:train_misa_edge",
        least_labels=2,
        least_batch=2,
        printed=Printed(
            table="MISA, table 3, row Mask R-CNN + ResNeSt + edge segmentation",
            values=(("pa_background", 0.9542), ("pa_face_mask", 0.9451), ("pa_face", 0.8939)),
            remark=MISA_REMARK,
        ),
        uncompiled="what is computed depends on how many objects are found",
    )
)
def misa_edge(
    num_classes: int,
    *,
    pretrained: bool,
    body: str = "resnest101e",
    box_loss: str = "eiou",
    box_weight: float = 1.0,
    min_score: float = MISA_MIN_SCORE,
    smallest_anchor_px: int = SMALLEST_ANCHOR_PX,
    frozen_norm: bool = False,
    grid: int = 8,
    split: int = 2,
    min_block_px: int = 4,
    depth: int = 4,
    context_px: int = 32,
    threshold: float = 0.5,
    passes: int = 3,
    least_change: float = 1e-3,
) -> nn.Module:
    """`misa`, an occlusion classifier on its body, and the blocks at the border judged anew by it.

    The classes are background, mask and face, in this order; it is trained by
    `baselines.rpdsn.training.train_misa_edge`. Options as `misa` and `EdgeSettings`.

    Raises:
        ConfigError: without a class for the face there is no border to refine.
    """
    if num_classes < 3:
        raise ConfigError("misa_edge refines the border of mask and face: train it on both labels")
    from baselines.networks.rpdsn import EdgeSegmenter
    from baselines.rpdsn.settings import EdgeSettings

    coarse = mask_rcnn(
        num_classes,
        pretrained=pretrained,
        body=body,
        box_loss=box_loss,
        box_weight=box_weight,
        min_score=min_score,
        smallest_anchor_px=smallest_anchor_px,
        frozen_norm=frozen_norm,
    )
    edge = EdgeSettings(
        grid=grid,
        split=split,
        min_block_px=min_block_px,
        depth=depth,
        context_px=context_px,
        threshold=threshold,
        passes=passes,
        least_change=least_change,
    )
    return EdgeSegmenter(coarse, edge)
