"""MFSD layout: where the authors put things, mask regions exact."""

from __future__ import annotations

import csv

import numpy as np

from dataset_tools.core.labels import Label
from dataset_tools.core.masks import union
from dataset_tools.formats.mfsd import PHOTO_COLUMNS, read_mfsd


def rows_of(path):
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def region_of(sample):
    masks = [item.mask for item in sample.instances if item.label is Label.FACE_MASK]
    return union(masks, sample.image.size_hw)


def test_folders_and_names_follow_the_authors_layout(exported):
    root = exported[0] / "mfsd"
    assert {path.name for path in root.iterdir()} == {"1", "2", "photos.csv"}
    assert {path.name for path in (root / "1").iterdir()} == {
        "img", "face_crop", "face_crop_segmentation", "dataset.csv",
    }  # fmt: skip
    assert {path.name for path in (root / "2").iterdir()} == {"img"}
    crops = {path.stem for path in (root / "1/face_crop").iterdir()}
    assert crops == {path.stem for path in (root / "1/face_crop_segmentation").iterdir()}
    with_masks = {sample.id for sample in exported[2].values() if region_of(sample).any()}
    assert {path.stem for path in (root / "1/img").iterdir()} == with_masks
    assert {path.stem for path in (root / "2/img").iterdir()} == set(exported[2]) - with_masks


def test_the_crops_put_back_give_every_mask_region_bit_for_bit(exported):
    regions = {
        sample.id: np.zeros(sample.image.size_hw, bool)
        for sample in exported[2].values()
        if region_of(sample).any()
    }
    for crop in read_mfsd(exported[0] / "mfsd"):
        left, top, right, bottom = crop.box_xyxy
        assert crop.mask.shape == crop.rgb.shape[:2] == (bottom - top, right - left)
        whole = region_of(exported[2][crop.photo.partition(".")[0]])
        np.testing.assert_array_equal(crop.mask, whole[top:bottom, left:right])
        regions[crop.photo.partition(".")[0]][top:bottom, left:right] |= crop.mask
    for name, region in regions.items():
        np.testing.assert_array_equal(region, region_of(exported[2][name]))


def test_every_photo_has_its_origin_and_no_cell_is_a_formula(exported):
    root = exported[0] / "mfsd"
    photos = rows_of(root / "photos.csv")
    assert tuple(photos[0]) == PHOTO_COLUMNS
    assert {row["sample_id"] for row in photos} == set(exported[2])
    assert all((root / row["path"]).is_file() and row["licence"] for row in photos)
    for row in photos + rows_of(root / "1/dataset.csv"):
        assert not any(value.startswith(("=", "+", "-", "@")) for value in row.values())


def test_the_face_table_holds_the_columns_of_the_published_one(exported):
    rows = rows_of(exported[0] / "mfsd/1/dataset.csv")
    assert list(rows[0])[:6] == ["filename", "x1", "y1", "x2", "y2", "with_mask"]
    assert {row["mask_type"] for row in rows} == {"cloth", "surgical", "n95", ""}
