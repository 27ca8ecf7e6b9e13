"""LightCNN-29 (second layout), the face recognition branch of MSML(L29)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

LIGHTCNN_PX = 128
LIGHTCNN_WIDTHS = (48, 96, 192, 128)  # channels after each pooling: where masking operators sit
_GREY_WEIGHTS = (0.2989, 0.587, 0.114)  # of R, G, B (ITU-R BT.601)


class MaxFeatureMap(nn.Module):
    """A biased convolution to twice the channels, then the larger of each pair of channels."""

    def __init__(self, inputs: int, outputs: int, kernel: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(inputs, 2 * outputs, kernel, padding=kernel // 2)

    def forward(self, features: Tensor) -> Tensor:
        """(B, inputs, h, w) to (B, outputs, h, w)."""
        both: Tensor = self.convolution(features)
        one, other = both.chunk(2, dim=1)
        return one.maximum(other)


class MaxFeatureResidual(nn.Module):
    """Two 3x3 max-feature-map layers, plus the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(MaxFeatureMap(channels, channels, 3), MaxFeatureMap(channels, channels, 3))

    def forward(self, features: Tensor) -> Tensor:
        """Shape kept."""
        changed: Tensor = self.body(features) + features
        return changed


class HalvingPool(nn.Module):
    """The sum of 2x2 maximum and 2x2 average pooling."""

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, h, w) to (B, C, h / 2, w / 2)."""
        return F.max_pool2d(features, 2) + F.avg_pool2d(features, 2)


def _group(inputs: int, outputs: int) -> list[nn.Module]:
    return [MaxFeatureMap(inputs, inputs, 1), MaxFeatureMap(inputs, outputs, 3)]


def _residuals(channels: int, count: int) -> list[nn.Module]:
    return [MaxFeatureResidual(channels) for _ in range(count)]


class LightCnn29(nn.Module):
    """LightCNN-29: (B, 3, 128, 128) RGB in [0, 1], seen in grey, to (B, 256) embeddings, not normalised.

    10,475,872 parameters at 256 embedding values. The paper speaks of 128 (D-16). No batch norm.

    Source: Wu et al., A Light CNN, TIFS 2018; `baselines.md` 5.3.
    """

    input_px = LIGHTCNN_PX
    widths: Sequence[int] = LIGHTCNN_WIDTHS

    def __init__(self, embed_dim: int = 256, dropout: float = 0.0) -> None:
        super().__init__()
        self.stem = nn.Identity()
        self.stages = nn.ModuleList(
            nn.Sequential(*layers, HalvingPool())
            for layers in (
                [MaxFeatureMap(1, 48, 5)],
                [*_residuals(48, 1), *_group(48, 96)],
                [*_residuals(96, 2), *_group(96, 192)],
                [*_residuals(192, 3), *_group(192, 128), *_residuals(128, 4), *_group(128, 128)],
            )
        )
        flat = LIGHTCNN_WIDTHS[-1] * (LIGHTCNN_PX // 16) ** 2
        self.embed = nn.Sequential(nn.Flatten(), nn.Linear(flat, embed_dim), nn.Dropout(dropout))

    def prepare(self, faces: Tensor) -> Tensor:
        """(B, 3, H, W) RGB in [0, 1] to (B, 1, H, W) grey in [0, 1]."""
        weights = faces.new_tensor(_GREY_WEIGHTS).view(1, 3, 1, 1)
        return (faces * weights).sum(dim=1, keepdim=True)

    def forward(self, faces: Tensor) -> Tensor:
        """Embeddings without masking."""
        features = self.stem(self.prepare(faces))
        for stage in self.stages:
            features = stage(features)
        embeddings: Tensor = self.embed(features)
        return embeddings
