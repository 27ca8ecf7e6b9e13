"""Training on rendered samples that are drawn anew: another picture in each pass, the same in each run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch.utils.data import DataLoader

from baselines.checkpoint import WEIGHTS_FILE, read_record
from baselines.data import CropDataset, StepBatches, class_map, list_crops, paint_classes
from baselines.settings import CropSettings, TrainSettings
from baselines.train import train
from dataset_tools.core.errors import ConfigError, DataError, ItemFault
from dataset_tools.core.files import sha256_file
from dataset_tools.core.images import ImageStore
from dataset_tools.core.labels import Label
from dataset_tools.core.masks import rle_to_mask
from dataset_tools.core.reasons import Reason
from dataset_tools.core.record import Split

SETTINGS = TrainSettings(
    steps=4,
    batch=2,
    input_px=64,
    pretrained=False,
    device="cpu",
    fresh_masks=True,
    val_every_steps=2,
    checkpoint_every_steps=2,
    crop=CropSettings(margin=0.1),
)
LABELS = (Label.FACE_MASK,)


@dataclass(frozen=True)
class Picture:
    rgb: np.ndarray
    instances: tuple[tuple[Label, np.ndarray], ...]


@dataclass
class FakeFresh:
    """Paints a square at a random place of a 72 px picture; the square is the face mask."""

    sample_ids: set[str]
    drawn_by: str = "fake@1"
    breaks: bool = False

    def draw(self, sample_id: str, seed: int) -> Picture:
        assert sample_id in self.sample_ids
        if self.breaks:
            raise ItemFault(Reason.CORRUPT, "torn photo")
        y, x = np.random.default_rng(seed).integers(10, 40, 2)
        mask = np.zeros((72, 72), dtype=bool)
        mask[y : y + 20, x : x + 20] = True
        rgb = np.full((72, 72, 3), 40, dtype=np.uint8)
        rgb[mask] = 220
        return Picture(rgb, ((Label.FACE_MASK, mask),))


@pytest.fixture
def manifest(make_manifest):
    """Four crops to learn, two of them rendered, and one to validate on."""
    return make_manifest([Split.TRAIN] * 4 + [Split.VAL], synthetic=[0, 1])


@pytest.fixture
def fresh(manifest) -> FakeFresh:
    return FakeFresh({sample.id for sample in manifest.samples() if sample.provenance.parent_id})


def dataset(manifest, images: ImageStore, fresh: FakeFresh | None, seed: int = 0) -> CropDataset:
    found = list_crops(manifest.samples(), Split.TRAIN, SETTINGS.crop)
    return CropDataset(found, images, labels=LABELS, input_px=64, augment=False, seed=seed, fresh=fresh)


def test_rendered_crops_differ_from_pass_to_pass_and_real_ones_do_not(manifest, images, fresh) -> None:
    found = dataset(manifest, images, fresh)
    crops = list_crops(manifest.samples(), Split.TRAIN, SETTINGS.crop)
    for index, crop in enumerate(crops):
        first, second = found[(0, index)], found[(1, index)]
        assert torch.equal(first[0], second[0]) == (not crop.parent_id)
        assert torch.equal(first[1], second[1]) == (not crop.parent_id)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(manifest, images, fresh) -> None:
    crops = list_crops(manifest.samples(), Split.TRAIN, SETTINGS.crop)
    index = next(k for k, crop in enumerate(crops) if crop.parent_id)
    one, again = (dataset(manifest, images, fresh)[(3, index)] for _ in range(2))
    other = dataset(manifest, images, fresh, seed=1)[(3, index)]
    assert torch.equal(one[0], again[0]) and torch.equal(one[1], again[1])
    assert not torch.equal(one[0], other[0])


def test_labels_are_those_of_the_fresh_picture(manifest, images, fresh) -> None:
    found = dataset(manifest, images, fresh)
    crops = list_crops(manifest.samples(), Split.TRAIN, SETTINGS.crop)
    for index, crop in enumerate(crops):
        if crop.parent_id:
            picture, classes, _ = found[(2, index)]
            assert classes.any()
            overlap = ((picture[0] > 130) == (classes == 1)).float().mean()
            assert overlap > 0.97


def test_worker_processes_draw_the_same_pictures(manifest, images, fresh) -> None:
    found = dataset(manifest, images, fresh)
    batches = StepBatches(4, 2, steps=range(4), seed=0)
    here = list(DataLoader(found, batch_sampler=batches))
    there = list(DataLoader(found, batch_sampler=batches, num_workers=2, multiprocessing_context="spawn"))
    for one, other in zip(here, there, strict=True):
        assert torch.equal(one[0], other[0]) and torch.equal(one[1], other[1])


def test_the_record_says_what_drew_the_masks(manifest, images, fresh, tmp_path: Path) -> None:
    record = train(SETTINGS, manifest, images, tmp_path / "fresh", fresh=fresh).record
    assert record.fresh_masks == "fake@1" and record.settings.fresh_masks
    assert read_record(tmp_path / "fresh").fresh_masks == "fake@1"
    stored = SETTINGS.model_copy(update={"fresh_masks": False})
    assert train(stored, manifest, images, tmp_path / "stored", fresh=fresh).record.fresh_masks == ""


def test_a_resumed_training_gives_the_same_weights(manifest, images, fresh, tmp_path: Path) -> None:
    train(SETTINGS, manifest, images, tmp_path / "whole", fresh=fresh)
    half = SETTINGS.model_copy(update={"steps": 2})
    train(half, manifest, images, tmp_path / "parts", fresh=fresh)
    train(SETTINGS, manifest, images, tmp_path / "parts", fresh=fresh)
    assert sha256_file(tmp_path / "whole" / WEIGHTS_FILE) == sha256_file(tmp_path / "parts" / WEIGHTS_FILE)


def test_a_training_does_not_go_on_with_other_masks(manifest, images, fresh, tmp_path: Path) -> None:
    half = SETTINGS.model_copy(update={"steps": 2})
    train(half, manifest, images, tmp_path / "model", fresh=fresh)
    others = FakeFresh(fresh.sample_ids, drawn_by="fake@2")
    with pytest.raises(ConfigError, match="other settings or data"):
        train(SETTINGS, manifest, images, tmp_path / "model", fresh=others)


def test_fresh_masks_without_anything_to_draw_them_are_refused(manifest, images, fresh, tmp_path) -> None:
    with pytest.raises(ConfigError, match="cannot draw"):
        train(SETTINGS, manifest, images, tmp_path / "model")
    with pytest.raises(DataError, match="1 of 2 rendered samples"):
        train(SETTINGS, manifest, images, tmp_path / "model", fresh=FakeFresh({min(fresh.sample_ids)}))
    with pytest.raises(ValidationError, match="samples is 'real'"):
        TrainSettings(fresh_masks=True, samples="real")


def test_a_picture_that_cannot_be_drawn_stops_the_run_and_names_the_sample(manifest, images, fresh) -> None:
    fresh.breaks = True
    crops = list_crops(manifest.samples(), Split.TRAIN, SETTINGS.crop)
    index = next(k for k, crop in enumerate(crops) if crop.parent_id)
    with pytest.raises(DataError, match=f"{crops[index].sample_id}.*torn photo"):
        dataset(manifest, images, fresh)[(0, index)]


def test_painting_instances_equals_the_stored_class_map(manifest) -> None:
    for crop in list_crops(manifest.samples(), Split.TRAIN, SETTINGS.crop):
        instances = [(label, rle_to_mask(mask)) for label, mask in crop.instances]
        for labels in (LABELS, (Label.FACE_MASK, Label.FACE)):
            painted = paint_classes(instances, crop.image.size_hw, labels)
            assert np.array_equal(painted, class_map(crop, labels))
