"""Source `dataset`: a finished dataset on disk, in any format the suite reads."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from dataset_tools.core.errors import ConfigError, DataError
from dataset_tools.core.images import ImageLimits
from dataset_tools.core.labels import Label
from dataset_tools.core.published import Annotation, Fault, Labels
from dataset_tools.core.reasons import Reason
from dataset_tools.core.record import Pairs, Split, sorted_pairs
from dataset_tools.core.text import storable
from dataset_tools.crawl.items import PARENT_ID, Listing, SourceItem
from dataset_tools.crawl.source_settings import SourceSettings
from dataset_tools.formats.detect import AUTO, detect_format
from dataset_tools.formats.reading import Facts, FoundPicture, Problem, ReadOptions
from dataset_tools.formats.registry import find_format

# Evidence of what a dataset says of a picture's earlier life.
STATED_URL = "stated_url"
STATED_SOURCE = "stated_source"

_MAX_KEY_CHARS = 1000
_MAX_EVIDENCE_CHARS = 2000


@dataclass(frozen=True, slots=True)
class DatasetLabels:
    """Labels of a dataset as the suite takes them over.

    Attributes:
        found: as the format reads them.
        other_split: of a picture for which the dataset states none.
    """

    found: Annotation
    other_split: Split

    @property
    def split(self) -> Split:
        """As the dataset states it."""
        stated = self.found.split
        return self.other_split if stated is Split.UNASSIGNED else stated

    def read(self, size_hw: tuple[int, int], limits: ImageLimits) -> Labels:
        """The labels, tied to no face: faces do not come along, they are detected anew.

        Raises:
            ItemFault: they do not belong to this picture.
        """
        labels = self.found.read(size_hw, limits)
        instances = tuple(dataclasses.replace(item, face=-1) for item in labels.instances)
        is_complete = labels.is_complete and not any(item.is_proposal for item in instances)
        return dataclasses.replace(labels, instances=instances, is_complete=is_complete)


class DatasetSource(SourceSettings):
    """Published ground truth in one of the formats that the suite also writes. The network is never used.

    Attributes:
        path: the dataset's folder, or the one file it consists of.
        format: name of the format; "auto" looks which one it is.
        licence: of pictures for which the dataset states none; there is no default.
        categories: class name -> label; `null` leaves a class out on purpose. Names that already are labels
            need no entry.
        split: of pictures for which the dataset states none; keeps a published test set a test set.
    """

    type: Literal["dataset"] = "dataset"
    path: Path
    format: str = AUTO
    licence: str = ""
    categories: dict[str, Label | None] = Field(default_factory=dict)
    split: Split = Split.UNASSIGNED

    @field_validator("format")
    @classmethod
    def _known(cls, name: str) -> str:
        if name != AUTO:
            find_format(name)
        return name

    def items(self, listing: Listing) -> Iterator[SourceItem]:
        """One item per picture, and a faulty one per problem that belongs to no picture."""
        for found, item in self.listed():
            if isinstance(found, Problem) and found.is_fatal:
                raise DataError(f"source {self.name}: {found.where}: {found.fault.detail}")
            yield item

    def listed(self) -> Iterator[tuple[FoundPicture | Problem, SourceItem]]:
        """Everything the format's reader found, each with the item it becomes.

        Raises:
            ConfigError: no such path, or its format cannot be told.
        """
        if not self.path.exists():
            raise ConfigError(f"source {self.name}: {self.path} does not exist")
        path = self.path.absolute()
        name = detect_format(path) if self.format == AUTO else self.format
        options = ReadOptions(f"published:{self.name}", self.licence.strip(), self.categories)
        seen: set[str] = set()
        for found in find_format(name).read(path, options):
            if isinstance(found, Problem):
                key = f"{self.name}#{storable(found.where)[:_MAX_KEY_CHARS]}"
                yield found, SourceItem(key=key, source=self.name, fault=found.fault)
                continue
            yield found, self._item(found, is_repeated=found.key in seen)
            seen.add(found.key)

    def _item(self, found: FoundPicture, *, is_repeated: bool) -> SourceItem:
        key = f"{self.name}/{storable(found.key)[:_MAX_KEY_CHARS]}"
        facts = found.facts
        licence = storable(facts.licence.strip() or self.licence.strip())
        fault = None
        if is_repeated:
            fault = Fault(Reason.DUPLICATE_ID, "another picture of the dataset has the same name")
        elif not licence:
            fault = Fault(Reason.LICENCE, "neither the dataset nor the configuration states a licence")
        if fault is not None:
            return SourceItem(key=key, source=self.name, fault=fault)
        return SourceItem(
            key=key,
            source=self.name,
            uri=str(found.path or self.path),
            licence=licence,
            author=storable(facts.author) or self.author,
            group=self._group(facts),
            name=key.partition("/")[2],
            content=None if found.path is not None else found.content,
            evidence=_evidence(facts),
            annotation=None if found.annotation is None else DatasetLabels(found.annotation, self.split),
        )

    def _group(self, facts: Facts) -> str:
        # Groups of two datasets are strangers even when they have one name; a parent's id is its own group.
        return f"{self.name}/{storable(facts.group)}" if facts.group else facts.parent_id


def _evidence(facts: Facts) -> Pairs:
    stated = {STATED_URL: facts.url, STATED_SOURCE: facts.source, PARENT_ID: facts.parent_id}
    return sorted_pairs({key: storable(text)[:_MAX_EVIDENCE_CHARS] for key, text in stated.items() if text})
