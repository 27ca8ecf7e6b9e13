"""A trained network made faster on a CPU: batch normalisation folded into the convolutions before it.

In evaluation a batch normalisation multiplies and adds constants per channel, which the convolution before it
can do itself. Which one lies before it is seen by watching one forward pass, so this works for any network,
however it is written; and a network that does not answer the same afterwards is left as it was.
"""

from __future__ import annotations

import copy
from collections import Counter
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from baselines.segmenter import TrainsItself, foreground_probabilities

# Folding changes the order of roundings only; what a wrong folding does to an answer is far larger.
TOLERANCE = 1e-3

_SEED = 0
_CONVOLUTIONS = (nn.Conv2d, nn.ConvTranspose2d)

Convolution: TypeAlias = nn.Conv2d | nn.ConvTranspose2d


def folded(network: nn.Module, side_px: int) -> nn.Module:
    """A network that answers the same in less time, for evaluation only.

    Args:
        network: on the CPU, from (B, 3, H, W) normalised RGB to a `SegOutput`; put into evaluation mode.
        side_px: side of the square on which it is watched and compared.

    Returns:
        A folded copy; `network` itself where there is nothing to fold, where the probabilities of the copy
        differ by more than `TOLERANCE`, or where it finds objects: a rounding may turn one found into one
        not found.
    """
    if isinstance(network, TrainsItself):
        return network.eval()
    image = torch.randn(1, 3, side_px, side_px, generator=torch.Generator().manual_seed(_SEED))
    copied = copy.deepcopy(network.eval())
    # Not inference mode: weights made in it could not be used outside of it.
    with torch.no_grad():
        pairs = _pairs(copied, image)
        if not pairs:
            return network
        _replace(copied, _replacements(pairs))
        before, after = (foreground_probabilities(one(image).logits) for one in (network, copied))
    is_same = before.shape == after.shape and float((before - after).abs().max()) <= TOLERANCE
    return copied if is_same else network


def _pairs(network: nn.Module, image: Tensor) -> list[tuple[Convolution, nn.BatchNorm2d]]:
    """Convolutions whose answer goes straight into a batch normalisation, with it; each works once."""
    answers: dict[int, tuple[Convolution, Tensor]] = {}  # by identity; the tensor is kept, so it stays unique
    found: list[tuple[Convolution, nn.BatchNorm2d]] = []
    calls: Counter[nn.Module] = Counter()

    def after_convolution(module: Convolution, _: Any, answer: Tensor) -> None:
        calls[module] += 1
        answers[id(answer)] = (module, answer)

    def before_normalisation(module: nn.Module, given: tuple[Any, ...]) -> None:
        calls[module] += 1
        convolution, _ = answers.get(id(given[0]), (None, None))
        if convolution is not None and isinstance(module, nn.BatchNorm2d) and module.running_var is not None:
            found.append((convolution, module))

    hooks = [
        one.register_forward_hook(after_convolution)
        if isinstance(one, _CONVOLUTIONS)
        else one.register_forward_pre_hook(before_normalisation)
        for one in network.modules()
        if isinstance(one, (*_CONVOLUTIONS, nn.BatchNorm2d))
    ]
    network(image)
    for hook in hooks:
        hook.remove()
    return [pair for pair in found if calls[pair[0]] == calls[pair[1]] == 1]


def _replacements(pairs: list[tuple[Convolution, nn.BatchNorm2d]]) -> dict[nn.Module, nn.Module]:
    replacements: dict[nn.Module, nn.Module] = {}
    for convolution, normalisation in pairs:
        is_transposed = isinstance(convolution, nn.ConvTranspose2d)
        replacements[convolution] = fuse_conv_bn_eval(convolution, normalisation, is_transposed)
        # timm's kind also drops and activates, by modules of its own.
        rest = list(normalisation.children())
        replacements[normalisation] = nn.Sequential(*rest) if rest else nn.Identity()
    return replacements


def _replace(network: nn.Module, replacements: dict[nn.Module, nn.Module]) -> None:
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if child in replacements:
                setattr(parent, name, replacements[child])
