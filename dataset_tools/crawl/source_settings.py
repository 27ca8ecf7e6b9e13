"""The base of all sources: what every entry under `crawl: sources:` has."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, StringConstraints

from dataset_tools.core.settings import Settings
from dataset_tools.crawl.items import Listing, SourceItem

Licence = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class SourceSettings(Settings):
    """Base of all sources: its fields are the YAML keys, its `items` lists the pictures.

    Attributes:
        name: of the source in provenance and reports; unique within the configuration.
        author: of all pictures of the source, unless the source states one per picture.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)
    author: str = ""

    @abstractmethod
    def items(self, listing: Listing) -> Iterator[SourceItem]:
        """All pictures in a fixed order; keys need not be unique yet.

        Raises:
            ConfigError: a path does not exist, a column is missing, a key is not in the environment.
            DataError: the list, annotation file or answer as a whole cannot be read.
            ServiceError: a service is away or its quota used up; what it gave so far is kept.
        """

    def resolve_paths(self, base_dir: Path) -> Self:
        """The same source with every path absolute; relative ones start at `base_dir`."""
        paths = {
            field: (base_dir / value.expanduser()).resolve()
            for field in type(self).model_fields
            if isinstance(value := getattr(self, field), Path)
        }
        return self.model_copy(update=paths)
