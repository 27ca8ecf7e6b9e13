"""Label Studio tasks: brush regions bit for bit, also through its own decoder; foreign and hostile files."""

from __future__ import annotations

import io
import json
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from annotation.label_studio.brush import encode_brush
from dataset_tools.core.labels import Label
from dataset_tools.core.masks import rle_to_mask
from dataset_tools.core.record import Split
from dataset_tools.formats.json_lists import JsonListWriter, read_json_list
from dataset_tools.formats.label_studio import read_label_studio, write_label_studio
from dataset_tools.formats.reading import ReadOptions


def photo(value: int = 90) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (80, 70), (value, 120, 60)).save(buffer, "PNG")
    return buffer.getvalue()


MASK = np.zeros((70, 80), bool)
MASK[10:30, 10:40] = True
MASK[15:20, 15:20] = False


def region(label: str = "face_mask", mask: np.ndarray = MASK, **more) -> dict:
    return {
        "id": "r1", "type": "brushlabels", "from_name": "tag", "to_name": "photo",
        "original_width": 80, "original_height": 70, "image_rotation": 0,
        "value": {"format": "rle", "rle": encode_brush(mask), "brushlabels": [label]},
    } | more  # fmt: skip


def task(name: str, *annotations: list, **more) -> dict:
    made = [{"result": results, "was_cancelled": False} for results in annotations]
    return {"data": {"image": name}, "annotations": made, "predictions": []} | more


def dataset(root, tasks: list, pictures: tuple[str, ...] = ("a.png",), name: str = "tasks.json"):
    root.mkdir(exist_ok=True)
    for number, picture in enumerate(pictures):
        (root / picture).parent.mkdir(exist_ok=True)
        (root / picture).write_bytes(photo(number))
    (root / name).write_text(json.dumps(tasks))
    return root


def test_everything_that_is_known_comes_back(trips, job, tmp_path):
    folder = trips.write(write_label_studio, job, tmp_path / "out")
    trips.assert_kept(job, trips.read_all(read_label_studio, folder))


def test_the_sdks_own_decoder_finds_every_pixel_and_hole(job, trips, tmp_path):
    from label_studio_sdk.converter.brush import decode_rle

    folder = trips.write(write_label_studio, job, tmp_path / "out")
    tasks = [one for path in folder.glob("*.json") for one in json.loads(path.read_text())]
    samples = {sample.id: sample for sample in job.samples()}
    seen = 0
    for one in tasks:
        sample = samples[one["data"]["sample_id"]]
        results = [part for made in one["annotations"] + one["predictions"] for part in made["result"]]
        brushes = [part for part in results if part["type"] == "brushlabels"]
        for part, item in zip(brushes, sample.instances, strict=True):
            alpha = decode_rle(part["value"]["rle"]).reshape(*sample.image.size_hw, 4)[..., 3]
            np.testing.assert_array_equal(alpha == 255, rle_to_mask(item.mask))
            seen += 1
    assert seen == sum(len(sample.instances) for sample in samples.values()) == 9


def test_the_sdks_converter_turns_the_tasks_into_the_same_masks(job, trips, tmp_path):
    from label_studio_sdk.converter import Converter
    from label_studio_sdk.converter.brush import decode_from_annotation

    folder = trips.write(write_label_studio, job, tmp_path / "out")
    tasks = [one for path in sorted(folder.glob("*.json")) for one in json.loads(path.read_text())]
    tasks = [one | {"id": number} for number, one in enumerate(tasks)]  # as a server would number them
    (tmp_path / "all.json").write_text(json.dumps(tasks))
    converter = Converter((folder / "labelling_config.xml").read_text(), str(folder))
    samples = {sample.id: sample for sample in job.samples()}
    seen = 0
    for found in converter.iter_from_json_file(str(tmp_path / "all.json")):
        sample = samples[found["input"]["sample_id"]]
        layers = decode_from_annotation("brush", found["output"].get("brush", []))
        masks = [rle_to_mask(item.mask) for item in sample.instances if not item.is_proposal]
        assert len(layers) == len(masks)
        for mask, layer in zip(masks, layers.values(), strict=True):
            np.testing.assert_array_equal(layer > 0, mask)
            seen += 1
    assert seen == 8


