"""The tables of a COCO file as untrusted input: every entry is checked, and a bad one costs only itself.

Nothing of a file stays in memory but numbers (see `coco_index`): its bytes are walked once to the end, then
pictures are read again one after the other, and their annotations when their labels are asked for.
"""

from __future__ import annotations

import math
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from heapq import merge
from operator import itemgetter
from pathlib import Path
from typing import Any

from dataset_tools.core.errors import ItemFault
from dataset_tools.core.images import ImageLimits
from dataset_tools.core.labels import Label
from dataset_tools.core.published import Fault, Labels
from dataset_tools.core.reasons import Reason
from dataset_tools.core.record import Instance, Pairs, Split, sorted_pairs
from dataset_tools.core.segmentation import decode_segmentation
from dataset_tools.core.text import storable
from dataset_tools.formats.coco_index import CocoIndex, PictureRows, Row, identity, unpack
from dataset_tools.formats.entries import (
    fact_text,
    read_confidence,
    read_face,
    read_origin,
    split_of,
    stated_size,
)
from dataset_tools.formats.json_tables import Entry, JsonFile, TableWalk
from dataset_tools.formats.reading import ReadOptions, check_size

_LARGEST = 2**63  # of a whole number that is kept as an attribute


@dataclass(frozen=True, slots=True)
class CocoAnnotation:
    """One annotation: either its label and segmentation, or why it is lost.

    Attributes:
        id: of the instance it becomes: "a<annotation id>" unless this suite wrote the file; for a faulty one
            possibly "annotations[<index>]".
        label: None when `fault` is set.
        segmentation: as parsed, decoded only when the picture's size is known.
        drawn_by, confidence, face, attributes: of the instance.
        fault: found without decoding the mask.
    """

    id: str
    label: Label | None = None
    segmentation: Any = None
    drawn_by: str = ""
    confidence: float | None = None
    face: int = -1
    attributes: Pairs = ()
    fault: Fault | None = None


@dataclass(frozen=True, slots=True)
class CocoFile:
    """What the labels of all pictures of a file have in common.

    Attributes:
        source: the file.
        labels: category id -> label, None for one left out on purpose.
        options: what the user says.
    """

    source: JsonFile
    labels: Mapping[str, Label | None] = field(repr=False)
    options: ReadOptions = field(repr=False)

    def annotations(self, rows: list[Row]) -> Iterator[tuple[dict[str, Any], CocoAnnotation]]:
        """These annotations read anew, without those left out on purpose; each with its entry.

        Raises:
            ItemFault: `json`, the file is not what it was.
        """
        entries = self.source.load([(row.start, row.start + row.length) for row in rows])
        for row, entry in zip(rows, entries, strict=True):
            item = _annotation(
                f"annotations[{row.number}]", entry, self.labels, row.is_repeated, self.options
            )
            if item is not None:
                yield entry, item


@dataclass(frozen=True, slots=True)
class CocoLabels:
    """All annotations of one picture.

    Attributes:
        split: fixed part of the published dataset.
        stated_hw: picture size the file states, or None.
        file: that they stand in.
        rows: where they stand there, packed.
        is_complete: False when the file marks them as proposals.
    """

    split: Split
    stated_hw: tuple[int, int] | None
    file: CocoFile
    rows: bytes = field(repr=False)  # the file is known by its content
    is_complete: bool = True

    @property
    def annotations(self) -> tuple[CocoAnnotation, ...]:
        """In file order, read anew.

        Raises:
            ItemFault: `json`, the file is not what it was.
        """
        return tuple(item for _, item in self.file.annotations(unpack(self.rows)))

    def read(self, size_hw: tuple[int, int], limits: ImageLimits) -> Labels:
        """Good annotations as instances, bad ones as faults.

        Raises:
            ItemFault: `size_mismatch`, the file was made for a picture of another size; `json`, it is not
                what it was.
        """
        check_size(self.stated_hw, size_hw)
        instances: list[Instance] = []
        faults: list[tuple[str, Fault]] = []
        for item in self.annotations:
            if item.fault is not None:
                faults.append((item.id, item.fault))
                continue
            assert item.label is not None
            try:
                mask = decode_segmentation(item.segmentation, size_hw)
            except ItemFault as fault:
                faults.append((item.id, Fault(fault.reason, str(fault))))
                continue
            instances.append(
                Instance(
                    id=item.id,
                    label=item.label,
                    mask=mask,
                    drawn_by=item.drawn_by,
                    confidence=item.confidence,
                    face=item.face,
                    attributes=item.attributes,
                )
            )
        return Labels(tuple(instances), tuple(faults), self.is_complete)


