"""ABANet's attention gate: a decoder map decides where an encoder map may pass."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class AttentionGate(nn.Module):
    """Multiplies an encoder map by one weight in [0, 1] a pixel, the same for all its channels.

    The paper's section 4.4.3 speaks of feature-wise attention; its figure 6 and its code have this spatial
    gate (`baselines.md` D-03).

    Source: ABANet figure 6 after Oktay et al., Attention U-Net, 2018; `baselines.md` 1.2.1.
    """

    def __init__(self, guide_channels: int, skip_channels: int, inner_channels: int) -> None:
        super().__init__()
        self.guide = nn.Sequential(
            nn.Conv2d(guide_channels, inner_channels, 1), nn.BatchNorm2d(inner_channels)
        )
        self.skip = nn.Sequential(
            nn.Conv2d(skip_channels, inner_channels, 1, stride=2), nn.BatchNorm2d(inner_channels)
        )
        self.weight = nn.Sequential(nn.Conv2d(inner_channels, 1, 1), nn.BatchNorm2d(1), nn.Sigmoid())

    def forward(self, guide: Tensor, skip: Tensor) -> Tensor:
        """The gated skip.

        Args:
            guide: (B, G, h, w) decoder map.
            skip: (B, S, 2h, 2w) encoder map.

        Returns:
            (B, S, 2h, 2w).
        """
        weight = self.weight(F.relu(self.guide(guide) + self.skip(skip)))
        return skip * F.interpolate(weight, scale_factor=2, mode="bilinear", align_corners=False)
