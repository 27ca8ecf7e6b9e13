"""COCO export: read by pycocotools, scored perfectly by COCOeval, masks exact."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra import numpy as hnp
from PIL import Image

from dataset_tools.core.errors import ItemFault
from dataset_tools.core.labels import Label, Wearing
from dataset_tools.core.masks import mask_to_rle, rle_to_mask
from dataset_tools.core.record import Face
from dataset_tools.core.segmentation import coco_to_rle, rle_to_coco
from dataset_tools.formats.coco import read_coco, write_coco
from dataset_tools.formats.coco_keypoints import KEYPOINTS, covered_pixels, face_keypoints
from dataset_tools.formats.job import ExportJob
from dataset_tools.formats.reading import ReadOptions

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
                truth = rle_to_mask(instances[annotation["object_id"]].mask)
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


@pytest.fixture
def trips(load_fake):
    return load_fake("trips")


@pytest.fixture
def job(chain):
    workspace, manifests = chain
    return ExportJob(manifests["split"], workspace.images, include_proposals=True)


def test_what_is_read_back_is_what_was_written(trips, job, tmp_path):
    folder = trips.write(write_coco, job, tmp_path / "coco")
    said = trips.read_all(read_coco, folder)
    trips.assert_kept(job, said)
    for sample in job.samples():
        _, labels = said.by_sample()[sample.id]
        assert labels.instances == sample.instances
        assert labels.is_complete == sample.is_labelled


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


def face_at(x: float, y: float, *, yaw: float = 0.0) -> Face:
    """A face whose landmarks all lie at x, y but for its ears, 20 px to both sides."""
    points = np.tile([x, y, 0.0], (478, 1))
    points[454, 0] += 20
    points[234, 0] -= 20
    return Face(
        (x - 25, y - 25, x + 25, y + 25), 0.9, Wearing.MASKED, "t@1", tuple(points.ravel()), (yaw, 0, 0)
    )


def flags(face: Face, covered) -> dict[str, int]:
    return dict(zip(KEYPOINTS, face_keypoints(face, covered)[2::3], strict=True))


def test_a_keypoint_is_visible_hidden_or_outside_the_picture(labelled):
    size = (80, 60)
    mask = np.zeros(size, dtype=bool)
    mask[30:50, 5:15] = True
    covered = covered_pixels([labelled.instance("m", Label.FACE_MASK, mask)], size)
    assert set(flags(face_at(30, 40), covered).values()) == {1, 2}
    assert flags(face_at(30, 40), covered)["right_ear"] == 1  # under the mask at x = 10
    assert flags(face_at(30, 40), covered)["left_ear"] == 2
    assert flags(face_at(50, 40), covered)["left_ear"] == 0  # x = 70 of 60
    assert flags(face_at(35, 70, yaw=40), covered) == {**dict.fromkeys(KEYPOINTS, 2), "left_ear": 1}
    assert flags(face_at(35, 70, yaw=-40), covered) == {**dict.fromkeys(KEYPOINTS, 2), "right_ear": 1}


def with_landmarks(job, labelled, tmp_path):
    """The same job, its masked faces with landmarks."""
    workspace = labelled.Workspace(tmp_path / "again")
    samples = []
    for sample in job.samples():
        faces = tuple(dataclasses.replace(face_at(85, 70), box_xyxy=face.box_xyxy) for face in sample.faces)
        workspace.images._write(workspace.images.path(sample.image), job.images.read_bytes(sample.image))
        samples.append(
            dataclasses.replace(
                sample, faces=faces, split=labelled.Sample.__dataclass_fields__["split"].default
            )
        )
    return ExportJob(
        labelled.write_split(workspace, labelled.write_crawl(workspace, samples)), workspace.images
    )


def test_keypoints_are_scored_perfectly_by_cocoeval(trips, job, labelled, tmp_path):
    from pycocotools.cocoeval import COCOeval

    samples = {sample.id: sample for sample in job.samples()}
    folder = trips.write(write_coco, with_landmarks(job, labelled, tmp_path), tmp_path / "coco")
    (path,) = (folder / "annotations").glob("person_keypoints_*.json")
    coco = quiet_coco(path)
    (category,) = coco.dataset["categories"]
    assert category["keypoints"] == list(KEYPOINTS)
    assert all(1 <= end <= len(KEYPOINTS) for pair in category["skeleton"] for end in pair)
    rows = coco.dataset["annotations"]
    assert len(rows) == 2
    for row in rows:
        assert row["num_keypoints"] == len(row["keypoints"]) / 3 == 8
        own = samples[coco.imgs[row["image_id"]]["sample_id"]].instances
        pixels = np.any([rle_to_mask(item.mask) for item in own if item.face == 0], axis=0)
        assert row["area"] == pixels.sum()
        np.testing.assert_array_equal(rle_to_mask(coco_to_rle(row["segmentation"])), pixels)
    results = [{key: row[key] for key in ("image_id", "category_id", "keypoints", "score")} for row in rows]
    with contextlib.redirect_stdout(io.StringIO()):
        scored = COCOeval(coco, coco.loadRes(results), "keypoints")
        scored.params.kpt_oks_sigmas = np.full(len(KEYPOINTS), 0.05)
        scored.evaluate()
        scored.accumulate()
        scored.summarize()
    assert scored.stats[0] == pytest.approx(1.0)


def test_keypoint_files_are_passed_over_where_there_are_instances(trips, job, labelled, tmp_path):
    folder = trips.write(write_coco, with_landmarks(job, labelled, tmp_path), tmp_path / "coco")
    assert list((folder / "annotations").glob("person_keypoints_*"))
    said = trips.read_all(read_coco, folder)
    assert (len(said.pictures), said.problems) == (5, [])


def foreign(
    tmp_path, labelled, names=("a.png",), place="images", file="annotations/instances_val2017.json", **tables
):
    """A COCO dataset of somebody else; gives its root."""
    for name in names:
        (tmp_path / place).mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((80, 96, 3), np.uint8)).save(tmp_path / place / name)
    content = {
        "images": [{"id": 7, "file_name": "a.png", "width": 96, "height": 80}],
        "annotations": [],
        "categories": [{"id": 0, "name": "mask"}, {"id": 3, "name": "face"}],
        **tables,
    }
    path = tmp_path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return tmp_path


def square(number, **more):
    return {
        "id": number, "image_id": 7, "category_id": 0, "iscrowd": 0, "area": 200, "bbox": [10, 10, 10, 20],
        "segmentation": [[10, 10, 20, 10, 20, 30, 10, 30]], **more,
    }  # fmt: skip


MAPPED = ReadOptions("published:them", "CC-BY-4.0", {"mask": Label.FACE_MASK})


@pytest.mark.parametrize(
    ("place", "file", "split"),
    [
        ("images", "annotations/instances_val2017.json", "val"),
        ("images/val2017", "annotations/instances_val2017.json", "val"),
        ("val2017", "annotations/instances_val2017.json", "val"),
        ("valid", "valid/_annotations.coco.json", "val"),
        (".", "labels.json", "unassigned"),
    ],
)
def test_datasets_of_other_tools_are_read_where_they_keep_things(
    trips, labelled, tmp_path, place, file, split
):
    root = foreign(
        tmp_path, labelled, place=place, file=file, annotations=[square(1), square(2, category_id=3)]
    )
    said = trips.read_all(read_coco, root, MAPPED)
    ((key, found),) = said.pictures.items()
    assert (found.annotation.split.value, said.problems) == (split, [])
    first, second = said.instances(key)
    assert (first.id, first.label, first.drawn_by) == ("a1", Label.FACE_MASK, "published:them")
    assert (second.label, first.mask.area_px) == (Label.FACE, 200)
    assert found.facts.licence == "CC-BY-4.0"
    assert trips.read_all(read_coco, root / file, MAPPED).problems == []


def test_everything_wrong_with_a_file_is_reported_at_once_with_its_place(trips, labelled, tmp_path):
    images = [
        {"id": 7, "file_name": "a.png", "width": 96, "height": 80},
        {"id": 7, "file_name": "b.png"},
        {"id": 8, "file_name": "a.png"},
        {"id": 9, "file_name": "../../secret.png"},
        {"id": 10, "file_name": "gone.png"},
        {"id": 11, "file_name": "b.png", "width": 97, "height": 80},
        {"id": 12, "file_name": "c.png", "height": "80"},
        {"id": 13, "file_name": "n" * 5000},
        {"id": 14, "file_name": "\ud800\0.png"},
    ]
    rle = {"size": [80, 96], "counts": [5, 5]}
    rows = [
        square(1, area=-5),
        square(2, bbox=[1, 2, -3, 4]),
        square(3, area=float("nan"), bbox=[1, 2, float("inf"), 10**400]),
        square(4, segmentation=rle),
        square(4),
        square(5, category_id=1),
        square(6, image_id=99),
        square(7, confidence=float("nan")),
        square(8, drawn_by="nobody"),
        square(9, segmentation=[]),
    ]
    root = foreign(tmp_path, labelled, ("a.png", "b.png", "c.png"), images=images, annotations=rows)
    said = trips.read_all(read_coco, root, MAPPED)
    assert [item.id for item in said.labels["images/a.png"].instances] == ["a1", "a2", "a3"]
    assert said.faults("images/a.png") == [
        ("a4", "rle_sum"),
        ("annotations[4]", "duplicate_id"),
        ("annotations[5]", "unknown_label"),
        ("a7", "not_finite"),
        ("a8", "schema"),
        ("a9", "schema"),
    ]
    file = "instances_val2017.json: "
    assert said.problems == [
        (f"{file}images[1]", "duplicate_id"),
        (f"{file}images[2]", "duplicate_id"),
        (f"{file}images[3]", "unsafe_path"),
        (f"{file}images[4]", "missing_image"),
        ("images/b.png", "size_mismatch"),
        (f"{file}images[6]", "schema"),
        (f"{file}images[7]", "missing_image"),
        (f"{file}images[8]", "unsafe_path"),
        (f"{file}annotations[0]", "out_of_bounds"),
        (f"{file}annotations[1]", "out_of_bounds"),
        (f"{file}annotations[2]", "out_of_bounds"),
        (f"{file}annotations[2]", "out_of_bounds"),
        (f"{file}annotations[6]", "dangling_reference"),
    ]


def test_a_link_out_of_the_dataset_is_not_read(trips, labelled, tmp_path):
    root = foreign(tmp_path / "set", labelled, ())
    (root / "images").mkdir()
    Image.fromarray(np.zeros((80, 96, 3), np.uint8)).save(tmp_path / "secret.png")
    (root / "images" / "a.png").symlink_to(tmp_path / "secret.png")
    (found,) = list(read_coco(root, MAPPED))
    with pytest.raises(ItemFault) as caught:
        found.content.read(1 << 20)
    assert caught.value.reason == "unsafe_path"


def test_a_file_that_is_no_coco_file_is_a_fatal_problem(tmp_path):
    path = tmp_path / "broken.json"
    path.write_text('{"images": [{}]}')
    for place in (path, tmp_path):
        (problem,) = list(read_coco(place, MAPPED))
        assert (problem.where, problem.fault.reason, problem.is_fatal) == ("broken.json", "schema", True)
    path.unlink()
    (problem,) = list(read_coco(tmp_path, MAPPED))
    assert problem.is_fatal
