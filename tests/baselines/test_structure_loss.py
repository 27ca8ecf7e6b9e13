"""The structure loss equals a plain NumPy reading of its formula."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from baselines.losses.structure import structure_loss


def plain(logits: np.ndarray, label: np.ndarray) -> float:
    """One picture, pixel by pixel: no windowed sums, no library loss."""
    height, width = label.shape
    entropy_sum = weight_sum = overlap = total = 0.0
    for row in range(height):
        for column in range(width):
            around = label[max(row - 15, 0) : row + 16, max(column - 15, 0) : column + 16].sum() / 31**2
            weight = 1 + 5 * abs(around - label[row, column])
            chance = 1 / (1 + np.exp(-logits[row, column]))
            truth = label[row, column]
            entropy_sum -= weight * (truth * np.log(chance) + (1 - truth) * np.log(1 - chance))
            weight_sum += weight
            overlap += weight * chance * truth
            total += weight * (chance + truth)
    return entropy_sum / weight_sum + 1 - (overlap + 1) / (total - overlap + 1)


@pytest.mark.parametrize("seed", range(3))
def test_it_is_the_plain_formula_averaged_over_pictures_and_channels(seed: int) -> None:
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(2, 2, 37, 20))
    labels = np.zeros((2, 2, 37, 20))
    labels[0, 0, 5:30, 3:15] = 1
    labels[0, 1, :4] = 1
    labels[1, 0] = rng.random((37, 20)) < 0.3  # the last one stays empty
    expected = np.mean([plain(logits[b, c], labels[b, c]) for b in range(2) for c in range(2)])
    got = structure_loss(torch.tensor(logits), torch.tensor(labels))
    assert float(got) == pytest.approx(expected, rel=1e-9)


def test_a_mistake_at_the_outline_costs_more_than_one_far_inside() -> None:
    label = torch.zeros(1, 1, 96, 96)
    label[..., 16:80, 16:80] = 1
    sure = (2 * label - 1) * 8
    inside, outline = sure.clone(), sure.clone()
    inside[..., 48, 48] *= -1
    outline[..., 16, 16] *= -1
    assert float(structure_loss(outline, label)) > float(structure_loss(inside, label))


@pytest.mark.parametrize("kind", ["mixed", "empty", "full"])
def test_a_perfect_guess_costs_nothing_and_gradients_stay_finite(kind: str) -> None:
    label = torch.zeros(1, 1, 8, 8)
    label[..., : {"mixed": 3, "empty": 0, "full": 8}[kind]] = 1
    perfect = (2 * label - 1) * 30
    assert float(structure_loss(perfect, label)) == pytest.approx(0, abs=1e-4)
    wrong = (-perfect).requires_grad_()
    structure_loss(wrong, label).backward()
    assert wrong.grad is not None and torch.isfinite(wrong.grad).all()
