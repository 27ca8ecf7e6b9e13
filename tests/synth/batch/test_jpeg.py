"""Compression in torch against libjpeg, as OpenCV calls it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from synth.batch.jpeg import compressed


@pytest.mark.parametrize("quality", [30, 60, 75, 90, 97])
def test_pictures_come_out_as_libjpeg_leaves_them(quality, astronaut_rgb):
    rgb = np.ascontiguousarray(astronaut_rgb[:320, :304])
    _, stored = cv2.imencode(".jpg", rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    expected = cv2.imdecode(stored, cv2.IMREAD_COLOR)[..., ::-1].astype(int)
    found = compressed(torch.tensor(rgb).permute(2, 0, 1)[None], torch.tensor([quality]))
    difference = np.abs(found[0].permute(1, 2, 0).numpy() - expected)[:, :-1]
    assert (difference > 0).mean() < 0.03
    assert np.quantile(difference, 0.99) <= 1
    assert np.abs(rgb.astype(int) - expected).mean() > 0.5


def test_every_picture_of_a_batch_has_its_own_quality(astronaut_rgb):
    rgb = torch.tensor(np.ascontiguousarray(astronaut_rgb[:64, :64])).permute(2, 0, 1)
    both = compressed(torch.stack([rgb, rgb]), torch.tensor([20, 95]))
    assert torch.equal(both[0], compressed(rgb[None], torch.tensor([20]))[0])
    assert torch.equal(both[1], compressed(rgb[None], torch.tensor([95]))[0])
