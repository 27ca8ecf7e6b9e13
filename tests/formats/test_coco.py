"""COCO export: read by pycocotools, scored perfectly by COCOeval, masks exact."""

from __future__ import annotations

import contextlib
import io
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra import numpy as hnp

from dataset_tools.core.errors import DataError, ItemFault
from dataset_tools.core.masks import mask_to_rle, rle_to_mask
from dataset_tools.formats.coco import coco_to_rle, read_coco, rle_to_coco

SPLITS = ("train", "val", "test")


def quiet_coco(path):
    from pycocotools.coco import COCO

    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(str(path))


@settings(max_examples=150, deadline=None)
@given(hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, max_side=40)))
def test_run_length_codes_are_those_of_pycocotools_both_ways(mask):
    from pycocotools import mask as coco_mask

    ours = rle_to_coco(mask_to_rle(mask))
    theirs = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    assert ours["counts"] == theirs["counts"].decode()
    np.testing.assert_array_equal(rle_to_mask(coco_to_rle(ours)), mask)


@pytest.mark.parametrize(
    ("size", "counts"),
    [([4, 4], "01"), ([4, 4], "é"), ([4, 4], "P"), ([0, 4], "0"), ([4, 4], [1, -1, 16])],
)
def test_a_wrong_run_length_code_is_a_fault_of_that_item(size, counts):
    with pytest.raises(ItemFault):
        coco_to_rle({"size": size, "counts": counts})


# pycocotools' own decoder uses a NumPy interface of before version 2.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_pycocotools_decodes_every_mask_bit_for_bit(exported):
    folder, report, samples = exported
    seen = 0
    for split in SPLITS:
        coco = quiet_coco(folder / "coco" / "annotations" / f"instances_{split}.json")
        for image in coco.loadImgs(coco.getImgIds()):
            sample = samples[image["sample_id"]]
            assert sample.split.value == split
            instances = {item.id: item for item in sample.instances}
            annotations = coco.loadAnns(coco.getAnnIds(imgIds=image["id"]))
            assert len(annotations) == len(instances)
            for annotation in annotations:
                truth = rle_to_mask(instances[annotation["instance_id"]].mask)
                np.testing.assert_array_equal(coco.annToMask(annotation).astype(bool), truth)
                assert annotation["iscrowd"] == 0
                assert annotation["area"] == truth.sum()
                x, y, width, height = annotation["bbox"]
                rows, columns = np.nonzero(truth)
                assert (x, y) == (columns.min(), rows.min())
                assert (x + width, y + height) == (columns.max() + 1, rows.max() + 1)
                seen += 1
    assert seen == report.instances


def test_a_perfect_prediction_scores_ap_one(exported):
    from pycocotools.cocoeval import COCOeval

    coco = quiet_coco(exported[0] / "coco" / "annotations" / "instances_train.json")
    results = [
        {key: entry[key] for key in ("image_id", "category_id", "segmentation")} | {"score": 1.0}
        for entry in coco.dataset["annotations"]
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        scored = COCOeval(coco, coco.loadRes(results), "segm")
        scored.evaluate()
        scored.accumulate()
        scored.summarize()
    assert scored.stats[0] == pytest.approx(1.0)


def test_what_is_read_back_is_what_was_written(exported):
    folder, _, samples = exported
    found = [
        image
        for split in SPLITS
        for image in read_coco(folder / "coco/annotations" / f"instances_{split}.json")
    ]
    assert {image.sample_id for image in found} == set(samples)
    for image in found:
        assert image.instances == samples[image.sample_id].instances
        assert image.size_hw == samples[image.sample_id].image.size_hw


def test_pictures_are_the_stored_bytes_and_carry_their_licence(exported, chain):
    folder, _, samples = exported
    workspace, _ = chain
    for split in SPLITS:
        content = json.loads((folder / "coco/annotations" / f"instances_{split}.json").read_text())
        licences = {entry["id"]: entry["name"] for entry in content["licenses"]}
        for image in content["images"]:
            sample = samples[image["sample_id"]]
            written = (folder / "coco" / "images" / image["file_name"]).read_bytes()
            assert written == workspace.images.read_bytes(sample.image)
            assert licences[image["license"]] == image["licence"] == sample.provenance.licence
            assert (image["url"], image["author"]) == (sample.provenance.url, sample.provenance.author)


def test_ids_are_unique_over_all_splits(exported):
    contents = [
        json.loads((exported[0] / "coco/annotations" / f"instances_{split}.json").read_text())
        for split in SPLITS
    ]
    for kind in ("images", "annotations"):
        ids = [entry["id"] for content in contents for entry in content[kind]]
        assert sorted(ids) == list(range(1, len(ids) + 1))


def test_a_file_that_is_no_coco_file_is_one_line(tmp_path):
    path = tmp_path / "broken.json"
    path.write_text('{"images": [{}]}')
    with pytest.raises(DataError, match=r"broken\.json"):
        read_coco(path)
