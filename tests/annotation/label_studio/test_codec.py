from __future__ import annotations

import json
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from annotation.label_studio.codec import decode_results, encode_results
from annotation.label_studio.labelling import labelling_config
from dataset_tools.core.errors import ItemFault
from dataset_tools.core.labels import Label, Wearing
from dataset_tools.core.masks import mask_to_rle
from dataset_tools.core.reasons import Reason
from dataset_tools.core.record import Face, Instance

SIZE = (6, 8)


def square(label: Label = Label.FACE_MASK, name: str = "one", **more) -> Instance:
    mask = np.zeros(SIZE, bool)
    mask[1:4, 2:5] = True
    return Instance(name, label, mask_to_rle(mask), "model:m@1", **more)


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(list(Label)), arrays(np.bool_, SIZE).filter(lambda mask: mask.any()), st.text()
        ),
        max_size=4,
        unique_by=lambda entry: entry[2],
    )
)
def test_instances_come_back_exactly_and_stay_apart(entries):
    instances = [Instance(name, label, mask_to_rle(mask), "model:m@1") for label, mask, name in entries]
    sent = json.loads(json.dumps(encode_results(instances, (), SIZE)))
    back = decode_results(sent, SIZE).regions
    assert [(region.instance_id, region.label, region.mask) for region in back] == [
        (instance.id, instance.label, instance.mask) for instance in instances
    ]


def test_choices_belong_to_their_own_region():
    cloth = square(name="a", attributes=(("mask_type", "cloth"), ("wearing_state", "correct")))
    surgical = square(name="b", attributes=(("mask_type", "surgical"),))
    back = decode_results(encode_results([cloth, surgical], (), SIZE), SIZE).regions
    assert [region.attributes for region in back] == [cloth.attributes, surgical.attributes]


def test_region_ids_have_no_number_sign_because_the_editor_cuts_there():
    (result,) = encode_results([square(name="key#synth0")], (), SIZE)
    assert "#" not in result["id"]
    assert decode_results([result], SIZE).regions[0].instance_id == "key#synth0"


def test_face_boxes_come_back_to_a_thousandth_of_a_pixel():
    faces = [
        Face((0.0, 0.5, 7.25, 6.0), 0.9, Wearing.MASKED, "d@1"),
        Face((1, 1, 3, 3), 0.8, Wearing.UNKNOWN, "d@1"),
    ]
    back = decode_results(encode_results((), faces, SIZE), SIZE).boxes
    assert [box.face for box in back] == [0, 1]
    assert np.allclose([box.box_xyxy for box in back], [face.box_xyxy for face in faces], atol=1e-3)


def test_a_region_erased_to_nothing_is_gone():
    (result,) = encode_results([square()], (), SIZE)
    empty = Instance("one", Label.FACE_MASK, mask_to_rle(np.zeros(SIZE, bool)), "model:m@1")
    (erased,) = encode_results([empty], (), SIZE)
    assert len(decode_results([result], SIZE).regions) == 1
    assert decode_results([erased], SIZE).regions == ()


def test_verdict_and_note_are_read():
    results = [
        {
            "id": "v",
            "type": "choices",
            "from_name": "verdict",
            "to_name": "image",
            "value": {"choices": ["reject"]},
        },
        {
            "id": "n",
            "type": "textarea",
            "from_name": "note",
            "to_name": "image",
            "value": {"text": ["not a", "face"]},
        },
    ]
    drawing = decode_results(results, SIZE)
    assert (drawing.verdict, drawing.note) == ("reject", "not a face")


def changed(**changes):
    (result,) = encode_results([square()], (), SIZE)
    value = {key[6:]: changes.pop(key) for key in list(changes) if key.startswith("value_")}
    return {**result, **changes, "value": {**result["value"], **value}}


def box(**changes):
    (result,) = encode_results((), [Face((1, 1, 3, 3), 0.8, Wearing.UNKNOWN, "d@1")], SIZE)
    return {**result, "value": {**result["value"], **changes}}


@pytest.mark.parametrize(
    ("results", "reason"),
    [
        ([None], Reason.JSON),
        ([{"type": "brushlabels", "value": []}], Reason.JSON),
        ([changed(original_width=9)], Reason.SIZE_MISMATCH),
        ([changed(original_height=None)], Reason.SIZE_MISMATCH),
        ([changed(image_rotation=90)], Reason.SIZE_MISMATCH),
        ([changed(value_brushlabels=["<script>"])], Reason.UNKNOWN_LABEL),
        ([changed(value_brushlabels=[])], Reason.SCHEMA),
        ([changed(value_brushlabels=["face", "strap"])], Reason.SCHEMA),
        ([changed(value_format="png")], Reason.SCHEMA),
        ([changed(value_rle="abc")], Reason.RLE_VALUE),
        ([changed(value_rle=[])], Reason.RLE_SUM),
        ([changed(), changed()], Reason.DUPLICATE_ID),
        ([changed(type="ellipselabels")], Reason.SCHEMA),
        ([box(x=float("nan"))], Reason.NOT_FINITE),
        ([box(width=0)], Reason.DEGENERATE),
        ([box(x=None)], Reason.SCHEMA),
        ([box(x=200)], Reason.OUT_OF_BOUNDS),
    ],
)
def test_results_that_break_a_rule_are_refused_with_the_reason(results, reason):
    with pytest.raises(ItemFault) as caught:
        decode_results(results, SIZE)
    assert caught.value.reason is reason


def test_the_labelling_config_accepts_what_the_codec_sends():
    from label_studio_sdk.label_interface import LabelInterface

    face = Face((1, 1, 3, 3), 0.8, Wearing.UNKNOWN, "d@1")
    instances = [square(label, name=label.value, confidence=0.5) for label in Label]
    instances.append(square(name="typed", attributes=(("mask_type", "n95"), ("wearing_state", "hanging"))))
    prediction = {"model_version": "v", "score": 0.5, "result": encode_results(instances, [face], SIZE)}
    assert LabelInterface(labelling_config()).validate_prediction(prediction, return_errors=True) == []


def test_every_key_of_the_page_has_one_meaning_and_none_is_a_drawing_tools():
    tags = ElementTree.fromstring(labelling_config()).iter()
    keys = [tag.get("hotkey") for tag in tags if tag.tag in ("Choice", "Label")]
    assert None not in keys
    assert len(set(keys)) == len(keys)
    assert not set(keys) & {"b", "e", "v", "h", "r"}
