"""MSML's occlusion segmentation branch as a row of its own (`baselines.md` section 5.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from baselines.registry import BaselineSpec, Fidelity, Printed, Recipe, register_baseline

if TYPE_CHECKING:
    from torch import nn

FacePx = Literal[112, 128]

_PAPER = "MSML (AAAI 2022)"
_PAPER_URL = "https://doi.org/10.1609/aaai.v36i3.20228"
# The branch's own rate; batch and epochs of MSML(L29), whose 64 faces fit one device.
_RECIPE = Recipe(
    loss="consensus",
    optimiser="sgd",
    learning_rate=0.01,
    weight_decay=1e-5,
    clip_norm=5.0,
    batch=64,
    epochs=35,
)
_REMARK = "of the whole network, drawn polygons on LFW, not face masks; which IoU is meant is not printed"


@register_baseline(
    BaselineSpec(
        name="msml_osb_r18",
        title="MSML occlusion branch, R-18",
        paper=_PAPER,
        paper_url=_PAPER_URL,
        fidelity=Fidelity.CONFIRMED,
        code_licence="Apache-2.0",
        weights_licence="none: trained from random values",
        input_hw=(112, 112),
        recipe=_RECIPE,
        parameters=11_427_504,
        printed=Printed("MSML, table 5, O18, LFW_poly", (("iou_dataset", 0.9767),), _REMARK),
    )
)
def msml_osb_r18(num_classes: int, *, pretrained: bool, face_px: FacePx = 112) -> nn.Module:
    """The branch with an encoder of depth 18.

    Args:
        num_classes: one channel is the difference of the paper's two classes' logits.
        pretrained: changes nothing; the paper trains it from random values.
        face_px: the paper's picture size whose first transposed convolution it takes; other sizes are
            padded as `OcclusionSegmenter` says.
    """
    return _branch(num_classes, 18, face_px)


@register_baseline(
    BaselineSpec(
        name="msml_osb_r34",
        title="MSML occlusion branch, R-34",
        paper=_PAPER,
        paper_url=_PAPER_URL,
        fidelity=Fidelity.CONFIRMED,
        code_licence="Apache-2.0",
        weights_licence="none: trained from random values",
        input_hw=(112, 112),
        recipe=_RECIPE,
        parameters=21_541_232,
        printed=Printed("MSML, table 5, O34, LFW_poly", (("iou_dataset", 0.9790),), _REMARK),
    )
)
def msml_osb_r34(num_classes: int, *, pretrained: bool, face_px: FacePx = 112) -> nn.Module:
    """The branch with an encoder of depth 34; arguments as `msml_osb_r18`."""
    return _branch(num_classes, 34, face_px)


def _branch(num_classes: int, depth: Literal[18, 34], face_px: FacePx) -> nn.Module:
    from baselines.networks.msml_osb import OcclusionSegmenter

    return OcclusionSegmenter(num_classes, depth=depth, face_px=face_px)
