"""Pictures in the cells of Parquet files: found by file, row group and row, read going forward."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

from dataset_tools.core.errors import FetchFault
from dataset_tools.core.local_files import inside, read_local
from dataset_tools.core.published import Held
from dataset_tools.core.reasons import Reason

_ROWS_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class ParquetCell:
    """The picture in one cell; picklable.

    Attributes:
        path: of the Parquet file.
        root: of the dataset: a cell that names a file means one inside it.
        group: row group, from 0.
        row: in the row group, from 0.
        column: of pictures, as `datasets` stores them (bytes and path) or as bytes.
    """

    path: str
    root: str
    group: int
    row: int
    column: str

    def read(self, max_bytes: int) -> bytes:
        """The encoded picture.

        Raises:
            FetchFault: missing_image, schema, corrupt, too_many_bytes, or as `inside` and `read_local`.
        """
        cell = _column(self.path, self.column).get(self.group, self.row)
        data = cell.get("bytes") if isinstance(cell, Mapping) else cell
        name = cell.get("path") if isinstance(cell, Mapping) else None
        if isinstance(data, bytes):
            if len(data) > max_bytes:
                raise FetchFault(Reason.TOO_MANY_BYTES, f"{len(data)} bytes, at most {max_bytes} allowed")
            return data
        if isinstance(name, str) and name:
            return read_local(inside(Path(self.root), name), max_bytes)
        raise FetchFault(Reason.MISSING_IMAGE, f"column {self.column} has neither bytes nor a path there")

    def held(self, max_bytes: int) -> Held:
        """The picture in memory, ready for any process.

        Raises:
            FetchFault: as `read`.
        """
        return Held(self.read(max_bytes))


class _Column:
    """Cells of one column, read forward; going back begins the row group anew."""

    def __init__(self, path: str, column: str) -> None:
        self._path = path
        self._column = column
        self._lock = Lock()
        self._group = -1
        self._start = 0
        self._cells: list[Any] = []
        self._batches: Iterator[Any] = iter(())

    def get(self, group: int, row: int) -> Any:
        import pyarrow as pa

        with self._lock:
            try:
                return self._get(group, row)
            except (pa.ArrowException, OSError, ValueError, IndexError) as error:
                self._group = -1
                raise FetchFault(Reason.CORRUPT, f"cannot read the cell: {str(error)[:200]}") from error

    def _get(self, group: int, row: int) -> Any:
        import pyarrow.parquet as pq

        if group != self._group or row < self._start:
            file = pq.ParquetFile(self._path)
            self._batches = file.iter_batches(_ROWS_AT_ONCE, row_groups=[group], columns=[self._column])
            self._group, self._start, self._cells = group, 0, []
        while row >= self._start + len(self._cells):
            batch = next(self._batches, None)
            if batch is None:
                raise IndexError(f"row group {group} ends before row {row}")
            self._start += len(self._cells)
            self._cells = batch.column(0).to_pylist()
        return self._cells[row - self._start]


_columns: OrderedDict[tuple[str, str], _Column] = OrderedDict()
_columns_lock = Lock()


def _column(path: str, column: str) -> _Column:
    with _columns_lock:
        if (path, column) not in _columns:
            _columns[path, column] = _Column(path, column)
            # Pictures and masks of two files: at their border, readers are in both.
            if len(_columns) > 4:
                _columns.popitem(last=False)
        return _columns[path, column]
