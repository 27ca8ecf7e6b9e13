"""Source `url_list`: a CSV, JSONL, Parquet or text file of picture URLs."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

from dataset_tools.core.errors import ConfigError, DataError, FetchFault
from dataset_tools.core.local_files import require_file
from dataset_tools.core.published import Fault
from dataset_tools.core.reasons import Reason
from dataset_tools.core.text import storable
from dataset_tools.crawl.items import Listing, SourceItem
from dataset_tools.crawl.source_settings import SourceSettings

_LICENCE_COLUMNS = ("licence", "license")

Row = dict[str, Any] | Fault


class UrlListSource(SourceSettings):
    """Pictures on the web.

    Attributes:
        path: `.csv`, `.tsv`, `.jsonl`, `.ndjson`, `.parquet`, or `.txt` (one URL a line, "#" starts a
            comment line).
        licence: of rows that state none. A row with no licence from either place is rejected.
        url_column, author_column: column names; the author column may be absent.
        licence_column: its name; by default "licence" or "license", whichever is there.
        group_column: rows with equal values stay on one side of a split; the column may be absent unless
            it is named here.
    """

    type: Literal["url_list"] = "url_list"
    path: Path
    licence: str = ""
    url_column: str = "url"
    licence_column: str = ""
    author_column: str = "author"
    group_column: str = "group"

    def items(self, listing: Listing) -> Iterator[SourceItem]:
        """One item per row, in file order."""
        path = require_file(self.path, self.name)
        reader = _READERS.get(path.suffix.lower())
        if reader is None:
            raise ConfigError(
                f"source {self.name}: {path.name} must end in one of {', '.join(sorted(_READERS))}"
            )
        try:
            for number, row in enumerate(reader(path, self), start=1):
                yield self._item(number, row)
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise DataError(f"source {self.name}: cannot read {path}: {error}") from error

    def _item(self, number: int, row: Row) -> SourceItem:
        # Imported here: listing needs the URL rules of the HTTP client, reading a config file does not.
        from dataset_tools.crawl.urls import checked_url

        where = f"{self.name}#row{number}"
        if isinstance(row, Fault):
            return SourceItem(key=where, source=self.name, fault=row)
        try:
            url = str(checked_url(_text(row.get(self.url_column))))
        except FetchFault as fault:
            return SourceItem(key=where, source=self.name, fault=Fault(fault.reason, str(fault)))
        licence = self._licence(row)
        group = _text(row.get(self.group_column))
        return SourceItem(
            key=url,
            source=self.name,
            uri=url,
            licence=licence,
            author=_text(row.get(self.author_column)) or self.author,
            group=f"{self.name}/{group}" if group else "",
            name=url.rpartition("/")[2],
            fault=None if licence else Fault(Reason.LICENCE, f"row {number} states no licence"),
        )

    def _licence(self, row: dict[str, Any]) -> str:
        columns = (self.licence_column,) if self.licence_column else _LICENCE_COLUMNS
        stated = (_text(row.get(column)) for column in columns)
        return next((value for value in stated if value), self.licence.strip())

    def check_columns(self, columns: list[str], path: Path) -> None:
        """Refuse a table without the columns that were asked for.

        Raises:
            ConfigError: names the missing column and those that exist.
        """
        named = self.group_column if "group_column" in self.model_fields_set else ""
        for wanted in filter(None, (self.url_column, self.licence_column, named)):
            if wanted not in columns:
                raise ConfigError(
                    f"source {self.name}: {path.name} has no column {wanted!r}; it has {', '.join(columns)}"
                )


def _text(value: Any) -> str:
    return "" if value is None else storable(str(value).strip())


def _read_table(path: Path, source: UrlListSource) -> Iterator[Row]:
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    with path.open(newline="", encoding="utf-8-sig") as stream:
        reader = csv.DictReader(stream, delimiter=delimiter)
        source.check_columns(list(reader.fieldnames or ()), path)
        yield from reader


def _read_jsonl(path: Path, source: UrlListSource) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig") as stream:
        for line in stream:
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                yield Fault(Reason.JSON, f"not JSON: {error}")
                continue
            yield row if isinstance(row, dict) else Fault(Reason.SCHEMA, "not a JSON object")


def _read_parquet(path: Path, source: UrlListSource) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as parquet:
            source.check_columns(parquet.schema_arrow.names, path)
            for batch in parquet.iter_batches():
                yield from batch.to_pylist()
    except pa.ArrowException as error:
        raise DataError(f"source {source.name}: cannot read {path}: {error}") from error


def _read_lines(path: Path, source: UrlListSource) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig") as stream:
        for line in stream:
            if line.strip() and not line.lstrip().startswith("#"):
                yield {source.url_column: line.strip()}


_READERS: dict[str, Callable[[Path, UrlListSource], Iterator[Row]]] = {
    ".csv": _read_table,
    ".tsv": _read_table,
    ".jsonl": _read_jsonl,
    ".ndjson": _read_jsonl,
    ".parquet": _read_parquet,
    ".txt": _read_lines,
}
