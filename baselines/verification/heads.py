"""Classifiers that identities are learned with; they are thrown away after training."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_MOST_COSINE = 1 - 1e-7


class MarginHead(nn.Module):
    """Additive angular margin ("ArcFace"): cross entropy of scale * cos(angle), the true angle made larger.

    Where angle + margin would pass pi, cos(angle) - margin * sin(margin) keeps the target's logit falling.

    Source: Deng et al., ArcFace, CVPR 2019, equation 3; `baselines.md` 5.6.

    Args:
        embed_dim: values of an embedding.
        identities: people.
        margin: radians.
        scale: of all logits.
    """

    def __init__(self, embed_dim: int, identities: int, *, margin: float = 0.5, scale: float = 64.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(identities, embed_dim))
        nn.init.normal_(self.weight, 0.0, 0.01)
        self.margin = margin
        self.scale = scale

    def forward(self, embeddings: Tensor, identities: Tensor) -> Tensor:
        """Mean loss of a batch.

        Args:
            embeddings: (B, D) of any length.
            identities: (B,) int64 class numbers.

        Returns:
            Scalar float32.
        """
        # Near 1 a cosine in bfloat16 has steps of 0.4 %, far too coarse for an angle.
        with torch.autocast(embeddings.device.type, enabled=False):
            cosines = F.linear(F.normalize(embeddings.float()), F.normalize(self.weight.float()))
            cosines = cosines.clamp(-_MOST_COSINE, _MOST_COSINE)
            own = cosines.gather(1, identities.unsqueeze(1))
            angles = own.acos()
            wider = torch.where(
                angles + self.margin > math.pi,
                own - self.margin * math.sin(math.pi - self.margin),
                (angles + self.margin).cos(),
            )
            logits = cosines.scatter(1, identities.unsqueeze(1), wider) * self.scale
            return F.cross_entropy(logits, identities)


class LinearHead(nn.Module):
    """A linear classifier with cross entropy, as LightCNN is trained."""

    def __init__(self, embed_dim: int, identities: int) -> None:
        super().__init__()
        self.linear = nn.Linear(embed_dim, identities)

    def forward(self, embeddings: Tensor, identities: Tensor) -> Tensor:
        """Mean loss of a batch; arguments as `MarginHead.forward`."""
        return F.cross_entropy(self.linear(embeddings).float(), identities)
