"""Cross entropy over classes that exclude each other: what MISA's semantic comparators are trained with."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from baselines.losses.naming import register_loss
from baselines.losses.pixel import bce_loss
from baselines.segmenter import SegOutput


@register_loss("cross_entropy")
def cross_entropy_loss(output: SegOutput, classes: Tensor) -> Tensor:
    """Mean over pixels of -log softmax at the true class; of the logits alone.

    With one output channel this is `bce`, the same quantity for two classes.
    """
    logits = output.logits.float()
    if logits.shape[1] == 1:
        return bce_loss(logits, (classes == 1).float().unsqueeze(1))
    return F.cross_entropy(logits, classes.long())
