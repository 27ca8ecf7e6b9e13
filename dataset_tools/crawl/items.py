"""What every source hands to the crawl: one frozen `SourceItem` per picture, good or already faulty."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Protocol, Self

from pydantic import Field, StringConstraints

from dataset_tools.core.images import ImageLimits
from dataset_tools.core.reasons import Reason
from dataset_tools.core.record import Instance, Split
from dataset_tools.core.settings import Settings

Licence = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


@dataclass(frozen=True, slots=True)
class Fault:
    """Why something cannot be used: a fixed word and one line for people."""

    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True)
class Labels:
    """What the published annotations of one picture came to.

    Attributes:
        instances: the good ones.
        faults: (name of the annotation, fault) for each one lost. A picture that lost an annotation is
            no complete ground truth, so it is not marked as labelled.
    """

    instances: tuple[Instance, ...] = ()
    faults: tuple[tuple[str, Fault], ...] = ()


class Annotation(Protocol):
    """Published labels that travel with an item; picklable."""

    @property
    def split(self) -> Split:
        """The part of the published dataset the picture belongs to, so that a test set stays one."""

    def read(self, size_hw: tuple[int, int], limits: ImageLimits) -> Labels:
        """Turn them into instances of a picture of that size.

        Labels are taken to be drawn on the upright picture (EXIF orientation applied), as every viewer
        and drawing tool shows it.

        Raises:
            ItemFault: the labels do not belong to this picture; the whole item is rejected.
        """


@dataclass(frozen=True, slots=True)
class SourceItem:
    """One picture to fetch, or one input that is already known to be bad.

    Attributes:
        key: unique in the run: the URL, or `<source>/<relative path>`; repeated ones end in "#2", "#3", ….
        source: name of the configured source.
        uri: http(s) URL, or absolute path of a local file; "" when `fault` is set and there is none.
        licence: SPDX id or the source's own words; never empty unless `fault` is set.
        author: as stated; "" when not stated.
        group: of the sample; "" for a group of its own.
        name: original file name, for the record only.
        annotation: published labels, if any.
        fault: why it must not be fetched; found while listing.
    """

    key: str
    source: str
    uri: str = ""
    licence: str = ""
    author: str = ""
    group: str = ""
    name: str = ""
    annotation: Annotation | None = None
    fault: Fault | None = None

    @property
    def is_remote(self) -> bool:
        """True when `uri` is a URL."""
        return self.uri.startswith(("http://", "https://"))


class SourceSettings(Settings):
    """Base of all sources: its fields are the YAML keys, its `items` lists the pictures.

    Attributes:
        name: of the source in provenance and reports; unique within the configuration.
        author: of all pictures of the source, unless the source states one per picture.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)
    author: str = ""

    @abstractmethod
    def items(self) -> Iterator[SourceItem]:
        """All pictures in a fixed order; keys need not be unique yet.

        Raises:
            ConfigError: a path does not exist or a column is missing.
            DataError: the list or annotation file as a whole cannot be read.
        """

    def resolve_paths(self, base_dir: Path) -> Self:
        """The same source with every path absolute; relative ones start at `base_dir`."""
        paths = {
            field: (base_dir / value.expanduser()).resolve()
            for field in type(self).model_fields
            if isinstance(value := getattr(self, field), Path)
        }
        return self.model_copy(update=paths)
