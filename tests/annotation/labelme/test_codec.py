from __future__ import annotations

import contextlib
import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotation.drawing import ACCEPT, FIX, REJECT, FaceBox
from annotation.judging import judge
from annotation.labelme.codec import decode_file, encode_file, is_outdated, shown_digest
from annotation.labelme.shapes import shape_pixels
from dataset_tools.core.errors import ItemFault
from dataset_tools.core.labels import Label
from dataset_tools.core.masks import mask_to_rle, rle_to_mask
from dataset_tools.core.reasons import Reason
from dataset_tools.core.record import ImageRef, Instance, Provenance, ReviewState, Sample

SIZE_HW = (40, 60)


def bare(size_hw: tuple[int, int], *instances: Instance) -> Sample:
    image = ImageRef("0" * 64, size_hw, "png")
    provenance = Provenance("folder", "a.png", "CC0-1.0")
    return Sample("0" * 32, image, provenance, "g", instances=instances)


SAMPLE = bare(
    SIZE_HW,
    *(Instance(f"p {n}", Label.FACE, mask_to_rle(np.ones(SIZE_HW)), "model:m@1", 0.5) for n in range(2)),
)


def file_of(shapes: object, **changes) -> bytes:
    content = {
        "version": "6.3.1",
        "flags": {"done": True},
        "shapes": shapes,
        "imagePath": "a.png",
        "imageData": None,
        "imageHeight": SIZE_HW[0],
        "imageWidth": SIZE_HW[1],
        "maskset_shown": shown_digest(SAMPLE),
    }
    return json.dumps(content | changes).encode()


def shape(label: str, *corners, kind="rectangle", group=None, description="", flags=None) -> dict:
    return {
        "label": label,
        "points": [list(corner) for corner in corners],
        "group_id": group,
        "description": description,
        "shape_type": kind,
        "flags": flags or {},
        "mask": None,
    }


def drawing_of(*shapes: dict):
    return decode_file(file_of(list(shapes)), SAMPLE).drawing


def fault_of(data: bytes) -> Reason:
    with pytest.raises(ItemFault) as caught:
        decode_file(data, SAMPLE)
    return caught.value.reason


def pixels(*boxes: tuple[int, int, int, int]) -> np.ndarray:
    mask = np.zeros(SIZE_HW, bool)
    for x0, y0, x1, y1 in boxes:
        mask[y0 : y1 + 1, x0 : x1 + 1] = True
    return mask


def written(sample: Sample, **flags: bool) -> bytes:
    content = encode_file(sample, "a.png")
    return json.dumps(content | {"flags": content["flags"] | flags}).encode()


def test_a_file_read_as_written_is_what_was_shown(make_sample):
    sample = make_sample()
    found = decode_file(written(sample, done=True), sample)
    assert not found.is_outdated
    assert judge(sample, found.drawing, "ann")[0] is ReviewState.ACCEPTED
    assert [region.mask for region in found.drawing.regions] == [item.mask for item in sample.instances]
    assert [region.instance_id for region in found.drawing.regions] == [item.id for item in sample.instances]
    assert found.drawing.regions[0].attributes == (("mask_type", "cloth"), ("wearing_state", "nose_out"))
    assert found.drawing.boxes == (FaceBox(0, sample.faces[0].box_xyxy),)


def test_a_file_tells_nobody_who_proposed_what(make_sample):
    text = written(make_sample()).decode()
    assert not any(word in text for word in ("proposal", "unet", "model:", "astronaut"))


def test_a_file_saved_by_labelme_says_the_same(make_sample, store, labelme, tmp_path):
    sample = make_sample()
    path = tmp_path / "a.json"
    (tmp_path / "a.png").write_bytes(store.read_bytes(sample.image))
    path.write_bytes(written(sample, fix=True))
    before = decode_file(path.read_bytes(), sample)
    labelme.save(path)
    assert decode_file(path.read_bytes(), sample) == before
    assert json.loads(path.read_bytes()).keys() == encode_file(sample, "a.png").keys()


def test_labelme_reads_the_very_masks_with_their_holes(make_sample, store, labelme, tmp_path):
    sample = make_sample()
    (tmp_path / "a.png").write_bytes(store.read_bytes(sample.image))
    (tmp_path / "a.json").write_text(json.dumps(encode_file(sample, "a.png")))
    content = labelme.read(tmp_path / "a.json")
    assert content.flags == {"done": False, "fix": False, "reject": False}
    for instance, read in zip(sample.instances, content.shapes, strict=False):
        (x0, y0), _ = np.asarray(read["points"]).astype(int)
        full = np.zeros(sample.image.size_hw, bool)
        full[y0 : y0 + read["mask"].shape[0], x0 : x0 + read["mask"].shape[1]] = read["mask"]
        assert np.array_equal(full, rle_to_mask(instance.mask))


@settings(deadline=None)
@given(st.lists(st.lists(st.booleans(), min_size=7, max_size=7), min_size=5, max_size=5))
def test_any_mask_comes_back_exactly(rows):
    mask = mask_to_rle(np.array(rows))
    sample = bare((5, 7), Instance("proposal 1/ä", Label.STRAP, mask, "model:m@1", 0.5))
    regions = decode_file(written(sample, done=True), sample).drawing.regions
    if mask.is_empty:
        assert regions == ()
    else:
        assert (regions[0].instance_id, regions[0].label, regions[0].mask) == ("proposal 1/ä", "strap", mask)


