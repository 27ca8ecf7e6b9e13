"""All that a card, a datasheet and Croissant metadata are computed from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from dataset_tools.export.history import History
from dataset_tools.export.parquet_files import ParquetPart
from dataset_tools.export.settings import ExportSettings
from dataset_tools.export.summary import Summary


@dataclass(frozen=True, slots=True)
class DatasetFacts:
    """Facts of one exported dataset.

    Attributes:
        settings: what its makers say.
        summary: what is counted in it.
        history: how it came about.
        parts: its Parquet files; () when the format "huggingface" was not written.
        info: `dataset_info` of the card's head; {} without Parquet files.
    """

    settings: ExportSettings = field(default_factory=ExportSettings)
    summary: Summary = field(default_factory=Summary)
    history: History = field(default_factory=History)
    parts: tuple[ParquetPart, ...] = ()
    info: dict[str, Any] = field(default_factory=dict)
