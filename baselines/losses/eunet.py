"""EU-Net's loss: focal, Dice and IoU at five scales, each against a label that gets smaller with the map."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from baselines.losses.naming import one_vs_rest, register_loss, target_of
from baselines.segmenter import SegOutput

FOCAL_GAMMA = 4.0
_SMOOTH = 1.0


@register_loss("eunet")
def eunet_loss(output: SegOutput, classes: Tensor) -> Tensor:
    """`region_loss` of the logits and of every auxiliary map, plain sum.

    The label is brought bilinearly from one scale to the next: shares between 0 and 1 arise, and are kept.
    The release takes the focal factor of the batch's mean cross entropy and the sigmoid twice; here both
    are as the formulas have them (decision D-12).
    """
    target = target_of(classes, output.logits.shape[1])
    terms = []
    for logits in (output.logits, *output.aux):
        if target.shape[-2:] != logits.shape[-2:]:
            target = F.interpolate(target, size=logits.shape[-2:], mode="bilinear", align_corners=False)
        terms.append(region_loss(one_vs_rest(logits.float()), target))
    return torch.stack(terms).sum()


def region_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Focal loss of the pixels (gamma 4, no class weight) + 1 - Dice + 1 - IoU of every picture and channel.

    Args:
        logits: (B, C, H, W).
        target: (B, C, H, W) in [0, 1].

    Source: `baselines.md` section 1.6; both overlaps are smoothed with 1 pixel.
    """
    entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    focal = ((1 - (-entropy).exp()) ** FOCAL_GAMMA * entropy).mean()
    chance = logits.sigmoid()
    over = (2, 3)
    overlap = (chance * target).sum(over)
    total = chance.sum(over) + target.sum(over)
    dice = 1 - (2 * overlap + _SMOOTH) / (total + _SMOOTH)
    iou = 1 - (overlap + _SMOOTH) / (total - overlap + _SMOOTH)
    return focal + (dice + iou).mean()
