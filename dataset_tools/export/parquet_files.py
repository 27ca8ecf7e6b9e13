"""The Parquet files of an exported dataset, as they really lie in its folder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dataset_tools.core.files import sha256_file
from dataset_tools.formats.huggingface import SPLIT_NAMES
from dataset_tools.formats.job import SPLITS


@dataclass(frozen=True, slots=True)
class ParquetPart:
    """One file of one split.

    Attributes:
        path: inside the dataset folder, e.g. "data/train-00000-of-00001.parquet".
        split: the Hub's word for it: "train", "validation", "test".
        rows: pictures in it.
        size: bytes on disk.
        sha256: of the file.
        arrow_bytes: its rows in memory, as `datasets` counts them (`SplitInfo.num_bytes`).
    """

    path: str
    split: str
    rows: int
    size: int
    sha256: str
    arrow_bytes: int


def read_parts(folder: Path) -> tuple[ParquetPart, ...]:
    """All files under `data/`, training first; reads each of them twice, once decoded, in blocks."""
    parts = (_read_part(folder, path) for path in sorted((folder / "data").glob("*.parquet")))
    order = [SPLIT_NAMES[split] for split in SPLITS]
    return tuple(sorted(parts, key=lambda part: (order.index(part.split), part.path)))


def read_schema(folder: Path) -> Any:
    """The `pyarrow.Schema` that all files share.

    Raises:
        FileNotFoundError: the folder holds none.
    """
    import pyarrow.parquet as pq

    paths = sorted((folder / "data").glob("*.parquet"))
    if not paths:
        raise FileNotFoundError(f"no Parquet file in {folder / 'data'}")
    return pq.read_schema(paths[0])


def _read_part(folder: Path, path: Path) -> ParquetPart:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as parquet:
        rows = int(parquet.metadata.num_rows)
        arrow_bytes = sum(_block_bytes(parquet))
    return ParquetPart(
        path=path.relative_to(folder).as_posix(),
        split=path.name.partition("-")[0],
        rows=rows,
        size=path.stat().st_size,
        sha256=sha256_file(path),
        arrow_bytes=arrow_bytes,
    )


def _block_bytes(parquet: Any) -> Iterator[int]:
    """Bytes in memory of every block, cut as `datasets` does: none longer than the first row group.

    Group by group, because `iter_batches` holds on to all of a file that it has read (pyarrow 26).
    """
    groups = range(parquet.num_row_groups)
    block = max(parquet.metadata.row_group(0).num_rows, 1) if groups else 1
    for index in groups:
        table = parquet.read_row_group(index).combine_chunks()
        for start in range(0, table.num_rows, block):
            yield int(table.slice(start, block).nbytes)


def dataset_info(folder: Path, parts: tuple[ParquetPart, ...]) -> dict[str, Any]:
    """The `dataset_info` of a card's head, as `datasets` itself writes it on a push.

    Returns:
        Features, splits (number of examples, bytes in memory), download and dataset size, as plain values.
    """
    from datasets import DatasetInfo, Features, SplitDict, SplitInfo
    from datasets.info import DatasetInfosDict
    from huggingface_hub import DatasetCardData

    splits = SplitDict()
    for name in dict.fromkeys(part.split for part in parts):
        held = [part for part in parts if part.split == name]
        splits.add(SplitInfo(name, sum(part.arrow_bytes for part in held), sum(part.rows for part in held)))
    info = DatasetInfo(
        features=Features.from_arrow_schema(read_schema(folder)),
        splits=splits,
        download_size=sum(part.size for part in parts),
        dataset_size=sum(part.arrow_bytes for part in parts),
    )
    head = DatasetCardData()
    DatasetInfosDict({"default": info}).to_dataset_card_data(head)
    written: dict[str, Any] = head["dataset_info"]
    return written
