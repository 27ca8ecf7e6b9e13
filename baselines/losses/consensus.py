"""Consensus loss: every region of one label should agree on one confident answer.

Regions are what a picture's pixels of one label make up together ("consensus"), or each connected part of
them ("consensus_cc"). MSML takes the former. Written from the formula alone.

Source: Masi et al., Towards Learning Structure via Consensus, CVPR 2020, as MSML (AAAI 2022) uses it;
`baselines.md` 5.6.
"""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from baselines.losses.naming import register_loss
from baselines.segmenter import SegOutput

RIGHT_WEIGHT = 10.0  # a: of the region's mean answer being right
AGREEMENT_WEIGHT = 5.0  # b: of its pixels agreeing with that mean
_EPSILON = 1e-8


class Regions(NamedTuple):
    """A batch cut into regions of one label each.

    Attributes:
        number: (B * H * W,) int64, the region of each pixel.
        label: (K,) int64, the class number of each region.
        share: (K,) float32, 1 / regions of the same sample and label.
    """

    number: Tensor
    label: Tensor
    share: Tensor


class ConsensusTerms(NamedTuple):
    """The two halves of the loss per label present, (S,) float32 each, not yet weighted."""

    right: Tensor
    agreement: Tensor


def label_regions(classes: Tensor, labels: int) -> Regions:
    """One region per sample and label; a label absent from a sample gives a region without pixels.

    Args:
        classes: (B, H, W) integer class numbers below `labels`.
        labels: classes including background.
    """
    batch = classes.shape[0]
    samples = torch.arange(batch, device=classes.device).view(-1, 1, 1)
    number = (samples * labels + classes.long()).flatten()
    label = torch.arange(labels, device=classes.device).repeat(batch)
    return Regions(number, label, torch.ones(batch * labels, device=classes.device))


def connected_regions(classes: Tensor, labels: int) -> Regions:
    """One region per 8-connected part of a sample's pixels of one label; arguments as `label_regions`."""
    found = classes.detach().cpu().numpy()
    number = np.zeros(found.shape, dtype=np.int64)
    owners: list[tuple[int, int]] = []
    for sample, picture in enumerate(found):
        for label in range(labels):
            is_label = np.asarray(picture == label, dtype=np.uint8)
            count, parts = cv2.connectedComponents(is_label, connectivity=8)
            number[sample] += np.where(is_label, parts + len(owners) - 1, 0)
            owners += [(sample, label)] * (count - 1)
    parts_of = Counter(owners)
    share = [1 / parts_of[owner] for owner in owners]
    device = classes.device
    return Regions(
        torch.from_numpy(number).flatten().to(device),
        torch.tensor([label for _, label in owners], device=device),
        torch.tensor(share, dtype=torch.float32, device=device),
    )


def consensus_terms(logits: Tensor, regions: Regions, batch: int) -> ConsensusTerms:
    """Both halves of the loss, per label present in the batch.

    With p the softmax of a pixel and q its mean over a region of label s:
    `right` is the mean over all samples of -log q[s] (of a sample's regions the mean; 0 where it has none);
    `agreement` is the mean over the label's (pixel, class) entries of q (log q - log p), which is 0 when
    every pixel of a region gives the same answer.

    Args:
        logits: (B, C, H, W) float32, C >= 2.
        regions: of the same pixels.
        batch: B.
    """
    channels = logits.shape[1]
    log_p = logits.log_softmax(dim=1).permute(0, 2, 3, 1).reshape(-1, channels)
    regions_count = len(regions.label)
    pixels = torch.bincount(regions.number, minlength=regions_count).to(log_p.dtype)
    # All that either half needs of the pixels are these two sums per region.
    zeros = log_p.new_zeros((regions_count, channels))
    sum_p = zeros.index_add(0, regions.number, log_p.exp())
    sum_log_p = zeros.index_add(0, regions.number, log_p)
    q = sum_p / pixels.clamp_min(1).unsqueeze(1)
    log_q = (q + _EPSILON).log()
    right = -log_q.gather(1, regions.label.unsqueeze(1)).squeeze(1) * regions.share * (pixels > 0)
    agreement = (q * (pixels.unsqueeze(1) * log_q - sum_log_p)).sum(dim=1)
    zeros = log_p.new_zeros(channels)
    pixels_of = zeros.index_add(0, regions.label, pixels)
    present = pixels_of > 0
    return ConsensusTerms(
        zeros.index_add(0, regions.label, right)[present] / batch,
        zeros.index_add(0, regions.label, agreement)[present] / (pixels_of[present] * channels),
    )


def consensus_loss(logits: Tensor, classes: Tensor, *, connected: bool = False) -> Tensor:
    """Mean over the labels present of 10 `right` + 5 `agreement`, see `consensus_terms`.

    Args:
        logits: (B, C, H, W); one channel is read as the second of two classes against 0.
        classes: (B, H, W) integer class numbers: 0 background, k the k-th label.
        connected: regions are connected parts instead of labels.

    Returns:
        Scalar, float32 whatever `logits` are.
    """
    logits = logits.float()
    if logits.shape[1] == 1:
        logits = torch.cat((torch.zeros_like(logits), logits), dim=1)
    cut = connected_regions if connected else label_regions
    terms = consensus_terms(logits, cut(classes, logits.shape[1]), len(logits))
    return (RIGHT_WEIGHT * terms.right + AGREEMENT_WEIGHT * terms.agreement).mean()


@register_loss("consensus")
def _by_label(output: SegOutput, classes: Tensor) -> Tensor:
    answers = (output.logits, *output.aux)
    return torch.stack([consensus_loss(logits, classes) for logits in answers]).sum()


@register_loss("consensus_cc")
def _by_connected_part(output: SegOutput, classes: Tensor) -> Tensor:
    answers = (output.logits, *output.aux)
    return torch.stack([consensus_loss(logits, classes, connected=True) for logits in answers]).sum()
