"""Open a version of a dataset to compare it: its rows are read without pixels, in any order.

It may be a manifest, a workspace, an exported folder, a dataset folder in any format the suite reads, or an
index file: a few hundred bytes a picture that tell what changed, though not by how many pixels.
"""

from __future__ import annotations

import json
from collections.abc import Container, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dataset_tools.core.errors import DataError, ItemFault, ManifestError
from dataset_tools.core.files import canonical_json, replacing
from dataset_tools.core.labels import LABEL_IDS, MASK_TYPE, WEARING_STATE, Label
from dataset_tools.core.manifest import SCHEMA_VERSION, Manifest
from dataset_tools.core.masks import RleMask, decode_counts
from dataset_tools.core.record import ReviewState, Split
from dataset_tools.formats.entries import split_of
from dataset_tools.versions.foreign import open_files
from dataset_tools.versions.version import (
    FACTS,
    INDEX,
    Drawn,
    Row,
    Stated,
    Version,
    labels_digest,
    read_stated,
)

# Stage runs from the last to the first: what a dataset is, is its last manifest.
_STAGES = ("split", "review", "prelabel", "synth", "filter", "detect", "crawl")

# Class numbers of exported tables are label ids.
_LABEL_OF_ID = {number: label.value for label, number in LABEL_IDS.items()}

_INDEX_HEAD = "maskset_index"
_INDEX_VERSION = 1
_ROWS_AT_ONCE = 256

_BY_PERSON = {ReviewState.ACCEPTED.value, ReviewState.CORRECTED.value}


def open_version(path: Path) -> Version:
    """Open a version of a dataset.

    Args:
        path: a manifest's folder; a workspace (its last stage counts); a folder `build-dataset export`
            wrote; any dataset folder the suite reads; or a file of `write_index`.

    Raises:
        DataError: none of these, or a workspace with several runs of its last stage.
    """
    if path.is_file():
        return _of_index(path)
    if (path / "header.json").is_file():
        return _of_manifest(Manifest(path.resolve()), path)
    for stage in _STAGES:
        runs = sorted((path / "manifests").glob(f"{stage}-*/header.json"))
        if len(runs) > 1:
            names = ", ".join(one.parent.name for one in runs)
            raise DataError(f"{path} holds several runs of {stage}; name one: {names}")
        if runs:
            return _of_manifest(Manifest(runs[0].parent.resolve()), path)
    tables = sorted((path / "data").glob("*.parquet"))
    if tables and _is_own(tables[0]):
        return _of_parquet(path, tables)
    return open_files(path, read_stated(path))


# -- manifests ----------------------------------------------------------------------------------------------

_COLUMNS = [
    "id",
    "split",
    "is_labelled",
    "group",
    "review.state",
    *(f"provenance.{name}" for name in FACTS),
    *(
        f"instances.list.element.{name}"
        for name in ("label", "height", "width", "counts", "drawn_by", "attributes")
    ),
]


def _of_manifest(manifest: Manifest, path: Path) -> Version:
    def rows(only: Container[str] | None) -> Iterator[Row]:
        for shard in manifest.shard_paths():
            for row in _table_rows(shard, _COLUMNS, only):
                yield _manifest_row(row, shard)

    labels = manifest.header.get("labels")
    schema = {f"label {name}" for name in labels} if isinstance(labels, list) else set()
    stated = _exported_as(manifest)
    return Version(
        title=manifest.title,
        path=path,
        number=stated.number,
        date=stated.date,
        kind="manifest",
        schema=frozenset({*schema, f"manifest schema {SCHEMA_VERSION}"}),
        rows=rows,
        manifest=manifest,
    )


def _exported_as(manifest: Manifest) -> Stated:
    """What the last export of this very manifest says of itself, from its workspace."""
    folder = manifest.workspace / "dataset"
    try:
        key = json.loads((folder / "dataset.json").read_bytes()).get("manifest")
    except (OSError, ValueError, AttributeError):
        return Stated()
    return read_stated(folder) if key == manifest.key else Stated()


def _manifest_row(row: dict[str, Any], shard: Path) -> Row:
    try:
        drawn = tuple(
            _drawn_of(item["label"], (item["height"], item["width"]), item["counts"], _pairs(item))
            for item in row["instances"]
            if not item["drawn_by"].startswith("model:")
        )
        state = row["review"]["state"]
        return _row(row, Split(row["split"]), row["provenance"], drawn, state)
    except (KeyError, TypeError, ValueError) as error:
        raise ManifestError(f"{shard} holds a row of another schema: {error!r}") from error


def _pairs(item: dict[str, Any]) -> dict[str, str]:
    return {pair["key"]: pair["value"] for pair in item["attributes"]}


def _drawn_of(label: str, size_hw: tuple[int, int], counts: list[int], more: Mapping[str, Any]) -> Drawn:
    kind, state = (more.get(name) or "" for name in (MASK_TYPE, WEARING_STATE))
    return Drawn(Label(label).value, RleMask(size_hw, tuple(counts)), kind, state)


