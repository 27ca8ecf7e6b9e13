"""Source `coco`: a COCO annotation file and the folder its pictures lie in."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from dataset_tools.core.errors import DataError, FetchFault, ItemFault
from dataset_tools.core.files import canonical_json
from dataset_tools.core.images import ImageLimits
from dataset_tools.core.labels import Label
from dataset_tools.core.published import Fault, Labels
from dataset_tools.core.reasons import Reason
from dataset_tools.core.record import Instance, Split, sorted_pairs
from dataset_tools.core.segmentation import decode_segmentation
from dataset_tools.core.text import storable
from dataset_tools.crawl.items import Listing, SourceItem, SourceSettings
from dataset_tools.crawl.local import inside, require_file, require_folder


@dataclass(frozen=True, slots=True)
class CocoAnnotation:
    """One annotation as listed: either its label and segmentation, or why it is lost.

    Attributes:
        id: "a<annotation id>"; for a faulty one possibly "annotations[<index>]".
        label: None when `fault` is set.
        segmentation: JSON text, decoded only when the picture's size is known.
        is_crowd: COCO's flag for a region of several objects.
        fault: found while listing.
    """

    id: str
    label: Label | None = None
    segmentation: str = ""
    is_crowd: bool = False
    fault: Fault | None = None


@dataclass(frozen=True, slots=True)
class CocoLabels:
    """All annotations of one picture.

    Attributes:
        source: name of the source.
        split: fixed part of the published dataset.
        stated_hw: picture size the file states, or None.
        annotations: in file order.
    """

    source: str
    split: Split
    stated_hw: tuple[int, int] | None
    annotations: tuple[CocoAnnotation, ...]

    def read(self, size_hw: tuple[int, int], limits: ImageLimits) -> Labels:
        """Good annotations as instances, bad ones as faults.

        Raises:
            ItemFault: `size_mismatch`, the file was made for a picture of another size.
        """
        if self.stated_hw is not None and self.stated_hw != size_hw:
            raise ItemFault(
                Reason.SIZE_MISMATCH,
                f"the file states {self.stated_hw[1]}x{self.stated_hw[0]} pixels, "
                f"the upright picture has {size_hw[1]}x{size_hw[0]}",
            )
        instances: list[Instance] = []
        faults: list[tuple[str, Fault]] = []
        for item in self.annotations:
            if item.fault is not None:
                faults.append((item.id, item.fault))
                continue
            assert item.label is not None
            try:
                mask = decode_segmentation(json.loads(item.segmentation), size_hw)
            except ItemFault as fault:
                faults.append((item.id, Fault(fault.reason, str(fault))))
                continue
            attributes = sorted_pairs({"iscrowd": "1"} if item.is_crowd else {})
            drawn_by = f"published:{self.source}"
            instances.append(Instance(item.id, item.label, mask, drawn_by, attributes=attributes))
        return Labels(tuple(instances), tuple(faults))


class CocoSource(SourceSettings):
    """Published ground truth in COCO's instance format. The network is never used: `coco_url` is ignored.

    Attributes:
        annotations: the JSON file.
        images: folder that `file_name` is relative to; names that lead outside are refused.
        licence: of pictures for which the file states none; there is no default.
        categories: category name -> label; `null` leaves a category out on purpose. Names that already
            are labels need no entry.
        split: keeps a published test set a test set.
    """

    type: Literal["coco"] = "coco"
    annotations: Path
    images: Path
    licence: str = ""
    categories: dict[str, Label | None] = Field(default_factory=dict)
    split: Split = Split.UNASSIGNED

    def items(self, listing: Listing) -> Iterator[SourceItem]:
        """One item per picture, then one faulty item per annotation that belongs to none."""
        root = require_folder(self.images, self.name)
        tables = read_coco(require_file(self.annotations, self.name))
        labels = _labels_by_category(tables["categories"], self.categories)
        grouped, strays = self._group(tables, labels)
        licences = {
            _identity(entry.get("id")): storable(str(entry.get("name") or entry.get("url") or "").strip())
            for entry in tables["licenses"]
            if isinstance(entry, dict)
        }
        seen: set[str] = set()
        for index, entry in enumerate(tables["images"]):
            yield self._item(root, index, entry, grouped, licences, seen)
        yield from strays

    def _item(
        self,
        root: Path,
        index: int,
        entry: Any,
        grouped: dict[str, list[CocoAnnotation]],
        licences: dict[str, str],
        seen: set[str],
    ) -> SourceItem:
        identity = _identity(entry.get("id")) if isinstance(entry, dict) else ""
        name = entry.get("file_name") if isinstance(entry, dict) else None
        if not identity or not isinstance(name, str) or not name:
            fault = Fault(Reason.SCHEMA, f"images[{index}] lacks a proper id or file_name")
            return SourceItem(key=f"{self.name}#images[{index}]", source=self.name, fault=fault)
        key = f"{self.name}/{storable(name)[:1000]}"
        if identity in seen:
            fault = Fault(Reason.DUPLICATE_ID, f"image id {identity} stands twice in the file")
            return SourceItem(key=key, source=self.name, fault=fault)
        seen.add(identity)
        licence = licences.get(_identity(entry.get("license")), "") or self.licence.strip()
        if not licence:
            fault = Fault(Reason.LICENCE, "neither the file nor the configuration states a licence")
            return SourceItem(key=key, source=self.name, fault=fault)
        try:
            path, stated_hw = inside(root, name), _stated_size(entry)
        except ItemFault as error:
            fault = Fault(error.reason, str(error))
            return SourceItem(key=key, source=self.name, fault=fault)
        annotations = tuple(grouped.get(identity, ()))
        return SourceItem(
            key=key,
            source=self.name,
            uri=str(path),
            licence=licence,
            author=self.author,
            name=key.partition("/")[2],
            annotation=CocoLabels(self.name, self.split, stated_hw, annotations),
        )

    def _group(
        self, tables: dict[str, list[Any]], labels: dict[str, Label | None]
    ) -> tuple[dict[str, list[CocoAnnotation]], list[SourceItem]]:
        pictures = {_identity(entry.get("id")) for entry in tables["images"] if isinstance(entry, dict)}
        grouped: defaultdict[str, list[CocoAnnotation]] = defaultdict(list)
        strays: list[SourceItem] = []
        seen: set[str] = set()
        for index, entry in enumerate(tables["annotations"]):
            picture = _identity(entry.get("image_id")) if isinstance(entry, dict) else ""
            if not picture or picture not in pictures:
                reason = Reason.DANGLING_REFERENCE if picture else Reason.SCHEMA
                fault = Fault(reason, f"annotations[{index}] names no picture of the file")
                strays.append(
                    SourceItem(key=f"{self.name}#annotations[{index}]", source=self.name, fault=fault)
                )
                continue
            item = _annotation(index, entry, labels, seen)
            if item is not None:
                grouped[picture].append(item)
        return dict(grouped), strays


def read_coco(path: Path) -> dict[str, list[Any]]:
    """The tables `images`, `annotations`, `categories` and `licenses` of a COCO file, entries unchecked.

    Raises:
        DataError: not JSON, nested too deep, a key twice in one object, or no such tables.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=_without_repeats)
    except RecursionError:
        raise DataError(f"{path}: JSON nested too deep") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: {error}") from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: a COCO file is a JSON object, found {type(content).__name__}")
    tables: dict[str, list[Any]] = {}
    for table in ("images", "annotations", "categories", "licenses"):
        rows = content.get(table, [] if table == "licenses" else None)
        if not isinstance(rows, list):
            raise DataError(f"{path}: no list {table!r}")
        tables[table] = rows
    return tables


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"key {twice[:80]!r} stands twice in one JSON object")
    return content


