"""JSON lists written and read entry by entry, so that a large one never stands in memory."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from dataset_tools.core.errors import FetchFault, ItemFault
from dataset_tools.core.files import canonical_json
from dataset_tools.core.reasons import Reason

MAX_ENTRY_CHARS = 256 * 2**20

_BLOCK_CHARS = 1 << 20
_SPACE = " \t\r\n"


class JsonListWriter:
    """Writes a list, one entry per line; a context manager.

    Args:
        path: the file to make.
    """

    def __init__(self, path: Path) -> None:
        self.count = 0
        self._stream = path.open("w", encoding="utf-8")

    def __enter__(self) -> Self:
        self._stream.write("[")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.write("\n]\n")
        self._stream.close()

    def add(self, entry: Any) -> None:
        """Write the next entry."""
        self._stream.write(("," if self.count else "") + "\n" + canonical_json(entry))
        self.count += 1


def read_json_list(path: Path) -> Iterator[Any]:
    """Entries of a file that holds one JSON list of objects.

    Raises:
        FetchFault: it cannot be opened, or is a link.
        ItemFault: `json` at the entry where it is no JSON any more; `schema` when it is no list;
            `too_many_bytes` for an entry of more than 256 million characters.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise FetchFault(Reason.PERMISSION, f"cannot open the file: {error.strerror}") from error
    with os.fdopen(handle, "rb") as raw, io.TextIOWrapper(raw, "utf-8-sig") as stream:
        try:
            yield from _Entries(stream)
        except (RecursionError, UnicodeDecodeError) as error:
            raise ItemFault(Reason.JSON, f"{type(error).__name__}: {str(error)[:100]}") from None


class _Entries:
    def __init__(self, stream: io.TextIOWrapper) -> None:
        self._stream = stream
        self._decoder = json.JSONDecoder()
        self._text = ""
        self._at = 0
        self._is_over = False

    def __iter__(self) -> Iterator[Any]:
        if self._next_character() != "[":
            raise ItemFault(Reason.SCHEMA, "not a JSON list")
        self._at += 1
        if self._next_character() == "]":
            return
        while True:
            yield self._entry()
            character = self._next_character()
            self._at += 1
            if character == "]":
                return
            if character != ",":
                raise ItemFault(Reason.JSON, f"expected a comma or the end of the list, found {character!r}")

    def _next_character(self) -> str:
        while True:
            while self._at < len(self._text) and self._text[self._at] in _SPACE:
                self._at += 1
            if self._at < len(self._text) or self._is_over:
                return self._text[self._at : self._at + 1]
            self._more(_BLOCK_CHARS)

    def _more(self, count: int) -> None:
        block = self._stream.read(count)
        self._is_over = not block
        self._text, self._at = self._text[self._at :] + block, 0

    def _entry(self) -> Any:
        self._next_character()
        while True:
            try:
                entry, end = self._decoder.raw_decode(self._text, self._at)
            except ValueError as error:
                if self._is_over:
                    raise ItemFault(Reason.JSON, str(error)[:200]) from None
                if len(self._text) - self._at > MAX_ENTRY_CHARS:
                    detail = f"no JSON, or an entry of more than {MAX_ENTRY_CHARS} characters: {error}"
                    raise ItemFault(Reason.TOO_MANY_BYTES, detail[:200]) from None
                # As much again as there is, so that a long entry is not begun too often.
                self._more(max(_BLOCK_CHARS, len(self._text) - self._at))
                continue
            self._at = end
            return entry
