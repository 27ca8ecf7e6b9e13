"""The tables of a COCO file as untrusted input: every entry is checked, and a bad one costs only itself."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
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
from dataset_tools.formats.entries import (
    fact_text,
    read_confidence,
    read_face,
    read_origin,
    split_of,
    stated_size,
)
from dataset_tools.formats.reading import ReadOptions, check_size, read_json

_LARGEST = 2**63  # of a whole number that is kept as an attribute


@dataclass(frozen=True, slots=True)
class CocoAnnotation:
    """One annotation as listed: either its label and segmentation, or why it is lost.

    Attributes:
        id: of the instance it becomes: "a<annotation id>" unless this suite wrote the file; for a faulty one
            possibly "annotations[<index>]".
        label: None when `fault` is set.
        segmentation: as parsed, decoded only when the picture's size is known.
        drawn_by, confidence, face, attributes: of the instance.
        fault: found while listing.
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
class CocoLabels:
    """All annotations of one picture.

    Attributes:
        split: fixed part of the published dataset.
        stated_hw: picture size the file states, or None.
        annotations: in file order.
        is_complete: False when the file marks them as proposals.
    """

    split: Split
    stated_hw: tuple[int, int] | None
    annotations: tuple[CocoAnnotation, ...]
    is_complete: bool = True

    def read(self, size_hw: tuple[int, int], limits: ImageLimits) -> Labels:
        """Good annotations as instances, bad ones as faults.

        Raises:
            ItemFault: `size_mismatch`, the file was made for a picture of another size.
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


def read_tables(path: Path) -> dict[str, list[Any]]:
    """The tables `images`, `annotations`, `categories` and `licenses` of a COCO file, entries unchecked.

    Raises:
        ItemFault: not to be read, not JSON, nested too deep, a key twice in one object, or no such tables.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise ItemFault(Reason.SCHEMA, f"a COCO file is a JSON object, found {type(content).__name__}")
    tables: dict[str, list[Any]] = {}
    for table in ("images", "annotations", "categories", "licenses"):
        rows = content.get(table, [] if table == "licenses" else None)
        if not isinstance(rows, list):
            raise ItemFault(Reason.SCHEMA, f"no list {table!r}")
        tables[table] = rows
    return tables


def check_tables(
    tables: dict[str, list[Any]], options: ReadOptions, split: Split
) -> Iterator[CocoPicture | Stray]:
    """Every picture of the tables in their order, then what belongs to none.

    Args:
        tables: of `read_tables`.
        options: what the user says.
        split: of pictures for which the file states none.
    """
    grouped, strays = _group(tables, options)
    licences = {
        identity(entry.get("id")): storable(str(entry.get("name") or entry.get("url") or "").strip())
        for entry in tables["licenses"]
        if isinstance(entry, dict)
    }
    seen: set[str] = set()
    for index, entry in enumerate(tables["images"]):
        yield _picture(index, entry, grouped, licences, seen, split)
    yield from strays


def identity(value: Any) -> str:
    """Text form of an id; 0 is an id, but True, 1.5, null and lists are not."""
    return storable(str(value)) if type(value) is int or (isinstance(value, str) and value) else ""


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
    index: int,
    entry: Any,
    grouped: dict[str, list[CocoAnnotation]],
    licences: dict[str, str],
    seen: set[str],
    split: Split,
) -> CocoPicture:
    where, fault, stated_hw = f"images[{index}]", None, None
    entry = entry if isinstance(entry, dict) else {}
    number, name = identity(entry.get("id")), entry.get("file_name")
    if not number or not isinstance(name, str) or not name:
        name, fault = "", Fault(Reason.SCHEMA, f"{where} lacks a proper id or file_name")
    elif number in seen:
        fault = Fault(Reason.DUPLICATE_ID, f"image id {number} stands twice in the file")
    else:
        try:
            stated_hw = stated_size(entry.get("height"), entry.get("width"))
        except ItemFault as error:
            fault = Fault(error.reason, str(error))
        seen.add(number)
    stated = split_of(entry.get("split"))
    labels = CocoLabels(
        split if stated is Split.UNASSIGNED else stated,
        stated_hw,
        tuple(grouped.get(number, ())),
        is_complete=entry.get("is_labelled") is not False,
    )
    licence = licences.get(identity(entry.get("license")), "")
    return CocoPicture(where, entry, name, licence, labels, fault)


def _group(
    tables: dict[str, list[Any]], options: ReadOptions
) -> tuple[dict[str, list[CocoAnnotation]], list[Stray]]:
    labels = labels_by_category(tables["categories"], options)
    pictures = {identity(entry.get("id")) for entry in tables["images"] if isinstance(entry, dict)}
    grouped: defaultdict[str, list[CocoAnnotation]] = defaultdict(list)
    strays: list[Stray] = []
    seen: set[str] = set()
    for index, entry in enumerate(tables["annotations"]):
        where = f"annotations[{index}]"
        picture = identity(entry.get("image_id")) if isinstance(entry, dict) else ""
        if not picture or picture not in pictures:
            reason = Reason.DANGLING_REFERENCE if picture else Reason.SCHEMA
            strays.append(Stray(where, Fault(reason, f"{where} names no picture of the file")))
            continue
        item = _annotation(where, entry, labels, seen, options)
        if item is not None:
            grouped[picture].append(item)
            if item.fault is None:
                strays.extend(_wrong_measures(where, entry))
    return dict(grouped), strays


def _annotation(
    where: str, entry: dict[str, Any], labels: dict[str, Label | None], seen: set[str], options: ReadOptions
) -> CocoAnnotation | None:
    """One entry as listed; None when its category is left out on purpose."""
    number, category = identity(entry.get("id")), identity(entry.get("category_id"))
    if not number:
        return CocoAnnotation(where, fault=Fault(Reason.SCHEMA, f"{where} lacks a proper id"))
    if category not in labels:
        said = str(entry.get("category_id"))[:40]
        fault = Fault(
            Reason.UNKNOWN_LABEL, f"category {said} is no known label; map its name in `categories:`"
        )
        return CocoAnnotation(where, fault=fault)
    if number in seen:
        fault = Fault(Reason.DUPLICATE_ID, f"annotation id {number[:80]} stands twice in the file")
        return CocoAnnotation(where, fault=fault)
    seen.add(number)
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
