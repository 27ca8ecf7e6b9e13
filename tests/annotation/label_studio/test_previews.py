from __future__ import annotations

import dataclasses
import io

import numpy as np
import pytest
from PIL import Image

from annotation.label_studio.previews import (
    BATCH,
    EASY,
    PREVIEW,
    all_view,
    easy_view,
    interesting_part,
    outline,
    preview_png,
    resized_mask,
)
from dataset_tools.core.labels import LABEL_COLOURS, Label, Wearing
from dataset_tools.core.masks import mask_to_rle
from dataset_tools.core.record import Face, Instance


def read(png):
    with Image.open(io.BytesIO(png)) as opened:
        return np.asarray(opened.convert("RGB"))


def rectangle(size_hw, box):
    mask = np.zeros(size_hw, dtype=bool)
    mask[box[1] : box[3], box[0] : box[2]] = True
    return mask


def instance(size_hw, box, label=Label.FACE_MASK, attributes=()):
    return Instance("one", label, mask_to_rle(rectangle(size_hw, box)), "model:m@1", 0.9, 0, None, attributes)


def test_a_preview_fits_320_pixels_and_shows_outlines_in_the_pure_label_colours(make_sample, store):
    sample = make_sample()
    shown = read(preview_png(store.read(sample.image), sample.instances, sample.faces))
    assert max(shown.shape[:2]) == 320
    for label in (Label.FACE_MASK, Label.FACE):
        assert (shown == LABEL_COLOURS[label]).all(axis=2).sum() > 300


def test_the_photo_stays_judgeable_inside_an_outline():
    size_hw = (304, 320)
    grey = np.full((*size_hw, 3), 100, dtype=np.uint8)
    shown = read(preview_png(grey, [instance(size_hw, (20, 20, 300, 290))], []))
    assert shown[150, 160].tolist() == [75, 125, 96]  # a quarter of (0, 200, 83) over 100
    assert shown[20, 160].tolist() == list(LABEL_COLOURS[Label.FACE_MASK])
    assert shown[5, 5].tolist() == [100, 100, 100]


def test_a_small_face_is_enlarged_and_the_whole_photo_stands_beside_it():
    size_hw = (900, 1500)
    photo = np.full((*size_hw, 3), 100, dtype=np.uint8)
    photo[:, 1400:] = (0, 0, 250)  # something at the far edge
    small = instance(size_hw, (700, 300, 780, 380))
    shown = read(preview_png(photo, [small], []))
    outlined = (shown[:, :240] == LABEL_COLOURS[Label.FACE_MASK]).all(axis=2)
    columns = np.flatnonzero(outlined.any(axis=0))
    assert columns[-1] - columns[0] > 150  # 80 px of the photo
    assert (shown[:, 240:] == (0, 0, 250)).all(axis=2).any()
    assert not (shown[:, :240] == (0, 0, 250)).all(axis=2).any()


def test_a_preview_of_nothing_is_the_photo():
    photo = np.full((100, 200, 3), 90, dtype=np.uint8)
    shown = read(preview_png(photo, [], []))
    assert shown.shape == (176, 320, 3)
    assert (shown[:160] == 90).all()


def test_face_boxes_are_framed():
    photo = np.full((304, 320, 3), 90, dtype=np.uint8)
    face = Face((40.0, 40.0, 280.0, 260.0), 0.9, Wearing.MASKED, "d@1")
    shown = read(preview_png(photo, [], [face]))
    assert shown[40, 100].tolist() == shown[100, 40].tolist() == [255, 171, 0]
    assert shown[100, 100].tolist() == [90, 90, 90]


def test_mask_type_and_wearing_state_are_told_below_the_photo_in_our_own_words_only():
    size_hw = (304, 320)
    photo = np.full((*size_hw, 3), 90, dtype=np.uint8)

    def caption(*attributes):
        shown = read(preview_png(photo, [instance(size_hw, (20, 20, 300, 290), attributes=attributes)], []))
        return shown[304:].tobytes()

    cloth = caption(("mask_type", "cloth"), ("wearing_state", "nose_out"))
    surgical = caption(("mask_type", "surgical"), ("wearing_state", "nose_out"))
    strange = caption(("mask_type", "<b>"), ("wearing_state", "nose_out"))
    missing = caption(("wearing_state", "nose_out"))
    assert len({cloth, surgical, missing}) == 3
    assert strange == missing


@pytest.mark.parametrize(
    ("boxes", "part"),
    [
        ([], (0, 0, 200, 100)),
        ([(5, 5, 5, 9)], (0, 0, 200, 100)),
        ([(50, 40, 90, 60)], (40, 30, 100, 70)),
        ([(0, 0, 40, 20), (180, 80, 200, 100)], (0, 0, 200, 100)),
    ],
)
def test_the_interesting_part_holds_every_box_with_a_quarter_around(boxes, part):
    assert interesting_part(boxes, (100, 200)) == part


def test_an_outline_lies_inside_the_mask_along_its_edges_and_holes_but_not_along_the_picture():
    mask = rectangle((12, 12), (0, 2, 10, 12))
    mask[6, 5] = False
    found = outline(mask, width_px=1)
    expected = np.zeros_like(mask)
    expected[2, :10] = expected[2:, 9] = True
    expected[5, 5] = expected[7, 5] = expected[6, 4] = expected[6, 6] = True
    assert (found == expected).all()
    assert not outline(np.zeros((4, 4), bool)).any()
    assert not outline(np.ones((4, 4), bool)).any()


def test_resizing_a_mask_by_whole_numbers_is_exact():
    mask = rectangle((10, 20), (2, 3, 9, 8))
    bigger = resized_mask(mask, (0, 0, 20, 10), (80, 40))
    assert abs(int(bigger.sum()) - 16 * int(mask.sum())) <= 16
    doubled = np.repeat(np.repeat(mask, 2, 0), 2, 1)
    assert (resized_mask(doubled, (0, 0, 40, 20), (20, 10)) == mask).all()
    assert (resized_mask(mask, (2, 3, 9, 8), (7, 5))).all()


def test_the_easy_tab_shows_previews_of_easy_batches_that_nobody_has_done_yet():
    view = easy_view()
    filters = {item["filter"]: (item["operator"], item["value"]) for item in view["filters"]["items"]}
    assert filters == {
        f"filter:tasks:data.{BATCH}": ("contains", EASY),
        "filter:tasks:total_annotations": ("equal", 0),
    }
    assert view["type"] == "grid"
    assert view["columnsDisplayType"] == {f"tasks:data.{PREVIEW}": "Image"}
    assert f"tasks:data.{PREVIEW}" not in view["hiddenColumns"]["explore"]
    assert f"tasks:data.{PREVIEW}" in all_view()["hiddenColumns"]["explore"]
    assert "filters" not in all_view()


def test_previews_do_not_depend_on_the_order_of_instances(make_sample, store):
    sample = make_sample()
    rgb = store.read(sample.image)
    turned = dataclasses.replace(sample, instances=sample.instances[::-1])
    assert preview_png(rgb, sample.instances, ()) == preview_png(rgb, turned.instances, ())