def test_shapes_of_one_group_and_label_are_one_instance_and_holes_are_cut_out_of_it():
    first, second, alone = drawing_of(
        shape("face_mask", (0, 0), (9, 9), group=3),
        shape("hole", (2, 2), (4, 4), group=3),
        shape("strap", (20, 0), (25, 5), group=3),
        shape("face_mask", (8, 8), (12, 12), group=3),
        shape("face_mask", (2, 2), (3, 3)),
    ).regions
    assert first.mask == mask_to_rle(pixels((0, 0, 9, 9), (8, 8, 12, 12)) & ~pixels((2, 2, 4, 4)))
    assert (second.label, second.mask) == (Label.STRAP, mask_to_rle(pixels((20, 0, 25, 5))))
    assert alone.mask == mask_to_rle(pixels((2, 2, 3, 3)))
    assert len({first.region_id, second.region_id, alone.region_id}) == 3


def test_shapes_without_a_group_stay_apart():
    assert len(drawing_of(shape("face", (0, 0), (5, 5)), shape("face", (0, 0), (5, 5))).regions) == 2


def test_a_polygon_drawn_first_does_not_hide_whose_instance_the_group_is():
    (region,) = drawing_of(
        shape("face", (0, 0), (5, 5), group=0),
        shape("face", (9, 9), (12, 12), group=0, description="instance-0"),
    ).regions
    assert region.instance_id == "p 0"


def test_a_copied_shape_with_a_group_of_its_own_is_a_new_instance():
    first, copy = drawing_of(
        shape("face", (0, 0), (5, 5), group=0, description="instance-1"),
        shape("face", (9, 9), (12, 12), group=7, description="instance-1"),
    ).regions
    assert (first.instance_id, copy.instance_id) == ("p 1", "")


def test_an_instance_cut_away_altogether_is_gone():
    assert (
        drawing_of(shape("face", (0, 0), (5, 5), group=1), shape("hole", (0, 0), (9, 9), group=1)).regions
        == ()
    )


@pytest.mark.parametrize("group", [None, 2])
def test_a_hole_in_nothing_is_a_fault(group):
    data = file_of([shape("face", (0, 0), (5, 5), group=1), shape("hole", (1, 1), (2, 2), group=group)])
    assert fault_of(data) is Reason.DANGLING_REFERENCE


def test_choices_of_a_group_are_gathered_and_flags_of_other_people_left_alone():
    flags = {
        "mask_type: kn95": True,
        "mask_type: cloth": False,
        "wearing_state: hanging": True,
        "blurry": True,
    }
    (region,) = drawing_of(
        shape("face_mask", (0, 0), (5, 5), group=0),
        shape("face_mask", (0, 0), (5, 9), group=0, flags=flags),
    ).regions
    assert region.attributes == (("mask_type", "kn95"), ("wearing_state", "hanging"))


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        ({"mask_type: kn95": True, "mask_type: cloth": True}, Reason.SCHEMA),
        ({"mask_type: paper": True}, Reason.UNKNOWN_LABEL),
        ({"mask_type: kn95": 1}, Reason.SCHEMA),
        ([], Reason.SCHEMA),
    ],
)
def test_choices_that_are_none_are_refused(flags, reason):
    entry = shape("face_mask", (0, 0), (5, 5)) | {"flags": flags}
    assert fault_of(file_of([entry])) is reason


def test_face_boxes_keep_their_face_and_may_be_drawn_from_any_corner():
    boxes = drawing_of(
        shape("face_box", (20.5, 30.25), (10, 5), description="face-1"),
        shape("face_box", (-3, 2), (8, 50)),
        shape("face_box", (1, 2), (8, 9), description="face-1"),
    ).boxes
    assert boxes == (
        FaceBox(1, (10.0, 5.0, 20.5, 30.25)),
        FaceBox(-1, (0.0, 2.0, 8.0, 40.0)),
        FaceBox(-1, (1.0, 2.0, 8.0, 9.0)),
    )


@pytest.mark.parametrize(
    ("corners", "kind", "reason"),
    [
        (((1, 1), (1, 9)), "rectangle", Reason.DEGENERATE),
        (((61, 1), (70, 9)), "rectangle", Reason.OUT_OF_BOUNDS),
        (((1, 1), (5, 9)), "circle", Reason.SCHEMA),
    ],
)
def test_face_boxes_that_are_none_are_refused(corners, kind, reason):
    assert fault_of(file_of([shape("face_box", *corners, kind=kind)])) is reason


@pytest.mark.parametrize("number", ["2", "-1", "99999", "1000000", "x", "٣"])
def test_a_number_that_no_instance_has_starts_a_new_one(number):
    (region,) = drawing_of(shape("face", (0, 0), (5, 5), description=f"instance-{number}")).regions
    assert region.instance_id == ""


