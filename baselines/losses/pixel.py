"""Losses on logits: pure functions of tensors, each a scalar that is 0 (or tends to 0) for a perfect guess.

All take `logits` (B, C, H, W) and `target` (B, C, H, W) float in {0, 1} and treat every channel as one
yes-or-no question.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from baselines.losses.naming import register_pixel_loss

FOCAL_ALPHA = 0.3  # ABANet, section 4.3: positives weigh less than negatives
FOCAL_GAMMA = 2.0
DICE_SMOOTH = 1.0  # released ABANet notebook
_EPSILON = 1e-6


@register_pixel_loss("bce")
def bce_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Binary cross entropy, mean over all pixels and channels."""
    return F.binary_cross_entropy_with_logits(logits, target)


@register_pixel_loss("dice")
def dice_loss(logits: Tensor, target: Tensor, smooth: float = DICE_SMOOTH) -> Tensor:
    """1 - soft Dice, per channel over the whole batch, then the mean of the channels.

    Equals `segmentation_models_pytorch.losses.DiceLoss("binary", smooth=1.0)` for one channel, except that
    a batch without foreground is not ignored: it teaches to predict nothing.
    """
    chance = logits.sigmoid()
    over = (0, 2, 3)
    overlap = (chance * target).sum(over)
    half_total = (chance.sum(over) + target.sum(over)) / 2
    return (1 - (overlap + smooth) / (half_total + smooth)).mean()


@register_pixel_loss("bce_dice")
def bce_dice_loss(logits: Tensor, target: Tensor) -> Tensor:
    """`bce_loss` + `dice_loss`."""
    return bce_loss(logits, target) + dice_loss(logits, target)


@register_pixel_loss("focal")
def focal_loss(
    logits: Tensor, target: Tensor, alpha: float = FOCAL_ALPHA, gamma: float = FOCAL_GAMMA
) -> Tensor:
    """Mean of `-alpha (1-p)^gamma log p` on foreground and `-(1-alpha) p^gamma log(1-p)` on background.

    Source: Lin et al., Focal Loss, ICCV 2017; constants of ABANet section 4.3 (`baselines.md` 1.3).
    """
    cross_entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    wrongness = torch.where(target > 0.5, 1 - logits.sigmoid(), logits.sigmoid())
    weight = alpha * target + (1 - alpha) * (1 - target)
    return (weight * wrongness**gamma * cross_entropy).mean()


@register_pixel_loss("iou")
def iou_loss(logits: Tensor, target: Tensor) -> Tensor:
    """1 - soft IoU of every picture and channel, then the mean; 0 when both are empty.

    Source: ABANet section 4.3 with an epsilon for empty labels (`baselines.md` 1.3).
    """
    chance = logits.sigmoid()
    over = (2, 3)
    overlap = (chance * target).sum(over)
    covered = (chance + target - chance * target).sum(over)
    return (1 - (overlap + _EPSILON) / (covered + _EPSILON)).mean()
