"""The hybrid losses of BASNet and ABANet, and the parts that ABANet's figure 7 and table 9 compare.

Each is a plain sum of a loss of pixels, one of patches (`ssim_loss`) and one of the whole map (`iou_loss`),
all of weight 1, on each of a network's outputs (`baselines.md` 1.3).
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from baselines.losses.naming import PixelLoss, register_pixel_loss
from baselines.losses.pixel import bce_loss, focal_loss, iou_loss
from baselines.losses.ssim import ssim_loss

_RELEASED_NEGATIVE_WEIGHT = 0.25
_RELEASED_GAMMA = 2.0


@register_pixel_loss("focal_release")
def released_focal_loss(logits: Tensor, target: Tensor) -> Tensor:
    """The focal loss ABANet's released code computes, for forensic runs only (`baselines.md` D-04, D-05).

    It applies a sigmoid to what is a probability already, weighs foreground 1 and background 0.25, and lets
    no gradient through the modulating factor: a perfect map keeps .0227 a foreground and .0433 a
    background pixel.
    """
    squashed_twice = logits.sigmoid().sigmoid()
    entropy = F.binary_cross_entropy(squashed_twice, target, reduction="none")
    right = torch.where(target > 0.5, squashed_twice, 1 - squashed_twice).detach()
    weight = torch.where(target > 0.5, 1.0, _RELEASED_NEGATIVE_WEIGHT)
    return (weight * (1 - right) ** _RELEASED_GAMMA * entropy).mean()


def sum_of(*losses: PixelLoss) -> PixelLoss:
    """The plain sum of losses of one pair of logits and target."""

    def summed(logits: Tensor, target: Tensor) -> Tensor:
        return torch.stack([loss(logits, target) for loss in losses]).sum()

    return summed


# BASNet's own: cross entropy where ABANet has the focal loss.
register_pixel_loss("basnet")(sum_of(bce_loss, ssim_loss, iou_loss))

# ABANet's, with alpha 0.3, and the other values of its figure 7.
register_pixel_loss("abanet")(sum_of(focal_loss, ssim_loss, iou_loss))
register_pixel_loss("abanet_alpha50")(sum_of(partial(focal_loss, alpha=0.5), ssim_loss, iou_loss))
register_pixel_loss("abanet_alpha75")(sum_of(partial(focal_loss, alpha=0.75), ssim_loss, iou_loss))
register_pixel_loss("abanet_alpha90")(sum_of(partial(focal_loss, alpha=0.9), ssim_loss, iou_loss))

# The subset of table 9 that is not a loss of its own.
register_pixel_loss("focal_iou")(sum_of(focal_loss, iou_loss))

register_pixel_loss("abanet_release")(sum_of(released_focal_loss, ssim_loss, iou_loss))
