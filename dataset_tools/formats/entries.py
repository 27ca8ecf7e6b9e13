"""Samples as plain values that JSON and Parquet carry, and back: masks exact, every value checked first.

picture   sample_id, split, licence, licence_url, author, url, source, group, parent_id, retrieved_at, …
instance  id, label, bbox_xywh, area, segmentation (COCO run lengths), drawn_by, confidence, face,
          attributes (a list of key and value, so that all rows have one type)
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dataset_tools.core.errors import ItemFault
from dataset_tools.core.files import canonical_json
from dataset_tools.core.images import ImageLimits
from dataset_tools.core.labels import Label
from dataset_tools.core.masks import RleMask, mask_to_rle
from dataset_tools.core.published import Fault, Labels
from dataset_tools.core.reasons import Reason
from dataset_tools.core.record import Instance, Pairs, Sample, Split, sorted_pairs
from dataset_tools.core.segmentation import decode_segmentation, rle_to_coco
from dataset_tools.core.text import printable, storable
from dataset_tools.formats.job import public_group
from dataset_tools.formats.reading import Facts, ReadOptions, check_size

MAX_INSTANCES = 10_000  # of one picture
MAX_TEXT = 2_000  # characters of a stated fact

_SPLIT_WORDS = {
    **dict.fromkeys(("train", "training"), Split.TRAIN),
    **dict.fromkeys(("val", "valid", "validation", "dev"), Split.VAL),
    **dict.fromkeys(("test", "testing"), Split.TEST),
}
_ORIGINS = ("human:", "model:", "synth:", "published:")
_CREATIVE_COMMONS = "https://creativecommons.org"


def picture_facts(sample: Sample) -> dict[str, Any]:
    """What is known of a sample's picture; all values are text but `is_synthetic` and `is_labelled`."""
    provenance = sample.provenance
    return {
        "sample_id": sample.id,
        "split": sample.split.value,
        "licence": provenance.licence,
        "licence_url": licence_url(provenance.licence),
        "author": provenance.author,
        "url": provenance.url,
        "source": provenance.source,
        "retrieved_at": provenance.retrieved_at,
        "group": public_group(sample),
        "parent_id": provenance.parent_id,
        "review": sample.review.state.value,
        "is_synthetic": sample.is_synthetic,
        "is_labelled": sample.is_labelled,
    }


