"""Source `folder`: every file below a local folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from dataset_tools.core.local_files import require_folder, walk
from dataset_tools.crawl.items import Listing, SourceItem
from dataset_tools.crawl.source_settings import Licence, SourceSettings


class FolderSource(SourceSettings):
    """Photos in a folder and its subfolders.

    Attributes:
        path: the folder.
        licence: of all its pictures; there is no default.
        group_by: "parent-folder" when each subfolder holds one person or one album, so that a split never
            cuts through it.
    """

    type: Literal["folder"] = "folder"
    path: Path
    licence: Licence
    group_by: Literal["none", "parent-folder"] = "none"

    def items(self, listing: Listing) -> Iterator[SourceItem]:
        """One item per directory entry, sorted by relative path; links and devices come as faults."""
        for entry in walk(require_folder(self.path, self.name)):
            parent = entry.name.rpartition("/")[0]
            yield SourceItem(
                key=f"{self.name}/{entry.name}",
                source=self.name,
                uri=str(entry.path),
                licence=self.licence,
                author=self.author,
                group=f"{self.name}/{parent}" if self.group_by == "parent-folder" else "",
                name=entry.name,
                fault=entry.fault,
            )
