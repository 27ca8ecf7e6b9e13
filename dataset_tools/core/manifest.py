"""Manifests: immutable Parquet shards of samples and rejections, one directory per stage run.

    <directory>/header.json                      written last: its presence means complete
    <directory>/samples/part-00000.parquet       rows sorted by sample id
    <directory>/rejections/part-00000.parquet

A shard is written aside and renamed; its samples file is renamed last, so it stands for both.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from dataset_tools.core.errors import ManifestError
from dataset_tools.core.files import canonical_json, replacing, sha256_hex, write_text
from dataset_tools.core.labels import Label
from dataset_tools.core.record import Rejection, Sample
from dataset_tools.core.rows import (
    REJECTION_SCHEMA,
    SAMPLE_SCHEMA,
    rejection_from_row,
    rejection_to_row,
    sample_from_row,
    sample_to_row,
)

SCHEMA_VERSION = 1

# Ten times what 10^7 images need at 64 to a shard; a header that names more is damaged.
MAX_SHARDS = 1_600_000

_INPUTS_KEY = b"maskset.inputs"

_Record = TypeVar("_Record", Sample, Rejection)


@dataclass(frozen=True, slots=True)
class ShardCounts:
    """How the items of one shard (or one stage) ended; `inputs == kept + rejected` always holds."""

    inputs: int = 0
    kept: int = 0
    derived: int = 0
    rejected: int = 0
    derived_rejected: int = 0

    def __add__(self, other: ShardCounts) -> ShardCounts:
        mine, theirs = dataclasses.astuple(self), dataclasses.astuple(other)
        return ShardCounts(*(left + right for left, right in zip(mine, theirs, strict=True)))


def count_shard(
    input_keys: Sequence[str], samples: Sequence[Sample], rejections: Sequence[Rejection]
) -> ShardCounts:
    """Check that every input item ended exactly once, and count.

    Args:
        input_keys: item keys that went in, each once.
        samples: what came out; a sample whose item key is not an input is a derived child.
        rejections: what was dropped.

    Raises:
        ManifestError: an input item vanished or came out twice.
    """
    inputs = set(input_keys)
    ended = Counter(item.provenance.item_key for item in samples if item.provenance.item_key in inputs)
    kept = sum(ended.values())
    ended.update(item.item_key for item in rejections if not item.derived)
    lost = [key for key in input_keys if ended[key] == 0]
    twice = [key for key, count in ended.items() if count > 1]
    strange = [key for key in ended if key not in inputs]
    for problem, keys in (("vanished", lost), ("ended twice", twice), ("came from nowhere", strange)):
        if keys:
            raise ManifestError(f"{len(keys)} item(s) {problem}, first {keys[0]!r}")
    dropped = sum(1 for item in rejections if not item.derived)
    return ShardCounts(
        inputs=len(input_keys),
        kept=kept,
        derived=len(samples) - kept,
        rejected=dropped,
        derived_rejected=len(rejections) - dropped,
    )


def write_shard(
    directory: Path,
    index: int,
    input_keys: Sequence[str],
    samples: Iterable[Sample],
    rejections: Iterable[Rejection],
) -> ShardCounts:
    """Write one shard durably; its samples file is renamed last and stands for both files.

    Raises:
        ManifestError: as `count_shard`.
    """
    kept = sorted(samples, key=lambda item: (item.id, item.provenance.item_key))
    dropped = sorted(rejections, key=lambda item: (item.item_key, item.derived, item.reason))
    counts = count_shard(input_keys, kept, dropped)
    metadata = {_INPUTS_KEY: canonical_json(dataclasses.asdict(counts)).encode()}
    name = f"part-{index:05d}.parquet"
    _write_table(
        directory / "rejections" / name,
        pa.Table.from_pylist([rejection_to_row(item) for item in dropped], REJECTION_SCHEMA),
    )
    _write_table(
        directory / "samples" / name,
        pa.Table.from_pylist([sample_to_row(item) for item in kept], SAMPLE_SCHEMA.with_metadata(metadata)),
    )
    return counts


def _write_table(target: Path, table: pa.Table) -> None:
    with replacing(target) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def shard_is_done(directory: Path, index: int) -> bool:
    """True when that shard was written completely."""
    return (directory / "samples" / f"part-{index:05d}.parquet").exists()


def read_shard_counts(directory: Path, index: int) -> ShardCounts:
    """Counts stored with a written shard.

    Raises:
        ManifestError: the file is not a shard of this suite.
    """
    path = directory / "samples" / f"part-{index:05d}.parquet"
    with _open_parquet(path) as parquet:
        metadata = parquet.schema_arrow.metadata or {}
    try:
        return ShardCounts(**json.loads(metadata[_INPUTS_KEY]))
    except (KeyError, TypeError, ValueError) as error:
        raise ManifestError(f"{path} is not a maskset shard") from error


def count_shard_rows(path: Path) -> int:
    """Number of samples in a shard file, from its footer alone.

    Raises:
        ManifestError: unreadable.
    """
    with _open_parquet(path) as parquet:
        return int(parquet.metadata.num_rows)


def read_shard_samples(path: Path) -> list[Sample]:
    """Samples of one shard file, in stored order.

    Raises:
        ManifestError: unreadable, or of another schema.
    """
    return _read_records(path, sample_from_row)


def _read_records(path: Path, from_row: Callable[[dict[str, Any]], _Record]) -> list[_Record]:
    try:
        return [from_row(row) for row in _read_rows(path)]
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, ManifestError):
            raise
        raise ManifestError(f"{path} holds a row of another schema: {error!r}") from error


def _open_parquet(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except (OSError, pa.ArrowException) as error:
        raise ManifestError(f"cannot read {path}: {' '.join(str(error).split())}") from error


def _read_rows(path: Path) -> list[dict[str, Any]]:
    parquet = _open_parquet(path)
    try:
        return list(parquet.read().to_pylist())
    except (OSError, pa.ArrowException) as error:
        raise ManifestError(f"cannot read {path}: {' '.join(str(error).split())}") from error
    finally:
        parquet.close()


class Manifest:
    """A complete manifest on disk, opened for reading.

    Raises:
        ManifestError: no header (the stage has not finished), a torn one, or another schema version.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        try:
            self.header: dict[str, Any] = json.loads((directory / "header.json").read_text())
        except FileNotFoundError:
            raise ManifestError(f"{directory} holds no complete manifest") from None
        except (OSError, ValueError) as error:
            raise ManifestError(f"cannot read {directory / 'header.json'}: {error}") from error
        if not isinstance(self.header, dict) or self.header.get("schema_version") != SCHEMA_VERSION:
            raise ManifestError(f"{directory} is not a manifest of schema version {SCHEMA_VERSION}")
        try:
            self._counts = ShardCounts(**{name: int(value) for name, value in self.header["counts"].items()})
            self._shards = int(self.header["shards"])
            if not 0 <= self._shards <= MAX_SHARDS:
                raise ValueError(f"{self._shards} shards")
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
            raise ManifestError(f"{directory / 'header.json'} lacks a proper entry: {error!r}") from error

    @property
    def stage(self) -> str:
        """Name of the stage that wrote it."""
        return str(self.header.get("stage", ""))

    @property
    def key(self) -> str:
        """Digest of everything that led to this manifest: stage, config, parent."""
        return str(self.header.get("key", ""))

    @property
    def title(self) -> str:
        """The dataset's name and this manifest's folder, for people."""
        name = self.header.get("dataset")
        return f"{name}, {self.directory.name}" if isinstance(name, str) and name else self.directory.name

    @property
    def counts(self) -> ShardCounts:
        """Counts over all shards."""
        return self._counts

    @property
    def workspace(self) -> Path:
        """Root of the workspace the manifest lies in (`<workspace>/manifests/<name>`)."""
        return self.directory.parent.parent

    def shard_paths(self) -> list[Path]:
        """Sample shards in order."""
        return [self.directory / "samples" / f"part-{index:05d}.parquet" for index in range(self._shards)]

    def samples(self) -> Iterator[Sample]:
        """All samples, shard by shard: order is fixed, memory is one shard."""
        for path in self.shard_paths():
            yield from read_shard_samples(path)

    def rejections(self) -> Iterator[Rejection]:
        """All rejections of this stage, shard by shard."""
        for path in self.shard_paths():
            yield from _read_records(self.directory / "rejections" / path.name, rejection_from_row)

    def shards(self) -> Iterator[tuple[list[Sample], list[Rejection]]]:
        """Samples and rejections of one shard at a time, for what belongs together."""
        for path in self.shard_paths():
            dropped = _read_records(self.directory / "rejections" / path.name, rejection_from_row)
            yield read_shard_samples(path), dropped

    def canonical_digest(self) -> str:
        """Digest of all rows without clock times; equal for interrupted and undisturbed runs.

        Independent of the order of the rows and of how they are cut into shards. While it is made, a row
        costs a hundred bytes.
        """
        rows = sorted(
            _row_digest({**row, "provenance": {**row["provenance"], "retrieved_at": ""}})
            for row in map(sample_to_row, self.samples())
        )
        dropped = sorted(_row_digest({**rejection_to_row(item), "due": ""}) for item in self.rejections())
        return sha256_hex(b"".join([*rows, b"--", *dropped]))


def _row_digest(row: dict[str, Any]) -> bytes:
    return hashlib.sha256(canonical_json(row).encode()).digest()


def write_header(directory: Path, header: dict[str, Any]) -> Manifest:
    """Complete a manifest; `header` gains the schema version and the label list."""
    full = {
        **header,
        "schema_version": SCHEMA_VERSION,
        "labels": [label.value for label in Label],
    }
    write_text(directory / "header.json", json.dumps(full, indent=2, sort_keys=True) + "\n")
    return Manifest(directory)
