"""YOLO segmentation: exact both ways, and what the tools that just fill polygons make of it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from dataset_tools.core.errors import ItemFault
from dataset_tools.core.labels import LABEL_IDS, Label
from dataset_tools.core.masks import rle_to_mask
from dataset_tools.core.record import Split
from dataset_tools.formats.contours import mask_to_polygons, polygon_to_mask
from dataset_tools.formats.job import ExportJob
from dataset_tools.formats.reading import ReadOptions
from dataset_tools.formats.yolo import read_yolo, write_yolo


@pytest.fixture
def trips(load_fake):
    return load_fake("trips")


@pytest.fixture
def job(chain):
    workspace, manifests = chain
    return ExportJob(manifests["split"], workspace.images, include_proposals=True)


def joined(mask: np.ndarray) -> np.ndarray:
    polygons = mask_to_polygons(mask)
    assert all(len(polygon) >= 3 for polygon in polygons)
    return np.any([polygon_to_mask(polygon, mask.shape) for polygon in polygons], axis=0)


@settings(max_examples=200, deadline=None)
@given(hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, max_side=24)), st.integers(1, 4))
def test_every_mask_comes_back_from_one_polygon_for_each_part(mask, scale):
    mask = np.kron(mask, np.ones((scale, 1))).astype(bool)
    if mask.any():
        np.testing.assert_array_equal(joined(mask), mask)
        parts = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)[0] - 1
        assert len(mask_to_polygons(mask)) == parts


def test_thin_lines_and_walls_of_a_pixel_are_no_cuts():
    mask = np.zeros((20, 30), dtype=bool)
    mask[3, 2:25] = True  # a line
    mask[5:18, 4] = True
    mask[8:15, 10:25] = True
    mask[9:14, 11:17] = mask[9:14, 18:24] = False  # two holes with a wall between them
    np.testing.assert_array_equal(joined(mask), mask)


def test_the_line_on_which_others_hang_a_second_part_is_not_drawn():
    # There and back, as ultralytics' `merge_multi_segment` joins the parts of a COCO object.
    one, other = [(2, 2), (2, 8), (8, 8), (8, 2)], [(20, 2), (20, 8), (26, 8), (26, 2)]
    points = np.array([*one, *other, other[0], one[3]], dtype=np.int32)
    mask = np.zeros((12, 30), dtype=bool)
    mask[2:9, 2:9] = mask[2:9, 20:27] = True
    np.testing.assert_array_equal(polygon_to_mask(points, mask.shape), mask)


def test_everything_comes_back(trips, job, tmp_path):
    folder = trips.write(write_yolo, job, tmp_path / "out")
    trips.assert_kept(job, trips.read_all(read_yolo, folder))
    trips.assert_kept(job, trips.read_all(read_yolo, folder / "data.yaml"))


@pytest.mark.parametrize("to_whole", [np.trunc, np.round])
def test_tools_that_fill_polygons_have_the_exact_pixels(trips, job, tmp_path, to_whole):
    # ultralytics' `polygons2masks` cuts to whole pixels, supervision rounds; both then call `cv2.fillPoly`.
    folder = trips.write(write_yolo, job, tmp_path / "out")
    description = yaml.safe_load((folder / "data.yaml").read_text())
    assert description["names"] == {number - 1: label.value for label, number in LABEL_IDS.items()}
    for sample in job.samples():
        assert (folder / description[sample.split.value]).is_dir()
        painted = {label.value: np.zeros(sample.image.size_hw, np.uint8) for label in LABEL_IDS}
        truth = {name: found.astype(bool) for name, found in painted.items()}
        for item in sample.instances:
            truth[item.label.value] |= rle_to_mask(item.mask)
        for line in (folder / "labels" / sample.split.value / f"{sample.id}.txt").read_text().splitlines():
            number, *words = line.split()
            assert all(0 <= float(word) <= 1 for word in words)
            points = np.array(words, dtype=np.float32).reshape(-1, 2) * sample.image.size_hw[::-1]
            cv2.fillPoly(painted[description["names"][int(number)]], [to_whole(points).astype(np.int32)], 1)
        for name, found in painted.items():
            np.testing.assert_array_equal(found.astype(bool), truth[name])


def test_without_our_notes_each_part_is_an_instance(trips, job, tmp_path):
    folder = trips.write(write_yolo, job, tmp_path / "out")
    (folder / "pictures.jsonl").unlink()
    said = trips.read_all(read_yolo, folder)
    (sample,) = (sample for sample in job.samples() if sample.provenance.source == "cats & more")
    items = said.instances(f"images/{sample.split.value}/{sample.id}.png")
    assert len(items) == 3  # the ring with its bar, and the other mask
    whole = np.any([rle_to_mask(item.mask) for item in items], axis=0)
    np.testing.assert_array_equal(
        whole, np.any([rle_to_mask(item.mask) for item in sample.instances], axis=0)
    )


def foreign(tmp_path, lines, images="images/val", labels="labels/val", names=("mask", "hat")):
    (tmp_path / images).mkdir(parents=True)
    (tmp_path / labels).mkdir(parents=True)
    Image.fromarray(np.zeros((80, 100, 3), np.uint8)).save(tmp_path / images / "a.png")
    (tmp_path / labels / "a.txt").write_text("\n".join(lines))
    (tmp_path / "data.yaml").write_text(yaml.safe_dump({"names": list(names)}))
    return tmp_path


OPTIONS = ReadOptions("published:them", "MIT", {"mask": Label.FACE_MASK, "hat": None})
SQUARE = "0.105 0.1 0.195 0.1 0.195 0.195 0.105 0.195"


@pytest.mark.parametrize(
    ("images", "labels"), [("images/val", "labels/val"), ("valid/images", "valid/labels")]
)
def test_both_usual_layouts_are_read(trips, tmp_path, images, labels):
    said = trips.read_all(read_yolo, foreign(tmp_path, [f"0 {SQUARE}"], images, labels), OPTIONS)
    (item,) = said.instances(f"{images}/a.png")
    assert item.mask.box_xyxy == (10, 8, 20, 16)
    assert (item.id, item.drawn_by) == ("face_mask0", "published:them")
    assert said.pictures[f"{images}/a.png"].annotation.split is Split.VAL


def test_every_bad_line_is_a_fault_with_its_number(trips, tmp_path):
    lines = [
        f"0 {SQUARE}",
        "0 0.5 0.5 0.2 0.2",
        f"9 {SQUARE}",
        f"mask {SQUARE}",
        "",
        "0 0.1 0.1 0.2 nan 0.3 0.3",
        "0 0.1 0.1 0.2 0.2 1.3 0.3",
        "0 0.1 0.1 0.2 0.2 0.3",
        "0 0.1 x 0.2 0.2 0.3 0.3",
        f"1 {SQUARE}",
    ]
    said = trips.read_all(read_yolo, foreign(tmp_path, lines), OPTIONS)
    assert len(said.labels["images/val/a.png"].instances) == 1
    assert said.faults("images/val/a.png") == [
        ("line 2", "schema"),
        ("line 3", "unknown_label"),
        ("line 4", "unknown_label"),
        ("line 6", "not_finite"),
        ("line 7", "out_of_bounds"),
        ("line 8", "schema"),
        ("line 9", "schema"),
    ]


def test_labels_without_a_picture_and_links_are_problems(trips, tmp_path):
    folder = foreign(tmp_path, [])
    (folder / "labels/val/gone.txt").write_text("")
    (folder / "images/val/link.png").symlink_to(folder / "images/val/a.png")
    said = trips.read_all(read_yolo, folder, OPTIONS)
    assert said.problems == [("images/val/link.png", "unsafe_path"), ("labels/val/gone.txt", "missing_image")]
    assert said.instances("images/val/a.png") == ()


def test_lines_lost_from_our_own_files_are_noticed(trips, job, tmp_path):
    folder = trips.write(write_yolo, job, tmp_path / "out")
    (sample,) = (sample for sample in job.samples() if len(sample.instances) == 3)
    path = folder / "labels" / sample.split.value / f"{sample.id}.txt"
    path.write_text(path.read_text().splitlines()[0])
    said = trips.read_all(read_yolo, folder)
    assert said.faults(f"images/{sample.split.value}/{sample.id}.png") == [("lines", "schema")]
    path.unlink()
    said = trips.read_all(read_yolo, folder)
    assert said.problems == [(f"images/{sample.split.value}/{sample.id}.png", "schema")]


@pytest.mark.parametrize("text", ["", "names: 3", "names: {0: a, 2: b}", "names: [1]", "[", "names: []"])
def test_a_dataset_without_class_names_is_a_fatal_problem(tmp_path, text):
    folder = foreign(tmp_path, [])
    (folder / "data.yaml").write_text(text)
    (problem,) = list(read_yolo(folder, OPTIONS))
    assert (problem.where, problem.fault.reason, problem.is_fatal) == ("data.yaml", "schema", True)


def test_an_outline_that_goes_to_and_fro_without_end_is_refused():
    points = np.tile(np.array([[0, 0], [7, 7]], dtype=np.int32), (1000, 1))
    with pytest.raises(ItemFault) as caught:
        polygon_to_mask(points, (8, 8))
    assert caught.value.reason == "out_of_bounds"
