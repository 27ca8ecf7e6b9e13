"""The loss of the EINet stand-in: `structure` on four maps and Dice on the outline."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from baselines.losses.naming import register_loss, supervised_loss, target_of
from baselines.losses.pixel import dice_loss
from baselines.losses.structure import structure_loss
from baselines.segmenter import SegOutput
from dataset_tools.core.errors import ConfigError

_OUTLINE_PX = 3


@register_loss("einet")
def einet_loss(output: SegOutput, classes: Tensor) -> Tensor:
    """`structure_loss` of all maps plus `dice_loss` of `extras["edge"]` (`baselines.md` section 1.8).

    Raises:
        ConfigError: the network gives no (B, 1, H, W) edge logits.
    """
    if "edge" not in output.extras:
        raise ConfigError("loss einet supervises an outline; this network predicts none: take structure")
    edge: Tensor = output.extras["edge"]
    target = outline_of(target_of(classes, output.logits.shape[1]))
    return supervised_loss(structure_loss, output, classes) + dice_loss(edge.float(), target)


def outline_of(target: Tensor) -> Tensor:
    """Morphological gradient in a 3x3 window: where the largest and smallest value around a pixel differ.

    Args:
        target: (B, C, H, W) float in {0, 1}.

    Returns:
        (B, 1, H, W) float in {0, 1}, 1 where any channel changes. Pixels outside the picture do not count.
    """
    pad = _OUTLINE_PX // 2
    highest = F.max_pool2d(target, _OUTLINE_PX, stride=1, padding=pad)
    lowest = -F.max_pool2d(-target, _OUTLINE_PX, stride=1, padding=pad)
    return (highest - lowest).amax(dim=1, keepdim=True)
