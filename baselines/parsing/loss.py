"""Soft Dice over overlapping parts (`baselines.md` section 4)."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from baselines.parsing.parts import SMOOTH


def multilabel_dice_loss(
    logits: Tensor, target: Tensor, *, reduce: Literal["channel", "flatten"] = "channel"
) -> Tensor:
    """1 - (2 sum(p g) + s) / (sum p + sum g + s), s = 1e-5.

    Args:
        logits: (B, C, H, W) float; every channel is a yes-or-no question of its own.
        target: (B, C, H, W) in {0, 1}.
        reduce: "channel" takes the sums per channel over the batch and means the channels; "flatten" takes
            them over everything at once, so that large parts decide.

    Returns:
        Scalar float32 in [0, 1].
    """
    chance, truth = logits.float().sigmoid(), target.float()
    over = (0, 2, 3) if reduce == "channel" else (0, 1, 2, 3)
    overlap = (chance * truth).sum(over)
    total = chance.sum(over) + truth.sum(over)
    return (1 - (2 * overlap + SMOOTH) / (total + SMOOTH)).mean()
