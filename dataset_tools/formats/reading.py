"""What a format reader hands over: pictures with their labels, and everything that is wrong, with its place.

Nothing here decodes a picture or trusts a file: labels are turned into masks only once the size of the
upright picture is known, and what cannot be used becomes a `Problem`, never an exception.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dataset_tools.core.errors import ItemFault
from dataset_tools.core.images import ImageLimits
from dataset_tools.core.labels import Label
from dataset_tools.core.local_files import read_local
from dataset_tools.core.published import Annotation, Content, Fault, Labels
from dataset_tools.core.reasons import Reason
from dataset_tools.core.record import Instance, Split

# Largest label file that is read whole, bytes.
MAX_LABEL_BYTES = 4 * 2**30

_NOTHING: dict[str, Any] = {}


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """What the user says of a dataset that its files do not.

    Attributes:
        drawn_by: origin of labels whose file names none, "published:<source name>".
        licence: of pictures for which the files state none; "" when there is none to assume.
        categories: foreign class name -> label; None leaves a class out on purpose. Names that already are
            labels need no entry.
    """

    drawn_by: str
    licence: str = ""
    categories: Mapping[str, Label | None] = field(default_factory=dict)

    def label_of(self, name: str) -> Label | None:
        """The label of a class name, None for one left out on purpose.

        Raises:
            KeyError: neither a label nor mapped.
        """
        if name in self.categories:
            return self.categories[name]
        return {label.value: label for label in Label}[name]


@dataclass(frozen=True, slots=True)
class Facts:
    """What a dataset states about one picture; "" where it states nothing.

    Attributes:
        licence, author, url, source: of the picture.
        group: pictures of one group never lie on both sides of a split.
        sample_id: of the sample it was written from, in datasets of this suite.
        parent_id: sample id of the photo that a rendered picture was made of.
    """

    licence: str = ""
    author: str = ""
    url: str = ""
    source: str = ""
    group: str = ""
    sample_id: str = ""
    parent_id: str = ""


@dataclass(frozen=True, slots=True)
class FoundPicture:
    """One picture of a dataset on disk; neither picture nor masks are decoded yet.

    Attributes:
        key: unique in the dataset: the picture's relative path or id.
        content: how to read its bytes.
        annotation: its labels; None when the dataset has none for it.
        path: of the file, when it is one of its own.
        facts: see there.
    """

    key: str
    content: Content
    annotation: Annotation | None = None
    path: Path | None = None
    facts: Facts = Facts()


@dataclass(frozen=True, slots=True)
class FileContent:
    """A picture that is a file of its own.

    Attributes:
        path: of the file, already known to lie inside the dataset.
    """

    path: Path

    def read(self, max_bytes: int) -> bytes:
        """Its bytes.

        Raises:
            FetchFault: as `read_local`.
        """
        return read_local(self.path, max_bytes)


@dataclass(frozen=True, slots=True)
class KnownLabels:
    """Labels whose masks were decoded while listing.

    Attributes:
        instances: with masks of `stated_hw`.
        split: fixed part of the dataset.
        stated_hw: picture size the dataset states, or None.
        faults: (name of the annotation, fault) for each one lost.
    """

    instances: tuple[Instance, ...]
    split: Split = Split.UNASSIGNED
    stated_hw: tuple[int, int] | None = None
    faults: tuple[tuple[str, Fault], ...] = ()

    def read(self, size_hw: tuple[int, int], limits: ImageLimits) -> Labels:
        """The instances; one whose mask has another size than the picture is a fault.

        Raises:
            ItemFault: `size_mismatch`, the labels were made for a picture of another size.
        """
        check_size(self.stated_hw, size_hw)
        good: list[Instance] = []
        faults = list(self.faults)
        for item in self.instances:
            if item.mask.size_hw == size_hw:
                good.append(item)
            else:
                detail = f"the mask is {item.mask.size_hw}, the picture {size_hw}"
                faults.append((item.id, Fault(Reason.MASK_SIZE, detail)))
        return Labels(tuple(good), tuple(faults))


def check_size(stated_hw: tuple[int, int] | None, size_hw: tuple[int, int]) -> None:
    """Refuse labels that were made for a picture of another size.

    Raises:
        ItemFault: `size_mismatch`.
    """
    if stated_hw is not None and stated_hw != size_hw:
        raise ItemFault(
            Reason.SIZE_MISMATCH,
            f"the labels state {stated_hw[1]}x{stated_hw[0]} pixels, "
            f"the upright picture has {size_hw[1]}x{size_hw[0]}",
        )


def read_json(path: Path, max_bytes: int = MAX_LABEL_BYTES) -> Any:
    """The content of a JSON file; a byte order mark is fine.

    Raises:
        FetchFault: as `read_local`.
        ItemFault: `json`, when it is no JSON, nested too deep, or an object has a key twice.
    """
    return parse_json(read_local(path, max_bytes))


def parse_json(data: bytes) -> Any:
    """JSON as `read_json` reads it.

    Raises:
        ItemFault: as `read_json`.
    """
    return _parsed(data, without_repeats)


def refusal(path: Path, what: str) -> ItemFault:
    """Why `read_json` finds no object in a file; for whoever reads it in pieces and came upon a fault.

    The file is parsed whole, since only so its first fault is found. Nothing parsed is kept, so the answer
    costs no more memory than the text does.

    Args:
        path: of the file.
        what: such a file is, e.g. "a COCO file".
    """
    try:
        content = _parsed(read_local(path, MAX_LABEL_BYTES), _checked_only)
    except ItemFault as fault:
        return fault
    if not isinstance(content, dict):
        return ItemFault(Reason.SCHEMA, f"{what} is a JSON object, found {type(content).__name__}")
    return not_the_same(path)


def not_the_same(path: Path) -> ItemFault:
    """The fault of a file that reads differently the second time."""
    return ItemFault(Reason.JSON, f"{path.name} was changed while it was read, or is nested too deep")


def _parsed(data: bytes, take_object: Callable[[list[tuple[str, Any]]], dict[str, Any]]) -> Any:
    try:
        return json.loads(data.decode("utf-8-sig"), object_pairs_hook=take_object)
    except RecursionError:
        raise ItemFault(Reason.JSON, "nested too deep") from None
    except ValueError as error:
        raise ItemFault(Reason.JSON, str(error)[:300]) from None


def without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON, as `object_pairs_hook` of its parser.

    Raises:
        ValueError: a key stands twice.
    """
    content = dict(pairs)
    if len(content) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"key {twice[:80]!r} stands twice in one object")
    return content


def _checked_only(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    without_repeats(pairs)
    return _NOTHING


@dataclass(frozen=True, slots=True)
class Problem:
    """Something in a dataset that cannot be used.

    Attributes:
        where: file and line, or id, e.g. "instances_train.json: annotation 17", for people.
        fault: why.
        is_fatal: the dataset as a whole cannot be read.
    """

    where: str
    fault: Fault
    is_fatal: bool = False


# Everything in a dataset folder (or file), in a fixed order. A reader goes on after a problem, so that all of
# them are reported at once.
Reader = Callable[[Path, ReadOptions], Iterator[FoundPicture | Problem]]
