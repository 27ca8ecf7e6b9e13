"""The loss of the attribute network: 0.4 L1 + 0.6 KL + x CE (Xu & Zheng, equation 15). Pure tensors."""

from __future__ import annotations

import torch
from torch import Tensor

from baselines.attributes.coding import UNKNOWN_GENDER, OutputCoding
from baselines.attributes.settings import LossSettings


def bell_curve(values: Tensor, levels: int, sigma: float) -> Tensor:
    """A Gaussian around each true value, read off at 0..levels - 1 and made to sum to 1.

    Args:
        values: (B,) true feature values.
        levels: feature values there are.
        sigma: width, feature steps.

    Returns:
        (B, levels) float32.
    """
    places = torch.arange(levels, device=values.device)
    distance = (places[None] - values[:, None]).float() / sigma
    return torch.softmax(-(distance**2) / 2, dim=1)


def expectation_loss(log_probabilities: Tensor, values: Tensor) -> Tensor:
    """Mean of |E[l] - y| / N: how far the expected value lies from the true one, as a share of the scale.

    Args:
        log_probabilities: (B, N + 1).
        values: (B,) true values in 0..N.
    """
    levels = log_probabilities.shape[1]
    places = torch.arange(levels, device=values.device, dtype=torch.float32)
    expected = (log_probabilities.exp() * places).sum(dim=1)
    return (expected - values.float()).abs().mean() / max(levels - 1, 1)


def divergence_loss(log_probabilities: Tensor, target: Tensor) -> Tensor:
    """Mean of KL(target || prediction), equation 14; 0 when they are equal.

    Args:
        log_probabilities: (B, L) logarithms of the prediction. Logarithms need no epsilon.
        target: (B, L), each row sums to 1.
    """
    terms = torch.xlogy(target, target) - target * log_probabilities
    return terms.sum(dim=1).mean()


def gender_loss(log_probabilities: Tensor, gender: Tensor) -> Tensor:
    """Cross entropy of (B, 2) log probabilities over the pictures whose gender is known; 0 without any."""
    known = gender != UNKNOWN_GENDER
    found = log_probabilities[known].gather(1, gender[known][:, None])
    return -found.sum() / max(found.numel(), 1)


def attribute_loss(
    logits: Tensor, feature: Tensor, gender: Tensor, coding: OutputCoding, weights: LossSettings
) -> Tensor:
    """The weighted sum; terms of weight 0 are not computed.

    Args:
        logits: (B, outputs).
        feature: (B,) integer values.
        gender: (B,) integer places in `coding.GENDERS`, or `UNKNOWN_GENDER`.
        coding: what the outputs mean; without gender that term is left out.
        weights: of the terms.

    Returns:
        Scalar float32.
    """
    of_feature = coding.feature_log_probabilities(logits)
    total = of_feature.new_zeros(())
    if weights.l1:
        total = total + weights.l1 * expectation_loss(of_feature, feature)
    if weights.kl:
        target = bell_curve(feature, coding.levels, weights.sigma)
        total = total + weights.kl * divergence_loss(of_feature, target)
    if weights.ce and coding.has_gender:
        total = total + weights.ce * gender_loss(coding.gender_log_probabilities(logits), gender)
    if weights.classes:
        total = total - weights.classes * coding.class_log_probabilities(logits, feature, gender).mean()
    return total
