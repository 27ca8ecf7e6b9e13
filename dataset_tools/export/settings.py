"""The `export` section of a configuration."""

from __future__ import annotations

from pydantic import Field, field_validator

from dataset_tools.core.files import sha256_hex
from dataset_tools.core.settings import Settings
from dataset_tools.export.questions import DatasheetAnswers
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
        lawful_basis: on which legal ground the pictures of people are held and passed on. A person decides
            this, not the suite; publishing openly needs it.
        consent: what the people in the pictures agreed to, or why they were not asked; publishing openly
            needs it.
        dataset_id: names the dataset through all its versions, e.g. a DOI; derived from `name` when "".
        revocations: address of the list of withdrawn versions and pictures, which importers check.
        homepage: address of the dataset's own page.
        citation: how to cite it.
        datasheet: answers that cannot be computed, see `questions.py`.
    """

    formats: tuple[str, ...] = Field(default=("coco", "mfsd", "huggingface"), min_length=1)
    include_proposals: bool = False
    name: str = Field(default="masked faces", min_length=1)
    version: str = Field(default="0.1.0", min_length=1)
    date: str = Field(default="", pattern=r"^(\d{4}-\d{2}-\d{2})?$")
    description: str = ""
    contact: str = ""
    lawful_basis: str = ""
    consent: str = ""
    dataset_id: str = Field(default="", pattern=r"^[!-~]*$", max_length=200)
    revocations: str = Field(default="", pattern=r"^(https?://[!-~]+)?$", max_length=2000)
    homepage: str = Field(default="", pattern=r"^(https?://[!-~]+)?$", max_length=2000)
    citation: str = ""
    datasheet: DatasheetAnswers = DatasheetAnswers()

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

    @property
    def identity(self) -> str:
        """`dataset_id`, or an id that the name alone decides, so that it stays the same in all versions."""
        return self.dataset_id or f"urn:maskset:{sha256_hex(self.name.encode())[:32]}"