def test_a_region_that_somebody_repainted_does_not_pass_for_the_old_one(job, trips, tmp_path):
    folder = trips.write(write_label_studio, job, tmp_path / "out")
    sample = next(one for one in job.samples() if one.provenance.item_key == "astronaut")
    path = folder / f"{sample.split.value}.json"
    tasks = json.loads(path.read_text())
    (mine,) = (one for one in tasks if one["data"]["sample_id"] == sample.id)
    brush, *choices = (part for part in mine["annotations"][0]["result"] if part["id"] == "instance-mask")
    smaller = rle_to_mask(sample.instances[0].mask).copy()
    smaller[:90] = False
    brush["value"]["rle"] = encode_brush(smaller)
    next(part for part in choices if part["from_name"] == "mask_type")["value"]["choices"] = ["kn95"]
    path.write_text(json.dumps(tasks))
    labels = trips.read_all(read_label_studio, folder).by_sample()[sample.id][1]
    old, other = labels.instances
    assert (old.id, old.drawn_by, old.face) == ("mask", "published:test", 0)
    assert old.attributes == (("mask_type", "kn95"), ("wearing_state", "correct"))
    np.testing.assert_array_equal(rle_to_mask(old.mask), smaller)
    assert other == sample.instances[1]  # untouched


def test_of_several_annotations_the_one_marked_as_truth_counts(trips, tmp_path):
    two = task("a.png", [region()], [region("face")])
    marked = json.loads(json.dumps(two)) | {"data": {"image": "b.png"}}
    marked["annotations"][1]["ground_truth"] = True
    cancelled = json.loads(json.dumps(two)) | {"data": {"image": "c.png"}}
    cancelled["annotations"][0]["was_cancelled"] = True
    root = dataset(tmp_path / "w", [two, marked, cancelled], ("a.png", "b.png", "c.png"), "val.json")
    said = trips.read_all(read_label_studio, root)
    assert said.problems == [("val.json: task 0", "schema")]
    assert [said.instances(key)[0].label for key in ("b.png", "c.png")] == [Label.FACE, Label.FACE]
    assert said.pictures["b.png"].annotation.split is Split.VAL


def test_a_task_with_nothing_but_a_prediction_has_proposals(trips, tmp_path):
    prediction = {"result": [region(score=0.5)], "model_version": "sam@2"}
    tasks = [task("a.png", predictions=[prediction]), task("b.png"), task("c.png", predictions=[17])]
    root = dataset(tmp_path / "w", tasks, ("a.png", "b.png", "c.png"))
    said = trips.read_all(read_label_studio, root)
    (item,) = said.instances("a.png")
    assert (item.drawn_by, item.confidence) == ("model:sam@2", 0.5)
    assert not said.labels["a.png"].is_complete and said.labels["b.png"] is None
    assert said.labels["c.png"] is None  # a server exports the numbers of predictions, not their results


def test_a_foreign_project_is_read_by_the_classes_that_are_mapped(trips, tmp_path):
    polygon = region("Maske", id="p", type="polygonlabels")
    polygon["value"] = {"points": [[0, 0], [50, 0], [50, 50], [0, 50]], "polygonlabels": ["Maske"]}
    tag = {"id": "b", "type": "labels", "value": {"labels": ["Hand"]}}
    bare = region(id="b", type="brush")
    del bare["value"]["brushlabels"]
    box = {"id": "x", "type": "rectanglelabels", "value": {"rectanglelabels": ["Auto"], "x": 1}}
    wish = {"id": "t", "type": "textarea", "value": {"text": ["hm"]}}
    names = ("/data/upload/3/a%20b.png", "/data/local-files/?d=pictures/c.png")
    tasks = [task(name, [polygon, tag, bare, box, wish]) for name in names]
    root = dataset(tmp_path / "w", tasks, ("images/a b.png", "pictures/c.png"))
    options = ReadOptions(
        "published:w", "MIT", {"Maske": Label.FACE_MASK, "Hand": Label.OCCLUDER, "Auto": None}
    )
    said = trips.read_all(read_label_studio, root, options)
    assert said.problems == [] and set(said.pictures) == {"images/a b.png", "pictures/c.png"}
    for key in said.pictures:
        mask, hand = said.instances(key)
        assert (mask.label, mask.mask.box_xyxy, mask.mask.area_px) == (Label.FACE_MASK, (0, 0, 40, 35), 1400)
        np.testing.assert_array_equal(rle_to_mask(hand.mask), MASK)
        assert (hand.label, hand.drawn_by) == (Label.OCCLUDER, "published:w")


