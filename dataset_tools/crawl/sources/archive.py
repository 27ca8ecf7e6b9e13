"""Source `archive`: pictures in zip, tar, tar.gz and WebDataset files, without unpacking them."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from dataset_tools.core.archives import Member, read_members
from dataset_tools.core.errors import ConfigError, FetchFault
from dataset_tools.core.local_files import LocalEntry, walk
from dataset_tools.core.published import Fault
from dataset_tools.core.reasons import Reason
from dataset_tools.core.record import sorted_pairs
from dataset_tools.core.text import storable
from dataset_tools.crawl.items import Listing, SourceItem
from dataset_tools.crawl.source_settings import SourceSettings

SIBLING_MAX_BYTES = 1024 * 1024
_SIBLINGS = ("json", "txt", "cls")
_LICENCE_KEYS = ("licence", "license")
_AUTHOR_KEYS = ("author", "creator")
_MAX_EVIDENCE_CHARS = 500


@dataclass(frozen=True, slots=True)
class _Facts:
    """What the siblings of a picture say of it."""

    licence: str = ""
    author: str = ""
    evidence: tuple[tuple[str, str], ...] = ()
    fault: Fault | None = None


class ArchiveSource(SourceSettings):
    """Pictures in one archive, or in all archives of a folder.

    Attributes:
        path: a zip, tar or tar.gz file, or a folder of them.
        licence: of pictures for which the archive states none; there is no default.
        layout: "files", every member is a picture; "webdataset", members with the same name up to the
            first dot belong together: `.json` may state `licence`, `author` and `url`, `.txt` is a caption
            and `.cls` a class, both kept for the record.
        group_by: "parent-folder" when each folder inside holds one person or one album.
        max_total_bytes: of all members of one archive together, inflated.
    """

    type: Literal["archive"] = "archive"
    path: Path
    licence: str = ""
    layout: Literal["files", "webdataset"] = "files"
    group_by: Literal["none", "parent-folder"] = "none"
    max_total_bytes: int = Field(default=1024**4, ge=1)

    def items(self, listing: Listing) -> Iterator[SourceItem]:
        """One item per member, in the archives' order; an archive that is cut ends with a faulty one."""
        for entry in self._archives():
            prefix = f"{self.name}/" if entry.name == "" else f"{self.name}/{entry.name}/"
            if entry.fault is not None:
                yield SourceItem(key=prefix[:-1], source=self.name, uri=str(entry.path), fault=entry.fault)
                continue
            members = read_members(entry.path, self.max_total_bytes)
            if self.layout == "files":
                facts = self._stated({})
                yield from (self._item(prefix, entry.path, member, facts) for member in members)
            else:
                for key, group in itertools.groupby(members, _sample_key):
                    yield from self._sample(prefix, entry.path, key, list(group))

    def _archives(self) -> Iterator[LocalEntry]:
        if self.path.is_dir():
            yield from walk(self.path.absolute())
        elif self.path.is_file():
            yield LocalEntry("", self.path.absolute())
        else:
            raise ConfigError(f"source {self.name}: {self.path} is neither an archive nor a folder")

    def _sample(self, prefix: str, path: Path, key: str, members: list[Member]) -> Iterator[SourceItem]:
        facts = self._facts(members)
        has_picture = False
        for member in members:
            if member.fault is not None or _suffix(member) not in _SIBLINGS:
                has_picture = True
                yield self._item(prefix, path, member, facts)
        if not has_picture:
            fault = Fault(Reason.MISSING_IMAGE, "no picture beside " + ", ".join(m.name for m in members))
            yield SourceItem(key=f"{prefix}{key}", source=self.name, uri=str(path), fault=fault)

    def _item(self, prefix: str, path: Path, member: Member, facts: _Facts) -> SourceItem:
        parent = member.name.rpartition("/")[0]
        return SourceItem(
            # A fault of the archive as a whole has no member's name.
            key=(prefix + member.name).rstrip("/"),
            source=self.name,
            uri=str(path),
            content=member.content,
            licence=facts.licence,
            author=facts.author,
            group=prefix + parent if self.group_by == "parent-folder" else "",
            name=member.name,
            evidence=facts.evidence,
            fault=member.fault or facts.fault,
        )

    def _facts(self, members: list[Member]) -> _Facts:
        found: dict[str, bytes] = {}
        try:
            for member in members:
                if member.content is not None and _suffix(member) in _SIBLINGS:
                    found[_suffix(member)] = member.content.read(SIBLING_MAX_BYTES)
            stated = json.loads(found.pop("json", b"{}"))
        except FetchFault as fault:
            return _Facts(fault=Fault(fault.reason, f"file beside the picture: {fault}"))
        except (ValueError, RecursionError) as error:
            return _Facts(fault=Fault(Reason.JSON, f"file beside the picture is not JSON: {error}"))
        if not isinstance(stated, dict):
            return _Facts(fault=Fault(Reason.SCHEMA, "JSON beside the picture is no object"))
        words = {"txt": "caption", "cls": "class"}
        notes = {words[suffix]: data.decode("utf-8", "replace") for suffix, data in found.items()}
        return self._stated(stated, notes)

    def _stated(self, stated: dict[str, Any], notes: dict[str, str] | None = None) -> _Facts:
        licence = _first(stated, _LICENCE_KEYS) or self.licence.strip()
        evidence = {**(notes or {}), "stated_url": _first(stated, ("url",))}
        short = {key: storable(value.strip())[:_MAX_EVIDENCE_CHARS] for key, value in evidence.items()}
        return _Facts(
            licence,
            _first(stated, _AUTHOR_KEYS) or self.author,
            sorted_pairs({key: value for key, value in short.items() if value}),
            None if licence else Fault(Reason.LICENCE, "neither archive nor configuration states one"),
        )


def _sample_key(member: Member) -> str:
    folder, slash, file_name = member.name.rpartition("/")
    return folder + slash + file_name.partition(".")[0]


def _suffix(member: Member) -> str:
    return member.name.rpartition("/")[2].partition(".")[2].lower()


def _first(stated: dict[str, Any], keys: tuple[str, ...]) -> str:
    values = (stated.get(key) for key in keys)
    return next((storable(value.strip()) for value in values if isinstance(value, str) and value.strip()), "")
