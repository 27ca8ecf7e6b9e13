"""What every network of the suite takes and returns."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dataset_tools.core.errors import ConfigError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class SegOutput(NamedTuple):
    """What `forward` of every baseline returns.

    Attributes:
        logits: (B, C, H, W) float, C = 1 (foreground) or 1 + labels (background first). Never a
            probability: no baseline applies a sigmoid or softmax inside.
        aux: further logits that the loss supervises too; of the same shape, unless the baseline's own loss
            takes others.
        extras: anything else a baseline wants to show, by name.
    """

    logits: Tensor
    aux: Sequence[Tensor] = ()
    extras: Mapping[str, Any] = {}


@dataclass(frozen=True, slots=True)
class InitialWeights:
    """Where a network's starting values came from.

    Attributes:
        name: of the published weights, or "random".
        sha256: of the weights file; "" for random values.
    """

    name: str = "random"
    sha256: str = ""


RANDOM_WEIGHTS = InitialWeights()


def initial_weights(network: nn.Module) -> InitialWeights:
    """What a builder noted about the network's start; random when it noted nothing."""
    noted = getattr(network, "initial_weights", RANDOM_WEIGHTS)
    return noted if isinstance(noted, InitialWeights) else RANDOM_WEIGHTS


@runtime_checkable
class TrainsItself(Protocol):
    """A network whose loss needs more than its answer, such as a detector with proposals."""

    def training_loss(self, images: Tensor, classes: Tensor) -> Tensor:
        """The loss of a batch.

        Args:
            images: (B, 3, H, W) float, normalised as for `forward`.
            classes: (B, H, W) integer class numbers: 0 background, k the k-th label.

        Returns:
            Scalar float32.
        """
        ...


class PaddedSegmenter(nn.Module):
    """Wraps a network from images to logits so that it takes any size and returns a `SegOutput`.

    The input is reflected on the right and bottom up to a multiple of `multiple` pixels and the logits are
    cut back (`baselines.md` section 1.5).
    """

    def __init__(self, network: nn.Module, *, multiple: int = 32, weights: InitialWeights) -> None:
        super().__init__()
        self.network = network
        self.multiple = multiple
        self.initial_weights = weights

    def forward(self, images: Tensor) -> SegOutput:
        """Logits for (B, 3, H, W) normalised RGB; H and W larger than half of `multiple`."""
        height, width = images.shape[-2:]
        logits: Tensor = self.network(padded_to(images, self.multiple))
        return SegOutput(logits[..., :height, :width])


def padded_to(images: Tensor, multiple: int) -> Tensor:
    """(B, C, H, W) reflected on the right and bottom up to a multiple of `multiple` pixels."""
    right, bottom = -images.shape[-1] % multiple, -images.shape[-2] % multiple
    return F.pad(images, (0, right, 0, bottom), mode="reflect") if right or bottom else images


def normalise_images(images: Tensor) -> Tensor:
    """(B, 3, H, W) uint8 RGB to float32 with ImageNet mean and deviation; 255 is 1, whatever the peak."""
    mean = torch.tensor(IMAGENET_MEAN, device=images.device).view(1, 3, 1, 1)
    std = torch.tensor(IMAGENET_STD, device=images.device).view(1, 3, 1, 1)
    return (images.float() / 255 - mean) / std


def renormalised(images: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """Images normalised as `normalise_images` does, normalised by another mean and deviation instead.

    Args:
        images: (B, 3, H, W) float.
        mean, std: per channel, of RGB in [0, 1]; (0, 0, 0) and (1, 1, 1) give RGB in [0, 1] back.
    """
    shape = (1, 3, 1, 1)
    unit = images * images.new_tensor(IMAGENET_STD).view(shape) + images.new_tensor(IMAGENET_MEAN).view(shape)
    return (unit - images.new_tensor(mean).view(shape)) / images.new_tensor(std).view(shape)


def foreground_probabilities(logits: Tensor) -> Tensor:
    """(B, C, H, W) logits to (B, L, H, W) float32 probabilities of the L foreground labels."""
    if logits.shape[1] == 1:
        return logits.float().sigmoid()
    return logits.float().softmax(dim=1)[:, 1:]


def choose_device(wanted: str) -> torch.device:
    """The device of that name; "auto" is the first GPU (under `torchrun` this process's), or the CPU.

    Raises:
        ConfigError: torch does not know the device, or it is not there.
    """
    if wanted == "auto":
        local = int(os.environ.get("LOCAL_RANK", "0"))
        return torch.device("cuda", local) if torch.cuda.is_available() else torch.device("cpu")
    try:
        device = torch.device(wanted)
    except RuntimeError as error:
        raise ConfigError(f"device {wanted!r}: {str(error).splitlines()[0]}") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"device {wanted!r} was asked for, but torch sees no CUDA GPU here")
    return device


def device_name(device: torch.device) -> str:
    """What the device is called in records: the GPU's model, or "cpu"."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
