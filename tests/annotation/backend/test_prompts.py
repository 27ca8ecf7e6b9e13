"""What the page sends for clicks and boxes, and what else might come in its place."""

from __future__ import annotations

import pytest

from annotation.backend.prompts import Click, Prompts, pixels_in, read_prompts
from dataset_tools.core.errors import ItemFault
from dataset_tools.core.labels import Label
from dataset_tools.core.reasons import Reason

SIZE_HW = (200, 100)


def click(x, y, label="face_mask", **more):
    value = {"x": x, "y": y, "width": 0.3, "keypointlabels": [label]}
    return {"type": "keypointlabels", "from_name": "click", "id": "k", "value": value, **more}


def box(x, y, width, height, label="face_mask"):
    value = {"x": x, "y": y, "width": width, "height": height, "rotation": 0, "rectanglelabels": [label]}
    return {"type": "rectanglelabels", "from_name": "prompt_box", "id": "r", "value": value}


def read(*drawn):
    return read_prompts({"result": list(drawn)}, SIZE_HW)


def test_clicks_are_pixels_with_a_sign():
    found = read(click(50, 25, is_positive=True), click(100, 100, is_positive=False), click(0, 0))
    assert found == Prompts(Label.FACE_MASK, (Click(50, 50), Click(199, 99, False), Click(0, 0)))
    assert found.positives == (Click(50, 50), Click(0, 0))
    assert found.negatives == (Click(199, 99, False),)


def test_a_box_is_cut_to_the_picture_and_may_be_drawn_backwards():
    assert read(box(-10, 25, 60, 50)).box_xyxy == (0, 50, 50, 150)
    assert read(box(50, 75, -50, -50)).box_xyxy == (0, 50, 50, 150)
    assert pixels_in((0.4, 1.5, 2.6, 3.49)) == (slice(2, 3), slice(0, 3))


def test_the_label_drawn_last_counts_and_so_does_the_last_box():
    found = read(click(1, 1, "face"), box(0, 0, 10, 10), click(50, 50), box(0, 0, 50, 50))
    assert found == Prompts(Label.FACE_MASK, (Click(100, 50),), (0, 0, 50, 100))


@pytest.mark.parametrize("context", [None, {}, {"result": []}, {"result": [{"type": "brushlabels"}]}])
def test_no_prompts_are_none(context):
    assert read_prompts(context, SIZE_HW) is None


@pytest.mark.parametrize(
    ("context", "reason"),
    [
        ("click", Reason.JSON),
        ({"result": "click"}, Reason.JSON),
        ({"result": ["click"]}, Reason.JSON),
        ({"result": [{"type": "keypointlabels", "value": 3}]}, Reason.JSON),
        ({"result": [click(1, 1, "dragon")]}, Reason.UNKNOWN_LABEL),
        ({"result": [click(1, 1, ["face"])]}, Reason.UNKNOWN_LABEL),
        ({"result": [{"type": "keypointlabels", "value": {"x": 1, "y": 1}}]}, Reason.SCHEMA),
        ({"result": [click("left", 1)]}, Reason.SCHEMA),
        ({"result": [click(10**400, 1)]}, Reason.SCHEMA),
        ({"result": [click(float("nan"), 1)]}, Reason.NOT_FINITE),
        ({"result": [box(0, 0, float("inf"), 1)]}, Reason.NOT_FINITE),
        ({"result": [click(101, 1)]}, Reason.OUT_OF_BOUNDS),
        ({"result": [box(120, 0, 10, 10)]}, Reason.OUT_OF_BOUNDS),
        ({"result": [click(1, 1)] * 201}, Reason.SCHEMA),
    ],
)
def test_what_cannot_be_read_has_a_reason(context, reason):
    with pytest.raises(ItemFault) as caught:
        read_prompts(context, SIZE_HW)
    assert caught.value.reason is reason
    assert len(str(caught.value)) < 300