def _identity(value: Any) -> str:
    """Text form of an id; 0 is an id, but True, 1.5, null and lists are not."""
    return storable(str(value)) if type(value) is int or (isinstance(value, str) and value) else ""


def _stated_size(entry: dict[str, Any]) -> tuple[int, int] | None:
    height, width = entry.get("height"), entry.get("width")
    if height is None and width is None:
        return None
    if type(height) is not int or type(width) is not int or min(height, width) < 1:
        raise FetchFault(Reason.SCHEMA, f"width {str(width)[:40]} or height {str(height)[:40]} is no size")
    return height, width


def _labels_by_category(entries: list[Any], mapping: dict[str, Label | None]) -> dict[str, Label | None]:
    """Category id -> label, None for one left out on purpose; unknown and ambiguous ids are absent."""
    names = {label.value: label for label in Label}
    known: dict[str, Label | None] = {**names, **mapping}
    found: dict[str, set[Label | None]] = defaultdict(set)
    for entry in entries:
        identity = _identity(entry.get("id")) if isinstance(entry, dict) else ""
        name = entry.get("name") if isinstance(entry, dict) else None
        if identity and isinstance(name, str) and name in known:
            found[identity].add(known[name])
    return {identity: labels.copy().pop() for identity, labels in found.items() if len(labels) == 1}


def _annotation(
    index: int, entry: dict[str, Any], labels: dict[str, Label | None], seen: set[str]
) -> CocoAnnotation | None:
    """One entry as listed; None when its category is left out on purpose."""
    identity, where = _identity(entry.get("id")), f"annotations[{index}]"
    category = _identity(entry.get("category_id"))
    if not identity:
        return CocoAnnotation(where, fault=Fault(Reason.SCHEMA, f"{where} lacks a proper id"))
    if category not in labels:
        said = str(entry.get("category_id"))[:40]
        fault = Fault(
            Reason.UNKNOWN_LABEL, f"category {said} is no known label; map its name in `categories:`"
        )
        return CocoAnnotation(where, fault=fault)
    if identity in seen:
        fault = Fault(Reason.DUPLICATE_ID, f"annotation id {identity[:80]} stands twice in the file")
        return CocoAnnotation(where, fault=fault)
    seen.add(identity)
    label = labels[category]
    if label is None:
        return None
    text = canonical_json(entry.get("segmentation"))
    is_crowd = entry.get("iscrowd") == 1
    return CocoAnnotation(f"a{identity[:80]}", label, text, is_crowd)
