"""The consensus loss equals its formula, written out pixel by pixel."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from baselines.losses import find_loss
from baselines.losses.consensus import (
    connected_regions,
    consensus_loss,
    consensus_terms,
    label_regions,
)
from baselines.segmenter import SegOutput


def random_case(classes: int = 3, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    source = torch.Generator().manual_seed(seed)
    logits = torch.randn((2, classes, 5, 6), generator=source, dtype=torch.float64) * 2
    target = torch.randint(0, classes, (2, 5, 6), generator=source)
    return logits, target


def by_hand(logits: torch.Tensor, target: torch.Tensor) -> float:
    """The formula of the specification with plain loops in float64."""
    p = logits.softmax(dim=1).numpy()
    labels = target.numpy()
    batch, channels = p.shape[:2]
    per_label = []
    for s in np.unique(labels):
        right, agreement, entries = 0.0, 0.0, 0
        for n in range(batch):
            region = np.argwhere(labels[n] == s)
            if not len(region):
                continue
            q = np.mean([p[n, :, i, j] for i, j in region], axis=0)
            right += -math.log(q[s])
            for i, j in region:
                for c in range(channels):
                    agreement += q[c] * (math.log(q[c]) - math.log(p[n, c, i, j]))
                    entries += 1
        per_label.append(10 * right / batch + 5 * agreement / entries)
    return float(np.mean(per_label))


@pytest.mark.parametrize("seed", range(3))
def test_consensus_equals_the_formula_written_out(seed: int) -> None:
    logits, target = random_case(seed=seed)
    assert float(consensus_loss(logits, target)) == pytest.approx(by_hand(logits, target), rel=1e-5)


def test_a_label_absent_from_one_sample_still_divides_by_all_samples() -> None:
    logits, target = random_case()
    target[0][target[0] == 2] = 1
    target[1, 0, 0] = 2
    assert float(consensus_loss(logits, target)) == pytest.approx(by_hand(logits, target), rel=1e-5)


def test_pixels_of_a_region_that_agree_leave_only_the_first_term() -> None:
    target = torch.zeros((2, 4, 4), dtype=torch.long)
    target[:, 1:3, 1:3] = 1
    inside, outside = torch.tensor([-0.5, 0.7]), torch.tensor([0.3, 0.1])
    logits = torch.where(target.bool().unsqueeze(1), inside.view(1, 2, 1, 1), outside.view(1, 2, 1, 1))
    terms = consensus_terms(logits, label_regions(target, 2), 2)
    assert terms.agreement.abs().max() < 1e-6
    expected = [-float(outside.log_softmax(0)[0]), -float(inside.log_softmax(0)[1])]
    assert terms.right.tolist() == pytest.approx(expected, rel=1e-5)


def test_one_channel_is_the_second_of_two_classes() -> None:
    logits, target = random_case(classes=2)
    single = logits[:, 1:] - logits[:, :1]
    assert float(consensus_loss(single, target)) == pytest.approx(float(consensus_loss(logits, target)))


def test_connected_parts_are_those_scipy_finds() -> None:
    _, target = random_case(classes=2, seed=4)
    regions = connected_regions(target, 2)
    number = regions.number.reshape(target.shape).numpy()
    expected = 0
    for sample in range(len(target)):
        for label in range(2):
            parts, count = ndimage.label(target[sample].numpy() == label, structure=np.ones((3, 3)))
            expected += count
            for part in range(1, count + 1):
                (name,) = np.unique(number[sample][parts == part])
                assert regions.label[name] == label
                assert regions.share[name] == pytest.approx(1 / count)
    assert len(regions.label) == expected == len(np.unique(number))


def test_connected_parts_change_the_loss_only_where_a_label_has_several() -> None:
    logits, _ = random_case(classes=2)
    halves = torch.zeros((2, 5, 6), dtype=torch.long)
    halves[:, :, :3] = 1
    whole, parts = (consensus_loss(logits, halves, connected=one) for one in (False, True))
    assert float(whole) == pytest.approx(float(parts), rel=1e-6)
    halves[:, :, 5] = 1
    whole, parts = (consensus_loss(logits, halves, connected=one) for one in (False, True))
    assert float(whole) != pytest.approx(float(parts), rel=1e-3)


@pytest.mark.parametrize("name", ["consensus", "consensus_cc"])
def test_a_surely_right_answer_costs_nothing_and_a_surely_wrong_one_much(name: str) -> None:
    _, target = random_case(classes=2)
    loss = find_loss(name)
    right = (2 * target.float() - 1).unsqueeze(1) * 40
    assert float(loss(SegOutput(right), target)) < 1e-4
    assert float(loss(SegOutput(-right), target)) > 100
    wrong = (-right).requires_grad_()
    loss(SegOutput(wrong), target).backward()
    assert wrong.grad is not None
    assert bool(wrong.grad.isfinite().all())
