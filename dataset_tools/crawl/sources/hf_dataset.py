"""Source `hf_dataset`: a dataset of the Hugging Face Hub, or one of its format in a local folder."""

from __future__ import annotations

import atexit
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from threading import Lock
from typing import Any, Literal

from pydantic import Field

from dataset_tools.core.errors import ConfigError, FetchFault, ItemFault, ServiceError
from dataset_tools.core.images import ImageLimits
from dataset_tools.core.labels import Label
from dataset_tools.core.local_files import inside, read_local
from dataset_tools.core.published import Content, Fault, Held, Labels
from dataset_tools.core.reasons import Reason
from dataset_tools.core.record import Split, sorted_pairs
from dataset_tools.core.text import storable
from dataset_tools.crawl.items import Listing, SourceItem
from dataset_tools.crawl.source_settings import SourceSettings
from dataset_tools.crawl.sources.pairs import mask_labels

WINDOW_ROWS = 64


@dataclass(frozen=True, slots=True)
class Table:
    """Which rows are meant; picklable.

    Attributes:
        path: name on the Hub, or absolute path of a local folder.
        config, split, revision: as the `datasets` library takes them.
        streaming: read rows as they come instead of preparing the whole dataset on disk first.
        pictures: columns that hold pictures, which stay encoded.
    """

    path: str
    config: str
    split: str
    revision: str
    streaming: bool
    pictures: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Cell:
    """The picture in one row and column.

    Attributes:
        table: the dataset.
        row: from 0.
        column: a picture column.
    """

    table: Table
    row: int
    column: str

    def read(self, max_bytes: int) -> bytes:
        """The encoded picture.

        Raises:
            FetchFault: missing_image, unsafe_path (the row names a file outside the dataset), schema,
                too_many_bytes, transport.
        """
        cell = _rows(self.table).get(self.row).get(self.column)
        if cell is None:
            raise FetchFault(Reason.MISSING_IMAGE, f"row {self.row} has no {self.column}")
        if isinstance(cell, bytes):
            cell = {"bytes": cell}
        if not isinstance(cell, Mapping):
            raise FetchFault(Reason.SCHEMA, f"column {self.column} holds {type(cell).__name__}, no pictures")
        data, path = cell.get("bytes"), cell.get("path")
        if isinstance(data, bytes):
            if len(data) > max_bytes:
                raise FetchFault(Reason.TOO_MANY_BYTES, f"{len(data)} bytes, at most {max_bytes} allowed")
            return data
        if not isinstance(path, str) or not path:
            raise FetchFault(Reason.MISSING_IMAGE, f"row {self.row} has neither bytes nor a path")
        return _read_path(self.table, path, max_bytes)

    def held(self, max_bytes: int) -> Held:
        """The picture in memory: a worker process need not load the dataset.

        Raises:
            FetchFault: as `read`.
        """
        return Held(self.read(max_bytes))


@dataclass(frozen=True, slots=True)
class MaskCell:
    """A published mask in a column of its own.

    Attributes:
        content: where it is.
        source: name of the source.
        label: what its foreground is.
        split: fixed part of the published dataset.
        is_grey: cut a grey or lossy mask at 127 instead of insisting on 0 and 255.
    """

    content: Content
    source: str
    label: Label
    split: Split
    is_grey: bool

    def read(self, size_hw: tuple[int, int], limits: ImageLimits) -> Labels:
        """One instance, or none for an all-black mask, which is a complete label too.

        Raises:
            ItemFault: the mask is missing, no picture, of another size, or not black and white.
        """
        try:
            data = self.content.read(limits.max_bytes)
        except ItemFault as fault:
            raise ItemFault(fault.reason, f"mask: {fault}") from fault
        return mask_labels(data, size_hw, limits, self.label, self.source, is_grey=self.is_grey)

    def held(self, max_bytes: int) -> MaskCell:
        """The same labels with the mask in memory.

        Raises:
            FetchFault: the mask cannot be had.
        """
        try:
            return replace(self, content=Held(self.content.read(max_bytes)))
        except FetchFault as fault:
            raise FetchFault(fault.reason, f"mask: {fault}", retryable=fault.retryable) from fault


