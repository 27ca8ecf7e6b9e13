"""The three networks of MTCNN, with standard or depthwise-separable convolutions.

Source: Zhang et al., Joint Face Detection and Alignment using Multi-task Cascaded Convolutional Networks,
2016 (layers); Xu & Zheng, Traitement du Signal 40(2), 2023 (separable convolutions).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from baselines.mtcnn.settings import Convolutions, StageName

STAGE_SIDE_PX: dict[StageName, int] = {"p": 12, "r": 24, "o": 48}
POINTS = 5


class StageOutput(NamedTuple):
    """What a stage says of each window; P-Net adds a height and a width to every shape.

    Attributes:
        face: (B, 2) logits: no face, face.
        box: (B, 4) how far the face's x0, y0, x1, y1 lie from the window's, in window sides.
        landmarks: (B, 10) x and y of five points in the window, [0, 1] inside it; None without that head.
    """

    face: Tensor
    box: Tensor
    landmarks: Tensor | None


def scaled_pixels(pictures: Tensor) -> Tensor:
    """(..., 3, H, W) RGB in 0..255 to the float32 values the networks take, (x - 127.5) / 128."""
    return (pictures.float() - 127.5) / 128


def convolution(inputs: int, outputs: int, kernel: int, *, separable: bool) -> nn.Module:
    """A valid convolution with bias; separable: one kernel per input channel, then a 1x1 mixture.

    Nothing stands between the two halves: the parameter counts of `baselines.md` fit one bias per input
    channel.
    """
    if not separable:
        return nn.Conv2d(inputs, outputs, kernel)
    return nn.Sequential(nn.Conv2d(inputs, inputs, kernel, groups=inputs), nn.Conv2d(inputs, outputs, 1))


def _pool(kernel: int) -> nn.MaxPool2d:
    return nn.MaxPool2d(kernel, stride=2, ceil_mode=True)


class ProposalNet(nn.Module):
    """P-Net: looks at every 12x12 window of a picture at once, in steps of 2 pixels."""

    def __init__(self, convolutions: Convolutions, *, with_landmarks: bool) -> None:
        super().__init__()
        first, rest = convolutions == "separable_all", convolutions != "standard"
        self.trunk = nn.Sequential(
            convolution(3, 10, 3, separable=first),
            nn.PReLU(10),
            _pool(2),
            convolution(10, 16, 3, separable=rest),
            nn.PReLU(16),
            convolution(16, 32, 3, separable=rest),
            nn.PReLU(32),
        )
        self.face = nn.Conv2d(32, 2, 1)
        self.box = nn.Conv2d(32, 4, 1)
        self.landmarks = nn.Conv2d(32, 2 * POINTS, 1) if with_landmarks else None

    def forward(self, pictures: Tensor) -> StageOutput:
        """Answers of shape (B, C, h, w) for (B, 3, H, W) `scaled_pixels`, H and W at least 12."""
        found = self.trunk(pictures)
        points = self.landmarks(found) if self.landmarks is not None else None
        return StageOutput(self.face(found), self.box(found), points)


class _WindowNet(nn.Module):
    """A trunk that ends in a vector, and the heads on it."""

    def __init__(self, trunk: nn.Sequential, width: int, *, with_landmarks: bool) -> None:
        super().__init__()
        self.trunk = trunk
        self.face = nn.Linear(width, 2)
        self.box = nn.Linear(width, 4)
        self.landmarks = nn.Linear(width, 2 * POINTS) if with_landmarks else None

    def forward(self, windows: Tensor) -> StageOutput:
        """Answers of shape (B, C) for (B, 3, side, side) `scaled_pixels`."""
        found = self.trunk(windows)
        points = self.landmarks(found) if self.landmarks is not None else None
        return StageOutput(self.face(found), self.box(found), points)


class RefineNet(_WindowNet):
    """R-Net: 24x24 windows."""

    def __init__(self, convolutions: Convolutions, *, with_landmarks: bool) -> None:
        first, rest = convolutions == "separable_all", convolutions != "standard"
        trunk = nn.Sequential(
            convolution(3, 28, 3, separable=first),
            nn.PReLU(28),
            _pool(3),
            convolution(28, 48, 3, separable=rest),
            nn.PReLU(48),
            _pool(3),
            convolution(48, 64, 2, separable=rest),
            nn.PReLU(64),
            nn.Flatten(),
            nn.Linear(64 * 3 * 3, 128),
            nn.PReLU(128),
        )
        super().__init__(trunk, 128, with_landmarks=with_landmarks)


class OutputNet(_WindowNet):
    """O-Net: 48x48 windows."""

    def __init__(self, convolutions: Convolutions, *, with_landmarks: bool) -> None:
        first, rest = convolutions == "separable_all", convolutions != "standard"
        trunk = nn.Sequential(
            convolution(3, 32, 3, separable=first),
            nn.PReLU(32),
            _pool(3),
            convolution(32, 64, 3, separable=rest),
            nn.PReLU(64),
            _pool(3),
            convolution(64, 64, 3, separable=rest),
            nn.PReLU(64),
            _pool(2),
            convolution(64, 128, 2, separable=rest),
            nn.PReLU(128),
            nn.Flatten(),
            nn.Linear(128 * 3 * 3, 256),
            nn.PReLU(256),
        )
        super().__init__(trunk, 256, with_landmarks=with_landmarks)


def build_stage(stage: StageName, convolutions: Convolutions, *, with_landmarks: bool) -> nn.Module:
    """One of the three networks, from random values."""
    kinds: dict[StageName, type[ProposalNet | RefineNet | OutputNet]]
    kinds = {"p": ProposalNet, "r": RefineNet, "o": OutputNet}
    return kinds[stage](convolutions, with_landmarks=with_landmarks)


def face_probability(logits: Tensor) -> Tensor:
    """(B, 2, ...) face logits to (B, ...) float32 probabilities."""
    return torch.softmax(logits.float(), dim=1)[:, 1]
