"""COCO instance segmentation, out and in, exact.

    images/<id>.jpg|png
    annotations/instances_<split>.json          one annotation per instance
    annotations/person_keypoints_<split>.json   one annotation per face, see `coco_keypoints`

Every instance is one annotation with an exact compressed RLE and `iscrowd` 0, also when it has holes or
several parts. Area and box are computed from the mask. Licence and provenance stand in each image's entry.
Read are folders like this one, those of other tools (pictures below `images`, `<split>`, beside the JSON
file; `<split>/_annotations.coco.json`), and single JSON files.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from dataset_tools.core.errors import ItemFault
from dataset_tools.core.labels import LABEL_IDS, Label
from dataset_tools.core.masks import mask_to_rle
from dataset_tools.core.progress import Progress
from dataset_tools.core.published import Fault
from dataset_tools.core.reasons import Reason
from dataset_tools.core.record import Instance, Sample, Split
from dataset_tools.core.segmentation import rle_to_coco
from dataset_tools.core.text import storable
from dataset_tools.formats.coco_keypoints import covered_pixels, face_annotation, keypoint_category
from dataset_tools.formats.coco_tables import CocoPicture, read_pictures
from dataset_tools.formats.entries import licence_url, picture_facts, read_facts
from dataset_tools.formats.job import About, ExportJob, file_name, place_picture
from dataset_tools.formats.places import PictureFolder, split_from_name
from dataset_tools.formats.reading import FileContent, FoundPicture, Problem, ReadOptions

_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode

_SUPERCATEGORIES = {Label.FACE: "person", Label.OCCLUDER: "object"}  # masks and straps are worn
_KEYPOINT_CATEGORY = 1
_AT_A_TIME = 32  # pictures
_OTHER_TASKS = ("person_keypoints_", "captions_", "panoptic_", "image_info_", "labels_", "stuff_")


def coco_categories() -> list[dict[str, Any]]:
    """The category table: label ids, names, and what kind of thing each is."""
    return [
        {"id": number, "name": label.value, "supercategory": _SUPERCATEGORIES.get(label, "accessory")}
        for label, number in LABEL_IDS.items()
    ]


def coco_info(about: About) -> dict[str, str]:
    """The `info` object; no clock is read, so the date is the one that the dataset states."""
    info = {"description": about.name, "version": about.version, "contributor": about.contact, "url": ""}
    if about.date:
        info |= {"date_created": about.date, "year": about.date[:4]}
    return info


class TableFile:
    """A COCO file written row by row, so that a large dataset never stands in memory.

    Args:
        stack: closes the files.
        path: of the JSON file.
    """

    def __init__(self, stack: ExitStack, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._stream = stack.enter_context(path.open("w", encoding="utf-8"))
        self._images = stack.enter_context(tempfile.TemporaryFile("w+", encoding="utf-8"))  # noqa: SIM115 - the stack closes it
        self._stream.write('{"annotations":[\n')
        self._has_image = self._has_annotation = False

    def add_image(self, entry: dict[str, Any]) -> None:
        """Write an entry of `images`."""
        self._images.write(f"{',' if self._has_image else ''}{_encode(entry)}\n")
        self._has_image = True

    def add_annotation(self, entry: dict[str, Any]) -> None:
        """Write an entry of `annotations`."""
        self._stream.write(f"{',' if self._has_annotation else ''}{_encode(entry)}\n")
        self._has_annotation = True

    def finish(self, **tables: Any) -> None:
        """Write the images and the other tables, and close the JSON object."""
        self._stream.write('],"images":[\n')
        self._images.seek(0)
        shutil.copyfileobj(self._images, self._stream)
        self._stream.write("]," + _encode(tables)[1:] + "\n")


@dataclass
class _Numbers:
    """Ids so far; they count through all splits, so that files can be joined."""

    images: int = 0
    annotations: int = 0
    faces: int = 0
    licences: dict[str, int] = field(default_factory=dict)

    def licence(self, name: str) -> int:
        return self.licences.setdefault(name, len(self.licences) + 1)


def write_coco(job: ExportJob, folder: Path, progress: Progress) -> None:
    """Write every split that has samples."""
    numbers = _Numbers()
    instances: dict[Split, TableFile] = {}
    keypoints: dict[Split, TableFile] = {}
    with ExitStack() as stack:
        for sample in job.samples():
            place_picture(job.images, sample.image, folder / "images" / file_name(sample))
            numbers.images += 1
            entry = {"id": numbers.images, **image_entry(sample, numbers.licence(sample.provenance.licence))}
            _table(stack, folder, "instances", sample.split, instances).add_image(entry)
            for item in sample.instances:
                if not item.mask.is_empty:  # COCO has no object without pixels; the picture stays
                    numbers.annotations += 1
                    row = {"id": numbers.annotations, "image_id": numbers.images, **_annotation(item)}
                    instances[sample.split].add_annotation(row)
            if any(face.landmarks_xyz for face in sample.faces):
                table = _table(stack, folder, "person_keypoints", sample.split, keypoints)
                table.add_image(entry)
                _add_faces(sample, table, numbers)
            progress.advance()
        info = coco_info(job.about)
        licences = [
            {"id": number, "name": name, "url": licence_url(name)}
            for name, number in numbers.licences.items()
        ]
        for table in instances.values():
            table.finish(categories=coco_categories(), info=info, licenses=licences)
        for table in keypoints.values():
            categories = [keypoint_category(_KEYPOINT_CATEGORY)]
            table.finish(categories=categories, info=info, licenses=licences)


def _table(
    stack: ExitStack, folder: Path, task: str, split: Split, tables: dict[Split, TableFile]
) -> TableFile:
    if split not in tables:
        tables[split] = TableFile(stack, folder / "annotations" / f"{task}_{split.value}.json")
    return tables[split]


def image_entry(sample: Sample, licence: int) -> dict[str, Any]:
    """Entry of a sample's picture without its id; `licence` is the number in the file's licence table."""
    height, width = sample.image.size_hw
    return {
        "file_name": file_name(sample),
        "width": width,
        "height": height,
        "license": licence,
        **picture_facts(sample),
    }


def instance_entry(item: Instance) -> dict[str, Any]:
    """What is known of an instance besides its mask and label; `coco_tables.instance_notes` reads it."""
    entry: dict[str, Any] = {
        "object_id": item.id,  # "instance_id" is a reserved word in FiftyOne, which then reads nothing
        "face": item.face,
        "drawn_by": item.drawn_by,
        "is_proposal": item.is_proposal,
        "attributes": dict(item.attributes),
    }
    if item.confidence is not None:
        entry["confidence"] = item.confidence
    return entry


def _annotation(item: Instance) -> dict[str, Any]:
    left, top, right, bottom = item.mask.box_xyxy
    return {
        "category_id": LABEL_IDS[item.label],
        "segmentation": rle_to_coco(item.mask),
        "area": item.mask.area_px,
        "bbox": [left, top, right - left, bottom - top],
        "iscrowd": 0,
        **instance_entry(item),
    }


def _add_faces(sample: Sample, table: TableFile, numbers: _Numbers) -> None:
    covered = covered_pixels(sample.instances, sample.image.size_hw)
    for index, face in enumerate(sample.faces):
        if face.landmarks_xyz:
            numbers.faces += 1
            entry, pixels = face_annotation(index, face, sample.instances, covered)
            entry["segmentation"] = [] if pixels is None else rle_to_coco(mask_to_rle(pixels))
            ids = {"id": numbers.faces, "image_id": numbers.images, "category_id": _KEYPOINT_CATEGORY}
            table.add_annotation({**ids, **entry})


def read_coco(folder: Path, options: ReadOptions) -> Iterator[FoundPicture | Problem]:
    """Every picture of a COCO dataset, and everything that is wrong with it.

    Keypoint files are passed over where there are instance files: faces are detected anew.

    Args:
        folder: the dataset, or one annotation file of it.
        options: what the user says of it.
    """
    files = coco_files(folder)
    if not files:
        fault = Fault(Reason.SCHEMA, "no COCO annotation file (annotations/*.json, *.json)")
        yield Problem(folder.name, fault, is_fatal=True)
    root = dataset_root(folder)
    seen: set[int] = set()  # 64 bits of each path, keyed anew in every process
    for path in files:
        part = path.stem.rpartition("_")[2]
        pictures = PictureFolder(root, ("images", f"images/{part}", part, ""), path.parent)
        entries = read_pictures(path, options, split_from_name(path))
        try:
            # Some at a time: a tenth faster than to take turns with the decoding of masks.
            while some := list(islice(entries, _AT_A_TIME)):
                yield from [
                    _found(pictures, path.name, found, options, seen)
                    if isinstance(found, CocoPicture)
                    else Problem(f"{path.name}: {found.where}", found.fault)
                    for found in some
                ]
        except ItemFault as error:
            yield Problem(path.name, Fault(error.reason, str(error)), is_fatal=len(files) == 1)


def coco_files(path: Path) -> list[Path]:
    """The annotation files of a dataset folder: those of instances, or all when there are none of these."""
    if path.is_file():
        return [path]
    for pattern in ("annotations/*.json", "*/_annotations.coco.json", "*.json"):
        found = sorted(path.glob(pattern))
        instances = [one for one in found if not one.name.startswith(_OTHER_TASKS)]
        if found:
            return instances or found
    return []


def dataset_root(path: Path) -> Path:
    """The folder that all pictures of a dataset lie in; `path` may be an annotation file of it."""
    if path.is_dir():
        return path
    return path.parent.parent if path.parent.name == "annotations" else path.parent


def _found(
    pictures: PictureFolder, file: str, found: CocoPicture, options: ReadOptions, seen: set[int]
) -> FoundPicture | Problem:
    where = f"{file}: {found.where}"
    if found.fault is not None:
        return Problem(where, found.fault)
    try:
        picture = pictures.find(found.file_name)
    except ItemFault as error:
        return Problem(where, Fault(error.reason, str(error)))
    path = picture.as_posix()
    mark = hash(path)
    if mark in seen:
        return Problem(where, Fault(Reason.DUPLICATE_ID, f"{found.file_name[:200]!r} stands twice"))
    seen.add(mark)
    stated = {"url": found.entry.get("coco_url"), "licence": found.licence, **found.entry}
    facts = read_facts(stated, options)
    key = storable(path.removeprefix(f"{pictures.root.as_posix().rstrip('/')}/"))
    return FoundPicture(key, FileContent(picture), found.labels, picture, facts)