def test_all_that_is_wrong_is_said_with_its_place_and_the_rest_is_read(trips, tmp_path):
    (tmp_path / "canary.png").write_bytes(photo(3))
    short = region(id="short")
    short["value"] = {**short["value"], "rle": short["value"]["rle"][:20]}
    big = region(id="big", original_width=8_000_000)
    box = {**region(id="box", type="rectanglelabels"), "value": {"rectanglelabels": ["face"], "x": 1}}
    choice = {"id": "ok", "type": "choices", "from_name": "mask_type", "value": {"choices": ["hat"]}}
    bad = [region(), region(), region("hat", id="hat"), short, big, box, region(id="ok"), choice, 7]
    tasks = [
        task("a.png", [region()]),
        task("b.png", bad),
        task("../canary.png", [region()]),
        task(f"/data/local-files/?d={tmp_path}/canary.png", [region()]),
        task("https://example.org/a.png", [region()]),
        task("data:image/png;base64,AAAA", [region()]),
        task("missing.png", [region()]),
        task("a.png", [region()]),
        {"annotations": []},
        "text",
        task("c.png", "results"),
    ]
    root = dataset(tmp_path / "w", tasks, ("a.png", "b.png", "c.png"))
    (root / "torn.json").write_text(json.dumps(tasks)[:2000])
    (root / "object.json").write_text("{}")
    (root / "link.json").symlink_to(root / "tasks.json")
    said = trips.read_all(read_label_studio, root)
    assert said.problems == [
        ("link.json", "unsafe_path"),
        ("object.json", "schema"),
        ("tasks.json: task 2", "unsafe_path"),
        ("tasks.json: task 3", "unsafe_path"),
        ("tasks.json: task 4", "missing_image"),
        ("tasks.json: task 5", "missing_image"),
        ("tasks.json: task 6", "missing_image"),
        ("tasks.json: task 7", "duplicate_id"),
        ("tasks.json: task 8", "schema"),
        ("tasks.json: task 9", "schema"),
        ("c.png", "schema"),
        ("torn.json: task 0", "duplicate_id"),
        ("torn.json: task 1", "json"),
    ]
    assert len(said.instances("a.png")) == 1
    assert said.faults("b.png") == [
        ("result[1] r1", "duplicate_id"),
        ("result[2] hat", "unknown_label"),
        ("result[3] short", "rle_sum"),
        ("result[4] big", "size_mismatch"),
        ("result[5] box", "no_area"),
        ("result[6] ok", "unknown_label"),
        ("result[8]", "schema"),
    ]


def test_a_long_list_is_read_entry_by_entry(tmp_path):
    with JsonListWriter(tmp_path / "long.json") as entries:
        for number in range(3_000):
            entries.add({"number": number, "text": "]},[{" * 1_000})
    assert (tmp_path / "long.json").stat().st_size > 14_000_000
    tracemalloc.start()
    for number, entry in enumerate(read_json_list(tmp_path / "long.json")):
        assert entry["number"] == number
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert number == 2_999 and peak < 14_000_000


@pytest.mark.parametrize(
    ("text", "entries", "reason"),
    [
        ("", 0, "schema"),
        ("[", 0, "json"),
        ("[]", 0, ""),
        (" [ ] ", 0, ""),
        ('[{"a":1}', 1, "json"),
        ('[{"a":1},]', 1, "json"),
        ('[{"a":1};{}]', 1, "json"),
        ('\ufeff[{"a":1}, {"b":2}]', 2, ""),
        ("[" * 100_000, 0, "json"),
    ],
)
def test_a_list_that_is_none_is_said_to_be_so(tmp_path, text, entries, reason):
    (tmp_path / "list.json").write_text(text)
    found, fault = [], ""
    try:
        for entry in read_json_list(tmp_path / "list.json"):
            found.append(entry)
    except Exception as error:
        fault = error.reason.value
    assert (len(found), fault) == (entries, reason)
