"""Which annotations of a COCO file belong to which picture, in a few bytes each.

Ids become 64-bit numbers as they stream by; all questions that need the whole file (unknown pictures, ids
twice, the annotations of one picture) are then answered by sorting. An annotation takes 28 bytes while the
file is walked and 17 afterwards; only an id that is no whole number of 62 bits costs its text.
"""

from __future__ import annotations

import re
import struct
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dataset_tools.core.text import storable
from dataset_tools.formats.json_tables import Entry

_NO_ID = -(2**63)
_LIMIT = 2**62  # ids beyond it are counted from here on
_WHOLE = re.compile("0|-?[1-9][0-9]{0,18}")  # as `str` writes a number

# One annotation: where it stands in its table, where in the file, and whether its id stood before it.
_ROW = np.dtype([("number", "<u4"), ("start", "<u8"), ("length", "<u4"), ("is_repeated", "?")])
_packed = struct.Struct("<IQI?")

_Numbers = npt.NDArray[np.int64]


class Row(NamedTuple):
    """One annotation of a picture.

    Attributes:
        number: of entries before it in the table.
        start, length: bytes of the file.
        is_repeated: an earlier annotation, good but for its own mask and notes, has the same id.
    """

    number: int
    start: int
    length: int
    is_repeated: bool


def identity(value: Any) -> str:
    """Text form of an id; 0 is an id, but True, 1.5, null and lists are not."""
    if type(value) is int:
        return str(value)
    return storable(value) if isinstance(value, str) else ""


class IdNumbers:
    """Numbers for ids: the same one exactly when `identity` is the same."""

    def __init__(self) -> None:
        self._others: dict[str, int] = {}

    def of(self, value: Any) -> int:
        """The number; `_NO_ID` for what is no id."""
        if type(value) is int and -_LIMIT < value < _LIMIT:
            return value
        text = identity(value)
        if not text:
            return _NO_ID
        if _WHOLE.fullmatch(text) and -_LIMIT < (number := int(text)) < _LIMIT:
            return number
        return self._others.setdefault(text, _LIMIT + len(self._others))


@dataclass(frozen=True, slots=True)
class PictureRows:
    """The annotations of every picture.

    Attributes:
        rows: those that name a picture of the file, by picture and then in file order.
        bounds: of one picture's rows, for each different id of a picture.
        places: entry of `images` -> its place in `bounds`; of an entry without an id it means nothing.
        is_first: entry of `images` -> whether none before it has its id.
        dangling: index in `annotations` of each that names no picture of the file, in file order.
        is_nameless: of each of these, whether it names no picture at all.
    """

    rows: npt.NDArray[np.void]
    bounds: _Numbers
    places: _Numbers
    is_first: npt.NDArray[np.bool_]
    dangling: _Numbers
    is_nameless: npt.NDArray[np.bool_]

    def of_picture(self, index: int) -> bytes:
        """Rows of an entry of `images` that has an id, packed; `unpack` reads them."""
        place = self.places[index]
        return self.rows[self.bounds[place] : self.bounds[place + 1]].tobytes()

    def of_annotations(self, indexes: Iterable[int]) -> Iterator[Row]:
        """Rows of entries of `annotations`, as far as they name a picture, in that order."""
        wanted = np.fromiter(indexes, np.int64)
        found = self.rows[np.isin(self.rows["number"], wanted)]
        yield from unpack(found[np.argsort(found["number"])].tobytes())


def unpack(rows: bytes) -> list[Row]:
    """Rows of `PictureRows.of_picture`."""
    return [Row(*row) for row in _packed.iter_unpack(rows)]


class CocoIndex:
    """Takes the entries of `images` and `annotations` as they stream by, and keeps numbers only."""

    def __init__(self) -> None:
        self._numbers = IdNumbers()
        self._images, self._is_named = array("q"), array("b")
        self._pictures, self._ids, self._categories = array("q"), array("q"), array("q")
        self._starts, self._lengths = array("Q"), array("I")

    def add_image(self, entry: Entry) -> None:
        """The next entry of `images`."""
        stated = entry.value if isinstance(entry.value, dict) else {}
        name = stated.get("file_name")
        self._images.append(self._numbers.of(stated.get("id")))
        self._is_named.append(isinstance(name, str) and name != "")

    def add_annotation(self, entry: Entry) -> None:
        """The next entry of `annotations`."""
        stated = entry.value if isinstance(entry.value, dict) else {}
        number = self._numbers.of
        self._pictures.append(number(stated.get("image_id")))
        self._ids.append(number(stated.get("id")))
        self._categories.append(number(stated.get("category_id")))
        self._starts.append(entry.start)
        self._lengths.append(entry.end - entry.start)

    def sort(self, categories: Iterable[str]) -> PictureRows:
        """All annotations by picture.

        Args:
            categories: identities of those that have a label or are left out; an annotation of another one
                claims no id.
        """
        images, pictures = np.asarray(self._images), np.asarray(self._pictures)
        own = np.unique(images[images != _NO_ID])
        owners = np.searchsorted(own, pictures).astype(np.uint32)
        known = np.zeros(len(pictures), np.bool_)
        inner = owners < len(own)
        known[inner] = own[owners[inner]] == pictures[inner]
        del inner
        is_repeated = self._repeated(known, categories)
        dangling = np.flatnonzero(~known)
        order = np.flatnonzero(known).astype(np.uint32)
        order = order[np.argsort(owners[order], kind="stable")]
        rows = np.zeros(len(order), _ROW)
        rows["number"] = order
        rows["start"] = np.asarray(self._starts)[order]
        rows["length"] = np.asarray(self._lengths)[order]
        rows["is_repeated"] = is_repeated[order]
        return PictureRows(
            rows,
            bounds=np.searchsorted(owners[order], np.arange(len(own) + 1, dtype=np.uint32)),
            places=np.searchsorted(own, images),
            is_first=_first((images != _NO_ID) & np.asarray(self._is_named, np.bool_), images),
            dangling=dangling,
            is_nameless=pictures[dangling] == _NO_ID,
        )

    def _repeated(self, known: npt.NDArray[np.bool_], categories: Iterable[str]) -> npt.NDArray[np.bool_]:
        ids = np.asarray(self._ids)
        labelled = np.array([self._numbers.of(text) for text in categories], np.int64)
        claims: npt.NDArray[np.bool_] = (
            known & (ids != _NO_ID) & np.isin(np.asarray(self._categories), labelled)
        )
        return claims & ~_first(claims, ids)


def _first(among: npt.NDArray[np.bool_], ids: _Numbers) -> npt.NDArray[np.bool_]:
    """Which of those `among` are the first with their id."""
    rows = np.flatnonzero(among)
    found: npt.NDArray[np.bool_] = np.zeros(len(ids), np.bool_)
    found[rows[np.unique(ids[rows], return_index=True)[1]]] = True
    return found
