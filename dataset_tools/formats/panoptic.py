"""COCO panoptic, out and in: every pixel belongs to one segment or to none.

    images/<id>.jpg|png
    annotations/panoptic_<split>.json        `segments_info` per picture
    annotations/panoptic_<split>/<id>.png    segment ids as red + 256 green + 65536 blue, 0 for none

All our categories are things: each can be counted. Stuff of other datasets is read like things.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dataset_tools.core.errors import ItemFault
from dataset_tools.core.images import ImageLimits
from dataset_tools.core.labels import LABEL_COLOURS, LABEL_IDS, Label
from dataset_tools.core.local_files import inside, read_local
from dataset_tools.core.masks import index_to_rles
from dataset_tools.core.progress import Progress
from dataset_tools.core.published import Fault, Labels
from dataset_tools.core.reasons import Reason
from dataset_tools.core.record import Instance, Sample, Split
from dataset_tools.core.text import storable
from dataset_tools.formats.coco import (
    TableFile,
    coco_categories,
    coco_info,
    dataset_root,
    image_entry,
    instance_entry,
)
from dataset_tools.formats.coco_index import identity
from dataset_tools.formats.coco_tables import instance_notes, labels_by_category, walk_tables
from dataset_tools.formats.entries import licence_url, read_facts, split_of, stated_size
from dataset_tools.formats.index_masks import decode_ids, encode_ids, paint_objects
from dataset_tools.formats.job import ExportJob, file_name, place_picture
from dataset_tools.formats.json_tables import Entry
from dataset_tools.formats.places import PictureFolder, split_from_name
from dataset_tools.formats.reading import FileContent, FoundPicture, Problem, ReadOptions, check_size


def write_panoptic(job: ExportJob, folder: Path, progress: Progress) -> None:
    """Write every split that has samples; ids of images count through all splits."""
    tables: dict[Split, TableFile] = {}
    licences: dict[str, int] = {}
    with ExitStack() as stack:
        for number, sample in enumerate(job.samples(), 1):
            place_picture(job.images, sample.image, folder / "images" / file_name(sample))
            stem = folder / "annotations" / f"panoptic_{sample.split.value}"
            if sample.split not in tables:
                stem.mkdir(parents=True, exist_ok=True)
                tables[sample.split] = TableFile(stack, stem.with_suffix(".json"))
            licence = licences.setdefault(sample.provenance.licence, len(licences) + 1)
            tables[sample.split].add_image({"id": number, **image_entry(sample, licence)})
            tables[sample.split].add_annotation({"image_id": number, **_write_segments(sample, stem)})
            progress.advance()
        for table in tables.values():
            table.finish(
                categories=[
                    {**entry, "isthing": 1, "color": list(LABEL_COLOURS[Label(entry["name"])])}
                    for entry in coco_categories()
                ],
                info=coco_info(job.about),
                licenses=[
                    {"id": number, "name": name, "url": licence_url(name)}
                    for name, number in licences.items()
                ],
            )


def _write_segments(sample: Sample, folder: Path) -> dict[str, Any]:
    painted, seen = paint_objects(sample)
    (folder / f"{sample.id}.png").write_bytes(encode_ids(painted))
    masks = index_to_rles(painted)
    segments = []
    for number, item in enumerate(seen, 1):
        left, top, right, bottom = masks[number].box_xyxy
        segments.append(
            {
                "id": number,
                "category_id": LABEL_IDS[item.label],
                "area": masks[number].area_px,
                "bbox": [left, top, right - left, bottom - top],
                "iscrowd": 0,
                **instance_entry(item),
            }
        )
    return {"file_name": f"{sample.id}.png", "segments_info": segments}


@dataclass(frozen=True, slots=True)
class Segment:
    """One entry of `segments_info` that is good as far as the JSON tells.

    Attributes:
        number: its id in the picture of ids.
        label: None for a class that is left out on purpose.
        notes: fields of the instance besides label and mask.
    """

    number: int
    label: Label | None
    notes: dict[str, Any]


@dataclass(frozen=True, slots=True)
class PanopticLabels:
    """The segments of one picture.

    Attributes:
        path: of the picture of ids.
        split: of the picture.
        stated_hw: size that the file states, or None.
        segments: good ones.
        faults: of the others.
        is_complete: False when the file marks them as proposals.
    """

    path: Path
    split: Split
    stated_hw: tuple[int, int] | None
    segments: tuple[Segment, ...]
    faults: tuple[tuple[str, Fault], ...] = ()
    is_complete: bool = True

    def read(self, size_hw: tuple[int, int], limits: ImageLimits) -> Labels:
        """One instance per segment; a segment without a pixel and pixels without a segment are faults.

        Raises:
            ItemFault: the picture of ids is none, or one of the sizes differs.
        """
        check_size(self.stated_hw, size_hw)
        ids = decode_ids(read_local(self.path, limits.max_bytes), limits)
        if ids.shape != size_hw:
            raise ItemFault(Reason.MASK_SIZE, f"{self.path.name} is {ids.shape}, the picture {size_hw}")
        masks = index_to_rles(ids)
        instances: list[Instance] = []
        faults = list(self.faults)
        for segment in self.segments:
            mask = masks.pop(segment.number, None)
            if mask is None:
                fault = Fault(Reason.NO_AREA, f"no pixel of {self.path.name} has this id")
                faults.append((f"segment {segment.number}", fault))
            elif segment.label is not None:
                instances.append(Instance(label=segment.label, mask=mask, **segment.notes))
        named = {name for name, _ in self.faults}
        for number in masks:
            if f"segment {number}" not in named:
                fault = Fault(Reason.DANGLING_REFERENCE, "pixels of an id that segments_info lacks")
                faults.append((f"segment {number}", fault))
        return Labels(tuple(instances), tuple(faults), self.is_complete)


def read_panoptic(folder: Path, options: ReadOptions) -> Iterator[FoundPicture | Problem]:
    """Every picture of a COCO panoptic dataset, and everything that is wrong with it.

    Args:
        folder: the dataset, or one annotation file of it.
        options: what the user says of it.
    """
    if folder.is_file():
        files = [folder]
    else:
        files = sorted(folder.glob("annotations/panoptic_*.json")) or sorted(folder.glob("*.json"))
    if not files:
        fault = Fault(Reason.SCHEMA, "no panoptic annotation file (annotations/panoptic_*.json)")
        yield Problem(folder.name, fault, is_fatal=True)
    for path in files:
        try:
            yield from _read_file(dataset_root(folder), path, options)
        except ItemFault as error:
            yield Problem(path.name, Fault(error.reason, str(error)), is_fatal=len(files) == 1)


class _Segmented:
    """Which annotation belongs to which picture: its place is kept, not what it says.

    Attributes:
        places: picture id -> index in `annotations`, first byte, byte behind it.
        problems: annotations that name no picture, or one that has another.
    """

    def __init__(self, file: str) -> None:
        self.places: dict[str, tuple[int, int, int]] = {}
        self.problems: list[Problem] = []
        self._file = file

    def add(self, entry: Entry) -> None:
        """The next entry of `annotations`."""
        where = f"{self._file}: annotations[{entry.number}]"
        picture = identity(entry.value.get("image_id")) if isinstance(entry.value, dict) else ""
        if not picture:
            self.problems.append(Problem(where, Fault(Reason.SCHEMA, "names no picture")))
        elif picture in self.places:
            fault = Fault(Reason.DUPLICATE_ID, f"picture {picture[:80]} stands twice")
            self.problems.append(Problem(where, fault))
        else:
            self.places[picture] = (entry.number, entry.start, entry.end)


def _read_file(root: Path, path: Path, options: ReadOptions) -> Iterator[FoundPicture | Problem]:
    segmented = _Segmented(path.name)
    tables = walk_tables(path, lambda entry: None, segmented.add)
    yield from segmented.problems
    labels = labels_by_category(tables.categories, options)
    part = path.stem.rpartition("_")[2]
    pictures = PictureFolder(root, ("images", f"images/{part}", part, ""), path.parent)
    seen: set[str] = set()
    for index, entry in enumerate(tables.images()):
        number = identity(entry.get("id")) if isinstance(entry, dict) else ""
        place = segmented.places.pop(number, None)
        try:
            if not number or number in seen:
                reason = Reason.DUPLICATE_ID if number else Reason.SCHEMA
                raise ItemFault(reason, f"image id {number[:80]!r} is none or stands twice")
            seen.add(number)
            stated = {"licence": tables.licences.get(identity(entry.get("license"))), **entry}
            annotation = None if place is None else tables.source.load([place[1:]])[0]
            yield _found(pictures, path, stated, annotation, labels, options)
        except ItemFault as error:
            yield Problem(f"{path.name}: images[{index}]", Fault(error.reason, str(error)))
    for index, _, _ in segmented.places.values():
        fault = Fault(Reason.DANGLING_REFERENCE, "names no picture of the file")
        yield Problem(f"{path.name}: annotations[{index}]", fault)


def _found(
    pictures: PictureFolder,
    path: Path,
    entry: dict[str, Any],
    annotation: dict[str, Any] | None,
    labels: dict[str, Label | None],
    options: ReadOptions,
) -> FoundPicture:
    if not isinstance(entry.get("file_name"), str):
        raise ItemFault(Reason.SCHEMA, "no file_name")
    picture = pictures.find(entry["file_name"])
    key = storable(picture.relative_to(pictures.root).as_posix())
    facts = read_facts(entry, options)
    if annotation is None:
        return FoundPicture(key, FileContent(picture), None, picture, facts)
    name, rows = annotation.get("file_name"), annotation.get("segments_info")
    if not isinstance(name, str) or not name or not isinstance(rows, list):
        raise ItemFault(Reason.SCHEMA, "its annotation lacks file_name or segments_info")
    segments, faults = _segments(rows, labels, options)
    stated_split = split_of(entry.get("split"))
    found = PanopticLabels(
        inside(path.with_suffix(""), name),
        split_from_name(path) if stated_split is Split.UNASSIGNED else stated_split,
        stated_size(entry.get("height"), entry.get("width")),
        segments,
        faults,
        is_complete=entry.get("is_labelled") is not False,
    )
    return FoundPicture(key, FileContent(picture), found, picture, facts)


def _segments(
    rows: list[Any], labels: dict[str, Label | None], options: ReadOptions
) -> tuple[tuple[Segment, ...], tuple[tuple[str, Fault], ...]]:
    good: dict[int, Segment] = {}
    faults: list[tuple[str, Fault]] = []
    for index, row in enumerate(rows):
        name = f"segments_info[{index}]"
        try:
            if not isinstance(row, dict) or type(row.get("id")) is not int or not 0 < row["id"] < 2**24:
                raise ItemFault(Reason.SCHEMA, "no id from 1 to 2^24 - 1")
            name = f"segment {row['id']}"
            if row["id"] in good:
                raise ItemFault(Reason.DUPLICATE_ID, "another segment of the picture has this id")
            category = identity(row.get("category_id"))
            if category not in labels:
                detail = f"category {category[:40]} is no known label; map its name in `categories:`"
                raise ItemFault(Reason.UNKNOWN_LABEL, detail)
            notes = instance_notes(row, options)
            notes["id"] = notes["id"] or f"s{row['id']}"
            good[row["id"]] = Segment(row["id"], labels[category], notes)
        except ItemFault as error:
            faults.append((name, Fault(error.reason, str(error))))
    return tuple(good.values()), tuple(faults)