class HfDatasetSource(SourceSettings):
    """Pictures in a column of a dataset that the `datasets` library loads. Code in datasets is never run.

    Attributes:
        dataset: name on the Hub ("user/name"), or a local folder (a path with "./" or "/" at its start).
        config, split, revision: as on the Hub; a revision pins what a branch may change.
        streaming: read over the network as needed; otherwise the `datasets` cache holds the whole dataset.
            Each row is then read at least twice, once to list it.
        image_column: holds the pictures, as a picture feature or as bytes.
        licence: of rows that state none; there is no default.
        licence_column, author_column, group_column: "" for none.
        mask_column: published masks, "" for none.
        label, binarise, published_split: of the masks, as in the source `pairs`.
    """

    type: Literal["hf_dataset"] = "hf_dataset"
    dataset: str = Field(min_length=1)
    config: str = ""
    split: str = "train"
    revision: str = ""
    streaming: bool = False
    image_column: str = "image"
    licence: str = ""
    licence_column: str = ""
    author_column: str = ""
    group_column: str = ""
    mask_column: str = ""
    label: Label = Label.FACE_MASK
    binarise: bool = False
    published_split: Split = Split.UNASSIGNED

    def resolve_paths(self, base_dir: Path) -> HfDatasetSource:
        """The same source with a local folder absolute."""
        if not self.dataset.startswith((".", "/", "~")):
            return self
        folder = (base_dir / Path(self.dataset).expanduser()).resolve()
        return self.model_copy(update={"dataset": str(folder)})

    def items(self, listing: Listing) -> Iterator[SourceItem]:
        """One item per row, in the dataset's order."""
        if self.dataset.startswith((".", "/", "~")) and not Path(self.dataset).expanduser().is_dir():
            raise ConfigError(f"source {self.name}: {self.dataset} is not a folder")
        columns = (self.image_column, self.mask_column)
        table = Table(
            self.dataset,
            self.config,
            self.split,
            self.revision,
            self.streaming,
            tuple(filter(None, columns)),
        )
        stated = tuple(filter(None, (self.licence_column, self.author_column, self.group_column)))
        for number, row in enumerate(_stated_rows(table, stated, self.name)):
            yield self._item(table, number, row)

    def _item(self, table: Table, number: int, row: Mapping[str, Any]) -> SourceItem:
        licence = _text(row.get(self.licence_column)) or self.licence.strip()
        group = _text(row.get(self.group_column))
        where = f"row {number}"
        annotation = None
        if self.mask_column:
            mask = Cell(table, number, self.mask_column)
            annotation = MaskCell(mask, self.name, self.label, self.published_split, self.binarise)
        return SourceItem(
            key=f"{self.name}/{number:08d}",
            source=self.name,
            uri=self.dataset,
            content=Cell(table, number, self.image_column),
            licence=licence,
            author=_text(row.get(self.author_column)) or self.author,
            group=f"{self.name}/{group}" if group else "",
            name=where,
            evidence=sorted_pairs({"dataset": self.dataset, "split": self.split}),
            annotation=annotation,
            fault=None if licence else Fault(Reason.LICENCE, f"{where} states no licence"),
        )


def _load(table: Table) -> Any:
    """The dataset with its pictures left encoded.

    Raises:
        ConfigError: no such dataset, config, split or picture column.
        ServiceError: the Hub is away.
    """
    import datasets

    where = f"dataset {table.path}"
    try:
        loaded = datasets.load_dataset(
            table.path,
            table.config or None,
            split=table.split,
            revision=table.revision or None,
            streaming=table.streaming,
        )
        if loaded.features is None:
            loaded = loaded._resolve_features()
    except (datasets.exceptions.DatasetNotFoundError, FileNotFoundError, ValueError) as error:
        raise ConfigError(f"{where}: {_one_line(error)}") from error
    except datasets.exceptions.DatasetsError as error:
        raise ConfigError(f"{where}: {_one_line(error)}") from error
    except OSError as error:  # all HTTP errors of the Hub's client are
        raise ServiceError(f"{where}: {_one_line(error)}; run again later") from error
    for column in table.pictures:
        if column not in loaded.features:
            raise ConfigError(f"{where} has no column {column!r}; it has {', '.join(loaded.features)}")
        if isinstance(loaded.features[column], datasets.Image):
            loaded = loaded.cast_column(column, datasets.Image(decode=False))
    return loaded


