"""Pascal VOC: palette pictures, boxes, lists, and XML that nobody has checked."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from PIL import Image

from dataset_tools.core.errors import ItemFault
from dataset_tools.core.labels import LABEL_COLOURS, LABEL_IDS, Label
from dataset_tools.core.masks import rle_to_mask
from dataset_tools.core.record import Split
from dataset_tools.formats.job import ExportJob, paint_index
from dataset_tools.formats.reading import ReadOptions
from dataset_tools.formats.safe_xml import parse_xml
from dataset_tools.formats.voc import read_voc, voc_colour, write_voc


@pytest.fixture
def trips(load_fake):
    return load_fake("trips")


@pytest.fixture
def job(chain):
    workspace, manifests = chain
    return ExportJob(manifests["split"], workspace.images, include_proposals=True)


def test_the_palette_is_the_published_one():
    # First entries and the void colour of the VOC devkit's colour map.
    assert [voc_colour(number) for number in (0, 1, 2, 3, 8, 15, 20, 255)] == [
        (0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0), (64, 0, 0), (192, 128, 128), (0, 64, 128),
        (224, 224, 192),
    ]  # fmt: skip


def test_all_but_what_is_covered_comes_back(trips, job, tmp_path):
    said = trips.read_all(read_voc, trips.write(write_voc, job, tmp_path / "out"))
    assert said.problems == []
    for sample in job.samples():
        found, labels = said.by_sample()[sample.id]
        assert (found.annotation.split, labels.faults) == (sample.split, ())
        assert labels.is_complete == sample.is_labelled
        index = paint_index(sample)
        for item, own in zip(labels.instances, sample.instances, strict=True):
            wanted = rle_to_mask(own.mask) & (index == LABEL_IDS[own.label])
            np.testing.assert_array_equal(rle_to_mask(item.mask), wanted)
            kept = ("id", "label", "drawn_by", "confidence", "face", "attributes")
            assert [getattr(item, name) for name in kept] == [getattr(own, name) for name in kept]


def test_boxes_count_from_one_with_both_ends_inside(trips, job, tmp_path):
    folder = trips.write(write_voc, job, tmp_path / "out")
    seen = 0
    for sample in job.samples():
        root = ElementTree.parse(folder / "Annotations" / f"{sample.id}.xml").getroot()
        size = root.find("size")
        assert (int(size.findtext("height")), int(size.findtext("width"))) == sample.image.size_hw
        assert (folder / "JPEGImages" / root.findtext("filename")).exists()
        with Image.open(folder / "SegmentationObject" / f"{sample.id}.png") as opened:
            assert opened.mode == "P"
            objects = np.asarray(opened)
        for number, found in enumerate(root.iter("object"), 1):
            rows, columns = np.nonzero(objects == number)
            box = [int(found.find("bndbox").findtext(name)) for name in ("xmin", "ymin", "xmax", "ymax")]
            assert box == [columns.min() + 1, rows.min() + 1, columns.max() + 1, rows.max() + 1]
            seen += 1
    assert seen == 9
    listed = {
        stem: path.stem
        for path in (folder / "ImageSets/Segmentation").glob("*.txt")
        for stem in path.read_text().split()
    }
    assert listed == {sample.id: sample.split.value for sample in job.samples()}


def test_torchvision_reads_class_numbers_as_they_are(trips, job, tmp_path):
    folder = trips.write(write_voc, job, tmp_path / "out")
    for sample in job.samples():
        with Image.open(folder / "SegmentationClass" / f"{sample.id}.png") as opened:
            np.testing.assert_array_equal(np.asarray(opened), paint_index(sample))
            palette = opened.getpalette()
        for label, number in LABEL_IDS.items():
            assert tuple(palette[3 * number : 3 * number + 3]) == LABEL_COLOURS[label]


def foreign(tmp_path, xml="", classes=None, objects=None, label_map="", **sets):
    for name in ("JPEGImages", "Annotations", "SegmentationClass", "SegmentationObject", "ImageSets/Main"):
        (tmp_path / name).mkdir(parents=True)
    Image.fromarray(np.zeros((80, 96, 3), np.uint8)).save(tmp_path / "JPEGImages/a.jpg")
    if xml:
        (tmp_path / "Annotations/a.xml").write_text(xml)
    for name, array in (("SegmentationClass", classes), ("SegmentationObject", objects)):
        if array is not None:
            Image.fromarray(array).save(tmp_path / name / "a.png")
    if label_map:
        (tmp_path / "labelmap.txt").write_text(label_map)
    for name, text in sets.items():
        (tmp_path / f"ImageSets/Main/{name}.txt").write_text(text)
    return tmp_path


def boxes(*names: str, size: str = "<size><width>96</width><height>80</height></size>") -> str:
    rows = "".join(f"<object><name>{name}</name><bndbox><xmin>1</xmin></bndbox></object>" for name in names)
    return f"<annotation><filename>a.jpg</filename>{size}{rows}</annotation>"


OPTIONS = ReadOptions("published:them", "MIT", {"mask": Label.FACE_MASK, "hat": None, "7": Label.FACE})


def numbers(*places: tuple[int, int]) -> np.ndarray:
    """(80, 96) uint8: number n in rows 10 n to 10 n + 5, void below."""
    picture = np.zeros((80, 96), np.uint8)
    for row, number in places:
        picture[row : row + 5, :10] = number
        picture[row + 5, :10] = 255
    return picture


def test_objects_are_named_by_class_picture_or_else_by_the_xml(trips, tmp_path):
    objects = numbers((10, 1), (30, 2))
    said = trips.read_all(read_voc, foreign(tmp_path / "x", boxes("mask", "hat"), objects=objects), OPTIONS)
    (item,) = said.instances("JPEGImages/a.jpg")
    assert (item.label, item.mask.box_xyxy) == (Label.FACE_MASK, (0, 10, 10, 15))
    folder = foreign(
        tmp_path / "c", "", numbers((10, 2), (30, 1)), objects, "# c\nbackground:::\nhat:::\nmask:1,2,3::\n"
    )
    (item,) = trips.read_all(read_voc, folder, OPTIONS).instances("JPEGImages/a.jpg")
    assert (item.label, item.mask.box_xyxy) == (Label.FACE_MASK, (0, 10, 10, 15))


def test_a_class_picture_alone_gives_one_instance_for_each_class(trips, tmp_path):
    said = trips.read_all(read_voc, foreign(tmp_path, "", numbers((10, 7), (30, 7), (50, 9))), OPTIONS)
    (item,) = said.labels["JPEGImages/a.jpg"].instances
    assert (item.label, item.mask.area_px) == (Label.FACE, 100)
    assert said.faults("JPEGImages/a.jpg") == [("object 9", "unknown_label")]


def test_colour_pictures_are_read_by_the_label_map(trips, tmp_path):
    rgb = np.zeros((80, 96, 3), np.uint8)
    rgb[10:15, :10] = (1, 0, 0)  # also the number of the first class
    rgb[15:20, :10] = (224, 224, 192)
    label_map = "background:0,0,0::\nhat:9,9,9::\nmask:1,0,0::\n"
    said = trips.read_all(read_voc, foreign(tmp_path, "", rgb, None, label_map), OPTIONS)
    (item,) = said.instances("JPEGImages/a.jpg")
    assert (item.label, item.mask.area_px) == (Label.FACE_MASK, 50)


def test_boxes_alone_are_reported_one_by_one(trips, tmp_path):
    said = trips.read_all(read_voc, foreign(tmp_path, boxes("mask", "hat"), val="a\n"), OPTIONS)
    assert said.faults("JPEGImages/a.jpg") == [("object 1 mask", "schema"), ("object 2 hat", "schema")]
    assert said.pictures["JPEGImages/a.jpg"].annotation.split is Split.VAL


ENTITY = '<!DOCTYPE a [<!ENTITY b "bbbbbbbbbb"><!ENTITY c "&b;&b;&b;">]><annotation>&c;</annotation>'
OUTSIDE = '<!DOCTYPE a SYSTEM "file:///etc/hostname"><annotation></annotation>'


@pytest.mark.parametrize("text", [ENTITY, OUTSIDE, "<a>" * 100, "<a>", "", "<a></b>", "\x00"])
def test_xml_with_entities_or_without_end_is_refused(trips, tmp_path, text):
    with pytest.raises(ItemFault) as caught:
        parse_xml(text.encode())
    assert caught.value.reason == "schema"
    folder = foreign(tmp_path, text or " ")
    assert trips.read_all(read_voc, folder, OPTIONS).problems == [("a.xml", "schema")]


def test_what_does_not_fit_is_reported_with_its_file(trips, tmp_path):
    xml = boxes("mask", size="<size><width>x</width><height>80</height></size>")
    folder = foreign(tmp_path, xml, train="a\nb 1\n", val="a\n", trainval="a\nb\n")
    (folder / "Annotations/c.xml").write_text(boxes("mask").replace("a.jpg", "../../c.jpg"))
    (folder / "ImageSets/Main/test.txt").symlink_to(folder / "ImageSets/Main/val.txt")
    assert trips.read_all(read_voc, folder, OPTIONS).problems == [
        ("test.txt", "unsafe_path"),
        ("val.txt:1", "duplicate_id"),
        ("a.xml", "schema"),
        ("b", "missing_image"),
        ("c.xml", "unsafe_path"),
    ]


@pytest.mark.parametrize(
    ("classes", "reason"),
    [(np.zeros((96, 80), np.uint8), "mask_size"), (np.zeros((80, 96), np.uint16), "format_not_allowed")],
)
def test_a_picture_of_numbers_that_does_not_fit_is_a_problem(trips, tmp_path, classes, reason):
    said = trips.read_all(read_voc, foreign(tmp_path, boxes(), classes), OPTIONS)
    assert said.problems == [("JPEGImages/a.jpg", reason)]


def test_an_empty_folder_is_a_fatal_problem(tmp_path):
    (problem,) = list(read_voc(tmp_path, OPTIONS))
    assert problem.is_fatal


def test_a_real_dataset_of_boxes_is_reported_box_by_box(trips, shared_data):
    names = {"with_mask": Label.FACE_MASK, "without_mask": None, "mask_weared_incorrect": Label.FACE_MASK}
    said = trips.read_all(
        read_voc, shared_data / "mask_boxes_voc", ReadOptions("published:b", "CC0-1.0", names)
    )
    assert (len(said.pictures), said.problems) == (75, [])
    assert sum(len(labels.faults) for labels in said.labels.values()) == 258 + 41 + 16
