"""The `export` section of a configuration."""

from __future__ import annotations

from pydantic import Field, field_validator

from dataset_tools.core.settings import Settings
from dataset_tools.formats.job import About
from dataset_tools.formats.registry import find_format


class ExportSettings(Settings):
    """What is written and what the card says of it.

    Attributes:
        formats: which formats, each once.
        include_proposals: also write samples that nobody has confirmed; they are marked as proposals.
        name: title of the dataset.
        version: of the dataset, as its users will cite it.
        date: shown on the card, e.g. "2026-01-31"; left out when "" (no clock is read).
        description: a sentence for the top of the card.
        contact: where people ask for removal of a picture; publishing openly needs it.
    """

    formats: tuple[str, ...] = Field(default=("coco", "mfsd", "huggingface"), min_length=1)
    include_proposals: bool = False
    name: str = Field(default="masked faces", min_length=1)
    version: str = Field(default="0.1.0", min_length=1)
    date: str = ""
    description: str = ""
    contact: str = ""

    @field_validator("formats")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            find_format(name)
        return tuple(dict.fromkeys(names))

    @property
    def about(self) -> About:
        """What every format says of the dataset."""
        return About(self.name, self.version, self.date, self.description, self.contact)
