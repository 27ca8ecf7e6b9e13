"""COCO panoptic: ids in colours, one segment per pixel, every error with its place."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from dataset_tools.core.labels import LABEL_IDS, Label
from dataset_tools.core.masks import rle_to_mask
from dataset_tools.formats.job import ExportJob
from dataset_tools.formats.panoptic import read_panoptic, write_panoptic
from dataset_tools.formats.reading import ReadOptions


@pytest.fixture
def trips(load_fake):
    return load_fake("trips")


@pytest.fixture
def job(chain):
    workspace, manifests = chain
    return ExportJob(manifests["split"], workspace.images, include_proposals=True)


def depth(label: Label) -> int:
    return (Label.FACE, Label.STRAP, Label.FACE_MASK, Label.OCCLUDER).index(label)


def visible(sample) -> dict[str, np.ndarray]:
    """Visible pixels of every instance, written out: what lies nearer takes them away."""
    found = {}
    for place, item in enumerate(sample.instances):
        mask = rle_to_mask(item.mask).copy()
        for other_place, other in enumerate(sample.instances):
            nearer = (depth(other.label), other_place) > (depth(item.label), place)
            if nearer:
                mask &= ~rle_to_mask(other.mask)
        found[item.id] = mask
    return found


def test_everything_but_what_is_covered_comes_back(trips, job, tmp_path):
    said = trips.read_all(read_panoptic, trips.write(write_panoptic, job, tmp_path / "out"))
    assert said.problems == []
    for sample in job.samples():
        found, labels = said.by_sample()[sample.id]
        assert found.annotation.split is sample.split
        assert labels.is_complete == sample.is_labelled
        assert (
            dict(trips.facts_of(sample)).items()
            <= {name: getattr(found.facts, name) for name in found.facts.__dataclass_fields__}.items()
        )
        wanted = visible(sample)
        assert [item.id for item in labels.instances] == [item.id for item in sample.instances]
        for item, own in zip(labels.instances, sample.instances, strict=True):
            np.testing.assert_array_equal(rle_to_mask(item.mask), wanted[item.id])
            assert (item.label, item.drawn_by, item.attributes) == (own.label, own.drawn_by, own.attributes)
            assert (item.confidence, item.face) == (own.confidence, own.face)


def test_colours_are_ids_as_panopticapi_decodes_them(trips, job, tmp_path):
    folder = trips.write(write_panoptic, job, tmp_path / "out")
    samples = {sample.id: sample for sample in job.samples()}
    seen = 0
    for path in (folder / "annotations").glob("*.json"):
        content = json.loads(path.read_text())
        assert all(entry["isthing"] == 1 and len(entry["color"]) == 3 for entry in content["categories"])
        images = {entry["id"]: entry for entry in content["images"]}
        for row in content["annotations"]:
            with Image.open(path.with_suffix("") / row["file_name"]) as opened:
                rgb = np.asarray(opened).astype(int)
            ids = rgb[:, :, 0] + 256 * rgb[:, :, 1] + 256 * 256 * rgb[:, :, 2]
            sample = samples[images[row["image_id"]]["sample_id"]]
            for segment in row["segments_info"]:
                (own,) = (item for item in sample.instances if item.id == segment["object_id"])
                mask = ids == segment["id"]
                np.testing.assert_array_equal(mask, visible(sample)[own.id])
                rows, columns = np.nonzero(mask)
                x, y, width, height = segment["bbox"]
                assert (x, y, x + width, y + height) == (
                    columns.min(), rows.min(), columns.max() + 1, rows.max() + 1,
                )  # fmt: skip
                assert segment["area"] == mask.sum()
                assert segment["category_id"] == LABEL_IDS[own.label]
                seen += 1
            assert set(np.unique(ids)) - {0} == {segment["id"] for segment in row["segments_info"]}
    assert seen == sum(len(sample.instances) for sample in samples.values())


def foreign(tmp_path, **tables):
    (tmp_path / "val2017").mkdir()
    Image.fromarray(np.zeros((80, 96, 3), np.uint8)).save(tmp_path / "val2017" / "a.png")
    ids = np.zeros((80, 96, 3), np.uint8)
    ids[10:20, 10:20] = (1, 2, 3)
    ids[30:40, 30:35, 0] = 5
    ids[50:60, 30:35, 0] = 9
    pngs = tmp_path / "annotations" / "panoptic_val2017"
    pngs.mkdir(parents=True)
    Image.fromarray(ids).save(pngs / "a.png")
    content = {
        "images": [{"id": 1, "file_name": "a.png", "width": 96, "height": 80}],
        "annotations": [],
        "categories": [{"id": 0, "name": "mask", "isthing": 1}, {"id": 8, "name": "wall", "isthing": 0}],
        **tables,
    }
    pngs.with_suffix(".json").write_text(json.dumps(content))
    return tmp_path


OPTIONS = ReadOptions("published:them", "MIT", {"mask": Label.FACE_MASK, "wall": None})


def test_stuff_may_be_left_out_and_wrong_segments_are_faults(trips, tmp_path):
    segments = [
        {"id": 1 + 256 * 2 + 65536 * 3, "category_id": 0},
        {"id": 5, "category_id": 8},
        {"id": 77, "category_id": 0},
        {"id": 77, "category_id": 0},
        {"id": 0, "category_id": 0},
        {"id": 78, "category_id": 4},
    ]
    row = {"image_id": 1, "file_name": "a.png", "segments_info": segments}
    stray = {"image_id": 3, "file_name": "a.png", "segments_info": []}
    said = trips.read_all(read_panoptic, foreign(tmp_path, annotations=[row, row, stray, 7]), OPTIONS)
    (item,) = said.labels["val2017/a.png"].instances
    assert (item.mask.area_px, item.mask.box_xyxy, item.drawn_by) == (100, (10, 10, 20, 20), "published:them")
    assert said.faults("val2017/a.png") == [
        ("segment 77", "duplicate_id"),
        ("segments_info[4]", "schema"),
        ("segment 78", "unknown_label"),
        ("segment 77", "no_area"),
        ("segment 9", "dangling_reference"),
    ]
    assert said.problems == [
        ("panoptic_val2017.json: annotations[1]", "duplicate_id"),
        ("panoptic_val2017.json: annotations[3]", "schema"),
        ("panoptic_val2017.json: annotations[2]", "dangling_reference"),
    ]


@pytest.mark.parametrize(
    ("name", "reason"),
    [("../../val2017/a.png", "unsafe_path"), ("gone.png", "missing_image"), ("a.jpg", "format_not_allowed")],
)
def test_a_picture_of_ids_that_is_none_is_a_problem_of_that_picture(trips, tmp_path, name, reason):
    row = {"image_id": 1, "file_name": name, "segments_info": []}
    folder = foreign(tmp_path, annotations=[row])
    Image.fromarray(np.zeros((80, 96, 3), np.uint8)).save(folder / "annotations/panoptic_val2017/a.jpg")
    said = trips.read_all(read_panoptic, folder, OPTIONS)
    assert [found for _, found in said.problems] == [reason]


def test_a_picture_of_ids_of_another_size_is_refused(trips, tmp_path):
    folder = foreign(tmp_path, annotations=[{"image_id": 1, "file_name": "b.png", "segments_info": []}])
    Image.fromarray(np.zeros((96, 80, 3), np.uint8)).save(folder / "annotations/panoptic_val2017/b.png")
    assert trips.read_all(read_panoptic, folder, OPTIONS).problems == [("val2017/a.png", "mask_size")]


def test_a_folder_without_panoptic_files_is_a_fatal_problem(tmp_path):
    (problem,) = list(read_panoptic(tmp_path, OPTIONS))
    assert problem.is_fatal