def licence_url(licence: str) -> str:
    """Where the text of a licence stands, by its SPDX id; "" for any other words."""
    words = licence.strip().upper().split("-")
    if licence.strip().upper() == "CC0-1.0":
        return f"{_CREATIVE_COMMONS}/publicdomain/zero/1.0/"
    if words[0] == "CC" and len(words) >= 3 and words[-1] in ("1.0", "2.0", "2.5", "3.0", "4.0"):
        return f"{_CREATIVE_COMMONS}/licenses/{'-'.join(words[1:-1]).lower()}/{words[-1]}/"
    if licence.strip() in ("MIT", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ODbL-1.0", "PDDL-1.0"):
        return f"https://spdx.org/licenses/{licence.strip()}.html"
    return ""


def instance_entry(item: Instance) -> dict[str, Any]:
    """An instance as plain values of one type in all rows; only `confidence` may be None."""
    left, top, right, bottom = item.mask.box_xyxy
    return {
        "id": item.id,
        "label": item.label.value,
        "bbox_xywh": [left, top, right - left, bottom - top],
        "area": item.mask.area_px,
        "segmentation": rle_to_coco(item.mask),
        "drawn_by": item.drawn_by,
        "confidence": item.confidence,
        "face": item.face,
        "attributes": [{"key": key, "value": value} for key, value in item.attributes],
    }


def read_facts(stated: Mapping[str, Any], options: ReadOptions) -> Facts:
    """The facts that a dataset states of a picture; the user's licence where it states none."""
    names = ("author", "url", "source", "group", "sample_id", "parent_id")
    found = {name: fact_text(stated.get(name)) for name in names}
    licence = fact_text(stated.get("licence")) or fact_text(stated.get("license"))
    return Facts(licence=licence or options.licence, **found)


def fact_text(value: Any) -> str:
    """A stated fact as one storable line of at most 2,000 characters; "" for what is no text."""
    return printable(storable(value[:MAX_TEXT])).strip() if isinstance(value, str) else ""


def split_of(word: Any) -> Split:
    """The split of that name in any of its usual spellings, unassigned for anything else."""
    return _SPLIT_WORDS.get(word.lower(), Split.UNASSIGNED) if isinstance(word, str) else Split.UNASSIGNED


def stated_size(height: Any, width: Any) -> tuple[int, int] | None:
    """(height, width) of two whole numbers, None when neither is stated.

    Raises:
        ItemFault: `schema` for anything else.
    """
    if height is None and width is None:
        return None
    if type(height) is not int or type(width) is not int or height < 1 or width < 1:
        raise ItemFault(Reason.SCHEMA, f"picture size {str(width)[:20]!r} x {str(height)[:20]!r}")
    return height, width


@dataclass(frozen=True, slots=True)
class ListedInstances:
    """Labels as instance entries, decoded only once the size of the picture is known.

    Attributes:
        entries: JSON text of the list; not trusted.
        options: what its files do not say.
        split: fixed part of the dataset.
        stated_hw: picture size the dataset states, or None.
        is_complete: False when the dataset says that nobody confirmed these labels.
    """

    entries: str
    options: ReadOptions
    split: Split = Split.UNASSIGNED
    stated_hw: tuple[int, int] | None = None
    is_complete: bool = True

    def read(self, size_hw: tuple[int, int], limits: ImageLimits) -> Labels:
        """Good entries as instances, bad ones as faults named "instances[<index>] <id>".

        Raises:
            ItemFault: `size_mismatch`; `schema`, when it is no list of at most 10,000 entries.
        """
        check_size(self.stated_hw, size_hw)
        entries = parse_kept(self.entries)
        if not isinstance(entries, list) or len(entries) > MAX_INSTANCES:
            raise ItemFault(Reason.SCHEMA, f"instances are no list of at most {MAX_INSTANCES}")
        good: dict[str, Instance] = {}
        faults: list[tuple[str, Fault]] = []
        for index, entry in enumerate(entries):
            identity = entry.get("id") if isinstance(entry, dict) else None
            where = f"instances[{index}] {fact_text(identity)[:80]}".strip()
            try:
                item = read_instance(entry, size_hw, self.options)
                if item is not None and item.id in good:
                    raise ItemFault(Reason.DUPLICATE_ID, "another instance has this id")
            except ItemFault as fault:
                faults.append((where, Fault(fault.reason, str(fault))))
                continue
            if item is not None:
                good[item.id] = item
        return Labels(tuple(good.values()), tuple(faults), self.is_complete)


def listed_instances(
    entries: Any, stated: Mapping[str, Any], options: ReadOptions, split: Split
) -> ListedInstances | None:
    """The labels of parsed entries; None for a picture that states it has no labels yet.

    Args:
        entries: the list; not trusted.
        stated: what the dataset states of the picture: width, height, is_labelled.
        options: what its files do not say.
        split: of the picture.

    Raises:
        ItemFault: `schema`, the stated size is none, or the list holds what JSON cannot.
    """
    size_hw = stated_size(stated.get("height"), stated.get("width"))
    is_complete = stated.get("is_labelled") is not False
    if not entries and not is_complete:
        return None
    return ListedInstances(keep_json(entries), options, split, size_hw, is_complete)


def keep_json(value: Any) -> str:
    """Parsed values as text, to be decoded later by `parse_kept`.

    Raises:
        ItemFault: `schema`, values that JSON does not have, or nested too deep.
    """
    try:
        return canonical_json(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise ItemFault(Reason.SCHEMA, f"no plain values: {storable(str(error)[:100])}") from error


def parse_kept(text: str) -> Any:
    """What `keep_json` was given.

    Raises:
        ItemFault: `json`, nested too deep for where it is read now.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ItemFault(Reason.JSON, "nested too deep") from None


def read_instance(entry: Any, size_hw: tuple[int, int], options: ReadOptions) -> Instance | None:
    """The instance of an untrusted entry, None when its class is left out on purpose.

    Raises:
        ItemFault: schema, unknown_label, not_finite, out_of_bounds, or as `decode_segmentation`. An entry
            whose mask is empty is fine when it states an area of 0.
    """
    if not isinstance(entry, dict):
        raise ItemFault(Reason.SCHEMA, f"an instance is no object but {type(entry).__name__}")
    label = read_label(entry.get("label"), options)
    if label is None:
        return None
    identity = fact_text(entry.get("id"))
    if not identity:
        raise ItemFault(Reason.SCHEMA, "an instance without an id")
    _check_numbers(entry)
    return Instance(
        id=identity,
        label=label,
        mask=_mask(entry, size_hw),
        drawn_by=read_origin(entry.get("drawn_by"), options),
        confidence=read_confidence(entry.get("confidence")),
        face=read_face(entry.get("face")),
        attributes=read_attributes(entry.get("attributes")),
    )


def _mask(entry: Mapping[str, Any], size_hw: tuple[int, int]) -> RleMask:
    try:
        return decode_segmentation(entry.get("segmentation"), size_hw)
    except ItemFault as fault:
        if fault.reason is Reason.NO_AREA and entry.get("area") == 0:
            return mask_to_rle(np.zeros(size_hw, dtype=np.bool_))
        raise


def _check_numbers(entry: Mapping[str, Any]) -> None:
    box = entry.get("bbox_xywh") or []
    if not isinstance(box, list):
        raise ItemFault(Reason.SCHEMA, "a box is no list")
    for name, value in (("area", entry.get("area")), *(("box side", side) for side in box)):
        if value is None:
            continue
        if type(value) not in (int, float):
            raise ItemFault(Reason.SCHEMA, f"{name} {str(value)[:40]!r} is no number")
        if not math.isfinite(value):
            raise ItemFault(Reason.NOT_FINITE, f"{name} {value}")
        if value < 0:
            raise ItemFault(Reason.OUT_OF_BOUNDS, f"{name} {str(value)[:40]} is negative")


def read_label(name: Any, options: ReadOptions) -> Label | None:
    """The label of an untrusted class name, None when it is left out on purpose.

    Raises:
        ItemFault: `schema` or `unknown_label`.
    """
    if not isinstance(name, str):
        raise ItemFault(Reason.SCHEMA, f"class {str(name)[:80]!r} is no text")
    try:
        return options.label_of(name)
    except KeyError:
        raise ItemFault(
            Reason.UNKNOWN_LABEL, f"class {storable(name[:80])!r}: map it to a label, or to none"
        ) from None


def read_origin(value: Any, options: ReadOptions) -> str:
    """Who drew an instance, the user's word where nothing is stated.

    Raises:
        ItemFault: `schema`.
    """
    if value is None or value == "":
        return options.drawn_by
    if not isinstance(value, str) or not value.startswith(_ORIGINS):
        raise ItemFault(Reason.SCHEMA, f"drawn_by {storable(str(value)[:80])!r} is none of {_ORIGINS}")
    return fact_text(value)


def read_confidence(value: Any) -> float | None:
    """A stated confidence, None for none.

    Raises:
        ItemFault: schema, not_finite or out_of_bounds.
    """
    if value is None:
        return None
    if type(value) not in (int, float):
        raise ItemFault(Reason.SCHEMA, f"confidence {str(value)[:40]!r} is no number")
    if not math.isfinite(value):
        raise ItemFault(Reason.NOT_FINITE, f"confidence {value}")
    if not 0 <= value <= 1:
        raise ItemFault(Reason.OUT_OF_BOUNDS, f"confidence {str(value)[:40]}, expected 0 to 1")
    return float(value)


def read_face(value: Any) -> int:
    """A stated index of a face, -1 for none.

    Raises:
        ItemFault: `schema`.
    """
    if value is None:
        return -1
    if type(value) is not int or not -1 <= value < MAX_INSTANCES:
        raise ItemFault(Reason.SCHEMA, f"face {str(value)[:40]!r} is no index")
    return value


def read_attributes(value: Any) -> Pairs:
    """Attributes as an object of texts or a list of key and value, sorted by key.

    Raises:
        ItemFault: `schema`.
    """
    if value is None:
        return ()
    if isinstance(value, dict):
        value = [{"key": key, "value": text} for key, text in value.items()]
    if not isinstance(value, list) or not all(isinstance(pair, dict) for pair in value):
        raise ItemFault(Reason.SCHEMA, "attributes are neither an object nor a list of key and value")
    pairs = [(pair.get("key"), pair.get("value")) for pair in value]
    if not all(isinstance(key, str) and isinstance(text, str) for key, text in pairs):
        raise ItemFault(Reason.SCHEMA, "attributes are not all text")
    found = {fact_text(key): fact_text(text) for key, text in pairs}
    if len(found) != len(pairs):
        raise ItemFault(Reason.SCHEMA, "an attribute stands twice")
    return sorted_pairs(found)


def entries_of(items: Sequence[Instance]) -> list[dict[str, Any]]:
    """`instance_entry` of each."""
    return [instance_entry(item) for item in items]
