"""Crops lie where the face is, labels follow the picture, and randomness follows the sample alone."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import pytest
import torch

from baselines import crops
from baselines.augment import _coarsened, augmented, reclothed
from baselines.crops import Window
from baselines.data import CropDataset, StepBatches, class_map, label_mask, list_crops
from baselines.settings import CropSettings
from dataset_tools.core.images import ImageStore
from dataset_tools.core.labels import Label
from dataset_tools.core.record import Split

FACES = CropSettings()


def test_a_face_window_is_a_square_around_the_box() -> None:
    assert crops.face_window((110, 120, 130, 160), 0.25, (300, 300)) == Window(90, 110, 60)
    assert crops.face_window((110, 120, 130, 160), 0.0, (300, 300)) == Window(100, 120, 40)


def test_a_face_window_at_the_border_is_moved_into_the_picture() -> None:
    assert crops.face_window((10, 20, 30, 60), 0.25, (300, 300)) == Window(0, 10, 60)
    assert crops.face_window((270, 250, 300, 300), 0.25, (300, 300)) == Window(225, 225, 75)


def test_a_face_window_is_never_longer_than_the_picture() -> None:
    assert crops.face_window((0, 0, 100, 120), 0.25, (140, 110)) == Window(-15, 0, 140)


def test_an_image_window_holds_the_whole_picture() -> None:
    window = crops.image_window((40, 100))
    assert window.visible_xyxy((40, 100)) == (0, 0, 100, 40)
    assert window.side == 100


@pytest.mark.parametrize("window", [Window(-5, -7, 20), Window(3, 2, 4), Window(-40, 3, 90), Window(0, 0, 1)])
@pytest.mark.parametrize("size_hw", [(9, 13), (1, 1), (6, 6)])
def test_cut_mirrors_like_numpy_pad(window: Window, size_hw: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, size_hw).astype(np.uint8)
    around = 100
    padded = np.pad(pixels, around, mode="reflect")
    y, x = window.y0 + around, window.x0 + around
    expected = padded[y : y + window.side, x : x + window.side]
    assert np.array_equal(crops.cut(pixels, window), expected)


def test_what_is_cut_can_be_put_back() -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (30, 50)).astype(np.uint8)
    window = Window(35, -4, 25)
    square = crops.cut(pixels, window)
    assert np.array_equal(crops.visible_part(square, window, (30, 50)), crops.cut_visible(pixels, window))


def test_resized_labels_hold_no_new_value_and_maps_stay_in_bounds() -> None:
    labels = np.random.default_rng(0).choice([0, 2], (31, 31)).astype(np.uint8)
    assert set(np.unique(crops.resize_labels(labels, 64))) <= {0, 2}
    values = np.random.default_rng(0).random((16, 16)).astype(np.float32)
    larger = crops.resize_map(values, 47)
    assert larger.dtype == np.float32
    assert values.min() <= larger.min() and larger.max() <= values.max()


def test_only_labelled_samples_of_the_split_become_crops(make_manifest) -> None:
    manifest = make_manifest([Split.TRAIN] * 3 + [Split.VAL], unlabelled=[0], faceless=[1])
    found = list_crops(manifest.samples(), Split.TRAIN, FACES)
    assert sorted(crop.face for crop in found) == [-1, 0]
    whole = list_crops(manifest.samples(), Split.TRAIN, CropSettings(kind="image"))
    assert [crop.face for crop in whole] == [-1, -1]


def test_class_maps_count_labels_in_the_order_asked_for(make_manifest) -> None:
    manifest = make_manifest([Split.TRAIN])
    (crop,) = list_crops(manifest.samples(), Split.TRAIN, FACES)
    binary = class_map(crop, (Label.FACE_MASK,))
    assert np.array_equal(binary == 1, label_mask(crop, Label.FACE_MASK))
    three = class_map(crop, (Label.FACE_MASK, Label.FACE))
    assert np.array_equal(three == 1, label_mask(crop, Label.FACE_MASK))
    assert np.array_equal(three == 2, label_mask(crop, Label.FACE))


def dataset(make_manifest, images: ImageStore, *, augment: bool, seed: int = 0) -> CropDataset:
    manifest = make_manifest([Split.TRAIN] * 2)
    found = list_crops(manifest.samples(), Split.TRAIN, FACES)
    return CropDataset(found, images, labels=(Label.FACE_MASK,), input_px=64, augment=augment, seed=seed)


def test_a_crop_is_the_same_whenever_it_is_asked_for(make_manifest, images: ImageStore) -> None:
    found = dataset(make_manifest, images, augment=True)
    first, again, later = found[(0, 1)], found[(0, 1)], found[(1, 1)]
    assert torch.equal(first[0], again[0]) and torch.equal(first[1], again[1])
    assert not torch.equal(first[0], later[0])
    assert first[0].shape == (3, 64, 64) and first[0].dtype == torch.uint8
    assert set(first[1].unique().tolist()) == {0, 1}


def test_labels_follow_the_picture_through_every_augmentation() -> None:
    rgb = np.zeros((64, 64, 3), dtype=np.uint8)
    labels = np.zeros((64, 64), dtype=np.uint8)
    rgb[20:40, 5:30] = 255
    labels[20:40, 5:30] = 1
    for seed in range(40):
        picture, moved = augmented(rgb, labels, np.random.default_rng(seed))
        bright = picture.mean(axis=2) > picture.mean(axis=2).max() / 2
        overlap = (bright & (moved == 1)).sum() / (bright | (moved == 1)).sum()
        assert overlap > 0.85, seed
        assert set(np.unique(moved)) == {0, 1}


def test_batches_are_one_stream_of_shuffled_passes() -> None:
    batches = list(StepBatches(5, 2, steps=range(0, 5), seed=1))
    flat = [key for batch in batches for key in batch]
    assert [epoch for epoch, _ in flat] == [0] * 5 + [1] * 5
    assert sorted(index for _, index in flat[:5]) == sorted(index for _, index in flat[5:]) == list(range(5))
    assert list(StepBatches(5, 2, steps=range(3, 5), seed=1)) == batches[3:]


def test_a_coarse_picture_keeps_its_colours_and_loses_its_detail() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (96, 96, 3)).astype(np.uint8)
    spreads = []
    for seed in range(30):
        coarse = _coarsened(noise, np.random.default_rng(seed))
        assert coarse.shape == noise.shape and coarse.dtype == np.uint8
        assert np.abs(coarse.mean(axis=(0, 1)) - noise.mean(axis=(0, 1))).max() < 6
        spreads.append(coarse.std())
    # Averages of f x f independent pixels spread f times less, and enlarging them takes more; f is 1 to 4.
    assert min(spreads) < 0.5 * noise.std() and max(spreads) > 0.5 * noise.std()


def test_proposals_are_labels_only_when_asked_for_and_sure_enough(make_manifest) -> None:
    (labelled,) = make_manifest([Split.TRAIN]).samples()
    proposed = tuple(
        dataclasses.replace(one, drawn_by="model:x@1", confidence=0.8) for one in labelled.instances
    )
    unlabelled = dataclasses.replace(labelled, is_labelled=False, instances=proposed)
    found = {
        least: list_crops([labelled, unlabelled], Split.TRAIN, FACES, proposals_from=least)
        for least in (None, 0.8, 0.81)
    }
    assert [len(crops_of) for crops_of in found.values()] == [1, 2, 1]
    assert [one.is_proposed for one in found[0.8]] == [False, True]
    assert found[0.8][1].instances == found[0.8][0].instances


def test_one_doubtful_proposal_leaves_its_face_out(make_manifest) -> None:
    (labelled,) = make_manifest([Split.TRAIN]).samples()
    one = dataclasses.replace(labelled.instances[0], drawn_by="model:x@1", confidence=0.9, face=0)
    other = dataclasses.replace(one, id="second", confidence=0.1)
    unlabelled = dataclasses.replace(labelled, is_labelled=False, instances=(one, other))
    assert list_crops([unlabelled], Split.TRAIN, FACES, proposals_from=0.5) == []


def test_what_is_left_out_of_augmentation_does_not_happen() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (48, 48, 3)).astype(np.uint8)
    labels = (np.random.default_rng(1).random((48, 48)) < 0.5).astype(np.uint8)
    for seed in range(20):
        same, unmoved = augmented(rgb, labels, np.random.default_rng(seed), ("turn", "colour", "camera"))
        assert np.array_equal(same, rgb) and np.array_equal(unmoved, labels)
        _, unmoved = augmented(rgb, labels, np.random.default_rng(seed), ("turn",))
        assert np.array_equal(unmoved, labels)


def test_pictures_kept_in_memory_give_the_same_crops(make_manifest, images: ImageStore) -> None:
    manifest = make_manifest([Split.TRAIN] * 3)
    found = list_crops(manifest.samples(), Split.TRAIN, FACES)
    choices = {"labels": (Label.FACE_MASK,), "input_px": 64, "augment": True, "seed": 3}
    plain = CropDataset(found, images, **choices)
    keeping = CropDataset(found, images, **choices, kept_mib=1)
    for _ in range(2):  # the second round comes from memory
        for index in range(3):
            for one, other in zip(plain[1, index], keeping[1, index], strict=True):
                assert torch.equal(torch.as_tensor(one), torch.as_tensor(other))


def test_new_cloth_changes_the_mask_alone_and_keeps_its_shading() -> None:
    rgb = np.random.default_rng(0).integers(90, 130, (64, 64, 3)).astype(np.uint8)
    cloth = np.zeros((64, 64), dtype=np.bool_)
    cloth[24:56, 12:52] = True
    rgb[40:56, 12:52] //= 2  # a fold's shadow
    beyond = cv2.dilate(cloth.astype(np.uint8), np.ones((9, 9), np.uint8)) == 0
    changed = []
    for seed in range(30):
        found = reclothed(rgb, cloth, np.random.default_rng(seed))
        assert found.dtype == np.uint8 and np.array_equal(found[beyond], rgb[beyond])
        assert found[26:36, 14:50].mean() > found[44:54, 14:50].mean() * 1.1, seed
        changed.append(np.abs(found.astype(int) - rgb)[cloth].mean())
    assert np.median(changed) > 15
    nothing = np.zeros_like(cloth)
    assert np.array_equal(reclothed(rgb, nothing, np.random.default_rng(0)), rgb)


def test_only_the_face_mask_gets_new_cloth(make_manifest, images: ImageStore) -> None:
    found = list_crops(make_manifest([Split.TRAIN]).samples(), Split.TRAIN, FACES)
    usual = {"input_px": 64, "augment": False, "seed": 3}
    for labels, differs in (((Label.FACE, Label.FACE_MASK), True), ((Label.FACE,), False)):
        plain = CropDataset(found, images, labels=labels, **usual)
        printed = CropDataset(found, images, labels=labels, new_cloth=1.0, **usual)
        picture, target, _ = printed[(0, 0)]
        was, same, _ = plain[(0, 0)]
        assert torch.equal(target, same)
        assert torch.equal(picture, was) is not differs
