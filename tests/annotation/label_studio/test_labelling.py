from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import pytest
from label_studio_sdk.label_interface import LabelInterface

from annotation.label_studio.adjudication import adjudication_config
from annotation.label_studio.codec import decode_results, encode_results
from annotation.label_studio.labelling import (
    BOX,
    BRUSH,
    CLICK,
    IMAGE,
    NOTE,
    PROMPT_BOX,
    VERDICT,
    labelling_config,
)
from dataset_tools.core.labels import Label

# Keys of Label Studio 1.23's own page: brush, eraser, move, pan, zoom, unselect, rectangle, key point.
TAKEN = {"b", "e", "v", "h", "u", "r", "k"}
CONFIGS = [labelling_config(), labelling_config(assisted=True), adjudication_config()]


@pytest.mark.parametrize("config", CONFIGS)
def test_the_sdk_reads_the_page_and_finds_the_proposal_valid(config, make_sample):
    sample = make_sample()
    result = encode_results(sample.instances, sample.faces, sample.image.size_hw)
    interface = LabelInterface(config)
    assert {BRUSH, BOX, VERDICT, NOTE, "mask_type", "wearing_state"} <= {
        control.name for control in interface.controls
    }
    prediction = {"model_version": "m", "score": 0.5, "result": result}
    assert interface.validate_prediction(prediction, return_errors=True) == []
    wrong = [item | {"from_name": "other"} for item in result]
    assert interface.validate_prediction(prediction | {"result": wrong}, return_errors=True)


@pytest.mark.parametrize("config", CONFIGS)
def test_every_label_and_choice_has_a_key_of_its_own_that_the_page_does_not_use(config):
    tree = ElementTree.fromstring(config)
    keys = [item.get("hotkey") for item in tree.iter() if item.tag in ("Label", "Choice")]
    assert all(keys)
    assert len(set(keys)) == len(keys)
    assert not TAKEN & set(keys)


@pytest.mark.parametrize("config", CONFIGS)
def test_a_page_shows_one_uploaded_picture_by_name_for_the_server_takes_no_uploads_otherwise(config):
    tree = ElementTree.fromstring(config)
    bound = [
        item.get("value")
        for item in tree.iter()
        if item.get("name") and str(item.get("value", "")).startswith("$")
    ]
    assert bound == [f"${IMAGE}"]


def test_only_the_assisted_page_asks_a_model_and_every_label_can_be_asked_for():
    assert 'smart="true"' not in labelling_config()
    tree = ElementTree.fromstring(labelling_config(assisted=True))
    smart = {item.get("name"): item for item in tree.iter() if item.get("smart") == "true"}
    assert {name: item.tag for name, item in smart.items()} == {
        CLICK: "KeyPointLabels",
        PROMPT_BOX: "RectangleLabels",
    }
    for item in smart.values():
        assert item.get("smartOnly") == "true"
        assert [label.get("value") for label in item.iter("Label")] == [label.value for label in Label]


def test_the_key_for_painting_a_face_mask_is_the_one_the_page_tells():
    for config, key in zip(CONFIGS[:2], "ma", strict=True):
        tree = ElementTree.fromstring(config)
        (brush,) = (item for item in tree.iter("BrushLabels"))
        assert [item.get("hotkey") for item in brush if item.get("value") == "face_mask"] == [key]
        assert f"press {key.upper()} and paint" in config


def test_a_prompt_left_behind_is_no_labelling(make_sample):
    sample = make_sample()
    results = encode_results(sample.instances, sample.faces, sample.image.size_hw)
    click = {
        "id": "c1",
        "type": "keypointlabels",
        "from_name": CLICK,
        "to_name": IMAGE,
        "is_positive": False,
        "value": {"x": 29.8, "y": 84.2, "width": 0.4, "keypointlabels": ["face_mask"]},
    }
    box = {
        "id": "c2",
        "type": "rectanglelabels",
        "from_name": PROMPT_BOX,
        "to_name": IMAGE,
        "value": {"x": 2, "y": 2, "width": 18, "height": 12, "rotation": 0, "rectanglelabels": ["strap"]},
    }
    size_hw = sample.image.size_hw
    assert decode_results([*results, click, box], size_hw) == decode_results(results, size_hw)