def _stated_rows(table: Table, columns: tuple[str, ...], source: str) -> Iterator[Mapping[str, Any]]:
    loaded = _load(table)
    for column in columns:
        if column not in loaded.features:
            raise ConfigError(
                f"source {source}: no column {column!r}; the dataset has {', '.join(loaded.features)}"
            )
    if not table.streaming and not columns:
        return iter({} for _ in range(len(loaded)))
    # Something must be read to count the rows of a stream, but not its pictures.
    names = list(columns) or list(loaded.features)[:1]
    rows: Iterator[Mapping[str, Any]] = iter(loaded.select_columns(names))
    return rows


class _Rows:
    """Rows by number: at once when the dataset is on disk, going forward when it is a stream."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._lock = Lock()
        self._loaded = _load(table)
        self._stream: Iterator[dict[str, Any]] = iter(())
        self._next = -1
        self._window: OrderedDict[int, dict[str, Any]] = OrderedDict()

    def get(self, number: int) -> dict[str, Any]:
        with self._lock:
            if not self._table.streaming:
                row: dict[str, Any] = self._loaded[number]
                return row
            if number not in self._window:
                self._forward(number)
            return self._window[number]

    def _forward(self, number: int) -> None:
        if self._next < 0 or number < self._next:
            self._stream, self._next = iter(self._loaded.skip(number)), number
        try:
            for row in islice(self._stream, number - self._next + 1):
                self._window[self._next] = row
                self._next += 1
                if len(self._window) > WINDOW_ROWS:
                    self._window.popitem(last=False)
        except OSError as error:  # a broken stream is opened anew by the next reader
            self._next = -1
            raise FetchFault(Reason.TRANSPORT, f"cannot read: {_one_line(error)}", retryable=True) from error
        if self._next <= number:
            raise FetchFault(Reason.MISSING_IMAGE, f"the dataset ends before row {number}: it has changed")


_open_tables: OrderedDict[Table, _Rows] = OrderedDict()
_open_lock = Lock()
# A stream that is still open while the interpreter goes down complains on the terminal.
atexit.register(_open_tables.clear)


def _rows(table: Table) -> _Rows:
    with _open_lock:
        if table not in _open_tables:
            _open_tables[table] = _Rows(table)
            if len(_open_tables) > 2:
                _open_tables.popitem(last=False)
        return _open_tables[table]


def _read_path(table: Table, path: str, max_bytes: int) -> bytes:
    """A file that a row refers to, if it belongs to the dataset: rows are data and may name anything."""
    if "::" not in path and path.startswith(f"hf://datasets/{table.path}@"):
        import fsspec  # type: ignore[import-untyped]

        try:
            with fsspec.open(path, "rb") as stream:
                data: bytes = stream.read(max_bytes + 1)
        except OSError as error:
            raise FetchFault(Reason.TRANSPORT, f"cannot read: {_one_line(error)}", retryable=True) from error
        if len(data) > max_bytes:
            raise FetchFault(Reason.TOO_MANY_BYTES, f"more than {max_bytes} bytes")
        return data
    problem = FetchFault(Reason.UNSAFE_PATH, f"{path[:200]!r} lies outside the dataset")
    for home in _homes(table):
        try:
            return read_local(inside(home, path), max_bytes)
        except FetchFault as fault:
            if fault.reason is not Reason.UNSAFE_PATH:
                raise
    raise problem


def _homes(table: Table) -> list[Path]:
    """Folders where files of the dataset may lie: its own, or where the library put its downloads."""
    if table.path.startswith(("/", "~")):
        return [Path(table.path).expanduser()]
    import datasets
    from huggingface_hub import constants

    repository = f"datasets--{table.path.replace('/', '--')}"
    return [Path(constants.HF_HUB_CACHE) / repository, Path(datasets.config.HF_DATASETS_CACHE) / "downloads"]


def _text(value: Any) -> str:
    return "" if value is None else storable(str(value).strip())[:500]


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
