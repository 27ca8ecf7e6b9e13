"""The small form of a checkpoint answers as the large one and gives nobody away."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from annotation.prelabel.calibrate import NO_CALIBRATION, Calibration, Curve
from annotation.prelabel.from_baseline import BaselineProposer
from baselines.checkpoint import (
    SeenSample,
    read_record,
    read_seen,
    read_tensors,
    write_record,
    write_seen,
    write_tensors,
)
from baselines.predict import Predictor, load_network
from baselines.segmenter import normalise_images
from dataset_tools.core.errors import DataError
from dataset_tools.core.files import sha256_file
from dataset_tools.core.labels import Label
from dataset_tools.defaults.pack import pack_checkpoint

CURVE = Curve(
    label=Label.FACE_MASK,
    expected=(0.5, 1.0),
    real=(0.2, 0.8),
    on_collected=20,
    on_rendered=0,
    error_before=None,
    error_after=None,
)


@pytest.fixture(scope="module")
def trained(made):
    """The last checkpoint that training itself wrote."""
    return max(path.parent for path in (made.order.workspace / "models").glob("*/training.json"))


def altered(trained: Path, folder: Path, tensors: dict[str, torch.Tensor]) -> Path:
    """The same checkpoint with other weights."""
    shutil.copytree(trained, folder)
    write_tensors(folder / "weights.safetensors", tensors)
    digest = sha256_file(folder / "weights.safetensors")
    write_record(folder, read_record(trained).model_copy(update={"weights_sha256": digest}))
    return folder


def settled(trained: Path, rgb: np.ndarray) -> dict[str, torch.Tensor]:
    """Its weights with normalisation as a long training leaves it; two steps leave numbers that run away."""
    network = load_network(trained).eval()
    for one in network.modules():
        if isinstance(one, torch.nn.BatchNorm2d):
            one.train().momentum = 1.0
    cuts = np.stack([rgb[top : top + 128, left : left + 128] for top in (0, 128) for left in (64, 192)])
    with torch.no_grad():
        network(normalise_images(torch.from_numpy(cuts).permute(0, 3, 1, 2)))
    return dict(network.state_dict())


def test_16_bit_weights_give_the_same_probabilities(trained, tmp_path, astronaut_rgb):
    checkpoint = altered(trained, tmp_path / "large", settled(trained, astronaut_rgb))
    record = pack_checkpoint(checkpoint, tmp_path / "small", NO_CALIBRATION)
    large, small = (Predictor.load(folder, "cpu") for folder in (checkpoint, tmp_path / "small"))
    picture = astronaut_rgb[:256, 100:356]
    difference = np.abs(large.predict(picture) - small.predict(picture)).max()
    # Of a network that learned for three steps; of a trained one 0.002 was measured (`pack._LEAST_HALVED`).
    assert 0 < difference < 1e-2
    assert small.version == record.version != large.version
    bytes_of = [
        (folder / "weights.safetensors").stat().st_size for folder in (tmp_path / "small", checkpoint)
    ]
    assert bytes_of[0] < 0.6 * bytes_of[1]  # small tensors stay whole


def test_small_tensors_keep_their_32_bits(trained, tmp_path):
    pack_checkpoint(trained, tmp_path / "small", NO_CALIBRATION)
    before, after = (read_tensors(one / "weights.safetensors") for one in (trained, tmp_path / "small"))
    kinds = {(one.numel() >= 32768, one.dtype) for one in after.values() if one.is_floating_point()}
    assert kinds == {(True, torch.float16), (False, torch.float32)}
    assert all(torch.equal(before[name], one) for name, one in after.items() if one.dtype is torch.float32)


def test_the_record_vouches_for_the_small_files_and_all_else_stays(trained, tmp_path):
    record = pack_checkpoint(trained, tmp_path / "small", NO_CALIBRATION)
    assert read_record(tmp_path / "small") == record
    assert record.weights_sha256 == sha256_file(tmp_path / "small" / "weights.safetensors")
    changed = {"weights_sha256", "trained_on_sha256"}
    before = read_record(trained)
    assert record.model_dump(exclude=changed) == before.model_dump(exclude=changed)


def test_names_become_digests_and_the_same_photos_are_still_known(trained, tmp_path):
    shutil.copytree(trained, tmp_path / "named")
    rows = [SeenSample("a" * 32, "train", "lfw/Grace_Hopper", "b" * 64, "c" * 32)]
    digest = write_seen(tmp_path / "named", rows)
    named = read_record(trained).model_copy(update={"trained_on_sha256": digest})
    write_record(tmp_path / "named", named)
    pack_checkpoint(tmp_path / "named", tmp_path / "small", NO_CALIBRATION)
    (row,) = read_seen(tmp_path / "small")
    assert re.fullmatch("[0-9a-f]{16}", row.group)
    assert (row.sample_id, row.image_sha256, row.parent_id) == ("a" * 32, "b" * 64, "c" * 32)
    seen = BaselineProposer(tmp_path / "small", "cpu").seen
    assert {"a" * 32, "b" * 64, "c" * 32} <= seen.learned | seen.chosen_on


def test_the_calibration_comes_along(trained, tmp_path):
    pack_checkpoint(trained, tmp_path / "small", Calibration(curves=(CURVE,)))
    assert BaselineProposer(tmp_path / "small", "cpu").calibration.curves == (CURVE,)
    assert BaselineProposer(trained, "cpu").calibration == NO_CALIBRATION


def test_weights_that_16_bit_cannot_hold_are_refused_and_nothing_is_left(trained, tmp_path):
    tensors = read_tensors(trained / "weights.safetensors")
    name = next(name for name, one in tensors.items() if one.numel() > 32768)
    wild = altered(trained, tmp_path / "wild", {**tensors, name: tensors[name] + 1e5})
    with pytest.raises(DataError, match="16 bit"):
        pack_checkpoint(wild, tmp_path / "small", NO_CALIBRATION)
    assert not (tmp_path / "small").exists()
