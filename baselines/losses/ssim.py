"""Structural similarity as a loss: ABANet's and BASNet's patch level."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from baselines.losses.naming import register_pixel_loss

WINDOW_PX = 11
SIGMA_PX = 1.5
C1 = 0.01**2  # the paper prints 0.012 and 0.032: lost superscripts (`baselines.md` D-06)
C2 = 0.03**2


@register_pixel_loss("ssim")
def ssim_loss(logits: Tensor, target: Tensor) -> Tensor:
    """1 - mean of `ssim_map` between probabilities and target; 0 when they are equal, at most 2."""
    return 1 - ssim_map(logits.sigmoid(), target).mean()


def ssim_map(left: Tensor, right: Tensor) -> Tensor:
    """Structural similarity around every pixel.

    Args:
        left, right: (B, C, H, W) float32 in [0, 1]. Beyond the border both count as 0.

    Returns:
        (B, C, H, W) in [-1, 1]; computed in float32 even under autocast, since variances are differences
        of nearly equal numbers.

    Source: Wang et al., 2004, as in ABANet eq. 4 with the product that its print lost (`baselines.md` 1.3).
    """
    with torch.autocast(left.device.type, enabled=False):
        products = torch.stack((left, right, left * left, right * right, left * right))
        mean_l, mean_r, square_l, square_r, product = _blurred(products).unbind()
        spread = (square_l - mean_l**2) + (square_r - mean_r**2)
        shared = product - mean_l * mean_r
        above = (2 * mean_l * mean_r + C1) * (2 * shared + C2)
        return above / ((mean_l**2 + mean_r**2 + C1) * (spread + C2))


def _blurred(maps: Tensor) -> Tensor:
    """Every map of (N, B, C, H, W) under the Gaussian window, zeros beyond the border."""
    offsets = torch.arange(WINDOW_PX, device=maps.device, dtype=maps.dtype) - WINDOW_PX // 2
    weights = torch.exp(-(offsets**2) / (2 * SIGMA_PX**2))
    weights = weights / weights.sum()
    half = WINDOW_PX // 2
    # The window is a product of a row and a column, and so is its zero border.
    flat = maps.flatten(0, 2).unsqueeze(1)
    flat = F.conv2d(flat, weights.view(1, 1, 1, -1), padding=(0, half))
    flat = F.conv2d(flat, weights.view(1, 1, -1, 1), padding=(half, 0))
    return flat.view(maps.shape)