def _row(
    row: Mapping[str, Any], split: Split, facts: Mapping[str, Any], drawn: tuple[Drawn, ...], state: str
) -> Row:
    said = {fact: str(facts.get(fact) or "") for fact in FACTS}
    is_labelled = bool(row.get("is_labelled", True))
    truth = drawn if is_labelled else ()
    by_person = state in _BY_PERSON or any(item["drawn_by"].startswith("human:") for item in row["instances"])
    digest = labels_digest(truth) if is_labelled else ""
    return Row(row["id"], split, said, digest, truth, str(row.get("group") or ""), by_person)


def _table_rows(path: Path, columns: list[str], only: Container[str] | None) -> Iterator[dict[str, Any]]:
    try:
        with pq.ParquetFile(path) as parquet:
            for group in range(parquet.num_row_groups):
                if only is not None:
                    ids = parquet.read_row_group(group, columns=["id"]).column("id").to_pylist()
                    if not any(one in only for one in ids):
                        continue
                for batch in parquet.iter_batches(_ROWS_AT_ONCE, row_groups=[group], columns=columns):
                    yield from (row for row in batch.to_pylist() if only is None or row["id"] in only)
    except (OSError, pa.ArrowException) as error:
        raise ManifestError(f"cannot read {path}: {' '.join(str(error).split())}") from error


# -- exported Parquet ---------------------------------------------------------------------------------------

_OWN = {"id", "instances", *FACTS}
_WANTED = _OWN | {"is_labelled", "group", "review"}


def _is_own(table: Path) -> bool:
    try:
        return {*pq.read_schema(table).names} >= _OWN
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"cannot read {table}: {' '.join(str(error).split())}") from error


def _of_parquet(path: Path, tables: list[Path]) -> Version:
    def rows(only: Container[str] | None) -> Iterator[Row]:
        for table in tables:
            split = split_of(table.name.partition("-")[0])
            columns = [name for name in pq.read_schema(table).names if name in _WANTED]
            for row in _table_rows(table, columns, only):
                yield _parquet_row(row, split, table)

    stated = read_stated(path)
    fields = {f"column {one.name}: {one.type}" for table in tables for one in pq.read_schema(table)}
    return Version(stated.name, path, stated.number, stated.date, "parquet", frozenset(fields), rows)


def _parquet_row(row: dict[str, Any], split: Split, table: Path) -> Row:
    try:
        drawn = tuple(
            _drawn_of(
                _name(item["label"]), (size[0], size[1]), decode_counts(item["segmentation"]["counts"]), item
            )
            for item in row["instances"]
            if not item["drawn_by"].startswith("model:")
            for size in (item["segmentation"]["size"],)
        )
        return _row(row, split, row, drawn, str(row.get("review") or ""))
    except (KeyError, TypeError, ValueError, IndexError, ItemFault) as error:
        raise DataError(f"{table}, picture {row.get('id')}: {error!r}") from error


def _name(label: str | int) -> str:
    return _LABEL_OF_ID[label] if isinstance(label, int) else label


# -- index files --------------------------------------------------------------------------------------------


def write_index(version: Version, path: Path) -> None:
    """Write what `open_version` needs to tell later what changed since: JSON lines, a few hundred bytes each.

    The first line says what the file is; the others are pictures in the order of the version.
    """
    head = {
        _INDEX_HEAD: _INDEX_VERSION,
        "title": version.title,
        "version": version.number,
        "date": version.date,
        "kind": version.kind,
        "schema": sorted(version.schema),
    }
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as out:
        out.write(canonical_json(head) + "\n")
        for row in version.rows(None):
            values = {"id": row.id, "split": row.split.value, "labels": row.labels, **row.facts}
            out.write(canonical_json(values) + "\n")


def _of_index(path: Path) -> Version:
    def read(line: str) -> dict[str, Any]:
        try:
            return dict(json.loads(line))
        except (TypeError, ValueError, RecursionError) as error:
            raise DataError(f"{path} is no index of a dataset: {error}") from None

    def rows(only: Container[str] | None) -> Iterator[Row]:
        with path.open(encoding="utf-8") as lines:
            next(lines)
            for line in lines:
                row = read(line)
                try:
                    facts = {name: str(row[name]) for name in FACTS}
                    found = Row(str(row["id"]), Split(row["split"]), facts, str(row["labels"]), None)
                except (KeyError, ValueError) as error:
                    raise DataError(f"{path} is no index of a dataset: {error!r}") from None
                if only is None or found.id in only:
                    yield found

    try:
        with path.open(encoding="utf-8") as lines:
            head = read(lines.readline(1 << 16))
    except UnicodeDecodeError:
        raise DataError(f"{path} is no index of a dataset") from None
    if head.get(_INDEX_HEAD) != _INDEX_VERSION:
        raise DataError(f"{path} is no index of a dataset")
    title, number, date = (str(head.get(name) or "") for name in ("title", "version", "date"))
    schema = head.get("schema")
    return Version(
        title=title or path.name,
        path=path,
        number=number,
        date=date,
        kind=f"{INDEX} of {head.get('kind', '')}",
        schema=frozenset(map(str, schema)) if isinstance(schema, list) else frozenset(),
        rows=rows,
    )
