"""A dataset is opened from wherever it lies."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dataset_tools.core.errors import DataError
from dataset_tools.core.labels import Label
from dataset_tools.core.masks import rle_to_mask
from dataset_tools.core.record import Split
from dataset_tools.opening import open_labelled


def write_pair(folder: Path, name: str, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    mask = np.zeros((80, 80), dtype=np.uint8)
    mask[30 + seed : 60, 10 : 50 + seed] = 255
    for part, pixels in (("image", rng.integers(0, 255, (80, 80, 3), dtype=np.uint8)), ("mask", mask)):
        (folder / part).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / part / f"{name}.png")
    return mask > 0


def test_pictures_beside_their_masks_are_a_test_set(tmp_path: Path) -> None:
    truth = {f"face-{seed}": write_pair(tmp_path / "pairs", f"face-{seed}", seed) for seed in range(3)}
    manifest = open_labelled(tmp_path / "pairs", tmp_path / "scratch")
    samples = list(manifest.samples())
    assert len(samples) == 3
    for sample in samples:
        assert sample.split is Split.TEST and sample.is_labelled
        (instance,) = sample.instances
        assert instance.label is Label.FACE_MASK
        assert np.array_equal(rle_to_mask(instance.mask), truth[Path(sample.provenance.item_key).stem])
    again = open_labelled(tmp_path / "pairs", tmp_path / "scratch")
    assert again.directory == manifest.directory
    assert (
        open_labelled(manifest.directory, tmp_path / "other").canonical_digest()
        == manifest.canonical_digest()
    )


def test_an_exported_folder_keeps_its_splits(tmp_path: Path) -> None:
    from pycocotools import mask as coco_mask

    root = tmp_path / "dataset" / "coco"
    (root / "annotations").mkdir(parents=True)
    (root / "images").mkdir()
    for number, split in enumerate(("train", "test")):
        truth = write_pair(tmp_path / split, "a", number)
        (tmp_path / split / "image" / "a.png").rename(root / "images" / f"{split}.png")
        packed = coco_mask.encode(np.asfortranarray(truth.astype(np.uint8)))
        segmentation = {"size": packed["size"], "counts": packed["counts"].decode()}
        content = {
            "images": [{"id": 1, "file_name": f"{split}.png", "height": 80, "width": 80}],
            "categories": [{"id": 1, "name": "face_mask"}],
            "annotations": [
                {
                    "id": 1,
                    "image_id": 1,
                    "category_id": 1,
                    "iscrowd": 0,
                    "area": int(truth.sum()),
                    "bbox": coco_mask.toBbox(packed).tolist(),
                    "segmentation": segmentation,
                }
            ],
        }
        (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))
    manifest = open_labelled(tmp_path / "dataset", tmp_path / "scratch")
    assert sorted(sample.split.value for sample in manifest.samples()) == ["test", "train"]
    assert all(sample.is_labelled for sample in manifest.samples())


def test_a_folder_with_nothing_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="neither a manifest, nor a workspace"):
        open_labelled(tmp_path, tmp_path / "scratch")
    assert not (tmp_path / "scratch").exists()
