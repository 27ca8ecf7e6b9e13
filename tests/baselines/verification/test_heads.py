"""Identity losses equal the metric-learning library's."""

from __future__ import annotations

import math

import pytest
import torch
from pytorch_metric_learning.losses import ArcFaceLoss

from baselines.verification.heads import LinearHead, MarginHead


@pytest.mark.parametrize("margin", [0.0, 0.48, 0.5])
def test_margin_loss_equals_pytorch_metric_learning_whose_margin_is_in_degrees(margin: float) -> None:
    torch.manual_seed(0)
    embeddings, identities = torch.randn((32, 8)) * 3, torch.randint(0, 5, (32,))
    head = MarginHead(8, 5, margin=margin, scale=64.0)
    library = ArcFaceLoss(num_classes=5, embedding_size=8, margin=math.degrees(margin), scale=64.0)
    library.W.data = head.weight.detach().T.clone()
    assert float(head(embeddings, identities).detach()) == pytest.approx(
        float(library(embeddings, identities).detach()), rel=1e-4
    )


def test_an_angle_too_wide_for_the_margin_keeps_falling() -> None:
    head = MarginHead(2, 2, margin=0.5, scale=1.0)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    angles = torch.tensor([2.5, 2.6, 2.7, 3.0, 3.14])
    losses = [
        float(head(torch.stack((one.cos(), -one.sin())).unsqueeze(0), torch.tensor([0])).detach())
        for one in angles
    ]
    # pi - 0.5 = 2.64: two before, three after the switch; 3.0 by hand.
    expected = -math.log(1 / (1 + math.exp(-math.sin(3.0) - (math.cos(3.0) - 0.5 * math.sin(math.pi - 0.5)))))
    assert losses[3] == pytest.approx(expected, rel=1e-4)
    assert all(math.isfinite(one) for one in losses)


def test_margin_loss_has_finite_gradients_for_a_perfect_and_an_opposite_embedding() -> None:
    head = MarginHead(4, 3)
    embeddings = torch.stack((head.weight[0].detach(), -head.weight[1].detach())).requires_grad_()
    head(embeddings, torch.tensor([0, 1])).backward()
    assert embeddings.grad is not None
    assert bool(embeddings.grad.isfinite().all())


def test_linear_head_is_cross_entropy_of_a_linear_layer() -> None:
    torch.manual_seed(0)
    head, embeddings, identities = LinearHead(4, 3), torch.randn((6, 4)), torch.randint(0, 3, (6,))
    logits = embeddings @ head.linear.weight.T + head.linear.bias
    expected = -logits.log_softmax(dim=1)[torch.arange(6), identities].mean()
    assert float(head(embeddings, identities).detach()) == pytest.approx(float(expected.detach()))
