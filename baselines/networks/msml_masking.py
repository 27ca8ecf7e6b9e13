"""Feature-masking operators of MSML: occlusion maps turned into a mask over face features."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

Sight = Literal["cat", "seg"]
Activation = Literal["sig", "tan", "bin"]

_BOTTLENECK = 128  # widest inside of a residual block


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 without bias, BN after each, PReLU after the first two and after the sum."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = channels // 2 if channels <= _BOTTLENECK else _BOTTLENECK
        self.body = nn.Sequential(
            nn.Conv2d(channels, inner, 1, bias=False),
            nn.BatchNorm2d(inner),
            nn.PReLU(inner),
            nn.Conv2d(inner, inner, 3, padding=1, bias=False),
            nn.BatchNorm2d(inner),
            nn.PReLU(inner),
            nn.Conv2d(inner, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
        )
        self.last = nn.PReLU(channels)

    def forward(self, features: Tensor) -> Tensor:
        """Shape kept."""
        changed: Tensor = self.last(self.body(features) + features)
        return changed


class FeatureMasking(nn.Module):
    """Z = M * Yf with M = F(residual blocks(filter([Yf, Ys]))), or M * Yf + Yf with `residual`.

    Args:
        channels: of the face features Yf.
        maps: channels of the occlusion representation Ys.
        sight: "cat": the filter sees Yf and Ys; "seg": Ys alone (T in the paper).
        kernel: side of the filter (S).
        blocks: residual blocks (R).
        activation: "sig", "tan", or "bin": 1 where the sigmoid is at least 0.5, else 0, with the sigmoid's
            gradient (F; the paper does not say how it trains through the step: our choice).
        residual: the released code adds Yf again; the paper does not (D-17).

    Source: MSML, AAAI 2022, equations 2 and 3; `baselines.md` 5.5.
    """

    def __init__(
        self,
        channels: int,
        maps: int,
        *,
        sight: Sight,
        kernel: Literal[1, 3],
        blocks: int,
        activation: Activation,
        residual: bool,
    ) -> None:
        super().__init__()
        self.sees_face = sight == "cat"
        self.activation = activation
        self.residual = residual
        inputs = maps + (channels if self.sees_face else 0)
        self.filter = nn.Conv2d(inputs, channels, kernel, padding=kernel // 2, bias=False)
        self.refine = nn.Sequential(*(Bottleneck(channels) for _ in range(blocks)))

    def mask(self, face: Tensor, occlusion: Tensor) -> Tensor:
        """M, (B, C, h, w): in [0, 1], or [-1, 1] for "tan".

        Args:
            face: Yf, (B, C, h, w).
            occlusion: Ys, (B, maps, h, w).
        """
        seen = torch.cat((face, occlusion), dim=1) if self.sees_face else occlusion
        raw: Tensor = self.refine(self.filter(seen))
        if self.activation == "tan":
            return raw.tanh()
        soft = raw.sigmoid()
        if self.activation == "sig":
            return soft
        hard = (soft >= 0.5).to(soft.dtype)
        return hard + (soft - soft.detach())

    def forward(self, face: Tensor, occlusion: Tensor) -> Tensor:
        """Z, of the shape of `face`; arguments as `mask`."""
        purified = self.mask(face, occlusion) * face
        return purified + face if self.residual else purified
