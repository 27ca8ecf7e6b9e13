"""Source `coco`: a COCO annotation file and the folder its pictures lie in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import Field

from dataset_tools.core.errors import DataError, ItemFault
from dataset_tools.core.labels import Label
from dataset_tools.core.local_files import inside, require_file, require_folder
from dataset_tools.core.published import Fault
from dataset_tools.core.reasons import Reason
from dataset_tools.core.record import Split
from dataset_tools.core.text import storable
from dataset_tools.crawl.items import Listing, SourceItem
from dataset_tools.crawl.source_settings import SourceSettings
from dataset_tools.formats.coco_tables import CocoPicture, Stray, read_pictures
from dataset_tools.formats.reading import ReadOptions


class CocoSource(SourceSettings):
    """Published ground truth in COCO's instance format. The network is never used: `coco_url` is ignored.

    Attributes:
        annotations: the JSON file.
        images: folder that `file_name` is relative to; names that lead outside are refused.
        licence: of pictures for which the file states none; there is no default.
        categories: category name -> label; `null` leaves a category out on purpose. Names that already
            are labels need no entry.
        split: keeps a published test set a test set.
    """

    type: Literal["coco"] = "coco"
    annotations: Path
    images: Path
    licence: str = ""
    categories: dict[str, Label | None] = Field(default_factory=dict)
    split: Split = Split.UNASSIGNED

    def items(self, listing: Listing) -> Iterator[SourceItem]:
        """One item per picture, then one faulty item per annotation that belongs to none."""
        root = require_folder(self.images, self.name)
        path = require_file(self.annotations, self.name)
        options = ReadOptions(f"published:{self.name}", self.licence, self.categories)
        try:
            for found in read_pictures(path, options, self.split):
                if isinstance(found, CocoPicture):
                    yield self._item(root, found)
                elif found.is_lost:
                    yield self._faulty(found)
        except ItemFault as error:
            raise DataError(f"{path}: {error}") from error

    def _faulty(self, found: Stray) -> SourceItem:
        return SourceItem(key=f"{self.name}#{found.where}", source=self.name, fault=found.fault)

    def _item(self, root: Path, found: CocoPicture) -> SourceItem:
        name = storable(found.file_name)[:1000]
        key = f"{self.name}/{name}" if name else f"{self.name}#{found.where}"
        licence, fault = found.licence or self.licence.strip(), found.fault
        if fault is None and not licence:
            fault = Fault(Reason.LICENCE, "neither the file nor the configuration states a licence")
        if fault is None:
            try:
                path = inside(root, found.file_name)
            except ItemFault as error:
                fault = Fault(error.reason, str(error))
        if fault is not None:
            return SourceItem(key=key, source=self.name, fault=fault)
        return SourceItem(
            key=key,
            source=self.name,
            uri=str(path),
            licence=licence,
            author=self.author,
            name=name,
            annotation=found.labels,
        )
