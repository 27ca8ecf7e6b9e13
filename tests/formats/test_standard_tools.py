"""What today's standard tools get wrong with masks of faces behind fingers, and ours beside it, right.

Three errors, each made with the tool itself: exact masks only as crowds, holes lost in polygons, boxes
written as mask areas.
"""

from __future__ import annotations

import contextlib
import io
import json

import cv2
import numpy as np
import pytest

from dataset_tools.core.labels import Label
from dataset_tools.core.masks import mask_to_rle, rle_to_mask
from dataset_tools.core.segmentation import coco_to_rle, decode_segmentation, rle_to_coco
from dataset_tools.formats.coco import instance_entry, write_coco
from dataset_tools.formats.contours import mask_to_polygons, polygon_to_mask
from dataset_tools.formats.job import ExportJob

SIZE = (256, 256)


def face_mask_behind_a_finger() -> np.ndarray:
    """(256, 256) bool: the mask of a frontal face, a finger lying on it that shows as a hole."""
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    outline = ((rows - 150) / 70) ** 2 + ((columns - 128) / 80) ** 2 < 1
    finger = (np.abs(columns - 140) < 11) & (rows > 108) & (rows < 186)
    return outline & ~finger


def iou(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / (one | other).sum())


def average_precision(annotation: dict) -> float:
    """COCO's AP of a prediction that is exactly the truth."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {
            "images": [{"id": 1, "height": SIZE[0], "width": SIZE[1]}],
            "categories": [{"id": 1, "name": "face_mask"}],
            "annotations": [{"id": 1, "image_id": 1, "category_id": 1, **annotation}],
        }
        coco.createIndex()
        truth = coco.annToRLE(coco.dataset["annotations"][0])
        guess = coco.loadRes([{"image_id": 1, "category_id": 1, "segmentation": truth, "score": 1.0}])
        scored = COCOeval(coco, guess, "segm")
        scored.evaluate()
        scored.accumulate()
        scored.summarize()
    return float(scored.stats[0])


def brush_as_polygons(mask: np.ndarray) -> tuple[list, list, list]:
    """What Label Studio's own converter makes of a brush stroke for COCO: polygons, boxes, areas."""
    from label_studio_sdk.converter.brush import mask2rle
    from label_studio_sdk.converter.exports.brush_to_coco import generate_contour_from_rle

    return generate_contour_from_rle(mask2rle(mask.astype(np.uint8) * 255), mask.shape[1], mask.shape[0])


@pytest.fixture
def ours(labelled, load_fake, tmp_path):
    """Our COCO annotation of the mask, taken from a real export."""
    workspace = labelled.Workspace(tmp_path / "work")
    rgb = np.full((*SIZE, 3), 120, np.uint8)
    item = labelled.instance("m", Label.FACE_MASK, face_mask_behind_a_finger())
    sample = labelled._sample(workspace.images, rgb, "a", "s", "CC0-1.0", is_labelled=True, instances=(item,))
    manifest = labelled.write_split(workspace, labelled.write_crawl(workspace, [sample]))
    load_fake("trips").write(write_coco, ExportJob(manifest, workspace.images), tmp_path / "out")
    (path,) = (tmp_path / "out/annotations").iterdir()
    (annotation,) = json.loads(path.read_text())["annotations"]
    assert annotation.items() >= instance_entry(item).items()
    return annotation


def test_an_exact_mask_as_a_crowd_scores_minus_one_and_ours_scores_one(ours):
    standard = {key: ours[key] for key in ("segmentation", "area", "bbox", "iscrowd")}
    assert standard["iscrowd"] == 0
    assert standard["segmentation"] == rle_to_coco(mask_to_rle(face_mask_behind_a_finger()))
    assert average_precision(standard) == pytest.approx(1.0)
    assert average_precision({**standard, "iscrowd": 1}) == -1.0


def test_polygons_of_a_brush_lose_the_hole_and_ours_keep_it(ours):
    truth = face_mask_behind_a_finger()
    polygons, _, _ = brush_as_polygons(truth)
    theirs = rle_to_mask(decode_segmentation([[float(v) for v in one] for one in polygons], SIZE))
    assert 0.88 < iou(theirs, truth) < 0.92
    np.testing.assert_array_equal(rle_to_mask(coco_to_rle(ours["segmentation"])), truth)
    (polygon,) = mask_to_polygons(truth)
    np.testing.assert_array_equal(polygon_to_mask(polygon, SIZE), truth)


def test_the_outer_contour_alone_loses_the_hole_however_it_is_filled():
    truth = face_mask_behind_a_finger()
    contours, _ = cv2.findContours(truth.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    filled = cv2.fillPoly(np.zeros(SIZE, np.uint8), contours, 1).astype(bool)
    assert 0.89 < iou(filled, truth) < 0.92


def test_the_area_of_our_annotation_is_the_masks_and_not_the_boxs_or_the_outlines(ours):
    truth = face_mask_behind_a_finger()
    _, ((_, _, width, height),), (outline_area,) = brush_as_polygons(truth)
    assert ours["area"] == truth.sum()
    assert ours["bbox"][2:] == [width, height]
    assert outline_area > 1.05 * truth.sum()
    assert width * height > 1.35 * truth.sum()
