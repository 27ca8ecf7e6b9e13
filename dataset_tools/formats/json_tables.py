"""The lists of one large JSON object, read entry by entry: the file never stands in memory.

Read is exactly what `reading.read_json` reads: UTF-8 with or without a byte order mark, the tables in any
order, no key twice in one object. A file is walked once from end to end before any entry is trusted; later
its entries are read again by their place, as long as the file is the one that was walked.
"""

from __future__ import annotations

import codecs
import functools
import hashlib
import json
import os
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from dataset_tools.formats.reading import MAX_LABEL_BYTES, not_the_same, refusal, without_repeats

BLOCK_BYTES = 1 << 18

_decode = json.JSONDecoder(object_pairs_hook=without_repeats).raw_decode
_decode_again = json.JSONDecoder().raw_decode  # repeated keys were looked for the first time
_space = re.compile(r"[ \t\n\r]*")
_comma = re.compile(r"[ \t\n\r]*,")
# What may stand behind a value. Anything else behind a number may belong to it, and to the next block.
_ENDS = frozenset(",:]} \t\r\n")
_SPACE = " \t\r\n"


class Entry(NamedTuple):
    """One entry of a list.

    Attributes:
        table: key of the list.
        number: of entries before it in the list.
        value: as parsed.
        start, end: bytes of the file that it takes, the latter exclusive.
    """

    table: str
    number: int
    value: Any
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class JsonFile:
    """A file that was walked; picklable, and opened anew in every process that reads it.

    Attributes:
        path: of the file.
        version: its inode, size and time of change when it was walked.
        sha256: of its bytes, the only part that `repr` shows: a copy of the file is the same file.
    """

    path: Path = field(repr=False)
    version: tuple[int, int, int] = field(repr=False)
    sha256: str

    def entries(self, start: int, block_bytes: int = BLOCK_BYTES) -> Iterator[Any]:
        """The entries of the list that begins at that byte.

        Raises:
            ItemFault: `json`, the file is not what it was.
        """
        try:
            file = _kept_open(self.path, self.version)
            for value, _, _ in _Reader(file.read_at, start, block_bytes).entries():
                yield value
            file.require(self.version)
        except (OSError, ValueError, RecursionError) as error:
            raise not_the_same(self.path) from error

    def load(self, places: Sequence[tuple[int, int]]) -> list[Any]:
        """The values that lie between these bytes, as `Entry` names them; in file order.

        Raises:
            ItemFault: `json`, the file is not what it was.
        """
        if not places:
            return []
        try:
            file = _kept_open(self.path, self.version)
            file.require(self.version)
            first, last = places[0][0], places[-1][1]
            if last - first <= 2 * sum(end - start for start, end in places):  # neighbours
                data = file.read_at(first, last - first)
                parts = [data[start - first : end - first] for start, end in places]
            else:
                parts = [file.read_at(start, end - start) for start, end in places]
            return [_decode_again(str(part, "utf-8"))[0] for part in parts]
        except (OSError, ValueError, RecursionError) as error:
            raise not_the_same(self.path) from error


class TableWalk:
    """The first way through a file; to be iterated to the end, which checks every byte.

    Args:
        path: of the file.
        block_bytes: read at a time.

    Attributes:
        places: key -> byte at which its list begins, None when it holds no list.
    """

    def __init__(self, path: Path, block_bytes: int = BLOCK_BYTES) -> None:
        self.places: dict[str, int | None] = {}
        self._path = path
        self._block_bytes = block_bytes
        self._file: JsonFile | None = None

    @property
    def file(self) -> JsonFile:
        """The file that was walked, for reading it again."""
        assert self._file is not None
        return self._file

    def __iter__(self) -> Iterator[Entry]:
        """All entries of all lists, in file order.

        Raises:
            FetchFault, ItemFault: as `reading.read_json`, in its words; `schema` when it is no object.
        """
        try:
            file = _OpenFile(self._path)
            version = file.version()
            reader = _Reader(file.read_at, 0, self._block_bytes)
            yield from self._members(reader)
            if reader.next_character():
                raise ValueError("extra data")
            file.require(version)
            self._file = JsonFile(self._path, version, reader.sha256())
        except (OSError, ValueError, RecursionError) as error:
            raise refusal(self._path, "a COCO file") from error

    def _members(self, reader: _Reader) -> Iterator[Entry]:
        reader.take("{")
        if reader.next_character() == "}":
            reader.take("}")
            return
        while True:
            if reader.next_character() != '"':
                raise ValueError("no key")
            key = reader.value()
            if key in self.places:
                raise ValueError("a key twice")
            reader.take(":")
            is_list = reader.next_character() == "["
            self.places[key] = reader.place() if is_list else None
            if is_list:
                for number, (value, start, end) in enumerate(reader.entries()):
                    yield Entry(key, number, value, start, end)
            else:  # `next_character` has moved to the value
                reader.value()
            if reader.take(",}") == "}":
                return


