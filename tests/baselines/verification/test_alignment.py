"""Alignment brings landmarks where each branch expects them."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.transform import estimate_transform

from baselines.verification.alignment import eyes_and_mouth_transform, face_square, similarity
from dataset_tools.core.errors import DataError

FACE = np.array([[60.0, 90.0], [110.0, 80.0], [92.0, 112.0], [75.0, 140.0], [115.0, 133.0]])


def mapped(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    return points @ matrix[:, :2].T + matrix[:, 2]


def test_similarity_equals_scikit_image() -> None:
    rng = np.random.default_rng(0)
    targets = rng.uniform(0, 112, (5, 2))
    expected = estimate_transform("similarity", FACE, targets).params[:2]
    assert similarity(FACE, targets) == pytest.approx(expected)


def test_lightcnn_faces_have_level_eyes_at_40_and_the_mouth_48_below() -> None:
    placed = mapped(eyes_and_mouth_transform(FACE), FACE)
    assert placed[0, 1] == pytest.approx(placed[1, 1])
    assert placed[:2].mean(axis=0) == pytest.approx([64, 40])
    assert placed[3:, 1].mean() == pytest.approx(88)


def test_a_marked_eye_lands_in_the_arcface_template() -> None:
    rgb = np.zeros((200, 200, 3), dtype=np.uint8)
    rgb[88:93, 58:63] = 255
    square = face_square(rgb, FACE, "a18", 1.0)
    assert square.shape == (112, 112, 3)
    row, column = np.unravel_index(square[..., 0].argmax(), (112, 112))
    assert (column, row) == pytest.approx((38.3, 51.7), abs=4)


def test_without_landmarks_the_middle_is_cut_out() -> None:
    rgb = np.zeros((100, 200, 3), dtype=np.uint8)
    rgb[25:75, 75:125] = 200
    assert (face_square(rgb, None, "l29", 0.5) == 200).all()
    assert face_square(rgb, None, "l29", 1.0).mean() == pytest.approx(50, abs=2)


def test_impossible_landmarks_are_refused() -> None:
    with pytest.raises(DataError, match="one spot"):
        similarity(np.ones((5, 2)), FACE)
    with pytest.raises(DataError, match="below its eyes"):
        eyes_and_mouth_transform(FACE[[3, 4, 2, 0, 1]])
