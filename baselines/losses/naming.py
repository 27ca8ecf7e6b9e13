"""How a loss gets its name, and how class numbers become the yes-or-no targets that losses compare with."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F

from baselines.segmenter import SegOutput
from dataset_tools.core.errors import UnknownName

OutputLoss = Callable[[SegOutput, Tensor], Tensor]
"""From what a network's `forward` gave, and (B, H, W) integer class numbers (0 background, k the k-th label),
to a scalar in float32."""

PixelLoss = Callable[[Tensor, Tensor], Tensor]
"""From (B, C, H, W) logits and a (B, C, H, W) float target in {0, 1} to a scalar."""

_Loss = TypeVar("_Loss", bound=Callable[..., Tensor])
_losses: dict[str, OutputLoss] = {}


def register_loss(name: str) -> Callable[[_Loss], _Loss]:
    """Decorate an `OutputLoss` so that recipes and settings may name it.

    Raises:
        ValueError: the name is taken.
    """

    def register(loss: _Loss) -> _Loss:
        if name in _losses:
            raise ValueError(f"loss {name!r} is registered twice")
        _losses[name] = loss
        return loss

    return register


def register_pixel_loss(name: str) -> Callable[[_Loss], _Loss]:
    """Decorate a `PixelLoss`; it is summed over the logits and all auxiliary logits of a network.

    Raises:
        ValueError: the name is taken.
    """

    def register(loss: _Loss) -> _Loss:
        def summed(output: SegOutput, classes: Tensor) -> Tensor:
            return supervised_loss(loss, output, classes)

        register_loss(name)(summed)
        return loss

    return register


def loss_names() -> tuple[str, ...]:
    """Every registered name, sorted."""
    return tuple(sorted(_losses))


def find_loss(name: str) -> OutputLoss:
    """The loss of that name.

    Raises:
        UnknownName: no such loss.
    """
    if name not in _losses:
        raise UnknownName("loss", name, _losses)
    return _losses[name]


def supervised_loss(loss: PixelLoss, output: SegOutput, classes: Tensor) -> Tensor:
    """The loss of a network's answer, summed over its logits and all auxiliary logits.

    Args:
        loss: of one pair of logits and target.
        output: what `forward` gave; computed in float32 whatever precision it has. Auxiliary logits of
            another size are brought to the label's bilinearly.
        classes: (B, H, W) integer class numbers: 0 background, k the k-th label.

    Returns:
        Scalar tensor. Auxiliary logits weigh as much as the main ones (`baselines.md` 1.3).
    """
    target = target_of(classes, output.logits.shape[1])
    maps = [_at_size(logits.float(), target) for logits in (output.logits, *output.aux)]
    terms = [loss(one_vs_rest(logits), target) for logits in maps]
    return torch.stack(terms).sum()


def _at_size(logits: Tensor, target: Tensor) -> Tensor:
    if logits.shape[-2:] == target.shape[-2:]:
        return logits
    return F.interpolate(logits, size=target.shape[-2:], mode="bilinear", align_corners=False)


def target_of(classes: Tensor, channels: int) -> Tensor:
    """(B, H, W) class numbers to (B, C, H, W) float32 in {0, 1}: foreground for one channel, else one-hot."""
    if channels == 1:
        return (classes == 1).float().unsqueeze(1)
    return F.one_hot(classes.long(), channels).permute(0, 3, 1, 2).float()


def one_vs_rest(logits: Tensor) -> Tensor:
    """Logits whose sigmoid equals the softmax of `logits` over channels; one channel stays as it is."""
    channels = logits.shape[1]
    if channels == 1:
        return logits
    others = [
        torch.cat((logits[:, :index], logits[:, index + 1 :]), dim=1).logsumexp(dim=1)
        for index in range(channels)
    ]
    return logits - torch.stack(others, dim=1)