class _Reader:
    """A stretch of a file as text, moved along it.

    Its ValueErrors only say that this is no JSON, not where or why.
    """

    def __init__(self, read_at: Callable[[int, int], bytes], start: int, block_bytes: int) -> None:
        self._read_at = read_at
        self._next_byte = start
        self._block_bytes = block_bytes
        self._utf8 = codecs.getincrementaldecoder("utf-8")()
        self._hash = hashlib.sha256()
        self._text = ""
        self._at = 0  # character of the text at which the reader stands
        self._is_over = False  # the text reaches to the end of the file
        self._marked = (0, start)  # a character of the text, and its byte in the file
        if start == 0:
            self._more(len(codecs.BOM_UTF8))
            self._at = int(self._text == "\ufeff")

    def sha256(self) -> str:
        """Of all that was read."""
        return self._hash.hexdigest()

    def place(self) -> int:
        """Byte of the file at which the reader stands."""
        character, byte = self._marked
        if self._text.isascii():
            byte += self._at - character
        else:
            byte += len(self._text[character : self._at].encode())
        self._marked = (self._at, byte)
        return byte

    def next_character(self) -> str:
        """What stands behind white space, "" at the end of the file; the reader moves there."""
        while True:
            character = self._text[self._at : self._at + 1]
            if character and character not in _SPACE:
                return character
            space = _space.match(self._text, self._at)
            self._at = self._at if space is None else space.end()
            if self._at == len(self._text):
                if self._is_over:
                    return ""
                self._more(self._block_bytes)

    def take(self, expected: str) -> str:
        """Move behind the next character.

        Raises:
            ValueError: it is none of the expected ones.
        """
        character = self.next_character()
        if not character or character not in expected:
            raise ValueError(f"none of {expected!r}")
        self._at += 1
        return character

    def value(self) -> Any:
        """The value that begins here; the reader moves behind it.

        Raises:
            ValueError: it is none; a key stands twice in an object.
        """
        while True:
            try:
                value, end = _decode(self._text, self._at)
            except ValueError:
                if self._is_over:
                    raise
            else:
                if self._is_over or self._text[end : end + 1] in _ENDS:
                    self._at = end
                    return value
            # As much again as there is, so that a long value is not begun too often.
            self._more(max(self._block_bytes, len(self._text) - self._at))

    def entries(self) -> Iterator[tuple[Any, int, int]]:
        """Values of the list that begins here, each with its first byte and the one behind it.

        Raises:
            ValueError: it is no list of JSON.
        """
        self.take("[")
        if self.next_character() == "]":
            self.take("]")
            return
        while True:
            self.next_character()
            start = self.place()
            value = self.value()
            yield value, start, self.place()
            comma = _comma.match(self._text, self._at)
            if comma is not None:
                self._at = comma.end()
            elif self.take(",]") == "]":
                return

    def _more(self, count: int) -> None:
        data = self._read_at(self._next_byte, count)
        self._next_byte += len(data)
        self._is_over = not data
        self._hash.update(data)
        byte = self.place()
        self._text = self._text[self._at :] + self._utf8.decode(data, final=self._is_over)
        self._at, self._marked = 0, (0, byte)


class _OpenFile:
    """An ordinary file of acceptable size; like `read_local` it follows no link and waits for no pipe.

    Raises:
        OSError, ValueError: it is none; `refusal` says it in words.
    """

    def __init__(self, path: Path) -> None:
        self._handle = -1
        self._handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        status = os.fstat(self._handle)
        if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_LABEL_BYTES:
            raise OSError("no ordinary file of acceptable size")

    def __del__(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)

    def version(self) -> tuple[int, int, int]:
        """What changes when somebody writes to the file."""
        status = os.fstat(self._handle)
        return status.st_ino, status.st_size, status.st_mtime_ns

    def require(self, version: tuple[int, int, int]) -> None:
        """Go on only with that version.

        Raises:
            OSError: the file was written to, or is another one.
        """
        if self.version() != version:
            raise OSError("another version")

    def read_at(self, start: int, count: int) -> bytes:
        """So many bytes from there on, fewer only at the end; fit for several threads."""
        return os.pread(self._handle, count, start)


@functools.lru_cache(maxsize=4)
def _kept_open(path: Path, version: tuple[int, int, int]) -> _OpenFile:
    # Labels are asked for picture by picture, and opening a file takes as long as reading them. An inode is
    # not given to another file while this one is open, so the version names one content.
    file = _OpenFile(path)
    file.require(version)
    return file
