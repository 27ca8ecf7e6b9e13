from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dataset_tools.filter.slim_caffe import live_channels, read_slim_network


def test_a_channel_lives_by_a_weight_or_a_positive_bias() -> None:
    kernels = np.zeros((4, 2, 3, 3), np.float32)
    kernels[1, 0, 1, 1] = 0.25
    kernels[3] = 1e-31
    biases = np.array([-1.0, -1.0, 0.5, -1.0], np.float32)
    assert live_channels(kernels, biases).tolist() == [False, True, True, False]
    assert live_channels(kernels[:1], biases[:1]).tolist() == [True]  # a layer needs one


def test_the_slim_network_answers_as_the_whole_one_with_fewer_channels(shared_data: Path) -> None:
    import cv2

    folder = shared_data / "models" / "aizoo"
    files = folder / "face_mask_detection.prototxt", folder / "face_mask_detection.caffemodel"
    if not all(path.exists() for path in files):
        pytest.skip("the AIZOO weights are not on this machine")
    whole, slim = cv2.dnn.readNetFromCaffe(*map(str, files)), read_slim_network(*files)
    assert whole.getParam("conv2d_1", 0).shape == (64, 32, 3, 3)
    assert slim.getParam("conv2d_1", 0).shape == (58, 21, 3, 3)
    blob = np.random.default_rng(5).random((2, 3, 260, 260), np.float32)
    for name in ("loc_branch_concat", "cls_branch_concat"):
        answers = []
        for network in (whole, slim):
            network.setInput(blob)
            answers.append(network.forward(name))
        assert answers[0].shape == answers[1].shape
        np.testing.assert_allclose(answers[1], answers[0], atol=2e-5)