@dataclass(frozen=True, slots=True)
class CocoPicture:
    """One entry of `images` with its annotations.

    Attributes:
        where: "images[<index>]".
        entry: as parsed; {} when it is no object.
        file_name: as stated; "" in a faulty entry.
        licence: that the file states for it, "" when none.
        labels: of the picture.
        fault: why it cannot be used.
    """

    where: str
    entry: dict[str, Any]
    file_name: str
    licence: str
    labels: CocoLabels
    fault: Fault | None = None


@dataclass(frozen=True, slots=True)
class Stray:
    """An entry that belongs to no picture.

    Attributes:
        where: e.g. "annotations[3]".
        fault: why.
        is_lost: False when only a stated value is wrong and the annotation itself is kept.
    """

    where: str
    fault: Fault
    is_lost: bool = True


@dataclass(frozen=True, slots=True)
class CocoTables:
    """A COCO file that was walked to its end.

    Attributes:
        source: the file.
        images_at: byte at which the list `images` begins.
        categories: that table, entries unchecked.
        licences: licence id -> name.
    """

    source: JsonFile
    images_at: int
    categories: list[Any]
    licences: dict[str, str]

    def images(self) -> Iterator[Any]:
        """The entries of that table, read anew.

        Raises:
            ItemFault: `json`, the file is not what it was.
        """
        return self.source.entries(self.images_at)


def walk_tables(
    path: Path, on_image: Callable[[Entry], None], on_annotation: Callable[[Entry], None]
) -> CocoTables:
    """The small tables of a COCO file.

    Args:
        path: of the file.
        on_image, on_annotation: take the entries of the large tables as they stream by, unchecked.

    Raises:
        ItemFault: not to be read, not JSON, nested too deep, a key twice in one object, or no such tables.
    """
    categories: list[Any] = []
    licences: dict[str, str] = {}
    walk = TableWalk(path)
    for entry in walk:
        if entry.table == "annotations":
            on_annotation(entry)
        elif entry.table == "images":
            on_image(entry)
        elif entry.table == "categories":
            categories.append(entry.value)
        elif entry.table == "licenses" and isinstance(entry.value, dict):
            name = str(entry.value.get("name") or entry.value.get("url") or "")
            licences[identity(entry.value.get("id"))] = name
    places = {"licenses": 0, **walk.places}
    found = {table: places.get(table) for table in ("images", "annotations", "categories", "licenses")}
    for table, place in found.items():
        if place is None:
            raise ItemFault(Reason.SCHEMA, f"no list {table!r}")
    return CocoTables(walk.file, found["images"] or 0, categories, licences)


def read_pictures(path: Path, options: ReadOptions, split: Split) -> Iterator[CocoPicture | Stray]:
    """Every picture of a COCO file in its order, then what belongs to none.

    Args:
        path: of the file.
        options: what the user says.
        split: of pictures for which the file states none.

    Raises:
        ItemFault: as `walk_tables`, before the first picture; `json`, the file is not what it was.
    """
    tables, file, rows, odd = _indexed(path, options)
    licences = {number: storable(name.strip()) for number, name in tables.licences.items()}
    for number, entry in enumerate(tables.images()):
        yield _picture(number, entry, file, rows, licences, split)
    # By their place in `annotations`.
    for _, stray in merge(_dangling(rows), _odd(odd, file, rows), key=itemgetter(0)):
        yield stray


def _indexed(path: Path, options: ReadOptions) -> tuple[CocoTables, CocoFile, PictureRows, array[int]]:
    """All that is kept of a file; last, where the annotations stand whose area or box cannot be."""
    index, odd = CocoIndex(), array("Q")

    def add_annotation(entry: Entry) -> None:
        index.add_annotation(entry)
        if isinstance(entry.value, dict) and any(_wrong_measures("", entry.value)):
            odd.append(entry.number)

    tables = walk_tables(path, index.add_image, add_annotation)
    labels = labels_by_category(tables.categories, options)
    return tables, CocoFile(tables.source, labels, options), index.sort(labels), odd


def _dangling(rows: PictureRows) -> Iterator[tuple[int, Stray]]:
    for index, is_nameless in zip(rows.dangling, rows.is_nameless, strict=True):
        where = f"annotations[{index}]"
        reason = Reason.SCHEMA if is_nameless else Reason.DANGLING_REFERENCE
        yield index, Stray(where, Fault(reason, f"{where} names no picture of the file"))


def _odd(indexes: Iterable[int], file: CocoFile, rows: PictureRows) -> Iterator[tuple[int, Stray]]:
    for row in rows.of_annotations(indexes):
        for entry, item in file.annotations([row]):
            if item.fault is None:
                for stray in _wrong_measures(f"annotations[{row.number}]", entry):
                    yield row.number, stray


def labels_by_category(entries: list[Any], options: ReadOptions) -> dict[str, Label | None]:
    """Category id -> label, None for one left out on purpose; unknown and ambiguous ids are absent."""
    found: dict[str, set[Label | None]] = defaultdict(set)
    for entry in entries:
        number = identity(entry.get("id")) if isinstance(entry, dict) else ""
        name = entry.get("name") if isinstance(entry, dict) else None
        if number and isinstance(name, str):
            try:
                found[number].add(options.label_of(name))
            except KeyError:
                continue
    return {number: labels.copy().pop() for number, labels in found.items() if len(labels) == 1}


