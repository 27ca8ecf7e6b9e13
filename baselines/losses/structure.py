"""The structure loss of F3Net, which DAD and the EINet stand-in are trained with."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from baselines.losses.naming import register_pixel_loss

_WINDOW_PX = 31
_OUTLINE_WEIGHT = 5.0


@register_pixel_loss("structure")
def structure_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Cross entropy plus soft IoU, both weighted towards pixels whose surroundings differ from them.

    A pixel weighs `w = 1 + 5 |mean of y in a 31x31 window - y|`; outside the picture y counts as 0, as in
    the source. Of each picture and channel: `sum(w BCE) / sum(w) + 1 - (I + 1) / (U - I + 1)` with
    `I = sum(w p y)` and `U = sum(w (p + y))`; then the mean.

    Source: Wei et al., F3Net, AAAI 2020, equations 10-14; smoothing as in `baselines.md` 1.7.
    """
    around = F.avg_pool2d(target, _WINDOW_PX, stride=1, padding=_WINDOW_PX // 2)
    weight = 1 + _OUTLINE_WEIGHT * (around - target).abs()
    over = (2, 3)
    entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    weighted_entropy = (weight * entropy).sum(over) / weight.sum(over)
    chance = logits.sigmoid()
    overlap = (weight * chance * target).sum(over)
    total = (weight * (chance + target)).sum(over)
    return (weighted_entropy + 1 - (overlap + 1) / (total - overlap + 1)).mean()
