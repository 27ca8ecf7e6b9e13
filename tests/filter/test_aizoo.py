from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dataset_tools import weights
from dataset_tools.core.anchors import anchors_cxcywh, decode_boxes
from dataset_tools.core.errors import WeightsUnavailable
from dataset_tools.core.labels import Wearing
from dataset_tools.filter.aizoo import (
    AizooDetector,
    decode_faces,
    suppress,
)


def test_there_are_5972_anchors_and_the_first_cell_is_as_published() -> None:
    anchors = anchors_cxcywh()
    assert anchors.shape == (4 * (33**2 + 17**2 + 9**2 + 5**2 + 3**2), 4) == (5972, 4)
    half = 0.5 / 33
    wide, flat = math.sqrt(0.62), math.sqrt(0.42)
    expected = [
        (half, half, 0.04, 0.04),
        (half, half, 0.056, 0.056),
        (half, half, 0.04 * wide, 0.04 / wide),
        (half, half, 0.04 * flat, 0.04 / flat),
    ]
    np.testing.assert_allclose(anchors[:4], expected, rtol=1e-12)
    assert anchors[4, 0] == pytest.approx(1.5 / 33)  # the next cell lies to the right
    np.testing.assert_allclose(anchors[-4, :], [2.5 / 3, 2.5 / 3, 0.64, 0.64])


def test_decoding_follows_the_written_rule() -> None:
    anchor = np.array([[0.5, 0.4, 0.2, 0.1]])
    offset = np.array([[1.0, -2.0, 5 * math.log(2.0), 0.0]])
    # centre 0.5 + 0.1 * 1 * 0.2, 0.4 - 0.1 * 2 * 0.1; width 0.2 * e^(ln 2); height unchanged
    np.testing.assert_allclose(decode_boxes(offset, anchor), [[0.32, 0.33, 0.72, 0.43]])


def test_faces_are_clipped_and_carry_class_and_score() -> None:
    offsets = np.zeros((5972, 4))
    probabilities = np.zeros((5972, 2))
    probabilities[-3] = (0.9, 0.2)  # 0.72 of the picture, centred near the lower right corner
    probabilities[0] = (0.1, 0.8)
    masked, bare = decode_faces(offsets, probabilities, (200, 100), 0.5)
    assert (masked.wearing, bare.wearing) == (Wearing.MASKED, Wearing.UNMASKED)
    assert masked.box_xyxy == pytest.approx((100 * (2.5 / 3 - 0.36), 200 * (2.5 / 3 - 0.36), 100.0, 200.0))
    assert bare.box_xyxy[0] == 0.0
    assert decode_faces(offsets, probabilities, (200, 100), 0.95) == ()


@pytest.mark.parametrize("seed", range(5))
def test_suppression_equals_torchvision(seed: int) -> None:
    import torch
    from torchvision.ops import nms

    rng = np.random.default_rng(seed)
    low = rng.uniform(0, 60, (200, 2))
    boxes = np.concatenate([low, low + rng.uniform(1, 40, (200, 2))], axis=1)
    scores = rng.uniform(0, 1, 200)
    for threshold in (0.1, 0.4, 0.7):
        expected = nms(torch.from_numpy(boxes), torch.from_numpy(scores), threshold)
        assert suppress(boxes, scores, threshold).tolist() == expected.tolist()


def test_suppression_of_nothing_is_nothing() -> None:
    assert suppress(np.zeros((0, 4)), np.zeros(0)).size == 0


@pytest.fixture(scope="module")
def detector(shared_data: Path) -> AizooDetector:
    models = shared_data / "models" / "aizoo"
    try:
        return AizooDetector(
            weights.resolve("aizoo_caffemodel", explicit=models / "face_mask_detection.caffemodel"),
            weights.resolve("aizoo_prototxt", explicit=models / "face_mask_detection.prototxt"),
        )
    except WeightsUnavailable as error:
        pytest.skip(str(error))


@pytest.mark.parametrize(
    ("folder", "wearing"), [("with_mask", Wearing.MASKED), ("without_mask", Wearing.UNMASKED)]
)
def test_real_photos_get_the_right_wearing_state(
    folder: str, wearing: Wearing, detector: AizooDetector, shared_data: Path
) -> None:
    right = 0
    files = sorted((shared_data / "faces" / folder).glob("*.jpg"))[::20][:20]
    for path in files:
        with Image.open(path) as opened:
            faces = detector.detect(np.asarray(opened.convert("RGB")))
        right += bool(faces) and faces[0].wearing is wearing
    assert right >= 0.9 * len(files)
