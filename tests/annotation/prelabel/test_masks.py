from __future__ import annotations

import numpy as np
import pytest

from annotation.prelabel.masks import expected_iou, overlap, proposal_masks
from annotation.prelabel.proposer import Proposal
from dataset_tools.core.labels import Label


def probability(*values: float) -> np.ndarray:
    return np.array([values], np.float32)


def test_expected_iou_by_hand():
    mask = np.array([[True, True, False, False]])
    # shared 0.9 + 0.7, together 2 pixels + 0.4 outside
    assert expected_iou(probability(0.9, 0.7, 0.4, 0.0), mask) == pytest.approx(1.6 / 2.4, abs=1e-6)
    assert expected_iou(probability(1.0, 1.0, 0.0, 0.0), mask) == 1.0
    assert expected_iou(probability(0.1, 0.1, 0.1, 0.1), np.zeros((1, 4), bool)) == 0.0


def test_expected_iou_is_the_mean_iou_when_the_probabilities_are_right():
    rng = np.random.default_rng(3)
    chances = rng.random((40, 50)).astype(np.float32) ** 3
    mask = chances >= 0.5
    found = []
    for _ in range(200):
        truth = rng.random(chances.shape) < chances
        found.append((truth & mask).sum() / (truth | mask).sum())
    assert expected_iou(chances, mask) == pytest.approx(np.mean(found), abs=0.005)


def test_overlap_by_hand():
    first = np.array([[True, True, False, False]])
    assert overlap(first, np.array([[False, True, True, False]])) == pytest.approx(1 / 3)
    assert overlap(first, ~first) == 0.0
    assert overlap(first & ~first, first & ~first) == 1.0


def test_holes_stay_and_no_pixel_goes_to_two_faces():
    ring = np.full((9, 9), 0.9, np.float32)
    ring[3:6, 3:6] = 0.2
    other = np.full((9, 9), 0.6, np.float32)
    first, second = proposal_masks([Proposal(Label.FACE_MASK, ring, 0), Proposal(Label.FACE_MASK, other, 1)])
    assert not first[4, 4] and first.sum() == 72
    assert second[4, 4] and second.sum() == 9
