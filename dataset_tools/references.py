"""The stage runs of a workspace and which stored pictures their rows refer to, read without whole rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dataset_tools.core.errors import ManifestError
from dataset_tools.core.record import ImageRef

_OBJECTS = ["id", "image", "instances.list.element.soft", "layers.list.element.image"]
_NAMES = ("source", "item_key", "url", "author", "content_sha256", "parent_id", "evidence")
_ORIGINS = ["id", "image", "group", "phash", *(f"provenance.{name}" for name in _NAMES)]


@dataclass(frozen=True, slots=True)
class Origin:
    """What says which picture a sample is and where it comes from.

    Attributes:
        path: of the stored picture, relative to the workspace.
        sample_id, sha256, group, phash: of the sample and its picture.
        source, item_key, url, author, content_sha256, parent_id: of its provenance.
        evidence: the values of its evidence.
    """

    path: str
    sample_id: str
    sha256: str
    group: str
    phash: str
    source: str
    item_key: str
    url: str
    author: str
    content_sha256: str
    parent_id: str
    evidence: tuple[str, ...]


def manifest_folders(root: Path) -> list[Path]:
    """Folders of all stage runs of a workspace, finished or not."""
    return sorted(path for path in (root / "manifests").glob("*") if path.is_dir())


def shard_files(folder: Path) -> list[Path]:
    """Written shards of a stage run, in order."""
    return sorted((folder / "samples").glob("part-*.parquet"))


def sample_origins(path: Path) -> Iterator[Origin]:
    """The origin of every sample of a shard, in stored order.

    Raises:
        ManifestError: the shard cannot be read.
    """
    for row in _rows(path, _ORIGINS):
        origin = {name: row["provenance"][name] for name in _NAMES}
        origin["evidence"] = tuple(pair["value"] for pair in origin["evidence"])
        image = row["image"]
        yield Origin(_path(image), row["id"], image["sha256"], row["group"], row["phash"], **origin)


def object_references(path: Path) -> Iterator[tuple[str, str]]:
    """Paths of the objects that a shard's samples refer to, with the sample's id; some more than once.

    Raises:
        ManifestError: the shard cannot be read.
    """
    for row in _rows(path, _OBJECTS):
        yield from ((_path(image), row["id"]) for image in _images(row))


def _rows(path: Path, columns: list[str]) -> Iterator[dict[str, Any]]:
    try:
        with pq.ParquetFile(path) as parquet:
            for batch in parquet.iter_batches(columns=columns):
                yield from batch.to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise ManifestError(f"cannot read {path}: {error}") from error


def _images(row: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield row["image"]
    yield from (item["soft"] for item in row["instances"] if item["soft"] is not None)
    yield from (item["image"] for item in row["layers"])


def _path(image: dict[str, Any]) -> str:
    return ImageRef(image["sha256"], (image["height"], image["width"]), image["format"]).path
