"""Picture searches that answer page by page: queries, cursors, an end in any case, and a memory of answers.

A source says how to ask for a page and how to read one. Each answer is written down as it comes, by what was
asked and without keys, so that a listing that was cut off goes on at the page it failed at, a finished one is
the same on every run, and a query added later asks for its own pages only.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import IO, Any, Literal

from pydantic import Field, model_validator

from dataset_tools.core.errors import ConfigError, DataError, FetchFault, ServiceError, WorkspaceBusy
from dataset_tools.core.files import canonical_json, digest_json, sha256_hex
from dataset_tools.core.published import Fault
from dataset_tools.core.reasons import Reason
from dataset_tools.core.record import sorted_pairs
from dataset_tools.core.settings import Settings
from dataset_tools.core.text import storable
from dataset_tools.crawl.items import Listing, SourceItem, taken_down
from dataset_tools.crawl.source_settings import SourceSettings

MAX_TEXT_CHARS = 500

Params = dict[str, str]


class Combination(Settings):
    """Every subject with every term: one block for each language.

    Attributes:
        subjects: names, professions, places.
        terms: words for a face mask and its kinds.
    """

    subjects: tuple[str, ...] = Field(min_length=1)
    terms: tuple[str, ...] = Field(min_length=1)


@dataclass(frozen=True, slots=True)
class Hit:
    """One picture as a search states it; an empty field is not stated.

    Attributes:
        id: of the picture at the service; tells a repeated page from a new one.
        url: of the picture file.
        licence, licence_url, author, title: as stated.
        page_url: the page that shows the picture.
        fault: why the entry cannot be used: its fields are not what the service promises.
        digest: of the hit as it was, when this one stands for a picture that was taken down; "" otherwise.
    """

    id: str
    url: str = ""
    licence: str = ""
    licence_url: str = ""
    author: str = ""
    title: str = ""
    page_url: str = ""
    fault: str = ""
    digest: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """One answer.

    Attributes:
        hits: its pictures, in order.
        cursor: parameters that ask for the next page; empty at the end.
        is_partial: it may hold nothing new and yet not be the last.
    """

    hits: tuple[Hit, ...]
    cursor: Params
    is_partial: bool = False


class PagedSource(SourceSettings):
    """Base of the sources that search an API which states licence and author per picture.

    Attributes:
        queries: search words, one search each.
        combine: blocks of subjects and terms; each pair is one more search.
        endpoint: address of the API.
        max_pages: of one search.
        max_items: of the source.
        group_by: "author" when pictures of one author must not be on two sides of a split.
        refresh: any word, such as a date; a changed one asks the API again instead of using kept answers.
    """

    queries: tuple[str, ...] = ()
    combine: tuple[Combination, ...] = ()
    endpoint: str = Field(default="", pattern=r"^https?://[^?#@\s]+$")
    max_pages: int = Field(default=100, ge=1)
    max_items: int = Field(default=1_000_000, ge=1)
    group_by: Literal["none", "author"] = "none"
    refresh: str = ""

    @model_validator(mode="after")
    def _has_queries(self) -> PagedSource:
        if not any(query.strip() for query in self.all_queries()):
            raise ValueError("no search words; add `queries:` or `combine:`")
        return self

    def all_queries(self) -> list[str]:
        """Every search once: `queries`, then the pairs of `combine`."""
        pairs = (
            f"{one} {term}" for block in self.combine for one, term in product(block.subjects, block.terms)
        )
        return list(dict.fromkeys(text for text in map(str.strip, (*self.queries, *pairs)) if text))

    # -- what a source says ---------------------------------------------------------------------------

    @abstractmethod
    def first_page(self, query: str) -> Params:
        """Parameters that ask for the first page of a search, without keys."""

    @abstractmethod
    def read_page(self, answer: dict[str, Any], asked: Params) -> Page:
        """An answer's pictures and what to ask next.

        Raises:
            DataError: the answer as a whole has another form than the API promises.
            ServiceError: the API says that it refuses.
        """

    def key_params(self) -> Params:
        """Keys that go with every request as parameters, from the environment.

        Raises:
            ConfigError: a needed variable is not set.
        """
        return {}

    def key_headers(self) -> Params:
        """Keys that go with every request as headers, from the environment."""
        return {}

    # -- listing --------------------------------------------------------------------------------------

    def items(self, listing: Listing) -> Iterator[SourceItem]:
        """One item per picture found; what several searches find is listed once, under the first.

        Raises:
            ConfigError: a needed key is not in the environment.
            DataError: an answer has another form than the API promises.
            ServiceError: the API is away, or refuses, or a quota is used up.
        """
        kept = {"type": type(self).__name__, "endpoint": self.endpoint, "refresh": self.refresh}
        listed: set[str] = set()
        with Memory(listing.cache, self.name, kept) as memory:
            for query in self.all_queries():
                for hit in self._search(query, listing, memory):
                    if hit.id in listed:
                        continue
                    listed.add(hit.id)
                    yield self._item(query, hit)
                    if len(listed) >= self.max_items:
                        return

    def _search(self, query: str, listing: Listing, memory: Memory) -> Iterator[Hit]:
        asked = self.first_page(query)
        cursors: set[str] = set()
        found: set[str] = set()
        for _ in range(self.max_pages):
            cursors.add(canonical_json(asked))
            page = self._page(asked, listing, memory)
            fresh = [hit for hit in page.hits if hit.id not in found]
            found.update(hit.id for hit in fresh)
            yield from fresh
            adds_nothing = not fresh and not page.is_partial
            # A page that adds nothing or a cursor that comes again would go on for ever.
            if not page.cursor or adds_nothing or canonical_json(page.cursor) in cursors:
                return
            asked = page.cursor

    def _page(self, asked: Params, listing: Listing, memory: Memory) -> Page:
        kept = memory.get(asked)
        if kept is None:
            answer = self._ask(asked, listing)
            try:
                page = self.read_page(answer, asked)
            except (DataError, ServiceError) as error:
                raise type(error)(f"source {self.name}: {error}") from error
            memory.put(asked, asdict(page))
            kept = memory.get(asked)
            assert kept is not None
        hits = tuple(Hit(**hit) for hit in kept["hits"])
        return Page(hits, kept["cursor"], kept["is_partial"])

    def _ask(self, asked: Params, listing: Listing) -> dict[str, Any]:
        try:
            return listing.web.ask(self.endpoint, {**asked, **self.key_params()}, self.key_headers())
        except FetchFault as fault:
            raise DataError(f"source {self.name}: {self.endpoint} answers: {fault}") from fault
        except ServiceError as error:
            raise ServiceError(f"source {self.name}: {error}") from error

    def _item(self, query: str, hit: Hit) -> SourceItem:
        # Imported here: listing needs the URL rules of the HTTP client, reading a config file does not.
        from dataset_tools.crawl.urls import checked_url

        if hit.digest:
            return taken_down(self.name, hit.url, hit.digest)
        where, digest = f"{self.name}#{hit.id}", digest_json(asdict(hit))
        try:
            if hit.fault:
                raise FetchFault(Reason.SCHEMA, hit.fault)
            url = str(checked_url(hit.url))
        except FetchFault as fault:
            problem = Fault(fault.reason, str(fault))
            return SourceItem(key=where, source=self.name, fault=problem, digest=digest)
        notes = {
            "api": self.endpoint,
            "query": query,
            "licence_url": hit.licence_url,
            "page_url": hit.page_url,
            "title": hit.title,
        }
        author = hit.author or self.author
        return SourceItem(
            key=url,
            source=self.name,
            uri=url,
            licence=hit.licence,
            author=author,
            group=f"{self.name}/{author}" if author and self.group_by == "author" else "",
            evidence=sorted_pairs({name: value for name, value in notes.items() if value}),
            fault=None if hit.licence else Fault(Reason.LICENCE, f"{where}: no licence is stated"),
            digest=digest,
        )


class Memory:
    """Answers on disk: one JSON line each, appended and synced as they come; a context manager.

    A line that a killed run left half-written is cut off by the next one that writes.

    Args:
        folder: where the file lies.
        name: of the source, for people who look into the folder.
        identity: what the answers depend on besides the request.
    """

    def __init__(self, folder: Path, name: str, identity: dict[str, str]) -> None:
        self.path = folder / f"{name}-{digest_json(identity)[:12]}.jsonl"
        self._answers: dict[str, Any] = {}
        self._end = 0
        self._stream: IO[bytes] | None = None
        if self.path.exists():
            with self.path.open("rb") as stream:
                self._read(stream)

    def __enter__(self) -> Memory:
        return self

    def __exit__(self, *_: object) -> None:
        if self._stream is not None:
            self._stream.close()

    def get(self, asked: Mapping[str, Any]) -> Any:
        """The kept answer, None when there is none."""
        return self._answers.get(canonical_json(asked))

    def put(self, asked: Mapping[str, Any], answer: Any) -> None:
        """Keep an answer; the first one to a request counts.

        Raises:
            WorkspaceBusy: another process is listing the same source.
        """
        stream = self._stream or self._opened()
        if self.get(asked) is not None:
            return
        line = canonical_json({"asked": asked, "answer": answer}).encode("utf-8", "replace") + b"\n"
        stream.write(line)
        stream.flush()
        os.fsync(stream.fileno())
        self._answers[canonical_json(asked)] = json.loads(line)["answer"]

    def _opened(self) -> IO[bytes]:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        stream = self.path.open("ab+")
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            stream.close()
            raise WorkspaceBusy(f"{self.path} is being written by another process") from None
        self._stream = stream
        self._read(stream)
        stream.truncate(self._end)
        return stream

    def _read(self, stream: IO[bytes]) -> None:
        stream.seek(self._end)
        for line in stream:
            try:
                entry = json.loads(line) if line.endswith(b"\n") else None
                asked, answer = canonical_json(entry["asked"]), entry["answer"]  # type: ignore[index]
            except (ValueError, TypeError, KeyError):
                return
            self._answers.setdefault(asked, answer)
            self._end += len(line)


# -- reading answers ----------------------------------------------------------------------------------


def text_of(entry: Any, key: str) -> str:
    """A text or number of a JSON object, stripped and short enough to store; "" when there is none."""
    value = entry.get(key) if isinstance(entry, dict) else None
    if isinstance(value, bool) or not isinstance(value, str | int):
        return ""
    return storable(str(value).strip())


def short(text: str) -> str:
    """The same text, cut to what a record should hold."""
    return text[:MAX_TEXT_CHARS]


def rows_of(answer: Any, *path: str) -> list[Any]:
    """The list that lies in an answer under these keys.

    Raises:
        DataError: there is none; the API has changed or this is another service.
    """
    value = answer
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    if not isinstance(value, list):
        raise DataError(f"the answer has no list {'.'.join(path)!r}: the API has changed, or is another one")
    return value


def faulty(entry: Any, identity: str, lacks: str) -> Hit:
    """The hit for an entry that lacks what the API promises; without an id it gets one from its content."""
    digest = sha256_hex(storable(canonical_json(entry)).encode())
    return Hit(identity or f"entry-{digest[:12]}", fault=f"entry lacks {lacks}")


def from_environment(variable: str, purpose: str) -> str:
    """A key from the environment.

    Raises:
        ConfigError: the variable is not set.
    """
    value = os.environ.get(variable, "").strip()
    if not value:
        raise ConfigError(f"the environment variable {variable} is not set; it holds {purpose}")
    return value


_CC_WORDS = ("by", "by-sa", "by-nc", "by-nd", "by-nc-sa", "by-nc-nd")


_CC_URL = re.compile(
    r"^https?://(?:www\.)?creativecommons\.org/(?:licenses/([a-z-]+)/([0-9.]+)|publicdomain/(zero|mark)/1\.0)"
)


def licence_of_url(url: str) -> str:
    """SPDX id of a Creative Commons licence by its address; any other address stands for itself."""
    match = _CC_URL.match(url.strip().lower())
    if match is None:
        return short(storable(url.strip()))
    code, version, domain = match.groups()
    return cc_licence({"zero": "cc0", "mark": "pdm"}[domain] if domain else code, version or "")


def cc_licence(code: str, version: str) -> str:
    """SPDX id of a Creative Commons licence, e.g. ("by-sa", "4.0") -> "CC-BY-SA-4.0"; else the words.

    Args:
        code: lower case, e.g. "by", "cc0", "pdm".
        version: such as "2.0"; "" when not stated.
    """
    if not code:
        return ""
    if code == "cc0":
        return "CC0-1.0"
    if code == "pdm":
        return "CC-PDM-1.0"
    if code in _CC_WORDS and version:
        return f"CC-{code.upper()}-{version}"
    return f"{code} {version}".strip()