def _picture(
    index: int, entry: Any, file: CocoFile, rows: PictureRows, licences: dict[str, str], split: Split
) -> CocoPicture:
    where, fault, stated_hw = f"images[{index}]", None, None
    entry = entry if isinstance(entry, dict) else {}
    number, name = identity(entry.get("id")), entry.get("file_name")
    if not number or not isinstance(name, str) or not name:
        name, fault = "", Fault(Reason.SCHEMA, f"{where} lacks a proper id or file_name")
    elif not rows.is_first[index]:
        fault = Fault(Reason.DUPLICATE_ID, f"image id {number} stands twice in the file")
    else:
        try:
            stated_hw = stated_size(entry.get("height"), entry.get("width"))
        except ItemFault as error:
            fault = Fault(error.reason, str(error))
    stated = split_of(entry.get("split"))
    labels = CocoLabels(
        split if stated is Split.UNASSIGNED else stated,
        stated_hw,
        file,
        rows.of_picture(index) if number else b"",
        is_complete=entry.get("is_labelled") is not False,
    )
    licence = licences.get(identity(entry.get("license")), "")
    return CocoPicture(where, entry, name, licence, labels, fault)


def _annotation(
    where: str,
    entry: dict[str, Any],
    labels: Mapping[str, Label | None],
    is_repeated: bool,
    options: ReadOptions,
) -> CocoAnnotation | None:
    """One entry; None when its category is left out on purpose."""
    number, category = identity(entry.get("id")), identity(entry.get("category_id"))
    if not number:
        return CocoAnnotation(where, fault=Fault(Reason.SCHEMA, f"{where} lacks a proper id"))
    if category not in labels:
        said = str(entry.get("category_id"))[:40]
        fault = Fault(
            Reason.UNKNOWN_LABEL, f"category {said} is no known label; map its name in `categories:`"
        )
        return CocoAnnotation(where, fault=fault)
    if is_repeated:
        fault = Fault(Reason.DUPLICATE_ID, f"annotation id {number[:80]} stands twice in the file")
        return CocoAnnotation(where, fault=fault)
    label = labels[category]
    if label is None:
        return None
    name = f"a{number[:80]}"
    try:
        notes = instance_notes(entry, options)
    except ItemFault as error:
        return CocoAnnotation(name, fault=Fault(error.reason, str(error)))
    if entry.get("iscrowd") == 1:
        notes["attributes"] = sorted_pairs({**dict(notes["attributes"]), "iscrowd": "1"})
    return CocoAnnotation(notes.pop("id") or name, label, entry.get("segmentation"), **notes)


def instance_notes(entry: Mapping[str, Any], options: ReadOptions) -> dict[str, Any]:
    """What this suite writes beside a mask: id ("" in foreign files), drawn_by, confidence, face, attributes.

    Args:
        entry: of an annotation.
        options: what the file does not say.

    Raises:
        ItemFault: schema, not_finite or out_of_bounds: a value is not what this suite writes.
    """
    attributes = entry.get("attributes")
    stated = attributes if isinstance(attributes, dict) else {}
    plain = {
        fact_text(key): fact_text(value if isinstance(value, str) else str(value))
        for key, value in stated.items()
        if isinstance(value, str | bool | float) or (type(value) is int and abs(value) < _LARGEST)
    }
    return {
        "id": fact_text(entry.get("object_id", entry.get("instance_id"))),
        "drawn_by": read_origin(entry.get("drawn_by"), options),
        "confidence": read_confidence(entry.get("confidence")),
        "face": read_face(entry.get("face")),
        "attributes": sorted_pairs(plain),
    }


def _wrong_measures(where: str, entry: dict[str, Any]) -> Iterator[Stray]:
    """Stated areas and boxes that cannot be; the suite computes its own from the mask."""
    area, box = entry.get("area"), entry.get("bbox")
    if area is not None and not _is_measure(area):
        fault = Fault(Reason.OUT_OF_BOUNDS, f"area {str(area)[:40]}; computed from the mask instead")
        yield Stray(where, fault, is_lost=False)
    if box is None or box == []:
        return
    if not isinstance(box, list) or len(box) != 4 or not all(map(_is_measure, box[2:])):
        fault = Fault(Reason.OUT_OF_BOUNDS, f"bbox {str(box)[:80]}; computed from the mask instead")
        yield Stray(where, fault, is_lost=False)


def _is_measure(value: Any) -> bool:
    return is_number(value) and value >= 0


def is_number(value: Any) -> bool:
    """True for a finite number of JSON; True and False are none."""
    return type(value) is int or (type(value) is float and math.isfinite(value))