def test_in_a_file_made_for_another_proposal_no_shape_stands_for_an_instance():
    data = file_of([shape("face", (0, 0), (5, 5), description="instance-0")], maskset_shown="0" * 16)
    found = decode_file(data, SAMPLE)
    assert found.is_outdated
    assert is_outdated(data, SAMPLE)
    assert found.drawing.regions[0].instance_id not in {item.id for item in SAMPLE.instances}


@pytest.mark.parametrize(
    ("flags", "verdict"),
    [
        ({"done": True}, ACCEPT),
        ({"fix": True}, FIX),
        ({"done": True, "fix": True}, FIX),
        ({"done": True, "fix": True, "reject": True}, REJECT),
    ],
)
def test_the_files_flags_are_the_verdict(flags, verdict):
    assert decode_file(file_of([], flags=flags), SAMPLE).drawing.verdict == verdict


@pytest.mark.parametrize("flags", [None, {}, {"done": False, "reject": False, "fix": False, "mine": True}])
def test_a_file_without_a_flag_is_nobodys_word_yet_whatever_is_half_drawn_in_it(flags):
    data = file_of([shape("hole", (0, 0), (5, 5))], flags=flags)
    assert decode_file(data, SAMPLE).drawing is None


def test_what_is_written_behind_a_description_is_a_note():
    note = drawing_of(
        shape("face", (0, 0), (5, 5), description="instance-0  the ear\n is missing"),
        shape("face", (0, 0), (5, 5), description="is that a face?"),
        shape("face_box", (0, 0), (5, 5), description="face-0 \ud83d wide"),
    ).note
    assert note == "the ear is missing; is that a face?; ? wide"


def nested(depth: int) -> bytes:
    return file_of([]).replace(b'"a.png"', b"[" * depth + b"]" * depth)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", Reason.JSON),
        (b"\xff\xfe{}", Reason.JSON),
        (b"[]", Reason.JSON),
        (file_of([])[:-1], Reason.JSON),
        (file_of([])[:-1] + b', "shapes": []}', Reason.JSON),
        (b'{"shapes": ' + b"9" * 5000 + b"}", Reason.JSON),
        (nested(70), Reason.JSON),
        (nested(100_000), Reason.JSON),
        (file_of([], imageHeight=41), Reason.SIZE_MISMATCH),
        (file_of([], imageWidth=None), Reason.SIZE_MISMATCH),
        (file_of({}), Reason.SCHEMA),
        (file_of([{}] * 1001), Reason.SCHEMA),
        (file_of([7]), Reason.SCHEMA),
        (file_of([{}]), Reason.SCHEMA),
        (file_of([], flags={"done": 1}), Reason.SCHEMA),
        (file_of([shape("<b>", (0, 0), (5, 5))]), Reason.UNKNOWN_LABEL),
        (file_of([shape("face", (0, 0), (5, 5)) | {"group_id": 1.5}]), Reason.SCHEMA),
        (file_of([shape("face", (0, 0), (5, 5)) | {"description": 5}]), Reason.SCHEMA),
    ],
)
def test_files_that_are_none_are_refused(data, reason):
    assert fault_of(data) is reason


def test_a_byte_order_mark_and_a_path_that_leads_away_do_no_harm():
    data = b"\xef\xbb\xbf" + file_of([shape("face", (0, 0), (5, 5))], imagePath="../../../etc/passwd")
    assert len(decode_file(data, SAMPLE).drawing.regions) == 1


@settings(deadline=None)
@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.floats()
        | st.text(max_size=5)
        | st.sampled_from(["mask", "face", "polygon"]),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(
                st.sampled_from(
                    ["label", "points", "group_id", "shape_type", "flags", "mask", "description"]
                ),
                inner,
            )
        ),
        max_leaves=12,
    )
)
def test_any_json_as_shapes_is_a_drawing_or_a_fault(value):
    with contextlib.suppress(ItemFault):
        decode_file(file_of(value), SAMPLE)


def test_the_digest_of_what_is_shown_changes_with_anything_shown(make_sample):
    sample = make_sample()
    first, second = sample.instances
    digests = {
        shown_digest(sample),
        shown_digest(dataclasses.replace(sample, instances=(first,))),
        shown_digest(
            dataclasses.replace(sample, instances=(dataclasses.replace(first, attributes=()), second))
        ),
        shown_digest(
            dataclasses.replace(sample, instances=(dataclasses.replace(first, label=Label.FACE), second))
        ),
        shown_digest(dataclasses.replace(sample, faces=())),
    }
    assert len(digests) == 5
    # Who proposed it, and how sure they were, is not shown.
    unsure = dataclasses.replace(first, confidence=0.1, drawn_by="model:other@1")
    assert not is_outdated(written(sample), dataclasses.replace(sample, instances=(unsure, second)))
    assert is_outdated(file_of([], maskset_shown=["x"]), SAMPLE)


def test_every_shape_written_covers_its_instance(make_sample):
    sample = make_sample()
    for instance, entry in zip(sample.instances, encode_file(sample, "a.png")["shapes"], strict=False):
        assert mask_to_rle(shape_pixels(entry, sample.image.size_hw)) == instance.mask
